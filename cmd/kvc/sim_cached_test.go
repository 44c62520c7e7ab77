package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvcompress/sim"
	"kvcompress/sim/stats"
)

// TestCachedTokens: of requests without prefix hashes, what is found in the cache is what preempted requests find again.
func TestCachedTokens(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log.csv")
	if err := os.WriteFile(log, []byte("arrived_at,num_prefill_tokens,num_decode_tokens\n"+strings.Repeat("0,100,300\n", 4)), 0o644); err != nil {
		t.Fatal(err)
	}
	// 41 blocks of 256 heads, of which V1 uses 40: for one request and a half.
	serve := "sim --requests " + log + " --model llama-3.1-8b --gpu l4 --max-model-len 400 --blocks 10496"
	code, out, errs := kvc(strings.Fields(serve)...)
	if code != 0 || !strings.Contains(out, "prefix caching (the requests have no prefix hashes; preempted ones found ") || strings.Contains(out, "prompt tokens found") {
		t.Errorf("%d, %s: %s", code, errs, out)
	}
	for _, c := range []struct {
		v1   *sim.V1
		m    stats.Summary
		want string
	}{
		{nil, stats.Summary{Cached: 512, Preemptions: 1}, "512 prompt tokens found in the cache"},
		{&sim.V1{}, stats.Summary{Preemptions: 1}, "the requests have no prefix hashes"},
		{&sim.V1{}, stats.Summary{Cached: 1, Preemptions: 1}, "the requests have no prefix hashes; preempted ones found 1 token of their own again"},
		{&sim.V1{PrefixTokens: 512}, stats.Summary{Cached: 512}, "512 prompt tokens found in the cache"},
		{&sim.V1{PrefixTokens: 512}, stats.Summary{Cached: 1024, Preemptions: 1}, "1,024 tokens found in the cache, by preempted requests again too"},
	} {
		if got := (&simInputs{V1: c.v1}).cached(&c.m); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
