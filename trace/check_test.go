package trace

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// goodTrace returns the files of a recorded trace of the requests a (5 tokens) and
// b (3 tokens), which the caller may change.
func goodTrace(tb testing.TB) fstest.MapFS {
	tb.Helper()
	recorded, err := recordGood()
	if err != nil {
		tb.Fatal(err)
	}
	files := fstest.MapFS{}
	for name, data := range recorded {
		files[name] = &fstest.MapFile{Data: slices.Clone(data)}
	}
	return files
}

// recordGood records the trace of goodTrace.
var recordGood = sync.OnceValues(func() (files map[string][]byte, err error) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w, err := Create(dir, recordedMeta())
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, r := range []Request{
		{ID: "a", ArrivalNS: 0, PromptTokens: 4, OutputTokens: 2},
		{ID: "b", ArrivalNS: 7, PromptTokens: 3, OutputTokens: 1},
	} {
		rw, err := w.Begin(r.ID)
		if err != nil {
			return nil, err
		}
		for range r.CachedTokens() {
			x := token(smallShape, rng)
			if err := rw.Append(x[Q], x[K], x[V]); err != nil {
				return nil, err
			}
		}
		if err := rw.Finish(r); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	files = map[string][]byte{}
	for _, name := range []string{"trace.json", "requests.jsonl", "a.safetensors", "b.safetensors"} {
		if files[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return files, nil
})

// replaceHeader changes a safetensors file's header, and its length with it.
func replaceHeader(data []byte, old, new string) []byte {
	n := binary.LittleEndian.Uint64(data)
	header := string(data[8 : 8+n])
	if !strings.Contains(header, old) {
		panic(header)
	}
	header = strings.ReplaceAll(header, old, new)
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), data[8+n:]...)
}

// collect returns all the errors that Check finds.
func collect(files fs.FS) []string {
	var got []string
	for err := range Check(context.Background(), files, "t", nil) {
		got = append(got, strings.TrimPrefix(err.Error(), "trace: t/"))
	}
	return got
}

// use opens a trace and reads all of it, as an engine would.
func use(files fs.FS) error {
	tr, err := OpenFS(files)
	if err != nil {
		return err
	}
	s := tr.Meta.Shape
	for i := range tr.Requests() {
		x, err := tr.Tensors(i)
		if err != nil {
			return err
		}
		for layer := range s.Layers {
			for t := Q; t <= V; t++ {
				if err := x.Read(make([]float32, x.Tokens()*t.row(s)), t, layer, 0, x.Tokens()); err != nil {
					return err
				}
			}
		}
		if err := x.Close(); err != nil {
			return err
		}
	}
	return nil
}

func TestCheckGood(t *testing.T) {
	files := goodTrace(t)
	if got := collect(files); got != nil {
		t.Error(got)
	}
	if err := use(files); err != nil {
		t.Error(err)
	}
	var calls int
	var done, total int64
	for err := range Check(context.Background(), files, "", func(d, n int64) { calls, done, total = calls+1, d, n }) {
		t.Error(err)
	}
	if calls < 3 || total != int64(len(files["requests.jsonl"].Data)+len(files["a.safetensors"].Data)+len(files["b.safetensors"].Data)) || done > total || done < total*9/10-600 {
		t.Errorf("progress: %d calls, %d of %d", calls, done, total)
	}
}

