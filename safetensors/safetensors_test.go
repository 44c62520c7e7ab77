package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/dtype"
	"kvcompress/internal/testsize"
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
	info, ok := f.Tensor("w")
	if !ok || info.DType != F32 || !slices.Equal(info.Shape, []int64{2, 2}) || info.Bytes() != 16 {
		t.Error(info, ok)
	}
	if _, ok := f.Tensor("x"); ok {
		t.Error("x")
	}
	raw := make([]byte, 8)
	if err := f.ReadBytes(raw, "ids", 0); err != nil || raw[5] != 1 {
		t.Error(raw, err)
	}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{f.ReadBytes(raw, "ids", 1), "bytes 1 to 9 of 8"},
		{f.ReadBytes(nil, "ids", -1), "bytes -1"},
		{f.ReadBytes(nil, "x", 0), "no tensor"},
	} {
		if tc.err == nil || !strings.Contains(tc.err.Error(), tc.want) {
			t.Errorf("error %v, want %q", tc.err, tc.want)
		}
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
		{"metadata", file(`{"__metadata__":{"a":1},`+ok+"}", 1, 2), []string{"header: __metadata__ is not an object of strings"}},
		{"field", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":1}}`, 1, 2), []string{`tensor "a": unknown field "x"`}},
		{"no fields", file(`{"a":{},"b":{"dtype":"U8"},"c":{"dtype":"U8","shape":[]}}`), []string{`tensor "a": no dtype`, `tensor "b": no shape`, `tensor "c": data_offsets are not two numbers`}},
		{"metadata that is null", file(`{"__metadata__":null,`+ok+"}", 1, 2), nil},
		{"a dtype that came later", file(`{"a":{"dtype":"F7","shape":[3],"data_offsets":[0,2]}}`, 1, 2), nil},
		{"dtype", file(`{"a":{"dtype":7,"shape":[2],"data_offsets":[0,2]}}`, 1, 2), []string{`tensor "a": unknown dtype 7`}},
		{"shape", file(`{"a":{"dtype":"U8","shape":[-2],"data_offsets":[0,2]}, "b":{"dtype":"U8","shape":[1.5],"data_offsets":[0,2]}, "c":{"dtype":"U8","shape":null,"data_offsets":[0,2]}}`), []string{
			`tensor "a": shape: "-2" is not an integer from 0`, `tensor "b": shape: "1.5" is not`, `tensor "c": shape: not an array`}},
		{"overflow", file(`{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]},"b":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,0]}}`), []string{
			`tensor "a": shape [4294967296 4294967296] of U8 has no size`, `tensor "b": shape [4611686018427387904] of F64 has no size`}},
		{"offsets overflow", file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[4611686018427387904,4611686018427387904]}}`), []string{"data_offsets overflow"}},
		{"half a byte", file(`{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}`, 1, 2), []string{"has no size in bytes"}},
		{"dimensions", file(`{"a":{"dtype":"U8","shape":[`+strings.Repeat("1,", 64)+`1],"data_offsets":[0,1]}}`, 1), []string{`tensor "a": shape: more than 64 numbers`}},
		{"three offsets", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}`, 1), []string{`tensor "a": data_offsets: more than 2 numbers`}},
		{"nested shape", file(`{"a":{"dtype":"U8","shape":[[1,2],1],"data_offsets":[0,1]}}`, 1), []string{`tensor "a": shape: "[1" is not an integer`}},
		{"long number", file(`{"a":{"dtype":"U8","shape":[1`+strings.Repeat("0", 1000)+`],"data_offsets":[0,1]}}`, 1), []string{`tensor "a": shape: "1` + strings.Repeat("0", 59) + `…" is not`}},
		{"long name", file(`{"` + strings.Repeat("x", 1<<20) + `":{}}`), []string{`tensor "` + strings.Repeat("x", 60) + `…": no dtype`}},
		{"twice and more", file("{"+ok+","+ok+`,"b":{"dtype":"U8","shape":[],"data_offsets":[2,3]}}`, 1, 2), []string{
			`header: "a" occurs twice`, `tensor "b": truncated: it ends at byte`}},
		{"backwards", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[2,0]}}`, 1, 2), []string{"run backwards"}},
		{"size", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 1, 2, 3, 4), []string{"shape [2] of F32 takes 8 bytes, and data_offsets [0, 4] give 4"}},
		{"hole", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}`, 1, 2, 3, 4, 5), []string{
			`tensor "a": 1 bytes before it`, `tensor "b": 1 bytes before it`, "1 bytes at the end belong to no tensor"}},
		{"overlap", file(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"c":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}`, 1, 2, 3, 4), []string{
			`tensor "b": it begins at byte 166 and overlaps "a", which ends at 169`, `tensor "c": it begins at byte 168 and overlaps "a"`}},
		{"truncated", file("{"+ok+"}", 1), []string{`tensor "a": truncated: it ends at byte`}},
	} {
		_, errs := Inspect(bytes.NewReader(tc.file), int64(len(tc.file)), "f")
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

// TestInspect checks that valid tensors can be read although others of the file are not.
func TestInspect(t *testing.T) {
	data := file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[7],"data_offsets":[2,3]},"c":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}}`, 1, 2, 3, 4)
	f, errs := Inspect(bytes.NewReader(data), int64(len(data)), "f")
	var in *TensorError
	if len(errs) != 2 || !errors.As(errs[0], &in) || in.Tensor != "b" || !errors.As(errs[1], &in) || in.Tensor != "c" {
		t.Fatal(errs)
	}
	p := make([]byte, 2)
	if err := f.ReadBytes(p, "a", 0); err != nil || p[1] != 2 || !slices.Equal(f.Names(), []string{"a"}) {
		t.Error(p, err, f.Names())
	}
}

