package validate

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"kvcompress/safetensors"
)

// razorByHand is a case with keys of 0, so that every entry has the same score, and with the token numbers as
// values. Tokens 1 to 3 of 6 are folded; their mean is 2.
func razorByHand() (text string, tensors map[string][]float32) {
	text = `{"method":"razor_compress","cases":[{"id":"c0","tokens":6,"heads":1,"dim":8,"sink":1,"local_capacity":4,` +
		`"virtual_token":true,"entries":4,"dropped":[1,4],"paper_n_dropped":3}]}`
	rows := func(firsts ...float32) []float32 {
		x := make([]float32, 8*len(firsts))
		for i, v := range firsts {
			x[8*i] = v
		}
		return x
	}
	return text, map[string][]float32{
		"key": rows(0, 0, 0, 0, 0, 0), "value": rows(0, 1, 2, 3, 4, 5), "query": rows(1),
		"compressed_key": rows(0, 0, 0, 0), "compressed_value": rows(0, 2, 4, 5),
		"full_output":       rows(15. / 6),
		"paper_output":      rows((0 + 3*2 + 4 + 5) / 6.),
		"unweighted_output": rows((0 + 2 + 4 + 5) / 4.),
	}
}

// razorFiles returns the case as files.
func razorFiles(t *testing.T, text string, tensors map[string][]float32) fstest.MapFS {
	t.Helper()
	var infos []safetensors.Info
	var data []byte
	for name, x := range tensors {
		shape := []int64{int64(len(x) / 8), 1, 8}
		if strings.HasSuffix(name, "output") || name == "query" {
			shape = []int64{1, 8}
		}
		infos = append(infos, safetensors.Info{Name: "c0." + name, DType: safetensors.F32, Shape: shape})
		for _, v := range x {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
	}
	file, err := safetensors.AppendHeader(nil, infos, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{"razor.json": {Data: []byte(text)}, "razor.safetensors": {Data: append(file, data...)}}
}

// TestRazorCase compares the hand-made case, then with each recorded value changed.
func TestRazorCase(t *testing.T) {
	run := func(text string, tensors map[string][]float32) CaseResult {
		t.Helper()
		report, err := CasesIn(t.Context(), razorFiles(t, text, tensors), "razor.json")
		if err != nil {
			t.Fatal(err)
		}
		return report.Results[0]
	}
	text, tensors := razorByHand()
	r := run(text, tensors)
	if !r.Agree || r.KVs != 2 || !strings.Contains(r.Detail, "0.000 weighted, 0.031 unweighted") {
		t.Errorf("%+v", r)
	}
	for name := range tensors {
		text, tensors := razorByHand()
		at := len(tensors[name]) - 8 // of the newest token, or of the output
		if name == "query" {
			continue // with keys of 0 the change has no effect
		}
		tensors[name][at] += 0.5
		if r := run(text, tensors); r.Agree || r.Mismatch == "" {
			t.Errorf("%s changed: %+v", name, r)
		}
	}
	for _, c := range []struct{ old, new, want string }{
		{`"entries":4`, `"entries":5`, "holds 4 entries, 5 recorded"},
		{`"paper_n_dropped":3`, `"paper_n_dropped":2`, "a stand-in for 3 tokens, 2 recorded"},
	} {
		if r := run(strings.Replace(text, c.old, c.new, 1), tensors); !strings.Contains(r.Mismatch, c.want) {
			t.Errorf("%s: %+v", c.new, r)
		}
	}
	for _, c := range []struct{ old, new, want string }{
		{`"tokens":6`, `"tokens":0`, `"tokens": 0 is not`},
		{`"tokens":6`, `"tokens":7`, "key is [6 1 8], want [7 1 8]"},
		{`"heads":1`, `"heads":0`, "kv_heads is 0"},
		{`"dim":8`, `"dim":9`, "key is [6 1 8], want [6 1 9]"},
		{`"dim":8`, `"dim":0`, `"dim": 0 is not`},
		{`"sink":1`, `"sink":-1`, "sinks -1"},
		{`"sink":1`, `"sink":4`, "no room"},
		{`"local_capacity":4`, `"local_capacity":0`, `"local_capacity": 0`},
		{`"local_capacity":4`, `"local_capacity":-9`, `"local_capacity": -9`},
		{`[1,4]`, `[1,7]`, `"dropped": tokens 1 to 6 of 6`},
		{`[1,4]`, `[2,4]`, `"dropped": tokens 2 to 3 of 6`},
	} {
		_, err := CasesIn(t.Context(), razorFiles(t, strings.Replace(text, c.old, c.new, 1), tensors), "razor.json")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.new, err, c.want)
		}
	}
}

// TestRazorErrors compares the errors against full attention stated in docs/methods/razor.md with the
// recorded cases.
func TestRazorErrors(t *testing.T) {
	name := filepath.Join("..", "..", "shared", "data", "oracle", "methods", "razor_compress.json")
	if _, err := os.Stat(name); err != nil {
		t.Skipf("needs ../shared/data beside the repository: %v", err)
	}
	report, err := CasesAt(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	var weighted, unweighted, n float64
	for _, r := range report.Results {
		var w, u float64
		if _, errors, ok := strings.Cut(r.Detail, "attention "); ok {
			if _, err := fmt.Sscanf(errors, "%g weighted, %g unweighted", &w, &u); err != nil {
				t.Fatalf("%q: %v", r.Detail, err)
			}
			weighted, unweighted, n = weighted+w, unweighted+u, n+1
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "docs", "methods", "razor.md"))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("attention is %.3f so, and %.3f with the paper's weight", unweighted/n, weighted/n)
	if !strings.Contains(string(text), want) {
		t.Errorf("docs/methods/razor.md does not say: %s", want)
	}
}
