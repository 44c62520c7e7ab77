package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// counts is a cache of one head with blocks of one KV, of which it has only the number. A
// compression leaves a sequence keep KVs.
type counts struct {
	blocks, keep int
	held         map[kv.SeqID]int
	log          []string
}

func newCounts(blocks, keep int) *counts {
	return &counts{blocks: blocks, keep: keep, held: map[kv.SeqID]int{}}
}

func (c *counts) Blocks() int                { return c.blocks }
func (c *counts) PrefillNeed(n int) int      { return n }
func (c *counts) DecodeNeed(kv.SeqID) int    { return 1 }
func (c *counts) Held(id kv.SeqID) int       { return c.held[id] }
func (c *counts) Usage() kv.Usage            { return kv.Usage{Allocated: c.blocks - c.Free(), Free: c.Free()} }
func (c *counts) HeadUsage() kv.HeadUsage    { return kv.HeadUsage{} }
func (c *counts) Count(id kv.SeqID) int      { return max(0, c.held[id]-c.keep) }
func (c *counts) Release(id kv.SeqID) error  { delete(c.held, id); return nil }
func (c *counts) logf(f string, args ...any) { c.log = append(c.log, fmt.Sprintf(f, args...)) }
func (c *counts) Free() int {
	free := c.blocks
	for _, n := range c.held {
		free -= n
	}
	return free
}

func (c *counts) Configure(id kv.SeqID, own *trace.Compression) error {
	c.logf("configure %d", id)
	return nil
}

func (c *counts) Prefill(id kv.SeqID, n int) error {
	if _, ok := c.held[id]; ok || n > c.Free() {
		return fmt.Errorf("prefill of %d: %d tokens, %d free", id, n, c.Free())
	}
	c.held[id] = n
	c.logf("prefill %d: %d", id, n)
	return nil
}

func (c *counts) Decode(batch []kv.SeqID) error {
	if len(batch) > c.Free() {
		return fmt.Errorf("decode of %v, %d free", batch, c.Free())
	}
	for _, id := range batch {
		if _, ok := c.held[id]; !ok {
			return fmt.Errorf("decode of %d, which is not there", id)
		}
		c.held[id]++
	}
	c.logf("decode %v", batch)
	return nil
}

func (c *counts) Compress(id kv.SeqID) (ref.Compressed, error) {
	n := c.Count(id)
	c.held[id] -= n
	c.logf("compress %d: %d", id, n)
	return ref.Compressed{Asked: n, Freed: n, Evicted: n}, nil
}

// requests are (arrival in steps of 10 ms, prompt, output).
func requests(list ...[3]int) []trace.Request {
	var out []trace.Request
	for i, r := range list {
		out = append(out, trace.Request{ID: fmt.Sprint("r", i), ArrivalNS: int64(r[0]) * 10e6, PromptTokens: r[1], OutputTokens: r[2]})
	}
	return out
}

