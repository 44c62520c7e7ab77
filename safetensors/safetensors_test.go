package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/dtype"
)

// file puts a header and data together.
func file(header string, data ...byte) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), data...)
}

func openBytes(b []byte) (*File, error) {
	return Open(bytes.NewReader(b), int64(len(b)), "f")
}

func TestOpen(t *testing.T) {
	data := binary.LittleEndian.AppendUint64(nil, 1<<40)
	for _, x := range []float32{1, -2, 0.5, 3} {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	data = append(data, 0x00, 0x3c, 0x00, 0xc0) // f16: 1, -2
	data = append(data, 0x80, 0x3f, 0x00, 0x40) // bf16: 1, 2
	data = append(data, 0x38, 0x3c)             // e4m3: 1; e5m2: 1
	data = append(data, 0x21)                   // two of 4 bits
	f, err := openBytes(file(`{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[8,24]},
		"__metadata__":{"format":"pt"},
		"ids":{"data_offsets":[0,8],"shape":[],"dtype":"I64"},
		"none":{"dtype":"F32","shape":[3,0,99999999999],"data_offsets":[24,24]},
		"h":{"dtype":"F16","shape":[2],"data_offsets":[24,28]},
		"b":{"dtype":"BF16","shape":[1,2,1],"data_offsets":[28,32]},
		"e4":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[32,33]},
		"e5":{"dtype":"F8_E5M2","shape":[1],"data_offsets":[33,34]},
		"f4":{"dtype":"F4","shape":[2],"data_offsets":[34,35]}}   `, data...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ids", "w", "none", "h", "b", "e4", "e5", "f4"}, f.Names()); diff != "" {
		t.Error(diff)
	}
	if v, ok := f.Metadata("format"); v != "pt" || !ok {
		t.Error(v, ok)
	}
	info, ok := f.Tensor("w")
	if !ok || info.DType != F32 || !slices.Equal(info.Shape, []int64{2, 2}) || info.Elements() != 4 || info.Bytes() != 16 {
		t.Error(info, ok)
	}
	if _, ok := f.Tensor("x"); ok {
		t.Error("x")
	}
	for _, tc := range []struct {
		name  string
		first int64
		want  []float32
	}{
		{"w", 0, []float32{1, -2, 0.5, 3}}, {"w", 1, []float32{-2, 0.5}}, {"w", 4, []float32{}},
		{"h", 0, []float32{1, -2}}, {"b", 1, []float32{2}}, {"e4", 0, []float32{1}}, {"e5", 0, []float32{1}}, {"none", 0, []float32{}},
	} {
		dst := make([]float32, len(tc.want))
		if err := f.ReadFloats(dst, tc.name, tc.first); err != nil || !slices.Equal(dst, tc.want) {
			t.Errorf("%s from %d: %v, %v", tc.name, tc.first, dst, err)
		}
	}
	raw := make([]byte, 8)
	if err := f.ReadBytes(raw, "ids", 0); err != nil || raw[5] != 1 {
		t.Error(raw, err)
	}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{f.ReadFloats(make([]float32, 1), "ids", 0), `safetensors: f: tensor "ids": I64 is not a floating-point format`},
		{f.ReadFloats(make([]float32, 1), "x", 0), `safetensors: f: there is no tensor "x"`},
		{f.ReadFloats(make([]float32, 3), "w", 2), `tensor "w": elements 2 to 5 of 4`},
		{f.ReadFloats(nil, "w", 5), "elements 5 to 5 of 4"},
		{f.ReadFloats(nil, "w", -1), "elements -1"},
		{f.ReadBytes(raw, "ids", 1), "bytes 1 to 9 of 8"},
		{f.ReadBytes(nil, "ids", -1), "bytes -1"},
		{f.ReadBytes(nil, "x", 0), "no tensor"},
	} {
		if tc.err == nil || !strings.Contains(tc.err.Error(), tc.want) {
			t.Errorf("error %v, want %q", tc.err, tc.want)
		}
	}
}

// TestReadFloatsInWindows reads a tensor that takes several reads.
func TestReadFloatsInWindows(t *testing.T) {
	const n = 3*window/2 + 17
	header, err := AppendHeader(nil, []Info{{Name: "x", DType: BF16, Shape: []int64{n}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 2*n)
	for i := range n {
		binary.LittleEndian.PutUint16(data[2*i:], uint16(i%0x7f00))
	}
	f, err := openBytes(append(header, data...))
	if err != nil {
		t.Fatal(err)
	}
	got, want := make([]float32, n-5), make([]float32, n-5)
	if err := f.ReadFloats(got, "x", 5); err != nil {
		t.Fatal(err)
	}
	dtype.BF16.Decode(want, data[10:])
	if !slices.Equal(got, want) {
		t.Error("differs")
	}
}

func TestErrors(t *testing.T) {
	const ok = `"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}`
	for _, tc := range []struct {
		name string
		file []byte
		want []string
	}{
		{"good", file("{"+ok+"}", 1, 2), nil},
		{"nothing at all", file("{}"), nil},
		{"empty", nil, []string{"truncated: 0 bytes cannot hold"}},
		{"huge header", binary.LittleEndian.AppendUint64(nil, 1<<63), []string{"a header of 9223372036854775808 bytes"}},
		{"header beyond the end", file("{}")[:9], []string{"truncated: the header takes 2 bytes, and the file has 1"}},
		{"no header", file(""), []string{"does not begin with '{'"}},
		{"space first", file(" {}"), []string{"does not begin with '{'"}},
		{"not JSON", file("{x}"), []string{"header: invalid character 'x'"}},
		{"not an object", file(`{"a":3}`), []string{`tensor "a": not a JSON object`}},
		{"twice", file("{"+ok+","+ok+"}", 1, 2), []string{`header: "a" occurs twice`}},
		{"field twice", file(`{"a":{"dtype":"U8","shape":[2],"shape":[2],"data_offsets":[0,2]}}`, 1, 2), []string{`tensor "a": "shape" occurs twice`}},
		{"metadata", file(`{"__metadata__":{"a":1},`+ok+"}", 1, 2), []string{"__metadata__ is not a map of strings"}},
		{"field", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":1}}`, 1, 2), []string{`tensor "a": unknown field "x"`}},
		{"no fields", file(`{"a":{},"b":{"dtype":"U8"},"c":{"dtype":"U8","shape":[]}}`), []string{`tensor "a": no dtype`, `tensor "b": no shape`, `tensor "c": data_offsets are not two numbers`}},
		{"dtype", file(`{"a":{"dtype":"F7","shape":[2],"data_offsets":[0,2]}}`, 1, 2), []string{`tensor "a": unknown dtype "F7"`}},
		{"shape", file(`{"a":{"dtype":"U8","shape":[-2],"data_offsets":[0,2]}, "b":{"dtype":"U8","shape":[1.5],"data_offsets":[0,2]}, "c":{"dtype":"U8","shape":null,"data_offsets":[0,2]}}`), []string{
			`tensor "a": shape: "-2" is not an integer from 0`, `tensor "b": shape: "1.5" is not`, `tensor "c": shape: not an array`}},
		{"overflow", file(`{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]},"b":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,0]}}`), []string{
			`tensor "a": shape [4294967296 4294967296] of U8 has no size`, `tensor "b": shape [4611686018427387904] of F64 has no size`}},
		{"offsets overflow", file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[4611686018427387904,4611686018427387904]}}`), []string{"data_offsets overflow"}},
		{"half a byte", file(`{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}`, 1, 2), []string{"has no size in bytes"}},
		{"dimensions", file(`{"a":{"dtype":"U8","shape":[`+strings.Repeat("1,", 64)+`1],"data_offsets":[0,1]}}`, 1), []string{"65 dimensions"}},
		{"backwards", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[2,0]}}`, 1, 2), []string{"run backwards"}},
		{"size", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 1, 2, 3, 4), []string{"shape [2] of F32 takes 8 bytes, and data_offsets [0, 4] give 4"}},
		{"hole", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}`, 1, 2, 3, 4, 5), []string{
			`1 bytes before tensor "a"`, `1 bytes before tensor "b"`, "1 bytes at the end belong to no tensor"}},
		{"overlap", file(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"c":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}`, 1, 2, 3, 4), []string{
			`tensor "b" at byte 166 overlaps "a", which ends at 169`, `tensor "c" at byte 168 overlaps "a"`}},
		{"truncated", file("{"+ok+"}", 1), []string{`truncated: tensor "a" ends at byte`}},
	} {
		errs := Check(bytes.NewReader(tc.file), int64(len(tc.file)))
		if len(errs) != len(tc.want) {
			t.Errorf("%s: %d errors, want %d: %v", tc.name, len(errs), len(tc.want), errs)
			continue
		}
		for i := range errs {
			if !strings.Contains(errs[i].Error(), tc.want[i]) {
				t.Errorf("%s: error %v, want %q", tc.name, errs[i], tc.want[i])
			}
		}
		if _, err := openBytes(tc.file); (err == nil) != (len(errs) == 0) || err != nil && !strings.HasPrefix(err.Error(), "safetensors: f: ") {
			t.Errorf("%s: Open: %v", tc.name, err)
		}
	}
}