// TestCheck breaks a valid trace in every way. Check finds each error and names it, and readers
// of the trace fail too.
func TestCheck(t *testing.T) {
	const (
		lineA = `{"id":"a","arrival_ns":0,"prompt_tokens":4,"output_tokens":2}`
		lineB = `{"id":"b","arrival_ns":7,"prompt_tokens":3,"output_tokens":1}`
	)
	lines := func(l ...string) func(fstest.MapFS) {
		return func(files fstest.MapFS) {
			files["requests.jsonl"].Data = []byte(strings.Join(l, "\n") + "\n")
		}
	}
	meta := func(old, new string) func(fstest.MapFS) {
		return func(files fstest.MapFS) {
			s := string(files["trace.json"].Data)
			if !strings.Contains(s, old) {
				panic(s)
			}
			files["trace.json"].Data = []byte(strings.Replace(s, old, new, 1))
		}
	}
	header := func(old, new string) func(fstest.MapFS) {
		return func(files fstest.MapFS) {
			files["b.safetensors"].Data = replaceHeader(files["b.safetensors"].Data, old, new)
		}
	}
	// set overwrites an element of request b; half is a float16.
	set := func(t Tensor, token, layer, head, element int, half uint16) func(fstest.MapFS) {
		return func(files fstest.MapFS) {
			data := files["b.safetensors"].Data
			begin := 8 + int(binary.LittleEndian.Uint64(data))
			for x := Q; x < t; x++ {
				begin += 2 * 3 * 3 * x.row(smallShape)
			}
			i := ((token*3+layer)*t.Heads(smallShape)+head)*8 + element
			binary.LittleEndian.PutUint16(data[begin+2*i:], half)
		}
	}
	many := func(n int, format string) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf(format, i))
		}
		return out
	}
	for _, tc := range []struct {
		name   string
		breaks []func(fstest.MapFS)
		want   []string
		usable bool // for those who do not look at what is wrong
	}{
		// trace.json
		{"no meta", []func(fstest.MapFS){func(f fstest.MapFS) { delete(f, "trace.json") }}, []string{"trace.json: file does not exist"}, false},
		{"meta is no JSON", []func(fstest.MapFS){meta("{", "[")}, []string{"trace.json: invalid character ':' after array element (byte 21)"}, false},
		{"meta is an array", []func(fstest.MapFS){func(f fstest.MapFS) { f["trace.json"].Data = []byte("[]") }}, []string{"trace.json: not a JSON object"}, false},
		{"long meta", []func(fstest.MapFS){func(f fstest.MapFS) { f["trace.json"].Data = make([]byte, MaxMetaBytes+1) }}, []string{"trace.json: the file is longer than 1 MiB"}, false},
		{"version", []func(fstest.MapFS){meta(`"format_version": 1`, `"format_version": 2, "news": 1`)}, []string{"trace.json: format_version is 2, and only 1 is known"}, false},
		{"no version", []func(fstest.MapFS){meta(`"format_version": 1,`, ``)}, []string{"trace.json: format_version is missing"}, false},
		{"field", []func(fstest.MapFS){meta(`"name"`, `"nam"`)}, []string{`trace.json: unknown field "nam"`}, false},
		{"field twice", []func(fstest.MapFS){meta(`"layers": 3`, `"layers": 3, "layers": 4`)}, []string{`trace.json: shape: "layers" occurs twice`}, false},
		{"type", []func(fstest.MapFS){meta(`"layers": 3`, `"layers": "3"`)}, []string{`trace.json: shape.layers: want an integer, got "3"`}, false},
		{"shape", []func(fstest.MapFS){meta(`"layers": 3`, `"layers": 0`), meta(`"kv_heads": 2`, `"kv_heads": 1025`), meta(`"group": 2`, `"group": 129`), meta(`"head_size": 8`, `"head_size": 260`)}, []string{
			"trace.json: shape: layers is 0, want 1 to 1024",
			"trace.json: shape: kv_heads is 1025, want 1 to 1024",
			"trace.json: shape: group is 129, want 1 to 128",
			"trace.json: shape: head_size is 260, want 8 to 256",
			"trace.json: shape: head_size is 260, want a multiple of 8",
		}, false},
		{"row", []func(fstest.MapFS){meta(`"kv_heads": 2`, `"kv_heads": 1024`), meta(`"group": 2`, `"group": 128`), meta(`"head_size": 8`, `"head_size": 256`)}, []string{
			"trace.json: shape: kv_heads·group·head_size is 33554432, want at most 1048576",
		}, false},
		{"no dtype", []func(fstest.MapFS){meta(`"dtype": "f16",`, ``)}, []string{"trace.json: dtype is missing"}, false},
		{"dtype", []func(fstest.MapFS){meta(`"f16"`, `"fp8_e4m3"`)}, []string{"trace.json: dtype is fp8_e4m3, want f32, f16 or bf16"}, false},
		{"dtype name", []func(fstest.MapFS){meta(`"f16"`, `"f17"`)}, []string{`trace.json: dtype: unknown format "f17" (want f32, f16, bf16, fp8_e4m3, fp8_e5m2)`}, false},
		{"rope", []func(fstest.MapFS){meta(`"source"`, `"rope": {"base": 0, "rotary_size": 9, "pairing": "both", "scaling": {}}, "source"`)}, []string{
			"trace.json: rope: base is 0, want a number from 1 to 1e+30",
			"trace.json: rope: rotary_size is 9, want an even number from 2 to 256",
			`trace.json: rope: pairing is "both", want half or interleaved`,
			`trace.json: rope: scaling: rope_type is "", want linear, llama3 or yarn`,
		}, false},
		{"rope beyond the head", []func(fstest.MapFS){meta(`"source"`, `"rope": {"base": 1e4, "rotary_size": 16, "pairing": "half"}, "source"`)}, []string{
			"trace.json: rope: rotary_size is 16, want at most the head_size of 8",
		}, false},
		{"rope of a head that is wrong", []func(fstest.MapFS){meta(`"head_size": 8`, `"head_size": "8"`), meta(`"source"`, `"rope": {"base": 1e4, "rotary_size": 16, "pairing": "half"}, "source"`)}, []string{
			`trace.json: shape.head_size: want an integer, got "8"`,
		}, false},
		{"rope that is wrong, of a wrong head", []func(fstest.MapFS){meta(`"head_size": 8`, `"head_size": 0`), meta(`"source"`, `"rope": {"base": 1e4, "rotary_size": 16}, "source"`)}, []string{
			"trace.json: shape: head_size is 0, want 8 to 256",
			`trace.json: rope: pairing is "", want half or interleaved`,
		}, false},
		{"field of rope", []func(fstest.MapFS){meta(`"source"`, `"rope": {"base": 1e4, "rotary_size": 8, "pairing": 3, "theta": 1}, "source"`)}, []string{
			`trace.json: rope.pairing: want a string, got 3`,
			`trace.json: rope: unknown field "theta"`,
		}, false},
		{"rope of a synthetic", []func(fstest.MapFS){meta(`"recorded"`, `"synthetic"`), meta(`"source"`, `"rope": {"base": 1e4, "rotary_size": 8, "pairing": "half"}, "synth": {"layers": [["sink"]]}, "source"`)}, []string{
			"trace.json: rope: synthetic keys have no rotary embedding",
			"a.safetensors: request a: a synthetic trace stores no tensors",
			"b.safetensors: request b: a synthetic trace stores no tensors",
		}, false},
		{"good rope", []func(fstest.MapFS){meta(`"source"`, `"rope": {"base": 1e4, "rotary_size": 8, "pairing": "half", "scaling": null}, "source"`)}, nil, true},
		{"no rope", []func(fstest.MapFS){meta(`"source"`, `"rope": null, "source"`)}, nil, true},
		{"kind", []func(fstest.MapFS){meta(`"recorded"`, `"found"`)}, []string{`trace.json: source.kind is "found", want recorded, synthetic, imported or generated`}, false},
		{"no recipe", []func(fstest.MapFS){meta(`"recorded"`, `"synthetic"`)}, []string{
			"trace.json: synth: a trace whose source.kind is synthetic needs a recipe",
			"a.safetensors: request a: a synthetic trace stores no tensors",
			"b.safetensors: request b: a synthetic trace stores no tensors",
		}, false},
		{"recipe", []func(fstest.MapFS){meta(`"source"`, `"synth": {"seed": 1, "layers": [["sink"]]}, "source"`)}, []string{"trace.json: synth: a recipe in a trace whose source.kind is recorded"}, false},
		{"bad recipe", []func(fstest.MapFS){meta(`"recorded"`, `"synthetic"`), meta(`"source"`, `"synth": {"seed": 1, "layers": [["sink"], []]}, "source"`)}, []string{
			"trace.json: synth: layers[1] is empty",
			"a.safetensors: request a: a synthetic trace stores no tensors",
			"b.safetensors: request b: a synthetic trace stores no tensors",
		}, false},
		{"bad head", []func(fstest.MapFS){meta(`"recorded"`, `"synthetic"`), meta(`"source"`, `"synth": {"layers": [["sync"]]}, "source"`)}, []string{`trace.json: synth.layers[0][0]: head "sync": want sink, local[:WINDOW], retrieval or uniform, or several joined by '+'`,
			"a.safetensors: request a: a synthetic trace stores no tensors",
			"b.safetensors: request b: a synthetic trace stores no tensors",
		}, false},
		{"tensors of a synthetic", []func(fstest.MapFS){meta(`"recorded"`, `"synthetic"`), meta(`"source"`, `"synth": {"layers": [["sink"]]}, "source"`)}, []string{
			"a.safetensors: request a: a synthetic trace stores no tensors",
			"b.safetensors: request b: a synthetic trace stores no tensors",
		}, true},

		{"empty meta", []func(fstest.MapFS){func(f fstest.MapFS) { f["trace.json"].Data = nil }}, []string{"trace.json: it is empty"}, false},
		{"byte order mark", []func(fstest.MapFS){meta("{", "\ufeff{")}, []string{"trace.json: it begins with a byte order mark, which JSON does not allow"}, false},
		{"null dtype", []func(fstest.MapFS){meta(`"f16"`, `null`)}, []string{"trace.json: dtype: want a string, got null"}, false},
		{"null layers", []func(fstest.MapFS){meta(`"layers": 3`, `"layers": null`)}, []string{"trace.json: shape.layers: want an integer, got null"}, false},
		{"fraction", []func(fstest.MapFS){meta(`"layers": 3`, `"layers": 1.5`)}, []string{"trace.json: shape.layers: want an integer, got 1.5"}, false},
		{"no shape, no source", []func(fstest.MapFS){func(f fstest.MapFS) { f["trace.json"].Data = []byte(`{"format_version":1,"dtype":"f16"}`) }}, []string{
			"trace.json: shape is missing", "trace.json: source is missing"}, false},
		{"long kind", []func(fstest.MapFS){meta(`"recorded"`, `"`+strings.Repeat("x", 1000)+`"`)}, []string{
			`trace.json: source.kind is "` + strings.Repeat("x", 60) + `…", want recorded, synthetic, imported or generated`}, false},
		// The valid fields of trace.json are compared with the tensors.
		{"meta and tensors", []func(fstest.MapFS){meta(`"name"`, `"nam"`), meta(`"recorded"`, `3`), meta(`"layers": 3`, `"layers": 3, "layers": 3`), meta(`"f16"`, `"bf16"`), set(V, 0, 0, 0, 0, 0x7f80)}, []string{
			`trace.json: unknown field "nam"`,
			`trace.json: shape: "layers" occurs twice`,
			`trace.json: source.kind: want a string, got 3`,
			"a.safetensors: request a: q: dtype is F16, want BF16 as in trace.json",
			"a.safetensors: request a: k: dtype is F16, want BF16 as in trace.json",
			"a.safetensors: request a: v: dtype is F16, want BF16 as in trace.json",
			"b.safetensors: request b: q: dtype is F16, want BF16 as in trace.json",
			"b.safetensors: request b: k: dtype is F16, want BF16 as in trace.json",
			"b.safetensors: request b: v: dtype is F16, want BF16 as in trace.json",
			"b.safetensors: request b: v: NaN at token 0, layer 0, head 0, element 0",
		}, false},
		{"no meta, NaN", []func(fstest.MapFS){func(f fstest.MapFS) { delete(f, "trace.json") }, set(K, 2, 1, 1, 5, 0x7e00)}, []string{
			"trace.json: file does not exist",
			"b.safetensors: request b: k: NaN at token 2, layer 1, head 1, element 5"}, false},

		// requests.jsonl
		{"no requests", []func(fstest.MapFS){func(f fstest.MapFS) { delete(f, "requests.jsonl") }}, []string{
			"requests.jsonl: file does not exist", `a.safetensors: there is no request "a" in requests.jsonl`, `b.safetensors: there is no request "b" in requests.jsonl`}, false},
		{"empty", []func(fstest.MapFS){lines(" ")}, []string{
			"requests.jsonl: there are no requests", `a.safetensors: there is no request "a" in requests.jsonl`, `b.safetensors: there is no request "b" in requests.jsonl`}, false},
		{"directory", []func(fstest.MapFS){func(f fstest.MapFS) { f["requests.jsonl"].Mode = fs.ModeDir | 0o777 }}, []string{
			"requests.jsonl: not a regular file", `a.safetensors: there is no request "a" in requests.jsonl`, `b.safetensors: there is no request "b" in requests.jsonl`}, false},
		{"blank lines", []func(fstest.MapFS){lines("", lineA, "  ", lineB+"\r", "")}, nil, true},
		{"unknown fields", []func(fstest.MapFS){lines(lineA, `{"model":{"x":[1]},"ID":3,`+lineB[1:])}, nil, true},
		{"null hash", []func(fstest.MapFS){lines(lineA, lineB, `{"id":"c","arrival_ns":8,"prompt_tokens":1,"output_tokens":1,"prefix_hashes":[null]}`)}, []string{
			"requests.jsonl:3: request c: prefix_hashes: want an array of integers from 0 to 2^64-1"}, false},
		{"field of a line twice", []func(fstest.MapFS){lines(lineA, lineB, `{"id":"c","arrival_ns":8,"prompt_tokens":0,"id":"d","output_tokens":1}`)}, []string{
			`requests.jsonl:3: request c: "id" occurs twice`,
			"requests.jsonl:3: request c: prompt_tokens is 0, want 1 to 16777216"}, false},
		{"unsorted beside another error", []func(fstest.MapFS){lines(lineB, strings.Replace(lineA, `:2}`, `:0}`, 1))}, []string{
			"requests.jsonl:2: request a: output_tokens is 0, want 1 to 16777216",
			"requests.jsonl:2: request a: arrival_ns is 0, before the 7 of the request above: want the lines sorted by arrival"}, false},
		{"broken line", []func(fstest.MapFS){lines(lineA, `{"id":`, lineB)}, []string{"requests.jsonl:2: it ends in the middle of a value (byte 7)"}, false},
		{"missing fields", []func(fstest.MapFS){lines(lineA, lineB, `{}`)}, []string{
			"requests.jsonl:3: id is missing", "requests.jsonl:3: arrival_ns is missing",
			"requests.jsonl:3: prompt_tokens is missing", "requests.jsonl:3: output_tokens is missing",
		}, false},
		{"wrong types", []func(fstest.MapFS){lines(lineA, lineB, `{"id":3,"arrival_ns":1.5,"prompt_tokens":"7","output_tokens":-1,"session":[],"prefix_hashes":[-1]}`)}, []string{
			"requests.jsonl:3: id: want a string, got 3",
			"requests.jsonl:3: arrival_ns: want an integer of 64 bits, got 1.5",
			`requests.jsonl:3: prompt_tokens: want an integer of 64 bits, got "7"`,
			"requests.jsonl:3: session: want a string, got []",
			"requests.jsonl:3: prefix_hashes: want an array of integers from 0 to 2^64-1",
			"requests.jsonl:3: output_tokens is -1, want 1 to 16777216",
		}, false},
		{"own options", []func(fstest.MapFS){lines(strings.Replace(lineA, "}", `,"compression":{"rate":0.5,"protected_window":0,"compress_once":true,"buffer":null}}`, 1), strings.Replace(lineB, "}", `,"compression":null}`, 1))}, nil, true},
		{"wrong own options", []func(fstest.MapFS){lines(lineA, lineB,
			`{"id":"c","arrival_ns":8,"prompt_tokens":1,"output_tokens":1,"compression":{"rate":1.5,"max_cache_tokens":0,"protected_window":-1,"buffer":1048577}}`,
			`{"id":"d","arrival_ns":8,"prompt_tokens":1,"output_tokens":1,"compression":{"sinks":4}}`,
			`{"id":"e","arrival_ns":8,"prompt_tokens":1,"output_tokens":1,"compression":{}}`,
			`{"id":"f","arrival_ns":8,"prompt_tokens":1,"output_tokens":1,"compression":{"compress_once":1}}`)}, []string{
			"requests.jsonl:3: request c: compression: max_cache_tokens is 0, want 1 to 2147483647",
			"requests.jsonl:3: request c: compression: protected_window is -1, want 0 to 2147483647",
			"requests.jsonl:3: request c: compression: buffer is 1048577, want 0 to 1048576",
			"requests.jsonl:3: request c: compression: rate is 1.5, want more than 0, up to 1",
			"requests.jsonl:3: request c: compression: max_cache_tokens and rate exclude each other",
			`requests.jsonl:4: request d: compression: unknown field "sinks"`,
			"requests.jsonl:5: request e: compression: it has no option: leave it out",
			"requests.jsonl:6: request f: compression: compress_once: want true or false, got 1",
		}, false},
		{"out of bounds", []func(fstest.MapFS){lines(`{"id":"c","arrival_ns":-1,"prompt_tokens":0,"output_tokens":99999999999}`, lineA, lineB)}, []string{
			"requests.jsonl:1: request c: output_tokens: 99999999999 is out of bounds, want 1 to 16777216",
			"requests.jsonl:1: request c: arrival_ns is -1, want 0 to 2^62",
			"requests.jsonl:1: request c: prompt_tokens is 0, want 1 to 16777216",
		}, false},
		{"too many together", []func(fstest.MapFS){lines(lineA, lineB, `{"id":"c","arrival_ns":8,"prompt_tokens":16777216,"output_tokens":1}`)}, []string{
			"requests.jsonl:3: request c: prompt_tokens + output_tokens is 16777217, want at most 16777216",
		}, false},
		{"late", []func(fstest.MapFS){lines(lineA, lineB, `{"id":"c","arrival_ns":4611686018427387905,"prompt_tokens":1,"output_tokens":1}`)}, []string{
			"requests.jsonl:3: request c: arrival_ns is 4611686018427387905, want 0 to 2^62",
		}, false},
		{"paths", []func(fstest.MapFS){lines(lineA, lineB, `{"id":"../a","arrival_ns":8,"prompt_tokens":1,"output_tokens":1}`, `{"id":"x\\y","arrival_ns":8,"prompt_tokens":1,"output_tokens":1}`, `{"id":"","arrival_ns":8,"prompt_tokens":1,"output_tokens":1}`)}, []string{
			`requests.jsonl:3: id "../a": want letters, digits, '.', '_' and '-', and no '.' at the beginning`,
			`requests.jsonl:4: id "x\\y": want letters, digits, '.', '_' and '-', and no '.' at the beginning`,
			`requests.jsonl:5: id is empty`,
		}, false},
		{"long id", []func(fstest.MapFS){lines(lineA, lineB, `{"id":"`+strings.Repeat("x", 129)+`","arrival_ns":8,"prompt_tokens":1,"output_tokens":1}`)}, []string{
			`requests.jsonl:3: id has 129 bytes, want at most 128`,
		}, false},
		{"long line", []func(fstest.MapFS){lines(lineA, `{"x":"`+strings.Repeat("x", MaxLineBytes)+`"}`, lineB)}, []string{
			`requests.jsonl:2: the line is longer than 4194304 bytes`,
		}, false},
		{"long last line", []func(fstest.MapFS){func(f fstest.MapFS) {
			f["requests.jsonl"].Data = append(f["requests.jsonl"].Data, make([]byte, MaxLineBytes+1)...)
		}}, []string{`requests.jsonl:3: the line is longer than 4194304 bytes`}, false},
		{"unsorted and twice", []func(fstest.MapFS){lines(lineB, lineA, lineB)}, []string{
			"requests.jsonl:2: request a: arrival_ns is 0, before the 7 of the request above: want the lines sorted by arrival",
			"requests.jsonl:3: request b: line 1 has the same id",
		}, false},

		// <id>.safetensors
		{"no file", []func(fstest.MapFS){func(f fstest.MapFS) { delete(f, "a.safetensors") }}, []string{
			"a.safetensors: request a: there is no such file, but every request of a recorded trace must have its tensors"}, false},
		{"no file, imported", []func(fstest.MapFS){meta(`"recorded"`, `"imported"`), func(f fstest.MapFS) { delete(f, "a.safetensors") }}, nil, false},
		{"stray", []func(fstest.MapFS){func(f fstest.MapFS) { f["c.safetensors"] = f["b.safetensors"] }}, []string{
			`c.safetensors: there is no request "c" in requests.jsonl`}, true},
		{"truncated", []func(fstest.MapFS){func(f fstest.MapFS) {
			x := f["a.safetensors"]
			x.Data = x.Data[:len(x.Data)-480-480-1]
		}}, []string{
			`a.safetensors: request a: q: truncated: it ends at byte 1216, and the file at 1215`,
			`a.safetensors: request a: k: truncated: it ends at byte 1696, and the file at 1215`,
			`a.safetensors: request a: v: truncated: it ends at byte 2176, and the file at 1215`,
		}, false},
		{"truncated header", []func(fstest.MapFS){func(f fstest.MapFS) { f["a.safetensors"].Data = f["a.safetensors"].Data[:100] }}, []string{
			"a.safetensors: request a: truncated: the header takes 248 bytes, and the file has 92 after its length"}, false},
		{"no header", []func(fstest.MapFS){func(f fstest.MapFS) { f["a.safetensors"].Data = f["a.safetensors"].Data[:7] }}, []string{
			"a.safetensors: request a: truncated: 7 bytes cannot hold the header's length"}, false},
		{"overlap", []func(fstest.MapFS){header("[576,864]", "[575,863]")}, []string{
			`b.safetensors: request b: k: it begins at byte 831 and overlaps "q", which ends at 832`,
			`b.safetensors: request b: v: 1 bytes before it, from byte 1119, belong to no tensor`,
		}, false},
		{"dtype", []func(fstest.MapFS){header(`"k":{"dtype":"F16"`, `"k":{"dtype":"BF16"`)}, []string{
			"b.safetensors: request b: k: dtype is BF16, want F16 as in trace.json"}, false},
		{"shape", []func(fstest.MapFS){header("[3,3,2,8]", "[3,2,3,8]"), header("[3,3,4,8]", "[3,3,32]")}, []string{
			"b.safetensors: request b: q: shape is [3 3 32], want [3 3 4 8] as in trace.json and requests.jsonl (or 4 tokens, with the last)",
			"b.safetensors: request b: k: shape is [3 2 3 8], want [3 3 2 8] as in trace.json and requests.jsonl (or 4 tokens, with the last)",
			"b.safetensors: request b: v: shape is [3 2 3 8], want [3 3 2 8] as in trace.json and requests.jsonl (or 4 tokens, with the last)",
		}, false},
		{"tokens", []func(fstest.MapFS){lines(lineA, strings.Replace(lineB, "3", "5", 1))}, []string{
			"b.safetensors: request b: q: shape is [3 3 4 8], want [5 3 4 8] as in trace.json and requests.jsonl (or 6 tokens, with the last)",
			"b.safetensors: request b: k: shape is [3 3 2 8], want [5 3 2 8] as in trace.json and requests.jsonl (or 6 tokens, with the last)",
			"b.safetensors: request b: v: shape is [3 3 2 8], want [5 3 2 8] as in trace.json and requests.jsonl (or 6 tokens, with the last)",
		}, false},
		{"one token more", []func(fstest.MapFS){lines(lineA, strings.Replace(lineB, "3", "2", 1))}, nil, true},
		{"names", []func(fstest.MapFS){header(`"k"`, `"key"`)}, []string{
			`b.safetensors: request b: a tensor "key" in addition to q, k and v`,
			"b.safetensors: request b: k: there is no such tensor"}, false},
		{"NaN", []func(fstest.MapFS){set(K, 2, 1, 1, 5, 0x7e00)}, []string{
			"b.safetensors: request b: k: NaN at token 2, layer 1, head 1, element 5"}, false},
		{"several", []func(fstest.MapFS){set(Q, 0, 2, 3, 7, 0xfc00), set(Q, 1, 0, 0, 0, 0x7c00), set(V, 0, 0, 0, 0, 0x7c00)}, []string{
			"b.safetensors: request b: q: -Inf at token 0, layer 2, head 3, element 7 (the first of 2 such values)",
			"b.safetensors: request b: v: +Inf at token 0, layer 0, head 0, element 0"}, false},

		{"NaN beside other errors", []func(fstest.MapFS){lines(lineA, strings.Replace(lineB, `:1}`, `:0}`, 1)), set(K, 2, 1, 1, 5, 0x7e00)}, []string{
			"requests.jsonl:2: request b: output_tokens is 0, want 1 to 16777216",
			"b.safetensors: request b: k: NaN at token 2, layer 1, head 1, element 5"}, false},
		{"NaN beside a shape", []func(fstest.MapFS){set(K, 2, 1, 1, 5, 0x7e00), set(Q, 0, 0, 1, 0, 0x7e00), header("[3,3,4,8]", "[3,3,32]")}, []string{
			"b.safetensors: request b: q: shape is [3 3 32], want [3 3 4 8] as in trace.json and requests.jsonl (or 4 tokens, with the last)",
			"b.safetensors: request b: q: NaN at element 8",
			"b.safetensors: request b: k: NaN at token 2, layer 1, head 1, element 5"}, false},
		{"a tensor of two is described wrongly, one is missing", []func(fstest.MapFS){header(`"v":`, `"w":`), header(`"q":{"dtype":"F16"`, `"q":{"dtype":"F17"`), set(K, 2, 1, 1, 5, 0x7e00)}, []string{
			`b.safetensors: request b: a tensor "w" in addition to q, k and v`,
			`b.safetensors: request b: q: dtype is F17, want F16 as in trace.json`,
			"b.safetensors: request b: v: there is no such tensor",
			"b.safetensors: request b: k: NaN at token 2, layer 1, head 1, element 5"}, false},
		{"pipe", []func(fstest.MapFS){func(f fstest.MapFS) { f["b.safetensors"].Mode = fs.ModeNamedPipe }}, []string{
			"b.safetensors: request b: not a regular file"}, false},

		// together
		{"everywhere", []func(fstest.MapFS){meta(`"f16"`, `"fp8_e5m2"`), lines(lineB, "{", lineA), func(f fstest.MapFS) { f["a.safetensors"].Data = nil }}, []string{
			"trace.json: dtype is fp8_e5m2, want f32, f16 or bf16",
			"requests.jsonl:2: it ends in the middle of a value (byte 2)",
			"requests.jsonl:3: request a: arrival_ns is 0, before the 7 of the request above: want the lines sorted by arrival",
			"a.safetensors: request a: truncated: 0 bytes cannot hold the header's length",
		}, false},
		{"repeats", []func(fstest.MapFS){lines(append([]string{lineA, lineB}, many(25, `{"id":"x%d","arrival_ns":7,"prompt_tokens":0,"output_tokens":1}`)...)...)}, append(func() (out []string) {
			for i := range 10 {
				out = append(out, fmt.Sprintf("requests.jsonl:%d: request x%d: prompt_tokens is 0, want 1 to 16777216", i+3, i),
					fmt.Sprintf("x%d.safetensors: request x%d: there is no such file, but every request of a recorded trace must have its tensors", i, i))
			}
			return out
		}(),
			"requests.jsonl:27: request x24: prompt_tokens is 0, want 1 to 16777216 (the last of 25 such errors; 14 are not shown)",
			"x24.safetensors: request x24: there is no such file, but every request of a recorded trace must have its tensors (the last of 25 such errors; 14 are not shown)",
		), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := goodTrace(t)
			for _, b := range tc.breaks {
				b(files)
			}
			got := collect(files)
			if !slices.ContainsFunc(tc.want, missingFile) {
				got = slices.DeleteFunc(got, missingFile) // of a request that the case adds
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			if err := use(files); (err == nil) != tc.usable {
				t.Errorf("use: %v", err)
			}
			n := 0
			for range Check(context.Background(), files, "", nil) {
				n++
				break
			}
			if n > 1 {
				t.Error("went on after break")
			}
		})
	}
}

