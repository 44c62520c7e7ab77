package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// FuzzMeta reads a trace.json. If it is accepted, writing and reading it again must not change
// it.
func FuzzMeta(f *testing.F) {
	f.Add(goodTrace(f)["trace.json"].Data)
	f.Add([]byte(`{"format_version":1,"shape":{"layers":2,"kv_heads":3,"group":1,"head_size":64},"dtype":"bf16",` +
		`"source":{"kind":"synthetic"},"synth":{"seed":7,"layers":[["sink","local:256"],["sink+retrieval","uniform"]]}}`))
	f.Add([]byte(`{"format_version":1,"shape":{"layers":2,"kv_heads":3,"group":1,"head_size":64},"dtype":"f16","source":{"kind":"recorded"},` +
		`"rope":{"base":500000,"rotary_size":32,"pairing":"half","scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":8192}}}`))
	f.Add([]byte(`{"format_version":1e0,"dtype":null}`))
	f.Add([]byte(`{"format_version":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		found := parseMeta(text)
		m := found.Meta
		if len(found.errs) > 0 {
			return
		}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		back := parseMeta(again)
		if len(back.errs) > 0 {
			t.Fatalf("%v: %s", back.errs, again)
		}
		if diff := cmp.Diff(m, back.Meta); diff != "" {
			t.Fatal(diff)
		}
		if m.Rope != nil {
			for i, x := range m.Rope.InverseFrequencies() {
				if !(x >= 0 && x <= 1) {
					t.Fatalf("pair %d turns by %g", i, x)
				}
			}
		}
		if m.Synth == nil || Q.row(m.Shape) > 1<<12 {
			return
		}
		x := newSynthetic(m, Request{ID: "0", PromptTokens: 3, OutputTokens: 1})
		for tensor := Q; tensor <= V; tensor++ {
			dst := make([]float32, 2*tensor.row(m.Shape))
			if err := x.Read(dst, tensor, m.Shape.Layers-1, 1, 2); err != nil {
				t.Fatal(err)
			}
			if i, bad := findBad(dst); bad {
				t.Fatalf("%v[%d] is %g", tensor, i, dst[i])
			}
		}
	})
}

// FuzzRequests reads a requests.jsonl. If it is accepted, writing and reading it again must not
// change it, and all values must be within bounds.
func FuzzRequests(f *testing.F) {
	f.Add(goodTrace(f)["requests.jsonl"].Data)
	f.Add([]byte(`{"id":"a","arrival_ns":1,"prompt_tokens":1,"output_tokens":1,"session":"\u0001é","prefix_hashes":[1,2],"x":{"y":[]}}` + "\n\n{}"))
	f.Add([]byte(`{"id":"a","arrival_ns":1,"prompt_tokens":1,"output_tokens":1,"compression":{"max_cache_tokens":64,"protected_window":32,"compress_once":true,"buffer":8}}`))
	f.Add([]byte(`{"id":"a","arrival_ns":1,"prompt_tokens":1,"output_tokens":1,"compression":{"rate":1e-3,"buffer":null}}`))
	f.Add([]byte(`{"id":"../a","arrival_ns":-1,"prompt_tokens":1.5,"output_tokens":99999999999}`))
	f.Add(bytes.Repeat([]byte("x"), 70_000))
	f.Fuzz(func(t *testing.T, text []byte) {
		last := int64(0)
		for r, err := range ScanRequests(bytes.NewReader(text), "f") {
			if err != nil {
				continue
			}
			if err := r.Check(); err != nil {
				t.Fatal(err)
			}
			if r.ArrivalNS < last {
				t.Fatalf("%d after %d", r.ArrivalNS, last)
			}
			last = r.ArrivalNS
			line, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			back, _, errs := parseRequest(line)
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if len(r.PrefixHashes) == 0 {
				r.PrefixHashes = nil
			}
			if diff := cmp.Diff(r, back); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

// FuzzTensors feeds the file of request b. Open and Check must agree whether it is
// good.
func FuzzTensors(f *testing.F) {
	files := goodTrace(f)
	good := files["b.safetensors"].Data
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(replaceHeader(good, "[576,864]", "[575,863]"))
	f.Add(replaceHeader(good, "[3,3,2,8]", "[3,2,3,8]"))
	f.Add(replaceHeader(good, `"k"`, `"q"`))
	f.Add(replaceHeader(good, "F16", "I64"))
	f.Fuzz(func(t *testing.T, data []byte) {
		files := fstest.MapFS{
			"trace.json":     files["trace.json"],
			"requests.jsonl": &fstest.MapFile{Data: []byte(`{"id":"b","arrival_ns":7,"prompt_tokens":3,"output_tokens":1}`)},
			"b.safetensors":  &fstest.MapFile{Data: data},
		}
		found := 0
		for range Check(context.Background(), files, "", nil) {
			found++
		}
		if err := use(files); (err == nil) != (found == 0) {
			t.Fatalf("Check finds %d errors, and reading says %v", found, err)
		}
	})
}

// FuzzHead feeds the text of a head's kind.
func FuzzHead(f *testing.F) {
	for _, s := range []string{"sink", "local:256", "sink+local+retrieval", "uniform", "local:-0", "sink+"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHead(s)
		if err != nil {
			return
		}
		if err := h.check(); err != nil {
			t.Fatal(err)
		}
		if back, err := ParseHead(h.String()); err != nil || back != h {
			t.Fatalf("%q reads as %v, and that as %v, %v", s, h, back, err)
		}
	})
}
