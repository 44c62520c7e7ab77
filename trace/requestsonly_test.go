package trace

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// requestsOnlyMeta is the trace.json of a log of requests.
func requestsOnlyMeta(kind string) Meta {
	return Meta{FormatVersion: 1, Source: Source{Kind: kind}, PrefixBlockTokens: 512}
}

// TestRequestsOnly writes and reads a trace without shape, dtype and tensors.
func TestRequestsOnly(t *testing.T) {
	for _, kind := range []string{Imported, Generated} {
		dir := t.TempDir()
		w, err := Create(dir, requestsOnlyMeta(kind))
		if err != nil {
			t.Fatal(err)
		}
		r := Request{ID: "0", PromptTokens: 513, OutputTokens: 1, PrefixHashes: []uint64{1, 2}}
		if err := w.Add(r); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Begin("1"); err == nil || !strings.Contains(err.Error(), "stores no tensors") {
			t.Errorf("%s: Begin: %v", kind, err)
		}
		long := Request{ID: "2", PromptTokens: 512, OutputTokens: 1, PrefixHashes: []uint64{1, 2}}
		if err := w.Add(long); err == nil || !strings.Contains(err.Error(), "2 prefix_hashes, want at most 1") {
			t.Errorf("%s: too many hashes: %v", kind, err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(dir + "/trace.json")
		if err != nil || strings.Contains(string(text), "shape") || strings.Contains(string(text), "dtype") {
			t.Errorf("%s: %v: %s", kind, err, text)
		}
		if got := collect(os.DirFS(dir)); len(got) > 0 {
			t.Errorf("%s: %q", kind, got)
		}
		tr, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Request{r}, tr.Requests()); diff != "" {
			t.Error(diff)
		}
		if _, err := tr.Tensors(0); err == nil || !strings.Contains(err.Error(), "no tensors") {
			t.Errorf("%s: Tensors: %v", kind, err)
		}
		info, err := tr.Info(context.Background())
		if err != nil || info.KVBytes != 0 || info.DType != "" || info.Prompt.Max != 513 {
			t.Errorf("%s: %v: %+v", kind, err, info)
		}
		text, err = json.Marshal(info)
		if err != nil || strings.Contains(string(text), "shape") || strings.Contains(string(text), "kv_bytes") {
			t.Errorf("%s: %v: %s", kind, err, text)
		}
	}
}

// TestRequestsOnlyRefused has what only looks like a trace of requests only.
func TestRequestsOnlyRefused(t *testing.T) {
	for _, tc := range []struct {
		meta string
		want []string
	}{
		{`{"format_version":1,"source":{"kind":"recorded"}}`, []string{"shape is missing", "dtype is missing"}},
		{`{"format_version":1,"source":{"kind":"synthetic"},"synth":{"seed":1,"layers":[["sink"]]}}`, []string{"shape is missing", "dtype is missing"}},
		{`{"format_version":1,"dtype":"f16","source":{"kind":"imported"}}`, []string{"shape is missing"}},
		{`{"format_version":1,"shape":{"layers":1,"kv_heads":1,"group":1,"head_size":8},"source":{"kind":"generated"}}`, []string{"dtype is missing"}},
		{`{"format_version":1,"shape":{},"dtype":"f16","source":{"kind":"imported"}}`,
			[]string{"layers is 0", "kv_heads is 0", "group is 0", "head_size is 0"}},
		{`{"format_version":1,"source":{"kind":"imported"},"prefix_block_tokens":-1}`, []string{"prefix_block_tokens is -1"}},
		{`{"format_version":1,"source":{"kind":"imported"},"prefix_block_tokens":"x"}`, []string{"prefix_block_tokens: want an integer"}},
		{`{"format_version":1,"source":{"kind":"imported"},"prefix_block_tokens":4}`, []string{"3 prefix_hashes, want at most 2 for 8 prompt_tokens in blocks of 4"}},
	} {
		files := fstest.MapFS{
			"trace.json":     &fstest.MapFile{Data: []byte(tc.meta)},
			"requests.jsonl": &fstest.MapFile{Data: []byte(`{"id":"a","arrival_ns":0,"prompt_tokens":8,"output_tokens":1,"prefix_hashes":[1,2,3]}`)},
		}
		var got []string
		for _, e := range collect(files) {
			if !strings.Contains(e, "a.safetensors") {
				got = append(got, e)
			}
		}
		if len(got) != len(tc.want) {
			t.Errorf("%s: %q, want %q", tc.meta, got, tc.want)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], tc.want[i]) {
				t.Errorf("%s: %q, want %q", tc.meta, got[i], tc.want[i])
			}
		}
		if _, err := OpenFS(files); err == nil {
			t.Errorf("%s: opened", tc.meta)
		}
	}
}

// TestRequestsOnlyStray finds tensors where there can be none.
func TestRequestsOnlyStray(t *testing.T) {
	good := goodTrace(t)
	files := fstest.MapFS{
		"trace.json":     &fstest.MapFile{Data: []byte(`{"format_version":1,"source":{"kind":"imported"}}`)},
		"requests.jsonl": good["requests.jsonl"],
		"a.safetensors":  good["a.safetensors"],
	}
	want := []string{"a.safetensors: request a: a trace whose trace.json gives no shape stores no tensors"}
	if diff := cmp.Diff(want, collect(files)); diff != "" {
		t.Error(diff)
	}
	files["trace.json"].Data = []byte(strings.Replace(string(good["trace.json"].Data), "recorded", "generated", 1))
	want = []string{"a.safetensors: request a: a generated trace stores no tensors"}
	if diff := cmp.Diff(want, collect(files)); diff != "" {
		t.Error(diff)
	}
}
