package project

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"kvcompress/internal/ceil"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/cost"
)

// ofMethod returns the configuration of a method on 32 layers of 8 heads, compressed to capacity
// KVs.
func ofMethod(t *testing.T, name string, capacity int, set map[string]string) Config {
	t.Helper()
	c := config(t, "llama-3.1-8b", "l4")
	c.Schedule = sim.DefaultSchedule()
	c.Deployment.Method = ref.Config{Method: name, Compression: ref.Compression{MaxCacheTokens: capacity}, Set: ref.Settings{}}
	for key, value := range set {
		c.Deployment.Method.Set.Set(key, value)
	}
	return c
}

// TestHeldByHand projects one request of 1,000 tokens and 100 generated ones. The KVs that the
// last decode step reads of each of the 256 heads, and the work of compression, are worked out
// by hand. The prompt gives a token, and each of 99 decode steps appends one before it reads.
func TestHeldByHand(t *testing.T) {
	const heads, prompt, decodes = 256, 1000, 99
	sum := func(first, last int64) int64 { return (first + last) * (last - first + 1) / 2 }
	blocks := func(kvs int64) int64 { return (kvs + 15) / 16 }
	type want struct {
		read       int64 // KVs, by all decode steps
		peakBlocks int64 // of the prompt and after
		compressed int64 // times
		sorted     int64 // slots
		evicted    int64
		pairs      int64
	}
	whole := int64(heads * blocks(prompt))
	for _, test := range []struct {
		name     string
		capacity int
		set      map[string]string
		want     want
	}{
		// 300 KVs before each step, and the step's own.
		{"streaming-llm", 300, nil, want{heads * decodes * 301, whole, decodes, heads * 16 * (blocks(prompt) + (decodes-1)*blocks(301)), heads * (prompt - 300 + decodes - 1), 0}},
		{"random", 300, nil, want{heads * decodes * 301, whole, decodes, heads * 16 * (blocks(prompt) + (decodes-1)*blocks(301)), heads * (prompt - 300 + decodes - 1), 0}},
		// Likewise, after watching every pair.
		{"h2o-real-drop", 300, nil, want{heads * decodes * 301, whole, decodes, heads * 16 * (blocks(prompt) + (decodes-1)*blocks(301)), heads * (prompt - 300 + decodes - 1), prompt * (prompt + 1) / 2}},
		// Once, and then it grows.
		{"snapkv", 300, nil, want{heads * sum(301, 300+decodes), whole, 1, heads * 16 * blocks(prompt), heads * (prompt - 300), 32 * prompt}},
		{"h2o-prefill", 300, nil, want{heads * sum(301, 300+decodes), whole, 1, heads * 16 * blocks(prompt), heads * (prompt - 300), prompt * (prompt + 1) / 2}},
		{"observed-attention", 300, nil, want{heads * sum(301, 300+decodes), whole, 1, heads * 16 * blocks(prompt), heads * (prompt - 300), prompt * (prompt + 1) / 2}},
		{"knorm", 300, nil, want{heads * sum(301, 300+decodes), whole, 1, heads * 16 * blocks(prompt), heads * (prompt - 300), 0}},
		// Four times the heads.
		{"snapkv-published", 300, nil, want{4 * heads * sum(301, 300+decodes), 4 * whole, 1, 4 * heads * 16 * blocks(prompt), 4 * heads * (prompt - 300), 32 * prompt}},
		// A quarter of the heads keeps everything.
		{"duo-attention", 300, map[string]string{"full_share": "0.25"}, want{
			64*sum(prompt+1, prompt+decodes) + 192*decodes*301, whole, decodes,
			heads*16*blocks(prompt) + 192*16*(decodes-1)*blocks(301) + 64*16*blockSum(prompt+1, prompt+decodes-1), 192 * (prompt - 300 + decodes - 1), 0,
		}},
		// Compressed once: 300 entries and the generated tokens, without ranking.
		{"razor", 300, map[string]string{"full_share": "0.25"}, want{64*sum(prompt+1, prompt+decodes) + 192*sum(301, 300+decodes), whole, 1, 0, 192 * (prompt - 300), 0}},
		// Of T tokens the newest T mod 128 keys are in full precision, and their values with them: a
		// step reads these, and its own. After the first step plain blocks are freed.
		{"kivi", 0, nil, want{heads * (sum(105, 128) + sum(1, 75)), whole, decodes, 0, 0, 0}},
		{"flexgen", 0, nil, want{heads * decodes, whole, decodes, 0, 0, 0}},
		// Nothing is freed; each step ranks, and reads all.
		{"h2o-mask", 300, nil, want{heads * sum(prompt+1, prompt+decodes), heads * blocks(prompt+decodes), decodes, heads * 16 * blockSum(prompt, prompt+decodes-1), 0, prompt * (prompt + 1) / 2}},
		// Four query heads read 200 KVs each, and the bounds of all pages.
		{"quest", 200, nil, want{heads * (decodes*800 + blockSum(prompt+1, prompt+decodes)), heads * blocks(prompt+decodes), 0, 0, 0, 0}},
		{"quest", 200, map[string]string{"shared": "true", "page": "8"}, want{heads * (decodes*200 + pageSum(prompt+1, prompt+decodes, 8)), heads * blocks(prompt+decodes), 0, 0, 0, 0}},
	} {
		t.Run(fmt.Sprint(test.name, test.set), func(t *testing.T) {
			c := ofMethod(t, test.name, test.capacity, test.set)
			var work sim.Work
			peak := int64(0)
			c.Step = func(s *sim.Step) {
				work.Add(&s.Work)
				peak = max(peak, int64(s.Usage.Allocated))
			}
			r, err := Run(context.Background(), c, equal(1, 0, prompt, decodes+1))
			if err != nil {
				t.Fatal(err)
			}
			got := want{work[sim.KVsRead], peak, work[sim.CompressedSeqs], work[sim.KVsSorted], work[sim.KVsEvicted], work[sim.MetricPairs]}
			if got != test.want {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			if len(r.Notes) == 0 {
				t.Error("nothing is said of kernels that were not measured")
			}
		})
	}
}

// pageSum returns the sum of the numbers of pages of p KVs for first, …, last KVs.
func pageSum(first, last, p int64) (n int64) {
	for kvs := first; kvs <= last; kvs++ {
		n += ceil.Div(kvs, p)
	}
	return n
}

func blockSum(first, last int64) int64 { return pageSum(first, last, 16) }

// TestRazorMemoryByLength compares a projection's blocks after the prompt with
// RazorAttention's closed form, for prompts of 1K to 128K tokens.
func TestRazorMemoryByLength(t *testing.T) {
	for tokens := 1 << 10; tokens <= 1<<17; tokens *= 2 {
		c := ofMethod(t, "razor", 0, map[string]string{"full_share": "0.15"})
		c.Deployment.Model.MaxLen = 1 << 18
		c.Deployment.BlocksGiven, c.Deployment.MaxTokens, c.Limits.MaxNumBatchedTokens = 1<<22, 1<<17, 1<<17
		held := 0
		c.Step = func(s *sim.Step) {
			if s.Kind == sim.Decode {
				held = s.Usage.Allocated
			}
		}
		if _, err := Run(context.Background(), c, equal(1, 0, tokens, 2)); err != nil {
			t.Fatal(err)
		}
		cfg := c.Deployment.Config()
		mem, err := cfg.RazorMemory(tokens)
		if err != nil {
			t.Fatal(err)
		}
		// The decode step has a token more: a block of every head whose last one was full.
		want := mem.Blocks
		for _, entries := range []struct{ heads, kvs int }{{38, tokens}, {218, min(tokens, 4+1+mem.Recent)}} {
			if entries.kvs%16 == 0 {
				want += entries.heads
			}
		}
		if held != want {
			t.Errorf("%d tokens: %d blocks are held, by the closed form %d", tokens, held, want)
		}
	}
}

// TestMethodMemory compares the bytes of a block with those worked out by hand: 16 KVs of
// 2·128 elements of two bytes.
func TestMethodMemory(t *testing.T) {
	for _, test := range []struct {
		name     string
		set      map[string]string
		metadata int
		scratch  bool
	}{
		{"streaming-llm", nil, 16 + 16*4, true},                                                         // owner; position
		{"snapkv", nil, 16 + 16*(4+4), true},                                                            // and score
		{"h2o-real-drop", map[string]string{"query-head": "true"}, 16 + 16*(4+4*4), true},               // and one for each query head
		{"h2o-mask", nil, 16 + 16*(4+4+4), true},                                                        // and hidden
		{"razor", map[string]string{"full_share": "0"}, 16 + 16*(4+4), false},                           // and weight
		{"razor", map[string]string{"full_share": "0", "decode": "rolling"}, 16 + 16*(4+4+1024), false}, // and exact means
		{"kivi", nil, 16 + 16*4, false},                                                                 // owner; position
		{"quest", nil, 512, false},                                                                      // two keys for each page
		{"quest", map[string]string{"page": "32"}, 256, false},
	} {
		capacity := 300
		if test.name == "kivi" {
			capacity = 0
		}
		c := ofMethod(t, test.name, capacity, test.set)
		m, err := c.Deployment.Memory()
		if err != nil {
			t.Fatal(err)
		}
		if m.BlockKV != 8192 || m.BlockMetadata != test.metadata || (m.Scratch > 0) != test.scratch {
			t.Errorf("%s %v: %d bytes of K and V, %d of metadata a block, %d of scratch; want %d", test.name, test.set, m.BlockKV, m.BlockMetadata, m.Scratch, test.metadata)
		}
		if sum := m.Reserved + m.Weights + m.Activations + m.Fixed + m.Graphs + m.Scratch + m.Metadata + m.KV + m.Unused; sum != m.Card {
			t.Errorf("%s: the parts are %d bytes, the card has %d", test.name, sum, m.Card)
		}
	}
}

// TestMethodsPlanned plans every method of the table; errors of the others have to tell what to do.
func TestMethodsPlanned(t *testing.T) {
	for _, e := range ref.Methods() {
		for _, rate := range []bool{false, true} {
			set := map[string]string{}
			if e.Name == "razor" || e.Name == "duo-attention" {
				set["full_share"] = "0.15"
			}
			capacity := 512
			if e.OwnPages { // which keep every token
				capacity = 0
			}
			c := ofMethod(t, e.Name, capacity, set)
			if e.Name == ref.KVCompress {
				c.Deployment.Method.Set = nil
				c.Deployment.Method.Compression.ProtectedWindow = 32
			}
			if rate && !e.OwnPages {
				c.Deployment.Method.Compression.Rate, c.Deployment.Method.Compression.MaxCacheTokens = 0.25, 0
			}
			c.Check = true
			r, err := Run(context.Background(), c, equal(50, 1e8, 1500, 60))
			if refused := map[string]bool{"quest": rate, "infllm": rate, "llmlingua2": !rate}[e.Name]; refused {
				if err == nil || !strings.Contains(err.Error(), "it takes no") {
					t.Errorf("%s: %v", e.Name, err)
				}
				continue
			}
			if err != nil || r.Metrics.Finished != 50 {
				t.Errorf("%s: %v", e.Name, err)
			}
		}
	}
	for _, test := range []struct {
		name, want string
		capacity   int
		set        map[string]string
	}{
		{"snapkv", "compresses nothing without max_cache_tokens or rate", 0, nil},
		{"streaming-llm", "compresses nothing without", 0, nil},
		{"h2o-mask", "compresses nothing without", 0, nil},
		{"quest", "it needs max_cache_tokens", 0, nil},
		{"duo-attention", "full_share=0.15", 300, nil},
		{"razor", "full_share=0.15", 300, nil},
		{"razor", "want a fraction of the heads", 300, map[string]string{"full_share": "15"}},
		{"razor", "exclude each other", 300, map[string]string{"full_share": "0.1", "full": "null"}},
		{"razor", "full has 1 layers, the model has 32", 300, map[string]string{"full": "[[0,1]]"}},
		{"snapkv", `no option "full_share"`, 300, map[string]string{"full_share": "0.1"}},
		{"snapkv", `no option "colour"`, 300, map[string]string{"colour": "red"}},
		{"zip", `there is no method "zip"`, 300, nil},
	} {
		c := ofMethod(t, test.name, test.capacity, test.set)
		if _, err := Run(context.Background(), c, equal(1, 0, 10, 10)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %v: %v, want %q", test.name, test.set, err, test.want)
		}
	}
}

// TestAttentionTime compares the time of decode attention for each KV with the bytes that it
// moves: K and V are 512, a weight or flag 4, a score 8, since it is read and written.
func TestAttentionTime(t *testing.T) {
	time := func(c Config) float64 {
		for _, s := range c.Deployment.Shares(&cost.Fit{Factors: cost.Factors{"kv": 1}}, &sim.Work{sim.KVsRead: 1e9}, sim.Ticks{}) {
			return s.Seconds
		}
		return 0
	}
	plain := time(config(t, "llama-3.1-8b", "l4"))
	for name, bytes := range map[string]float64{"snapkv": 512, "quest": 512, "razor": 516, "h2o-real-drop": 520, "h2o-mask": 524} {
		set := map[string]string{}
		if name == "razor" {
			set["full_share"] = "0.15"
		}
		if got, want := time(ofMethod(t, name, 300, set)), plain*bytes/512; math.Abs(got/want-1) > 1e-12 {
			t.Errorf("%s: %v s, want %v", name, got, want)
		}
	}
	c := config(t, "llama-3.1-8b", "l4")
	c.Deployment.Method.Compression.Rate = 0.5
	if got := time(c); got != plain {
		t.Errorf("%s: %v s, want %v: its metric is part of the factor", ref.KVCompress, got, plain)
	}
}