// serve runs a server to its end.
func serve(t *testing.T, c Cache, opt ref.Compression, schedule Schedule, limits Limits, reqs []trace.Request) (steps []*Step, results []Result) {
	t.Helper()
	s, err := NewServer(c, &ref.Config{Config: kv.Config{BlockSize: 1}, Compression: opt}, schedule, limits, reqs, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 100000 {
		step, err := s.Step()
		if err != nil {
			t.Fatal(err)
		}
		if step == nil {
			return steps, s.Results()
		}
		steps = append(steps, step)
	}
	t.Fatal("the server does not end")
	return nil, nil
}

func TestServer(t *testing.T) {
	all := Limits{MaxNumSeqs: 10, MaxNumBatchedTokens: 100, Watermark: 0}
	compress := ref.Compression{MaxCacheTokens: 4}
	for _, c := range []struct {
		name     string
		blocks   int
		limits   Limits
		opt      ref.Compression
		schedule Schedule
		requests []trace.Request
		want     string
		refused  string
	}{
		{
			name: "one request: its prefill gives the first token", blocks: 100, limits: all,
			requests: requests([3]int{0, 5, 3}),
			want:     "prefill 0: 5; decode [0]; decode [0]",
		}, {
			name: "prefills go first", blocks: 100, limits: all,
			requests: requests([3]int{0, 5, 4}, [3]int{1, 5, 2}),
			want:     "prefill 0: 5; prefill 1: 5; decode [0 1]; decode [0]; decode [0]",
		}, {
			name: "time passes to the next arrival", blocks: 100, limits: all,
			requests: requests([3]int{0, 5, 1}, [3]int{50, 5, 1}),
			want:     "prefill 0: 5; prefill 1: 5",
		}, {
			name: "limit of sequences", blocks: 100, limits: Limits{MaxNumSeqs: 1, MaxNumBatchedTokens: 100},
			requests: requests([3]int{0, 5, 2}, [3]int{0, 5, 2}),
			want:     "prefill 0: 5; decode [0]; prefill 1: 5; decode [1]",
		}, {
			name: "limit of tokens in a batch", blocks: 100, limits: Limits{MaxNumSeqs: 10, MaxNumBatchedTokens: 9},
			requests: requests([3]int{0, 5, 2}, [3]int{0, 5, 2}),
			want:     "prefill 0: 5; prefill 1: 5; decode [0 1]",
		}, {
			name: "the watermark stays free", blocks: 20, limits: Limits{MaxNumSeqs: 10, MaxNumBatchedTokens: 100, Watermark: 0.5},
			requests: requests([3]int{0, 6, 2}, [3]int{0, 5, 2}),
			want:     "prefill 0: 6; decode [0]; prefill 1: 5; decode [1]",
		}, {
			name: "what can never fit is refused, the others are served", blocks: 20, limits: Limits{MaxNumSeqs: 10, MaxNumBatchedTokens: 100, Watermark: 0.5},
			requests: requests([3]int{0, 11, 2}, [3]int{0, 5, 1}),
			want:     "prefill 1: 5",
			refused:  "a prompt of 11 tokens needs 12 blocks: the cache has 10 beyond its watermark",
		}, {
			name: "too long for a batch", blocks: 1000, limits: all,
			requests: requests([3]int{0, 101, 2}, [3]int{0, 5, 1}),
			want:     "prefill 1: 5",
			refused:  "a prompt of 101 tokens exceeds max_num_batched_tokens 100",
		}, {
			name: "longer than a request may be", blocks: 1000, limits: Limits{MaxNumSeqs: 10, MaxNumBatchedTokens: 100, MaxModelLen: 6},
			requests: requests([3]int{0, 5, 2}, [3]int{0, 5, 1}),
			want:     "prefill 1: 5",
			refused:  "a prompt of 5 tokens and 2 of output exceed max_model_len 6",
		}, {
			// The sequence admitted last is preempted, and recomputed with its generated tokens when
			// there are enough free blocks.
			name: "preemption", blocks: 14, limits: all,
			requests: requests([3]int{0, 6, 4}, [3]int{0, 6, 4}, [3]int{3, 2, 1}),
			want:     "prefill 0: 6; prefill 1: 6; decode [0 1]; decode [0]; decode [0]; prefill 1: 8; prefill 2: 2; decode [1]",
		}, {
			name: "a sequence that outgrows the cache by itself", blocks: 8, limits: all,
			requests: requests([3]int{0, 7, 5}, [3]int{0, 2, 1}),
			want:     "prefill 0: 7; decode [0]; prefill 1: 2",
			refused:  "it was preempted with 7 prompt and 2 generated tokens, and to recompute them needs 10 blocks: the cache has 8 beyond its watermark",
		}, {
			name: "a preempted sequence that has outgrown a batch is recomputed in one of its own", blocks: 60, limits: Limits{MaxNumSeqs: 10, MaxNumBatchedTokens: 20},
			requests: requests([3]int{0, 15, 30}, [3]int{0, 15, 30}),
			want: "prefill 0: 15; prefill 1: 15; " + strings.Repeat("decode [0 1]; ", 15) + strings.Repeat("decode [0]; ", 14) +
				"prefill 1: 31; " + strings.TrimSuffix(strings.Repeat("decode [1]; ", 13), "; "),
		}, {
			name: "compression is forced after a prefill, and not again without an interval", blocks: 100, limits: all, opt: compress,
			requests: requests([3]int{0, 6, 3}),
			want:     "prefill 0: 6; compress 0: 2; decode [0]; decode [0]",
		}, {
			name: "interval", blocks: 100, limits: all, opt: ref.Compression{MaxCacheTokens: 4}, schedule: Schedule{Interval: 2},
			requests: requests([3]int{0, 6, 6}),
			want:     "prefill 0: 6; compress 0: 2; decode [0]; decode [0]; compress 0: 2; decode [0]; decode [0]; compress 0: 2; decode [0]",
		}, {
			name: "once", blocks: 100, limits: all, opt: ref.Compression{MaxCacheTokens: 4}, schedule: Schedule{Interval: 1, Once: true},
			requests: requests([3]int{0, 6, 4}),
			want:     "prefill 0: 6; compress 0: 2; decode [0]; decode [0]; decode [0]",
		}, {
			name: "limit of new tokens", blocks: 100, limits: all, opt: ref.Compression{MaxCacheTokens: 4}, schedule: Schedule{NewTokenLimit: 2},
			requests: requests([3]int{0, 6, 6}),
			want:     "prefill 0: 6; compress 0: 2; decode [0]; decode [0]; decode [0]; compress 0: 3; decode [0]; decode [0]",
		}, {
			name: "compression is forced when a decode step lacks blocks", blocks: 9, limits: all, opt: compress,
			requests: requests([3]int{0, 7, 8}),
			want: "prefill 0: 7; compress 0: 3; decode [0]; decode [0]; decode [0]; decode [0]; decode [0]; " +
				"compress 0: 5; decode [0]; decode [0]",
		}, {
			// Each compression takes at most 8 slots, or one sequence. Among sequences that were never
			// compressed or were just compressed, the latest comes first: the others are never
			// compressed.
			name: "limit of KVs", blocks: 100, limits: all, opt: ref.Compression{MaxCacheTokens: 4}, schedule: Schedule{Interval: 1, MaxKVPerCompression: 8},
			requests: requests([3]int{0, 6, 4}, [3]int{0, 6, 4}, [3]int{0, 20, 4}),
			want: "prefill 0: 6; prefill 1: 6; prefill 2: 20; compress 2: 16; decode [0 1 2]; compress 2: 1; decode [0 1 2]; " +
				"compress 2: 1; decode [0 1 2]",
		}, {
			// The first holds more than the limit, and ends the list.
			name: "strict limit of KVs", blocks: 100, limits: all, opt: ref.Compression{MaxCacheTokens: 4}, schedule: Schedule{Interval: 1, MaxKVPerCompression: 8, Strict: true},
			requests: requests([3]int{0, 6, 2}, [3]int{0, 20, 2}),
			want:     "prefill 0: 6; prefill 1: 20; decode [0 1]",
		}, {
			// Sequences that one compression left out go first in the next.
			name: "who waited longest goes first", blocks: 100, limits: Limits{MaxNumSeqs: 10, MaxNumBatchedTokens: 6}, opt: ref.Compression{MaxCacheTokens: 4}, schedule: Schedule{Interval: 1, MaxKVPerCompression: 6},
			requests: requests([3]int{0, 6, 5}, [3]int{0, 6, 4}),
			want: "prefill 0: 6; compress 0: 2; prefill 1: 6; compress 1: 2; decode [0 1]; compress 0: 1; decode [0 1]; compress 1: 2; decode [0 1]; " +
				"compress 0: 2; decode [0]",
		}, {
			// With compress_once the first compression counts, though the sequence has nothing to lose then.
			name: "once is used up", blocks: 100, limits: all, opt: ref.Compression{MaxCacheTokens: 4}, schedule: Schedule{Interval: 1, Once: true},
			requests: requests([3]int{0, 3, 6}),
			want:     "prefill 0: 3; decode [0]; decode [0]; decode [0]; decode [0]; decode [0]",
		}, {
			// The compression that was due left out some sequences. So when there are too few blocks for
			// the decode step, these are compressed, and no sequence is preempted.
			name: "compression goes on until a decode step has its blocks", blocks: 16, limits: all, opt: ref.Compression{MaxCacheTokens: 4},
			schedule: Schedule{Interval: 1, MaxKVPerCompression: 5, UntilFree: true},
			requests: requests([3]int{0, 5, 4}, [3]int{0, 5, 4}, [3]int{0, 5, 4}),
			want: "prefill 0: 5; prefill 1: 5; prefill 2: 5; compress 2: 1; compress 1: 1; decode [0 1 2]; compress 2: 1; compress 1: 1; compress 0: 2; decode [0 1 2]; " +
				"compress 2: 1; compress 1: 1; decode [0 1 2]",
		}, {
			// Without the option, a forced compression frees one of the three missing blocks.
			name: "one compression of an iteration, and then preemption", blocks: 16, limits: all, opt: ref.Compression{MaxCacheTokens: 4},
			schedule: Schedule{MaxKVPerCompression: 5},
			requests: requests([3]int{0, 5, 4}, [3]int{0, 5, 4}, [3]int{0, 5, 4}),
			want:     "prefill 0: 5; prefill 1: 5; prefill 2: 5; compress 2: 1; decode [0 1]; decode [0 1]; decode [0 1]; prefill 2: 6; compress 2: 2; decode [2]; decode [2]",
		}, {
			// Too few free blocks force a compression. No prompt is prefilled before a sequence finishes,
			// though the freed blocks would be enough.
			name: "the lock", blocks: 16, limits: all, opt: ref.Compression{MaxCacheTokens: 4},
			requests: requests([3]int{0, 5, 12}, [3]int{0, 5, 9}, [3]int{6, 1, 2}),
			want: "prefill 0: 5; prefill 1: 5; compress 0: 1; compress 1: 1; decode [0 1]; decode [0 1]; decode [0 1]; decode [0 1]; " +
				"compress 0: 4; compress 1: 4; decode [0 1]; decode [0 1]; decode [0 1]; decode [0 1]; prefill 2: 1; compress 0: 4; decode [0 2]; decode [0]; decode [0]",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := newCounts(c.blocks, c.opt.MaxCacheTokens)
			steps, results := serve(t, cache, c.opt, c.schedule, c.limits, c.requests)
			if got := strings.Join(cache.log, "; "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			var refused []string
			for _, r := range results {
				if r.Error != "" {
					refused = append(refused, r.Error)
				}
			}
			if got := strings.Join(refused, "; "); got != c.refused {
				t.Errorf("refused %q, want %q", got, c.refused)
			}
			checkServed(t, cache, steps, c.requests, results)
		})
	}
}

// checkServed checks the invariants of a finished run.
func checkServed(t *testing.T, c *counts, steps []*Step, reqs []trace.Request, results []Result) {
	t.Helper()
	if c.Free() != c.blocks {
		t.Errorf("%d of %d blocks are free in the end", c.Free(), c.blocks)
	}
	clock := int64(0)
	for i, s := range steps {
		if s.Index != i || s.Start < clock || s.End <= s.Start {
			t.Errorf("step %d is numbered %d and runs from %d to %d, after %d", i, s.Index, s.Start, s.End, clock)
		}
		clock = s.End
		if s.Usage.Allocated > c.blocks {
			t.Errorf("step %d: %d of %d blocks", i, s.Usage.Allocated, c.blocks)
		}
	}
	for i, r := range results {
		if r.Error != "" {
			continue
		}
		if r.OutputTokens != reqs[i].OutputTokens || r.Finished < r.FirstToken || r.FirstToken <= r.Admitted || r.Admitted < r.Arrival {
			t.Errorf("request %d: %+v", i, r)
		}
	}
}

// TestServerRandom serves random requests and checks that tokens and blocks are
// conserved, and that every request finishes or is refused.
func TestServerRandom(t *testing.T) {
	preempted := 0
	for seed := range 500 {
		rng := rand.New(rand.NewPCG(uint64(seed), 9))
		var reqs []trace.Request
		at := 0
		for range 1 + rng.IntN(30) {
			at += rng.IntN(6)
			reqs = append(reqs, requests([3]int{at, 1 + rng.IntN(60), 1 + rng.IntN(30)})...)
		}
		for i := range reqs {
			reqs[i].ID = fmt.Sprint(i)
		}
		limits := Limits{MaxNumSeqs: 1 + rng.IntN(8), MaxNumBatchedTokens: 40 + rng.IntN(100), Watermark: float64(rng.IntN(3)) / 100}
		var opt ref.Compression
		var schedule Schedule
		if rng.IntN(2) == 0 {
			opt.MaxCacheTokens = 8 + rng.IntN(40)
			schedule = Schedule{Interval: rng.IntN(3), Once: rng.IntN(2) == 0, NewTokenLimit: rng.IntN(2) * 50, MaxKVPerCompression: rng.IntN(2) * 64}
		}
		cache := newCounts(40+rng.IntN(200), max(opt.MaxCacheTokens, 1))
		steps, results := serve(t, cache, opt, schedule, limits, reqs)
		checkServed(t, cache, steps, reqs, results)
		for _, r := range results {
			preempted += r.Preemptions
			if r.Error == "" && r.Finished < 0 {
				t.Fatalf("seed %d: request %s is neither finished nor refused", seed, r.ID)
			}
		}
		tokens, want := 0, 0
		for _, s := range steps {
			tokens += s.Tokens
		}
		for i, r := range results {
			if r.Error == "" {
				want += reqs[i].CachedTokens()
			} else if r.OutputTokens > 0 {
				want = -1 // what was computed before the refusal is in no sum
				break
			}
			want += recomputedBeyond(r)
		}
		if want >= 0 && tokens != want {
			t.Fatalf("seed %d: %d tokens entered the cache, %d were asked for", seed, tokens, want)
		}
	}
	if preempted == 0 {
		t.Error("no preemption: the caches are too large to test any")
	}
}

// recomputedBeyond returns the tokens that entered more than once. A preempted
// sequence of n tokens has n−1 in the cache, its newest never having been fed;
// its recomputation feeds all n.
func recomputedBeyond(r Result) int { return r.Recomputed - r.Preemptions }
