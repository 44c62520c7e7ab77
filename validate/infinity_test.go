package validate

import (
	"encoding/json"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestInfinities(t *testing.T) {
	const text = `[{"a Infinity \" Infinity": [1, Infinity, -Infinity,2.5]}, "Infinity", Infin]`
	const want = `[{"a Infinity \" Infinity": [1, 1e999, -1e999,2.5]}, "Infinity", Infin]`
	for name, r := range map[string]io.Reader{
		"at once": strings.NewReader(text), "by bytes": iotest.OneByteReader(strings.NewReader(text)), "by halves": iotest.HalfReader(strings.NewReader(text)),
	} {
		got, err := io.ReadAll(iotest.OneByteReader(withInfinities(r)))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	var f floats
	if err := json.Unmarshal([]byte("[1, 1e999, -1e999, 1e-60]"), &f); err != nil || !slices.Equal(f, floats{1, float32(math.Inf(1)), float32(math.Inf(-1)), 0}) {
		t.Error(f, err)
	}
	if err := json.Unmarshal([]byte("[1, 1e40]"), &f); err == nil || !strings.Contains(err.Error(), "[1] is 1e40") {
		t.Error(err)
	}
}
