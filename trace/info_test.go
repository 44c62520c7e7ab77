package trace

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/dtype"
	"kvcompress/kv"
)

func TestInfo(t *testing.T) {
	meta := Meta{
		FormatVersion: 1, Name: "n", Model: "m", Shape: kv.Shape{Layers: 2, KVHeads: 3, Group: 2, HeadSize: 16}, DType: dtype.BF16,
		Source: Source{Kind: Synthetic, Description: "d"},
		Synth:  &Recipe{Layers: [][]Head{{{Sink: true}, {Local: 8}}}},
	}
	tr, err := New(meta, []Request{
		{ID: "a", ArrivalNS: 1e9, PromptTokens: 10, OutputTokens: 1},
		{ID: "b", ArrivalNS: 2e9, PromptTokens: 20, OutputTokens: 3, Session: "s"},
		{ID: "c", ArrivalNS: 5e9, PromptTokens: 60, OutputTokens: 2, Session: "s"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := tr.Info(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want := Info{
		Name: "n", Model: "m", Shape: meta.Shape, DType: "bf16", Source: meta.Source,
		Heads:    []HeadCount{{Head{Sink: true}, 4}, {Head{Local: 8}, 2}},
		Requests: 3, WithTensors: 3, Sessions: 1,
		Prompt: Distribution{10, 20, 30, 60, 60, 60},
		Output: Distribution{1, 2, 2, 3, 3, 3},
		Tokens: 96,
		Arrivals: ArrivalInfo{
			FirstNS: 1e9, LastNS: 5e9, Rate: new(0.5),
			Gaps:  &Distribution{1e9, 1e9, 2e9, 3e9, 3e9, 3e9},
			GapCV: new(0.5),
		},
		KVBytesPerToken: 2 * 2 * 48 * 2, KVBytes: 384 * (10 + 22 + 61), KVBytesLargestRequest: 384 * 61,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	const keys = `{"name":"n","model":"m","shape":{"layers":2,"kv_heads":3,"group":2,"head_size":16},"dtype":"bf16",` +
		`"source":{"kind":"synthetic","description":"d"},"heads":[{"kind":"sink","heads":4},{"kind":"local:8","heads":2}],` +
		`"requests":3,"with_tensors":3,"sessions":1,"with_prefixes":0,"with_compression":0,` +
		`"prompt_tokens":{"min":10,"p50":20,"mean":30,"p90":60,"p99":60,"max":60},` +
		`"output_tokens":{"min":1,"p50":2,"mean":2,"p90":3,"p99":3,"max":3},"tokens":96,` +
		`"arrivals":{"first_ns":1000000000,"last_ns":5000000000,"per_second":0.5,` +
		`"gaps_ns":{"min":1000000000,"p50":1000000000,"mean":2000000000,"p90":3000000000,"p99":3000000000,"max":3000000000},"gap_cv":0.5},` +
		`"files":0,"disk_bytes":0,"kv_bytes_per_token":384,"kv_bytes":35712,"kv_bytes_largest_request":23424}`
	if diff := cmp.Diff(keys, string(text)); diff != "" {
		t.Error(diff)
	}
}

// TestInfoArrivals: gaps of 0 are included; figures that a single request, or requests that all
// arrive at once, do not have are omitted.
func TestInfoArrivals(t *testing.T) {
	const none = `{"min":0,"p50":0,"mean":0,"p90":0,"p99":0,"max":0}`
	for want, at := range map[string][]int64{
		`{"first_ns":5,"last_ns":5}`:                        {5},
		`{"first_ns":5,"last_ns":5,"gaps_ns":` + none + `}`: {5, 5},
		`{"first_ns":0,"last_ns":2000000000,"per_second":1,"gaps_ns":{"min":1000000000,"p50":1000000000,"mean":1000000000,"p90":1000000000,"p99":1000000000,"max":1000000000},"gap_cv":0}`: {0, 1e9, 2e9},
	} {
		var requests []Request
		for i, ns := range at {
			requests = append(requests, Request{ID: strconv.Itoa(i), ArrivalNS: ns, PromptTokens: 1, OutputTokens: 1})
		}
		tr, err := New(requestsOnlyMeta(Generated), requests)
		if err != nil {
			t.Fatal(err)
		}
		info, err := tr.Info(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(info.Arrivals); err != nil || string(got) != want {
			t.Errorf("%v: %s, want %s, %v", at, got, want, err)
		}
	}
}

// TestInfoOddFiles: a broken link and a subfolder in a trace's folder are not counted.
func TestInfoOddFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, goodTrace(t)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/folder", 0o700); err != nil {
		t.Fatal(err)
	}
	tr, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := tr.Info(context.Background())
	if err != nil || info.Files != 4 || info.WithTensors != 2 {
		t.Error(info, err)
	}
	rate, _ := tr.RateOverTime(3)
	streamed, streamedRate, err := StreamInfo(context.Background(), os.DirFS(dir), dir, func(n int) int { return n + 1 }, func(int) {})
	if diff := cmp.Diff(info, streamed) + cmp.Diff(&rate, streamedRate); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if err := os.Remove(dir + "/" + tr.Requests()[0].ID + tensorsSuffix); err != nil {
		t.Fatal(err)
	}
	if _, _, err := StreamInfo(context.Background(), os.DirFS(dir), dir, func(int) int { return 0 }, nil); !errors.Is(err, errMissing) {
		t.Error(err)
	}
}