// TestShrunk reads from a file that was longer when it was opened.
func TestShrunk(t *testing.T) {
	data := file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, make([]byte, 8)...)
	f, err := Open(bytes.NewReader(data[:len(data)-3]), int64(len(data)), "f")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.ReadFloats(make([]float32, 2), "a", 0); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if _, err := Open(bytes.NewReader(data[:20]), int64(len(data)), "f"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func TestAppendHeader(t *testing.T) {
	infos := []Info{{Name: "a \"b\"", DType: F16, Shape: []int64{3, 2}}, {Name: "s", DType: F32}, {Name: "z", DType: I64, Shape: []int64{0}}}
	for _, pad := range []int{0, 8, 300} {
		h, err := AppendHeader([]byte("x"), infos, pad)
		if err != nil {
			t.Fatal(err)
		}
		h = h[1:]
		if len(h)%8 != 0 || len(h) < pad {
			t.Errorf("%d bytes", len(h))
		}
		f, err := openBytes(append(h, make([]byte, 16)...))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range infos {
			got, ok := f.Tensor(want.Name)
			if !ok || got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) {
				t.Errorf("%v, want %v", got, want)
			}
		}
	}
	for _, bad := range [][]Info{
		{{Name: "a", DType: "X"}},
		{{Name: "a", DType: U8, Shape: []int64{-1}}},
		{{Name: "a", DType: U8, Shape: []int64{-1, 0}}},
		{{Name: "a", DType: U8, Shape: []int64{1 << 62, 2}}},
		{{Name: "a", DType: U8, Shape: []int64{1 << 62}}, {Name: "b", DType: U8, Shape: []int64{1 << 62}}},
		{{Name: "a", DType: U8}, {Name: "a", DType: U8}},
		{{Name: "__metadata__", DType: U8}},
		{{Name: strings.Repeat("x", MaxHeader), DType: U8}},
	} {
		if _, err := AppendHeader(nil, bad, 0); err == nil {
			t.Errorf("%.100v: no error", bad)
		}
	}
}

