package validate

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"kvcompress/safetensors"
)

// miniCacheCase is a case computed by hand: one token has parallel vectors, one orthogonal vectors, which is
// retained, and one opposite vectors.
func miniCacheCase() (text string, tensors []quantTensor) {
	root, least := float32(math.Sqrt(0.5)), float32(math.Acos(1-0x11p-24)/math.Pi)
	return `{"id":"c","heads":1,"tokens":3,"dim":2,"interpolation":0.5,"retention_ratio":0.05,"retention_count":2,"eps":1e-6,` +
			`"retained_indices":[[1,2]],"margin":0.9}`,
		[]quantTensor{
			floatTensor("current", []int64{1, 1, 3, 2}, 2, 0, 0, 3, 0, 4),
			floatTensor("previous", []int64{1, 1, 3, 2}, 3, 0, 4, 0, 0, -1),
			floatTensor("direction", []int64{1, 1, 3, 2}, 1, 0, root, root, 0, 0),
			floatTensor("current_magnitude", []int64{1, 1, 3, 1}, 2, 3, 4),
			floatTensor("previous_magnitude", []int64{1, 1, 3, 1}, 3, 4, 1),
			floatTensor("angular_distance", []int64{1, 1, 3}, least, 0.5, 1-least),
			floatTensor("restored_current", []int64{1, 1, 3, 2}, 2, 0, 0, 3, 0, 4),
			floatTensor("restored_previous", []int64{1, 1, 3, 2}, 3, 0, 4, 0, 0, -1),
		}
}

// TestMiniCacheCases compares the hand-made case, then with each element of each recorded result changed, and
// with invalid fields.
func TestMiniCacheCases(t *testing.T) {
	text, tensors := miniCacheCase()
	run := func(text string, tensors []quantTensor) (CaseResult, error) {
		t.Helper()
		file := quantFile(t, tensors)
		opened, err := safetensors.Open(bytes.NewReader(file), int64(len(file)), "test")
		if err != nil {
			t.Fatal(err)
		}
		results, err := methodCases(t.Context(), []byte(`{"method":"minicache","cases":[`+text+`]}`), opened)
		if err != nil {
			return CaseResult{}, err
		}
		return results[0], nil
	}
	if r, err := run(text, tensors); err != nil || !r.Agree || r.Values == 0 {
		t.Errorf("%v, %+v", err, r)
	}
	for i, x := range tensors[2:] {
		for at, bits := range x.bits {
			changed := slices.Clone(tensors)
			changed[2+i].bits = slices.Clone(x.bits)
			changed[2+i].bits[at] = math.Float32bits(math.Float32frombits(bits) + 1.0/128)
			if r, err := run(text, changed); err != nil || r.Agree || r.Mismatch == "" {
				t.Errorf("%s[%d] changed: %v, %+v", x.name, at, err, r)
			}
		}
	}
	for _, change := range [][2]string{{"[[1,2]]", "[[0,1]]"}, {"[[1,2]]", "[[1]]"}, {`"interpolation":0.5`, `"interpolation":0.6`}, {`"retention_count":2`, `"retention_count":1`}, {`"retention_count":2,`, ""}} {
		if r, err := run(strings.Replace(text, change[0], change[1], 1), tensors); err != nil || r.Agree || r.Mismatch == "" {
			t.Errorf("%q for %q: %v, %+v", change[1], change[0], err, r)
		}
	}
	// With equal distances any of the tokens may be retained.
	tie := slices.Clone(tensors)
	tie[0] = floatTensor("current", []int64{1, 1, 3, 2}, 2, 0, 0, 3, 0, 3)
	tie[1] = floatTensor("previous", []int64{1, 1, 3, 2}, 3, 0, 4, 0, 4, 0)
	tie[2] = floatTensor("direction", []int64{1, 1, 3, 2}, 1, 0, tensors[2].f(2), tensors[2].f(2), tensors[2].f(2), tensors[2].f(2))
	tie[3] = floatTensor("current_magnitude", []int64{1, 1, 3, 1}, 2, 3, 3)
	tie[4] = floatTensor("previous_magnitude", []int64{1, 1, 3, 1}, 3, 4, 4)
	tie[5] = floatTensor("angular_distance", []int64{1, 1, 3}, tensors[5].f(0), 0.5, 0.5)
	merged := tensors[2].f(2)
	tie[6] = floatTensor("restored_current", []int64{1, 1, 3, 2}, 2, 0, 3*merged, 3*merged, 0, 3)
	tie[7] = floatTensor("restored_previous", []int64{1, 1, 3, 2}, 3, 0, 4*merged, 4*merged, 4, 0)
	last := strings.NewReplacer("[[1,2]]", "[[2]]", `"retention_count":2`, `"retention_count":1`, `"margin":0.9`, `"margin":0`).Replace(text)
	if r, err := run(last, tie); err != nil || !r.Agree {
		t.Errorf("a tie: %v, %+v", err, r)
	}
	if r, err := run(strings.Replace(last, `"margin":0`, `"margin":0.9`, 1), tie); err != nil || r.Agree {
		t.Errorf("no tie: %v, %+v", err, r)
	}
	for _, change := range [][2]string{
		{`"heads":1`, `"heads":0`}, {`"heads":1`, `"heads":2`}, {`"heads":1`, `"heads":99999999`}, {`"tokens":3`, `"tokens":2`}, {`"dim":2`, `"dim":4`}, {`"dim":2`, `"dim":-1`},
		{`0.5`, `1.5`}, {`"interpolation":0.5,`, ``}, {`1e-6`, `0`}, {`1e-6`, `1e300`}, {`0.05`, `-1`}, {`0.05`, `2`}, {`"retention_count":2`, `"retention_count":-1`},
		{"[[1,2]]", "[]"}, {"[[1,2]]", "[[1,3]]"}, {"[[1,2]]", "[[-1,2]]"}, {"[[1,2]]", "[[1,2],[1]]"},
	} {
		changed := strings.Replace(text, change[0], change[1], 1)
		if r, err := run(changed, tensors); changed == text || err == nil {
			t.Errorf("%q for %q is no error: %+v", change[1], change[0], r)
		}
	}
	for i := range tensors {
		if _, err := run(text, slices.Delete(slices.Clone(tensors), i, i+1)); err == nil {
			t.Errorf("without %s it is no error", tensors[i].name)
		}
	}
}

// f returns an element of an F32 tensor.
func (x quantTensor) f(i int) float32 { return math.Float32frombits(x.bits[i]) }

// FuzzMiniCacheCases gives the comparer any case and any tensors.
func FuzzMiniCacheCases(f *testing.F) {
	text, tensors := miniCacheCase()
	f.Add([]byte(text), quantFile(f, tensors))
	f.Fuzz(func(t *testing.T, text, file []byte) {
		found, err := members(text)
		if err != nil || len(text) > 4096 {
			return
		}
		tensors, err := safetensors.Open(bytes.NewReader(file), int64(len(file)), "fuzz")
		if err != nil {
			tensors = nil
		}
		if result, err := compareMiniCache(&methodCase{"c", found, tensors}); err == nil && result.Compared == "" {
			t.Errorf("%+v", result)
		}
	})
}
