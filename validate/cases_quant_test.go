package validate

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"kvcompress/ref/quant"
	"kvcompress/safetensors"
)

// quantTensor is a tensor of a case, by the bits of its elements.
type quantTensor struct {
	name  string
	dtype safetensors.DType
	shape []int64
	bits  []uint32
}

func floatTensor(name string, shape []int64, x ...float32) quantTensor {
	t := quantTensor{name, safetensors.F32, shape, nil}
	for _, v := range x {
		t.bits = append(t.bits, math.Float32bits(v))
	}
	return t
}

// quantCases were computed by hand, including what the published code does with constant groups.
func quantCases() []struct {
	method, text string
	tensors      []quantTensor
	refused      [][2]string
} {
	nan := float32(math.NaN())
	return []struct {
		method, text string
		tensors      []quantTensor
		refused      [][2]string
	}{
		{
			// Channel 0: the first group is constant, and its first code sets the word's highest bit, which
			// makes the last code of the second group 2 instead of 0. Channel 1: the second group is
			// constant.
			"kivi_quant", `{"id":"c","which":"key","batch":1,"heads":1,"tokens":16,"dim":2,"group":8,"bits":2,"input_dtype":"f32"}`,
			[]quantTensor{
				floatTensor("x", []int64{1, 1, 16, 2}, 7, 0, 7, 1, 7, 2, 7, 3, 7, 0, 7, 1, 7, 2, 7, 3,
					3, 5, 2, 5, 1, 5, 0, 5, 3, 5, 2, 5, 1, 5, 0, 5),
				{"code", safetensors.I32, []int64{1, 1, 1, 2}, []uint32{0x9b1b0000, 0x0000e4e4}},
				floatTensor("scale", []int64{1, 1, 2, 1, 2}, 0, 1, 1, 0),
				floatTensor("minimum", []int64{1, 1, 2, 1, 2}, 7, 0, 0, 5),
				floatTensor("dequantised", []int64{1, 1, 16, 2}, 7, 0, 7, 1, 7, 2, 7, 3, 7, 0, 7, 1, 7, 2, 7, 3,
					3, 5, 2, 5, 1, 5, 0, 5, 3, 5, 2, 5, 1, 5, 2, 5),
			},
			[][2]string{{`"key"`, `"query"`}, {`"bits":2`, `"bits":0`}, {`"bits":2`, `"bits":-32`}, {`"bits":2`, `"bits":4`}, {`"group":8`, `"group":5`}, {`"group":8`, `"group":0`}, {`"batch":1`, `"batch":0`},
				{`"heads":1`, `"heads":99999999`}, {`"dim":2`, `"dim":4`}, {`"tokens":16`, `"tokens":8`}, {`"batch":1,`, ``}, {`"f32"`, `32`}},
		},
		{
			"kivi_quant", `{"id":"c","which":"value","batch":1,"heads":1,"tokens":1,"dim":8,"group":4,"bits":4}`,
			[]quantTensor{
				floatTensor("x", []int64{1, 1, 1, 8}, 0, 15, 2.5, 3.5, -1, 14, 0, 1),
				{"code", safetensors.I32, []int64{1, 1, 1, 1}, []uint32{0x21f042f0}},
				floatTensor("scale", []int64{1, 1, 1, 2, 1}, 1, 1),
				floatTensor("minimum", []int64{1, 1, 1, 2, 1}, 0, -1),
				floatTensor("dequantised", []int64{1, 1, 1, 8}, 0, 15, 2, 4, -1, 14, 0, 1),
			},
			[][2]string{{`"value"`, `"key"`}, {`"bits":4`, `"bits":2`}},
		},
		{
			"flexgen_quant", `{"id":"c","axis":"token","tokens":1,"dim":4,"group":2,"bits":2}`,
			[]quantTensor{
				floatTensor("x", []int64{1, 1, 1, 4}, 3, 3, 0, 3),
				floatTensor("y", []int64{1, 1, 1, 4}, nan, nan, 0, 3),
			},
			[][2]string{{`"token"`, `"head"`}, {`"bits":2`, `"bits":9`}, {`"group":2`, `"group":3`}, {`"dim":4`, `"dim":2`}},
		},
		{
			// The last group is 1 and a padding zero: its scale is 1 + 2e-6.
			"flexgen_quant", `{"id":"c","axis":"channel","tokens":3,"dim":1,"group":2,"bits":1}`,
			[]quantTensor{
				floatTensor("x", []int64{1, 2, 3, 1}, 1, 1, 1, 1, 1, 1),
				floatTensor("y", []int64{1, 2, 3, 1}, 1, 1, 1+quant.ChannelMargin, 1, 1, 1+quant.ChannelMargin),
			},
			[][2]string{{`"tokens":3`, `"tokens":2`}, {`"group":2`, `"group":1025`}, {`"group":2`, `"group":0`}, {`"tokens":3`, `"tokens":0`}},
		},
	}
}