// TestHeaderMemory checks that a malicious header takes a small multiple of its size in memory,
// for its errors too.
func TestHeaderMemory(t *testing.T) {
	room := testsize.Of(8<<20, 16<<20, 16<<20) - 100 // bytes of a header; larger ones only make the test slower
	many := func(format string) []byte {
		var b bytes.Buffer
		for i := 0; b.Len() < room-200; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.Bytes()
	}
	headers := map[string]string{
		"shape":    `{"a":{"dtype":"U8","shape":[` + strings.Repeat("1,", room/2-100) + `1],"data_offsets":[0,1]}}`,
		"offsets":  `{"a":{"dtype":"U8","shape":[1],"data_offsets":[` + strings.Repeat("1,", room/2-100) + `1]}}`,
		"tensors":  "{" + string(many(`"%x":0,`)) + `"":0}`,
		"metadata": `{"__metadata__":{` + string(many(`"%x":"",`)) + `"":""}}`,
		"name":     `{"` + strings.Repeat("x", room-200) + `":{}}`,
		"dtype":    `{"a":{"dtype":"` + strings.Repeat("x", room-200) + `"}}`,
		"field":    `{"a":{"` + strings.Repeat("x", room-200) + `":0}}`,
	}
	all := slices.Sorted(maps.Keys(headers))
	for _, name := range testsize.Of([]string{"metadata", "shape"}, all, all) {
		data := file(headers[name])
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, errs := Inspect(bytes.NewReader(data), int64(len(data)), "f")
		runtime.ReadMemStats(&after)
		text := 0
		for _, err := range errs {
			text += len(err.Error())
		}
		if len(errs) == 0 || len(errs) > maxErrors+2 || text > 20_000 {
			t.Errorf("%s: %d errors of %d bytes", name, len(errs), text)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(4*room) {
			t.Errorf("%s: %d MiB allocated", name, took>>20)
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
	if err := f.ReadBytes(make([]byte, 8), "a", 0); !errors.Is(err, io.ErrUnexpectedEOF) {
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
		}
		if header := int64(binary.LittleEndian.Uint64(data)); 8+header+total != int64(len(data)) {
			t.Fatalf("%d bytes of header and %d of tensors in %d", header, total, len(data))
		}
	})
}
