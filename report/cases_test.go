package report

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvcompress/sim/cost"
)

func TestCases(t *testing.T) {
	dir := t.TempDir()
	cases := []*cost.Case{
		{Measurement: cost.Measurement{GPU: "one <card>", InputLen: 500, CompressionRate: "vanilla", MaxDecodingBatch: 3, TokensPerS: 100}, Batch: 3, Throughput: 110},
		{Measurement: cost.Measurement{GPU: "one <card>", InputLen: 500, CompressionRate: "2"}, Batch: 6, Throughput: 220},
		{Measurement: cost.Measurement{GPU: "another", InputLen: 2000, CompressionRate: "2"}},
	}
	var first []byte
	for _, name := range []string{"a.svg", "b.svg", "c.png"} {
		path := filepath.Join(dir, name)
		if err := Cases(path, cases); err != nil {
			t.Fatal(err)
		}
		picture, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		switch name {
		case "a.svg":
			first = picture
			for _, want := range []string{"one &lt;card&gt;", "another", "2,000 tokens in", "largest batch"} {
				if !strings.Contains(string(picture), want) {
					t.Errorf("no %q", want)
				}
			}
		case "b.svg":
			if !bytes.Equal(picture, first) {
				t.Error("the same cases are not the same picture")
			}
		}
	}
	if err := Cases(filepath.Join(dir, "a.txt"), cases); err == nil {
		t.Error("a picture of an unknown kind")
	}
	if err := Cases(filepath.Join(dir, "none.svg"), nil); err != nil {
		t.Error(err)
	}
}