func quantFile(t testing.TB, tensors []quantTensor) []byte {
	t.Helper()
	var infos []safetensors.Info
	var data []byte
	for _, x := range tensors {
		infos = append(infos, safetensors.Info{Name: "c." + x.name, DType: x.dtype, Shape: x.shape})
		for _, b := range x.bits {
			data = binary.LittleEndian.AppendUint32(data, b)
		}
	}
	file, err := safetensors.AppendHeader(nil, infos, 0)
	if err != nil {
		t.Fatal(err)
	}
	return append(file, data...)
}

// TestQuantCases compares the hand-made cases, then with the lowest bit of each element of each recorded
// result changed, and with invalid fields.
func TestQuantCases(t *testing.T) {
	for _, c := range quantCases() {
		run := func(text string, tensors []quantTensor) (CaseResult, error) {
			t.Helper()
			file := quantFile(t, tensors)
			opened, err := safetensors.Open(bytes.NewReader(file), int64(len(file)), "test")
			if err != nil {
				t.Fatal(err)
			}
			results, err := methodCases(t.Context(), []byte(`{"method":"`+c.method+`","cases":[`+text+`]}`), opened)
			if err != nil {
				return CaseResult{}, err
			}
			return results[0], nil
		}
		if r, err := run(c.text, c.tensors); err != nil || !r.Agree || r.Values == 0 {
			t.Errorf("%s: %v, %+v", c.text, err, r)
		}
		for i, x := range c.tensors {
			if x.name == "x" {
				continue
			}
			for at, bits := range x.bits {
				if v := math.Float32frombits(bits); x.dtype == safetensors.F32 && v != v {
					continue // it would still be NaN
				}
				change := uint32(1)
				if x.name == "code" && bits == 0x9b1b0000 {
					change = 1 << 16 // lower bits are codes of the constant group
				}
				changed := slices.Clone(c.tensors)
				changed[i].bits = slices.Clone(x.bits)
				changed[i].bits[at] ^= change
				if r, err := run(c.text, changed); err != nil || r.Agree || r.Mismatch == "" {
					t.Errorf("%s: %s[%d] changed: %v, %+v", c.text, x.name, at, err, r)
				}
			}
		}
		for _, change := range c.refused {
			text := strings.Replace(c.text, change[0], change[1], 1)
			if r, err := run(text, c.tensors); text == c.text || err == nil {
				t.Errorf("%s with %q for %q is no error: %+v", c.method, change[1], change[0], r)
			}
		}
		if _, err := run(c.text, c.tensors[:len(c.tensors)-1]); err == nil {
			t.Errorf("%s without its last tensor is no error", c.text)
		}
		if c.method != "kivi_quant" {
			continue
		}
		text := strings.Replace(c.text, `"bits"`, `"input_dtype":"f16","bits"`, 1)
		text = strings.Replace(text, `,"input_dtype":"f32"`, "", 1)
		if r, err := run(text, c.tensors); err != nil || r.Agree || !strings.Contains(r.Skipped, "f16") {
			t.Errorf("%s: %v, %+v", text, err, r)
		}
	}
}

// FuzzQuantCases gives the comparers of quantized groups any case and any tensors.
func FuzzQuantCases(f *testing.F) {
	for _, c := range quantCases() {
		f.Add(c.method == "kivi_quant", []byte(c.text), quantFile(f, c.tensors))
	}
	f.Fuzz(func(t *testing.T, kivi bool, text, file []byte) {
		found, err := members(text)
		if err != nil || len(text) > 4096 {
			return
		}
		tensors, err := safetensors.Open(bytes.NewReader(file), int64(len(file)), "fuzz")
		if err != nil {
			tensors = nil
		}
		compare := compareFlexGen
		if kivi {
			compare = compareKIVI
		}
		if result, err := compare(&methodCase{"c", found, tensors}); err == nil && result.Skipped == "" && result.Compared == "" {
			t.Errorf("%+v", result)
		}
	})
}
