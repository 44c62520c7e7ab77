package trace

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAppendRequest(t *testing.T) {
	for _, r := range []Request{
		{ID: "0", PromptTokens: 1, OutputTokens: 2},
		{ID: "a.b-c_D", ArrivalNS: MaxArrivalNS, PromptTokens: MaxTokens - 1, OutputTokens: 1, PrefixHashes: []uint64{}},
		{ID: "7", Session: "u<7>&\"\\\u00e9\u2028\xff\n", PromptTokens: 1, OutputTokens: 1, PrefixHashes: []uint64{0, 5, math.MaxUint64}},
		{ID: "9", PromptTokens: 1, OutputTokens: 1, Compression: &Compression{Rate: new(0.25), CompressOnce: new(false), Buffer: new(0)}},
		{ID: "8", Session: "u 8", PromptTokens: 1, OutputTokens: 1, PrefixHashes: []uint64{1e19 - 1}},
	} {
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := appendRequest([]byte("x"), r)
		if diff := cmp.Diff("x"+string(want), string(got)); diff != "" || err != nil {
			t.Error(err, diff)
		}
		quick, ok := parseWritten(append(got[1:], '\n'))
		slow, _, errs := parseRequest(want)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		if ok == (r.ID == "7" || r.Compression != nil) {
			t.Errorf("%s: quick is %t", want, ok)
		}
		if ok && cmp.Diff(slow, quick) != "" {
			t.Errorf("%s: %+v, want %+v", want, quick, slow)
		}
	}
}

// FuzzParseWritten: what the fast reader accepts, the general one reads the same.
func FuzzParseWritten(f *testing.F) {
	for _, s := range []string{
		`{"id":"0","arrival_ns":1,"prompt_tokens":2,"output_tokens":3}`,
		`{"id":"0","arrival_ns":1,"prompt_tokens":2,"output_tokens":3,"session":"u","prefix_hashes":[1,2]}` + "\n",
		`{"id":"0","arrival_ns":01,"prompt_tokens":2,"output_tokens":3}`,
		`{"id":"0","arrival_ns":1,"prompt_tokens":2,"output_tokens":3,"prefix_hashes":[]}`,
		`{"id":"0","arrival_ns":1,"prompt_tokens":2,"output_tokens":3,"prefix_hashes":[1,]}`,
		`{"id":".0","arrival_ns":1,"prompt_tokens":0,"output_tokens":3}x`,
		`{"id":"0","arrival_ns":4611686018427387905,"prompt_tokens":99999999999999999999,"output_tokens":3}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		quick, ok := parseWritten(text)
		if !ok {
			return
		}
		slow, timed, errs := parseRequest(text)
		if len(errs) > 0 || !timed {
			t.Fatalf("%q: %v", text, errs)
		}
		if diff := cmp.Diff(slow, quick); diff != "" {
			t.Fatal(diff)
		}
	})
}

func BenchmarkWriterAdd(b *testing.B) {
	w, err := Create(b.TempDir(), requestsOnlyMeta(Imported))
	if err != nil {
		b.Fatal(err)
	}
	defer w.Abort()
	load, err := Load{Requests: 1000, Prompt: Range{1, 1000}, Output: Range{1, 100}}.Generate()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%1000 == 0 { // equal ids are none of its business
			w.seen = collector{}
		}
		r := load[i%1000]
		if err := w.Add(r); err != nil {
			b.Fatal(err)
		}
	}
}