// missingFile says that an error is that a request of a recorded trace has no tensors.
func missingFile(s string) bool { return strings.Contains(s, "there is no such file") }

// TestCheckCancelled: a check ends soon after its context.
func TestCheckCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	files := goodTrace(t)
	files["requests.jsonl"].Data = append(files["requests.jsonl"].Data, "{\n"...)
	var got []error
	for err := range Check(ctx, files, "", func(int64, int64) { cancel() }) {
		got = append(got, err)
	}
	if len(got) != 1 || !errors.Is(got[0], context.Canceled) {
		t.Error(got)
	}
}

// TestMagnitude: f32 and bf16 values beyond MaxMagnitude are found.
func TestMagnitude(t *testing.T) {
	limit := float32(MaxMagnitude)
	for _, tc := range []struct {
		x   float32
		bad bool
	}{
		{0, false}, {limit, false}, {-limit, false}, {1e-45, false},
		{math.Nextafter32(limit, 2*limit), true}, {-2 * limit, true},
		{float32(math.Inf(1)), true}, {float32(math.Inf(-1)), true}, {float32(math.NaN()), true},
		{math.Float32frombits(0xffc00001), true},
	} {
		if _, bad := findBad([]float32{1, tc.x}); bad != tc.bad {
			t.Errorf("%g: %v", tc.x, bad)
		}
	}
	v := Violation{1, 2, 3, 4, -1e20}
	if got, want := v.Error(), "-1e+20, beyond ±2^56, at token 1, layer 2, head 3, element 4"; got != want {
		t.Errorf("got %s", got)
	}
}

