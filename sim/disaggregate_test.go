package sim

import (
	"context"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"kvcompress/internal/ceil"
	"kvcompress/trace"
)

// disaggregated is a plan of vLLM V1 whose steps take 5 ns for a prompt token and 1 ns for a
// decoded one, and a link that takes 5 ns a block and has 7 ns latency.
func disaggregated(prefill, decode int) (*Plan, Disaggregation) {
	p := &Plan{
		Config: twoHeads(1000), Limits: DefaultLimits(), Check: true, Scheduler: VLLMV1, V1: DefaultV1(0),
		Rates: rates(map[Feature]float64{PrefillTokens: 5, DecodeSeqs: 1}),
	}
	return p, Disaggregation{Prefill: prefill, Decode: decode, Router: RoundRobin, Link: Link{BytesPerSecond: 20e9, LatencyNS: 7, BlockBytes: 100}}
}

// TestDisaggregated compares with times worked out by hand, for requests of 4 tokens.
func TestDisaggregated(t *testing.T) {
	type times struct{ Admitted, First, Finished, Replica int }
	for _, c := range []struct {
		name            string
		prefill, decode int
		reqs            []trace.Request
		want            map[string]times
		wait            float64 // for the link
	}{
		// Both prompts are computed until 40. 0 is sent until 45 and arrives at 52, 1 is sent until
		// 50 and arrives at 57. The last token of 0 is computed until 57; then that of 1, in a batch
		// with a decode, until 63; then both decode until 65, and 1 alone until 66.
		{"one of each", 1, 1, asks([2]int{0, 3}, [2]int{0, 3}), map[string]times{"0": {0, 57, 65, 0}, "1": {0, 63, 66, 0}}, 5e-9},
		// Each is computed until 20, sent until 25 over a link of its own, and arrives at 32.
		{"two of each", 2, 2, asks([2]int{0, 3}, [2]int{0, 3}), map[string]times{"0": {0, 37, 39, 0}, "1": {0, 37, 39, 1}}, 0},
		// 1 arrives while 0 is computed, waits until 20, is computed until 40 and arrives at 52.
		{"a wait", 1, 2, asks([2]int{0, 1}, [2]int{3, 2}), map[string]times{"0": {0, 37, 37, 0}, "1": {20, 57, 58, 1}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, d := disaggregated(c.prefill, c.decode)
			got := map[string]times{}
			sum, err := ProjectDisaggregated(t.Context(), p, d, each(c.reqs), func(int) Watch {
				return Watch{Result: func(r *Result) {
					got[r.ID] = times{int(r.Admitted), int(r.FirstToken), int(r.Finished), r.Replica}
				}}
			})
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%v\ngot  %v\nwant %v", err, got, c.want)
			}
			if sum.Sent != len(c.reqs) || sum.LinkBusy != 5e-9*float64(len(c.reqs)) || sum.LinkWait != c.wait {
				t.Errorf("%d prompts sent, busy for %v s, after waiting for %v", sum.Sent, sum.LinkBusy, sum.LinkWait)
			}
			if sum.Finished != len(c.reqs) || sum.InputTokens != 4*len(c.reqs) || sum.Cached != 0 {
				t.Errorf("%+v", sum)
			}
		})
	}
}

// TestDisaggregatedServesAll checks that each of random requests ends once, with all its output
// tokens, no sooner than its KVs can arrive; and at the same time with and without skipped steps.
func TestDisaggregatedServesAll(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 5))
		p, d := disaggregated(1+rng.IntN(3), 1+rng.IntN(3))
		p.Config.Blocks = 200 + rng.IntN(400) // few, so that some are preempted
		reqs := make([]trace.Request, 60)
		at := int64(0)
		for i := range reqs {
			at += int64(rng.IntN(300))
			reqs[i] = trace.Request{ID: string(rune('A' + i)), ArrivalNS: at, PromptTokens: 1 + rng.IntN(200), OutputTokens: 1 + rng.IntN(50)}
		}
		serve := func(step func(*Step)) map[string]Result {
			got := map[string]Result{}
			_, err := ProjectDisaggregated(t.Context(), p, d, each(reqs), func(int) Watch {
				return Watch{Step: step, Result: func(r *Result) { got[r.ID] = *r }}
			})
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		quick, plain := serve(nil), serve(func(*Step) {})
		if !reflect.DeepEqual(quick, plain) {
			t.Fatalf("seed %d: skipping is not stepping", seed)
		}
		for _, r := range reqs {
			got := quick[r.ID]
			least := r.ArrivalNS + 5*int64(r.PromptTokens) + d.Link.SendNS(ceil.Div(r.PromptTokens, p.Config.BlockSize)) + 7 + 5
			if got.Error == "" && (got.OutputTokens != r.OutputTokens || got.Arrival != r.ArrivalNS || got.FirstToken < least || got.PromptTokens != r.PromptTokens) {
				t.Errorf("seed %d: %+v of %+v: its first token cannot be there before %d", seed, got, r, least)
			}
		}
	}
}

// TestDisaggregatedRefuses checks that options that are not modelled are errors.
func TestDisaggregatedRefuses(t *testing.T) {
	for want, change := range map[string]func(*Plan, *Disaggregation){
		"0 prefill replicas":         func(_ *Plan, d *Disaggregation) { d.Prefill = 0 },
		"-1 decode replicas":         func(_ *Plan, d *Disaggregation) { d.Decode = -1 },
		"0 bytes per second":         func(_ *Plan, d *Disaggregation) { d.Link.BytesPerSecond = 0 },
		"latency of -1 ns":           func(_ *Plan, d *Disaggregation) { d.Link.LatencyNS = -1 },
		"on vllm-v1 only":            func(p *Plan, _ *Disaggregation) { p.Scheduler = VLLM06 },
		"no closed loop":             func(p *Plan, _ *Disaggregation) { p.Concurrency = 2 },
		"turns as recorded":          func(p *Plan, _ *Disaggregation) { p.Turns = TurnsWait },
		"with compression":           func(p *Plan, _ *Disaggregation) { p.Config.Compression.MaxCacheTokens = 64 },
		"there is no router \"any\"": func(_ *Plan, d *Disaggregation) { d.Router = "any" },
	} {
		p, d := disaggregated(1, 1)
		change(p, &d)
		if _, err := ProjectDisaggregated(t.Context(), p, d, each(asks([2]int{0, 1})), func(int) Watch { return Watch{} }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want an error with %q", err, want)
		}
	}
	// A link that takes an hour for a block sends the last request after the latest possible time.
	p, d := disaggregated(1, 1)
	d.Link = Link{BytesPerSecond: 1, BlockBytes: 3600}
	late := asks([2]int{0, 1})
	late[0].ArrivalNS = trace.MaxArrivalNS - 3600e9
	if sum, err := ProjectDisaggregated(t.Context(), p, d, each(late), func(int) Watch { return Watch{} }); err == nil || !strings.Contains(err.Error(), "never sends request") || sum.Unfinished != 1 {
		t.Errorf("a link that is too slow: %+v, %v", sum, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	p, d = disaggregated(1, 1)
	if sum, err := ProjectDisaggregated(ended, p, d, each(asks([2]int{0, 1})), func(int) Watch { return Watch{} }); err == nil || sum == nil {
		t.Errorf("interrupted: %+v, %v", sum, err)
	}
}