func TestFloat(t *testing.T) {
	for _, d := range []dtype.DType{dtype.F32, dtype.F16, dtype.BF16, dtype.E4M3, dtype.E5M2} {
		name := FromFloat(d)
		if back, ok := name.Float(); !ok || back != d || name.Bits() != 8*d.Size() {
			t.Errorf("%v: %v, %v", d, name, back)
		}
	}
	if FromFloat(99) != "" {
		t.Error("99")
	}
}

// FuzzOpen feeds whole files. Every tensor of a file that is accepted can be read.
func FuzzOpen(f *testing.F) {
	f.Add(file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 1, 2))
	f.Add(file(`{"a":{"dtype":"F4","shape":[2,0],"data_offsets":[0,0]},"__metadata__":{"a":"b"},"b":{"dtype":"BF16","shape":[1,1],"data_offsets":[0,2]}} `, 1, 2))
	f.Add(file(`{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,4]}}`, 1, 2, 3, 4))
	f.Add(file(`{"\u0061":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"b":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}`, 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		st, err := openBytes(data)
		if err != nil {
			return
		}
		total := int64(0)
		for _, name := range st.Names() {
			info, ok := st.Tensor(name)
			if !ok || info.Bytes() < 0 {
				t.Fatal(info)
			}
			total += info.Bytes()
			raw := make([]byte, info.Bytes())
			if err := st.ReadBytes(raw, name, 0); err != nil {
				t.Fatal(err)
			}
			if _, ok := info.DType.Float(); ok {
				if err := st.ReadFloats(make([]float32, info.Elements()), name, 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		if header := int64(binary.LittleEndian.Uint64(data)); 8+header+total != int64(len(data)) {
			t.Fatalf("%d bytes of header and %d of tensors in %d", header, total, len(data))
		}
	})
}