// TestShrunk reads tensors from a file that was cut after it was opened.
func TestShrunk(t *testing.T) {
	files := goodTrace(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	s, err := openStored(os.DirFS(dir), recordedMeta(), Request{ID: "a", PromptTokens: 4, OutputTokens: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := os.Truncate(dir+"/a.safetensors", 1300); err != nil {
		t.Fatal(err)
	}
	err = s.Read(make([]float32, 16), K, 0, 0, 1)
	if err == nil || !strings.Contains(err.Error(), "k: at byte 1300: unexpected EOF") {
		t.Error(err)
	}
}

// serial hides what fstest's files can do beyond fs.File.
type serial struct{ fs.FS }

func (s serial) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	return struct{ fs.File }{f}, err
}

func TestSerialFiles(t *testing.T) {
	files := goodTrace(t)
	if err := use(serial{files}); err != nil {
		t.Error(err)
	}
}

// TestMissingTensors: the error of opening a recorded trace says what is wrong with its tensor
// files.
func TestMissingTensors(t *testing.T) {
	for want, change := range map[string]func(fstest.MapFS){
		"trace: b.safetensors: request b: there is no such file, but every request of a recorded trace must have its tensors": func(f fstest.MapFS) { delete(f, "b.safetensors") },
		"trace: b.safetensors: request b: not a regular file":                                                                 func(f fstest.MapFS) { f["b.safetensors"].Mode = fs.ModeDir },
	} {
		files := goodTrace(t)
		change(files)
		if _, err := OpenFS(files); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestOneMore: one error more than the limit is listed, two more are counted.
func TestOneMore(t *testing.T) {
	for n, want := range map[int]string{11: "", 12: " (the last of 12 such errors; 1 is not shown)"} {
		files := goodTrace(t)
		for range n {
			files["requests.jsonl"].Data = append(files["requests.jsonl"].Data, "[]\n"...)
		}
		got := collect(files)
		if last := fmt.Sprintf("requests.jsonl:%d: not a JSON object%s", n+2, want); len(got) != 11 || got[10] != last {
			t.Errorf("%d: %q", n, got)
		}
	}
}

// TestCheckLinks: the progress counts the bytes of files behind links.
func TestCheckLinks(t *testing.T) {
	files := goodTrace(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"/a.safetensors", dir+"/elsewhere"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", dir+"/a.safetensors"); err != nil {
		t.Fatal(err)
	}
	var done, total int64
	for err := range Check(context.Background(), os.DirFS(dir), "", func(d, n int64) { done, total = d, n }) {
		t.Error(err)
	}
	if done != total || total < int64(len(files["a.safetensors"].Data)) {
		t.Errorf("%d of %d bytes", done, total)
	}
}
