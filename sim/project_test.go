package sim

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

func each(reqs []trace.Request) iter.Seq2[trace.Request, error] {
	return func(yield func(trace.Request, error) bool) {
		for _, r := range reqs {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// rates sets costs in nanoseconds.
func rates(ns map[Feature]float64) Rates {
	var r Rates
	for f, v := range ns {
		if err := r.SetNS(f, v); err != nil {
			panic(err)
		}
	}
	return r
}

// project returns the result of each request.
func project(t *testing.T, p *Plan, reqs []trace.Request) (*Projection, []Result) {
	t.Helper()
	p.Check = true
	results := make([]Result, len(reqs))
	out, err := Project(t.Context(), p, each(reqs), Watch{Result: func(r *Result) { results[r.Seq] = *r }})
	if err != nil {
		t.Fatal(err)
	}
	return out, results
}

// twoHeads is a cache of one layer of two heads, in blocks of 4, for the given number of tokens.
func twoHeads(tokens int) ref.Config {
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 8}
	cfg.BlockSize = 4
	cfg.Blocks = 2 * tokens / 4
	return cfg
}

// TestOneRequest: 10 tokens in, 5 out. The prefill takes 1000 + 10·10 + 55·2 =
// 1210 ns and gives the first token. Then 4 decode steps: the k-th reads (10+k)·2
// KVs, in 2·⌈(10+k)/4⌉ blocks.
func TestOneRequest(t *testing.T) {
	p := &Plan{Config: twoHeads(100), Limits: DefaultLimits(), Rates: rates(map[Feature]float64{
		Steps: 1000, PrefillTokens: 10, AttentionPairs: 2, DecodeSeqs: 100, KVsRead: 3, BlocksRead: 7})}
	_, got := project(t, p, []trace.Request{{ID: "a", ArrivalNS: 500, PromptTokens: 10, OutputTokens: 5}})
	end := int64(500 + 1210)
	want := Result{ID: "a", Arrival: 500, Admitted: 500, FirstToken: end, PromptTokens: 10, Asked: 5, OutputTokens: 5}
	for _, n := range []int64{11, 12, 13, 14} {
		end += 1000 + 100 + 3*2*n + 7*2*((n+3)/4)
	}
	want.Finished = end
	if got[0] != want {
		t.Errorf("got  %+v\nwant %+v", got[0], want)
	}
}

// TestBatchThatFits: n equal requests at the same time are one prefill and output−1 decode
// steps, in which all of them read equal lengths.
func TestBatchThatFits(t *testing.T) {
	for _, n := range []int64{1, 2, 7, 64} {
		for _, output := range []int64{1, 2, 300} {
			const prompt = 30
			p := &Plan{Config: twoHeads(64 * 400), Limits: DefaultLimits(), Rates: rates(map[Feature]float64{
				Steps: 1000, PrefillSeqs: 50, PrefillTokens: 10, AttentionPairs: 2, DecodeSeqs: 100, KVsRead: 3})}
			var reqs []trace.Request
			for i := range n {
				reqs = append(reqs, trace.Request{ID: fmt.Sprint(i), PromptTokens: prompt, OutputTokens: int(output)})
			}
			out, got := project(t, p, reqs)
			first := 1000 + n*(50+10*prompt+2*prompt*(prompt+1)/2)
			steps := output - 1
			last := first + steps*(1000+100*n) + 3*2*n*(steps*prompt+steps*(steps+1)/2)
			for i, r := range got {
				if r.FirstToken != first || r.Finished != last {
					t.Errorf("%d requests of %d tokens: request %d has its first token at %d and ends at %d, want %d and %d", n, output, i, r.FirstToken, r.Finished, first, last)
				}
			}
			if out.Steps != int(output) || output > 1 && out.MaxBatch != int(n) {
				t.Errorf("%d requests of %d tokens: %d steps, a batch of %d", n, output, out.Steps, out.MaxBatch)
			}
		}
	}
}

// TestQueue: one sequence at a time, each with one token of output, takes 1000 ns.
// With arrivals at random that is an M/D/1 queue, and each wait follows from the
// one before (Lindley 1952): W' = max(0, W + 1000 − gap).
func TestQueue(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	p := &Plan{Config: twoHeads(100), Limits: Limits{MaxNumSeqs: 1, MaxNumBatchedTokens: 100}, Rates: rates(map[Feature]float64{PrefillTokens: 100})}
	var reqs []trace.Request
	var waits []int64
	at, wait := int64(0), int64(0)
	for i := range 5000 {
		reqs = append(reqs, trace.Request{ID: fmt.Sprint(i), ArrivalNS: at, PromptTokens: 10, OutputTokens: 1})
		waits = append(waits, wait)
		gap := int64(rng.ExpFloat64() * 1100)
		at, wait = at+gap, max(0, wait+1000-gap)
	}
	_, got := project(t, p, reqs)
	for i, r := range got {
		if r.Admitted != r.Arrival+waits[i] || r.Finished != r.Admitted+1000 {
			t.Fatalf("request %d arrives at %d, is admitted at %d and ends at %d, want a wait of %d", i, r.Arrival, r.Admitted, r.Finished, waits[i])
		}
	}
}

// TestChunks: two prompts of 25 tokens and a budget of 10 for a step. While the
// first is decoded, 9 tokens are left for the second.
func TestChunks(t *testing.T) {
	p := &Plan{Config: twoHeads(200), Limits: Limits{MaxNumSeqs: 4, MaxNumBatchedTokens: 10}, ChunkedPrefill: true, Check: true, Rates: rates(map[Feature]float64{Steps: 1000})}
	reqs := []trace.Request{{ID: "a", PromptTokens: 25, OutputTokens: 3}, {ID: "b", PromptTokens: 25, OutputTokens: 2}}
	var steps []string
	_, err := Project(t.Context(), p, each(reqs), Watch{Step: func(s *Step) {
		steps = append(steps, fmt.Sprintf("%s %d+%d %v", s.Kind, s.Work[PrefillTokens], s.Work[DecodeSeqs], s.Batch))
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"prefill 10+0 []", "prefill 10+0 []", "prefill 10+0 [0]", "mixed 9+1 [0]", "mixed 9+1 [0]", "prefill 2+0 [1]", "decode 0+1 [1]"}
	if !slices.Equal(steps, want) {
		t.Errorf("got  %q\nwant %q", steps, want)
	}
}

// TestPrefixes: prompts with the same beginning share blocks and are computed once.
func TestPrefixes(t *testing.T) {
	p := &Plan{Config: twoHeads(80), Limits: DefaultLimits(), PrefixTokens: 8, Rates: rates(map[Feature]float64{Steps: 1000})}
	p.Limits.Watermark = 0
	request := func(id string, at int64, prompt int, hashes ...uint64) trace.Request {
		return trace.Request{ID: id, ArrivalNS: at, PromptTokens: prompt, OutputTokens: 1, PrefixHashes: hashes}
	}
	_, got := project(t, p, []trace.Request{
		request("new", 0, 20, 1, 2, 3),              // 3 is of the 4 tokens of no whole part
		request("at once", 0, 20, 1, 2),             // not computed yet, in the same batch
		request("again", 5000, 20, 1, 2),            // 16 of 20
		request("whole", 10000, 16, 1, 2),           // but the last token, in whole blocks: 12 of 16
		request("other", 15000, 20, 2, 1),           // the same hashes after others
		request("branch", 20000, 24, 1, 7, 8),       // 8
		request("large", 25000, 80, 11, 12, 13),     // needs every block: all else is given up
		request("gone", 30000, 20, 1, 2),            // 0
		request("too large", 35000, 81, 1, 2, 3),    // never fits
		request("hit", 40000, 80, 1, 2, 3, 4, 5, 6), // fits, with parts that are cached
	})
	want := []int{0, 0, 16, 12, 0, 8, 0, 0, 0, 16}
	for i, r := range got {
		if r.Cached != want[i] {
			t.Errorf("%s: %d tokens were cached, want %d", r.ID, r.Cached, want[i])
		}
		if (r.Error != "") != (r.ID == "too large") {
			t.Errorf("%s: %q", r.ID, r.Error)
		}
	}
}

// TestRefusals checks that combinations which the modelled system does not have, and absurd
// values, are errors that name them.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		change func(*Plan)
		want   string
	}{
		{func(p *Plan) { p.ChunkedPrefill = true; p.Config.Compression.Rate = 0.5 }, "chunked prefill and compression"},
		{func(p *Plan) { p.PrefixTokens = 8; p.Config.Compression.Rate = 0.5 }, "prefix caching and compression"},
		{func(p *Plan) { p.PrefixTokens = 6 }, "want a multiple of the block size, 4"},
		{func(p *Plan) { p.PrefixTokens = -1 }, "prefix_block_tokens"},
		{func(p *Plan) { p.ChunkedPrefill = true; p.Limits.MaxNumBatchedTokens = 7 }, "max_num_batched_tokens 7"},
		{func(p *Plan) { p.Config.Blocks = 1 << 50 }, "blocks"},
		{func(p *Plan) { p.Config.Blocks = -1 }, "blocks"},
		{func(p *Plan) { p.Config.BlockSize = 3 }, "block_size 3"},
		{func(p *Plan) { p.Config.Shape.Layers = 1 << 40 }, "layers"},
		{func(p *Plan) { p.Limits.MaxNumSeqs = 0 }, "max_num_seqs 0"},
		{func(p *Plan) { p.Limits.Watermark = 2 }, "watermark 2"},
		{func(p *Plan) { p.Limits.MaxModelLen = -1 }, "max_model_len -1"},
		{func(p *Plan) { p.Rates[KVsRead] = 1 << 63; p.Rates[Steps] = 1<<64 - 1 }, "steps"},
	} {
		p := &Plan{Config: twoHeads(100), Limits: DefaultLimits()}
		c.change(p)
		_, err := Project(t.Context(), p, each(nil), Watch{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want an error with %q", err, c.want)
		}
	}
	for _, r := range []trace.Request{
		{ID: "a", ArrivalNS: -1, PromptTokens: 1, OutputTokens: 1},
		{ID: "a", PromptTokens: 0, OutputTokens: 1},
		{ID: "a", PromptTokens: 1, OutputTokens: 1 << 40},
	} {
		p := &Plan{Config: twoHeads(100), Limits: DefaultLimits()}
		if _, err := Project(t.Context(), p, each([]trace.Request{r}), Watch{}); err == nil || !strings.Contains(err.Error(), `request "a"`) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// TestInterrupted checks that an interrupted run reports requests that had arrived as unfinished.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := &Plan{Config: twoHeads(100), Limits: Limits{MaxNumSeqs: 2, MaxNumBatchedTokens: 100}, Check: true, Rates: rates(map[Feature]float64{Steps: 10})}
	var reqs []trace.Request
	for i := range 5 {
		reqs = append(reqs, trace.Request{ID: fmt.Sprint(i), ArrivalNS: int64(i/4) * 1e9, PromptTokens: 5, OutputTokens: 20})
	}
	unfinished := 0
	out, err := Project(ctx, p, each(reqs), Watch{
		Step: func(s *Step) {
			if s.Index == 9 {
				cancel()
			}
		},
		Result: func(r *Result) {
			unfinished++
			if want := []int{10, 10, 0, 0}[r.Seq]; r.OutputTokens != want || r.Finished >= 0 {
				t.Errorf("%+v, want %d tokens", r, want)
			}
		},
	})
	if !errors.Is(err, context.Canceled) || unfinished != 4 || out.Unfinished != 4 || out.Steps != 10 {
		t.Errorf("%v, %d unfinished, %+v", err, unfinished, out)
	}
}

// randomPlan is a small plan, and requests, of any kind.
func randomPlan(seed uint64) (*Plan, []trace.Request) {
	cfg, schedule, limits, reqs, rates := randomServing(seed)
	p := &Plan{Config: *cfg, Schedule: schedule, Limits: limits, Rates: *rates}
	rng := rand.New(rand.NewPCG(seed, 4))
	p.Limits.DropOutgrown, p.Limits.HoldAfterPreemption = rng.IntN(4) == 0, rng.IntN(4) == 0
	if cfg.Compression.Enabled() {
		p.Schedule.Strict, p.Schedule.UntilFree = rng.IntN(4) == 0, rng.IntN(2) == 0
		return p, reqs
	}
	p.ChunkedPrefill = rng.IntN(2) == 0
	p.Scheduler = []Scheduler{VLLM06, KVCompressServer}[rng.IntN(2)]
	if rng.IntN(2) == 0 {
		p.PrefixTokens = cfg.BlockSize * (1 + rng.IntN(3))
		for i := range reqs {
			for range rng.IntN(6) {
				reqs[i].PrefixHashes = append(reqs[i].PrefixHashes, rng.Uint64N(2))
			}
		}
	}
	return p, reqs
}

// TestRandomPlans checks the server's rules, and that results are the same with quiet steps
// taken at once.
func TestRandomPlans(t *testing.T) {
	seeds := testsize.Of[uint64](80, 250, 1500)
	var sum Projection
	for seed := range seeds {
		checkPlan(t, fmt.Sprint("seed ", seed), seed, &sum)
	}
	t.Logf("%+v", sum)
	if sum.Preemptions == 0 || sum.Cached == 0 || sum.Refused == 0 || sum.Recomputed == 0 {
		t.Error("the plans test too little")
	}
}

func checkPlan(t *testing.T, name string, seed uint64, sum *Projection) {
	t.Helper()
	var outs [2]*Projection
	var results [2][]Result
	for i, quiet := range []bool{true, false} {
		p, reqs := randomPlan(seed)
		p.Check = true
		p.MaxSteps = 1 << 20
		results[i] = make([]Result, len(reqs))
		var err error
		outs[i], err = Project(t.Context(), p, each(reqs), Watch{
			Step: func(*Step) {}, Quiet: quiet,
			Result: func(r *Result) { results[i][r.Seq] = *r },
		})
		if err != nil {
			t.Fatalf("%s, quiet %v: %v", name, quiet, err)
		}
		if n := outs[i].Finished + outs[i].Refused; n != len(reqs) {
			t.Fatalf("%s: %d of %d requests finished or were refused", name, n, len(reqs))
		}
	}
	if *outs[0] != *outs[1] {
		t.Fatalf("%s:\nskipping %+v\nstepping %+v", name, *outs[0], *outs[1])
	}
	if !slices.Equal(results[0], results[1]) {
		t.Fatalf("%s: the results differ", name)
	}
	sum.Preemptions += outs[0].Preemptions
	sum.Cached += outs[0].Cached
	sum.Refused += outs[0].Refused
	sum.Recomputed += outs[0].Recomputed
}

// FuzzRandomPlan looks for a random plan that breaks a rule.
func FuzzRandomPlan(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		checkPlan(t, fmt.Sprint("seed ", seed), seed, &Projection{})
	})
}

// FuzzProject looks for absurd values that cause a panic, a hang or a broken rule.
func FuzzProject(f *testing.F) {
	f.Add(1, 2, 16, 1000, 0.01, 256, 2048, 0.0, 0, 32, 0, 1, uint8(0), 0, uint64(1), 500, 100)
	f.Add(32, 8, 16, 1<<30, 0.9, 1, 1<<31, 0.25, 0, 0, 1<<31, 0, uint8(7), 64, uint64(2), 1<<24, 1<<24)
	f.Add(1<<40, -1, 3, 1<<60, -1.0, 0, -5, 2.0, -7, 1<<40, 1<<62, -1, uint8(255), 1<<62, uint64(3), -1, 1<<62)
	f.Add(1<<10, 1<<10, 1, 1<<36, 0.0, 1<<31-1, 1<<31-1, 1e-300, 0, 0, 0, 1<<31-1, uint8(8), 1, uint64(4), 1<<24, 5)
	f.Fuzz(func(t *testing.T, layers, kvHeads, blockSize, blocks int, watermark float64, seqs, tokens int,
		rate float64, cacheTokens, window, sinks, interval int, flags uint8, prefix int, seed uint64, prompt, output int) {
		p := &Plan{Config: ref.Default(), Limits: Limits{MaxNumSeqs: seqs, MaxNumBatchedTokens: tokens, Watermark: watermark}, PrefixTokens: prefix, Check: true, MaxSteps: 3000}
		p.Config.Shape = kv.Shape{Layers: layers, KVHeads: kvHeads, Group: 1, HeadSize: 8}
		p.Config.BlockSize, p.Config.Blocks = blockSize, blocks
		p.Config.Compression = ref.Compression{Rate: rate, MaxCacheTokens: cacheTokens, ProtectedWindow: window, Sinks: sinks}
		p.Schedule.Interval = interval
		p.ChunkedPrefill = flags&1 != 0
		p.Config.Compression.Uniform = flags&2 != 0
		p.Config.Compression.EvenLayers = flags&4 != 0
		p.Schedule.Once = flags&8 != 0
		rng := rand.New(rand.NewPCG(seed, 6))
		for i := range p.Rates {
			p.Rates[i] = rng.Uint64() >> rng.IntN(64)
		}
		if seed%2 == 0 {
			p.Rates = *FixedStepTime(1000)
		}
		out, err := Project(t.Context(), p, func(yield func(trace.Request, error) bool) {
			at := int64(0)
			for i := range 20 {
				r := trace.Request{ID: fmt.Sprint(i), ArrivalNS: at, PromptTokens: prompt >> rng.IntN(10), OutputTokens: output >> rng.IntN(10)}
				for range rng.IntN(5) {
					r.PrefixHashes = append(r.PrefixHashes, rng.Uint64N(2))
				}
				at += rng.Int64N(1 << (1 + rng.IntN(40)))
				if !yield(r, nil) {
					return
				}
			}
		}, Watch{})
		switch {
		case err != nil && (strings.HasPrefix(err.Error(), "check:") || strings.Contains(err.Error(), "audit") || strings.Contains(err.Error(), "spread")):
			t.Fatal(err)
		case err == nil && out.Finished+out.Refused != 20:
			t.Fatalf("%+v", out)
		}
	})
}
