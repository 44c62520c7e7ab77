package bench

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// TestPublished compares results with figures copied from the published table by hand.
func TestPublished(t *testing.T) {
	q, err := PublishedQuality("Mistral-7B")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method     string
		part, want float64
	}{
		{"kivi", 0.4, 1},             // KIVI-4bit, 5/16: 49.12, as the baseline
		{"kivi", 0.3, 47.23 / 49.12}, // KIVI-2bit, 3/16
		{"flexgen", 0.3125, 47.51 / 49.12},
		{"streaming-llm", 0.3, 34.54 / 49.12}, // 4x
		{"infllm", 0.25, 38.65 / 49.12},
		{"llmlingua2", 0.9, 34.82 / 49.12}, // 2x
	} {
		if got, err := q.At(c.method, c.part); err != nil || math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s at %v: %v, %v; want %v", c.method, c.part, got, err, c.want)
		}
	}
	for method, want := range map[string]string{"kivi": "at most 0.10", "snapkv": "no result of snapkv", "h2o-mask": "as a mask"} {
		if _, err := q.At(method, 0.1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s at 0.1: error %v", method, err)
		}
	}
	var methods []string
	for _, m := range q.Methods() {
		methods = append(methods, fmt.Sprint(m.Method, m.Budgets))
	}
	slices.Sort(methods)
	if want := []string{"flexgen[]", "infllm[1/2 1/4 1/6 1/8]", "kivi[]", "streaming-llm[1/2 1/4 1/6 1/8]"}; !slices.Equal(methods, want) || !strings.Contains(q.Of(), "longctx_bench") {
		t.Errorf("%s has %q, want %q", q.Of(), methods, want)
	}
	if _, err := PublishedQuality("Mistral"); err == nil || !strings.Contains(err.Error(), "LongChat-7B, Llama-3-8B, Mistral-7B") {
		t.Errorf("error %v", err)
	}
}
