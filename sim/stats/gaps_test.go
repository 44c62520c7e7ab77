package stats_test

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/stats"
	"kvcompress/trace"
)

// TestGaps checks that, if no sequence is preempted, the times between tokens add up
// to those from first to last tokens, with prompts whole and in parts, and
// with requests of one token.
func TestGaps(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 5))
		plan := sim.Plan{
			Config:         ref.Default(),
			Limits:         sim.Limits{MaxNumSeqs: 1 + rng.IntN(20), MaxNumBatchedTokens: 40 + rng.IntN(300)},
			ChunkedPrefill: seed%2 == 0,
		}
		plan.Config.Shape = kv.Shape{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 16}
		plan.Config.Blocks = 1 << 14
		plan.Config.Compression = ref.Compression{}
		plan.Rates[sim.Steps] = 1e6 * sim.TicksPerNS
		plan.Rates[sim.PrefillTokens] = 1e4 * sim.TicksPerNS

		run := stats.Run{}
		want, count := 0.0, int64(0)
		_, err := sim.Project(t.Context(), &plan, arrivals(rng), sim.Watch{
			Quiet: true,
			Step: func(s *sim.Step) {
				e := stats.FromStep(s)
				run.Step(&e)
			},
			Result: func(r *sim.Result) {
				if r.Finished >= 0 { // others are refused
					want += float64(r.Finished - r.FirstToken)
					count += int64(r.OutputTokens - 1)
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		itl := run.Summary().ITL
		if got := float64(itl.Mean * float64(itl.Count) * 1e9); itl.Count != count || math.Abs(got-want) > 1e-6*want {
			t.Errorf("seed %d: %d gaps of %.0f ns in all, want %d of %.0f", seed, itl.Count, got, count, want)
		}
	}
}

// arrivals are 60 requests, many of one token.
func arrivals(rng *rand.Rand) iter.Seq2[trace.Request, error] {
	return func(yield func(trace.Request, error) bool) {
		at := int64(0)
		for i := range 60 {
			at += rng.Int64N(20e6)
			r := trace.Request{ID: fmt.Sprint(i), ArrivalNS: at, PromptTokens: 1 + rng.IntN(100), OutputTokens: 1 + rng.IntN(40)*rng.IntN(2)}
			if !yield(r, nil) {
				return
			}
		}
	}
}
