package validate

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"kvcompress/safetensors"
)

// pressFile returns a recorded case of two heads and three tokens, whose keys have norms 1, 2, 3 and 6, 5, 4,
// with its tensors.
func pressFile(t testing.TB, edit func(map[string]any)) (text []byte, tensors *safetensors.File) {
	t.Helper()
	c := map[string]any{
		"id": "c0", "press": "KnormPress", "q_heads": 2, "kv_heads": 2, "tokens": 3, "dim": 8,
		"compression_ratio": 0.5, "options": map[string]any{}, "kept": [][]int{{0}, {2}}, "margin": 0.5,
	}
	if edit != nil {
		edit(c)
	}
	text, err := json.Marshal(map[string]any{"method": "kvpress", "cases": []any{c}})
	if err != nil {
		t.Fatal(err)
	}
	norms := []float32{1, 2, 3, 6, 5, 4}
	rows := make([]float32, 0, 48)
	scores := make([]float32, 0, 6)
	for _, n := range norms {
		rows = append(rows, n, 0, 0, 0, 0, 0, 0, 0)
		scores = append(scores, -n)
	}
	header, data := "{", []byte{}
	for _, x := range []struct {
		name, shape string
		values      []float32
	}{{"q", "[1,2,3,8]", rows}, {"k", "[1,2,3,8]", rows}, {"v", "[1,2,3,8]", rows}, {"score", "[1,2,3]", scores}} {
		first := len(data)
		for _, v := range x.values {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		header += fmt.Sprintf(`"c0.%s":{"dtype":"F32","shape":%s,"data_offsets":[%d,%d]},`, x.name, x.shape, first, len(data))
	}
	header = strings.TrimSuffix(header, ",") + "}"
	file := append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
	file = append(file, data...)
	tensors, err = safetensors.Open(bytes.NewReader(file), int64(len(file)), "test")
	if err != nil {
		t.Fatal(err)
	}
	return text, tensors
}

// TestPressCases has cases that agree, that differ, and that are invalid.
func TestPressCases(t *testing.T) {
	put := func(key string, value any) func(map[string]any) {
		return func(c map[string]any) { c[key] = value }
	}
	masked := func(ratio float64, pairs [][]int) func(map[string]any) {
		return func(c map[string]any) {
			c["press"], c["compression_ratio"], c["options"], c["masked"] = "AdaKV:KnormPress", ratio, map[string]any{"alpha_safeguard": 0}, pairs
			delete(c, "kept")
			delete(c, "margin")
		}
	}
	for _, test := range []struct {
		name     string
		edit     func(map[string]any)
		mismatch string
		fails    string
	}{
		{"as recorded", nil, "", ""},
		{"in another order", put("kept", [][]int{{0}, {2}}), "", ""},
		{"another is kept", put("kept", [][]int{{1}, {2}}), "head 0: kept [0], [1] recorded", ""},
		{"another is kept, and there is a tie", func(c map[string]any) { c["kept"], c["margin"] = [][]int{{1}, {2}}, 0 }, "head 0: the scores of what is kept are [-1], [-2] recorded", ""},
		{"more are kept", put("compression_ratio", 0.0), "head 0: kept [0 1 2], [0] recorded", ""},
		{"other scores", put("press", "KeyDiffPress"), "score[1]", ""},
		{"another is kept, and it is close", func(c map[string]any) { c["kept"], c["margin"] = [][]int{{1}, {2}}, 1e-7 }, "head 0: the scores of what is kept are [-1], [-2] recorded", ""},
		{"over heads", masked(0.5, [][]int{{0, 2}, {1, 0}, {1, 1}, {1, 2}}), "", ""},
		{"over heads, but for one", masked(0.5, [][]int{{0, 1}, {1, 0}, {1, 1}, {1, 2}}), "head 0: the scores of what is kept are [-2 -1], [-3 -1] recorded", ""},
		{"no such token", put("kept", [][]int{{0}, {3}}), "", "kept: head 1 has no token 3"},
		{"twice", put("kept", [][]int{{0, 0}, {2}}), "", "kept: head 0, token 0 is given twice"},
		{"a head is missing", put("kept", [][]int{{0}}), "", "kept: 1 heads, want 2"},
		{"neither", put("kept", nil), "", `one of "kept" and "masked" must be given`},
		{"no pair", masked(0.5, [][]int{{0}}), "", "masked: [0] is no pair"},
		{"ratio", put("compression_ratio", 1), "", "compression_ratio 1 is not from 0 to below 1"},
		{"shape", put("kv_heads", 1), "", "c0.k is [1 2 3 8], want [1 1 3 8]"},
		{"layer", put("options", map[string]any{"layer": 3, "layers": 2}), "", "layer 3 is not one of 2"},
		{"option", func(c map[string]any) {
			c["press"], c["options"] = "LagKVPress", map[string]any{"lag_size": "x"}
		}, "", "lag_size"},
	} {
		text, tensors := pressFile(t, test.edit)
		results, err := methodCases(t.Context(), text, tensors)
		switch {
		case test.fails != "":
			if err == nil || !strings.Contains(err.Error(), test.fails) {
				t.Errorf("%s: error %v, want %q", test.name, err, test.fails)
			}
		case err != nil:
			t.Errorf("%s: %v", test.name, err)
		case (test.mismatch == "") != results[0].Agree || !strings.Contains(results[0].Mismatch, test.mismatch):
			t.Errorf("%s: %+v, want %q", test.name, results[0], test.mismatch)
		}
	}
}

// FuzzPressCase gives the comparison any case, with valid tensors.
func FuzzPressCase(f *testing.F) {
	for _, press := range []string{"KnormPress", "KeyDiffPress", "TOVAPress", "ObservedAttentionPress", "LagKVPress", "ExpectedAttentionPress",
		"StreamingLLMPress", "SnapKVPress", "PyramidKVPress", "AdaKV:SnapKVPress"} {
		text, _ := pressFile(f, func(c map[string]any) { c["press"] = press })
		f.Add(text)
	}
	_, tensors := pressFile(f, nil)
	f.Fuzz(func(t *testing.T, text []byte) {
		results, _ := methodCases(t.Context(), text, tensors)
		for _, r := range results {
			if r.Agree && r.Mismatch != "" {
				t.Errorf("%+v", r)
			}
		}
	})
}
