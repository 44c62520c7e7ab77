package cost

import (
	"context"
	"math"
	"strings"
	"testing"

	"kvcompress/sim"
	"kvcompress/trace"
)

// TestRecordIsTheRun: the means that follow from a record, by costs that it was not made with,
// are those of a run with these costs. Times of a run are whole nanoseconds, rounded down, so
// that a span between two of them is off by less than one.
func TestRecordIsTheRun(t *testing.T) {
	fit := &Fit{Overlap: true, Factors: ServerFactors()}
	for _, s := range []Serving{
		{ISL: 700, OSL: 40, Concurrency: 5, Requests: 23},
		{ISL: 3000, OSL: 17, Concurrency: 1, Requests: 3},
		{ISL: 3000, OSL: 17, Concurrency: 12, Requests: 30, MaxTokens: 512, MaxSeqs: 6},
		{ISL: 500, OSL: 30, Requests: 40, MaxTokens: 1024},                      // a batch
		{ISL: 500, OSL: 1, Requests: 9},                                         // no output token has a time
		{ISL: 600, OSL: 20, Concurrency: 7, Requests: 31, Backend: "sglang"},    // equal requests in waves
		{ISL: 900, OSL: 20, Concurrency: 4, Requests: 11, Whole: true},          // prompts in one piece
		{ISL: 900, OSL: 300, Requests: 60, Utilization: 0.75, MaxTokens: 2048},  // blocks lack: preemptions
		{ISL: 400, OSL: 12, Concurrency: 3, Requests: 9, Model: "mixtral-8x7b"}, // experts
		{ISL: 400, OSL: 12, Concurrency: 3, Requests: 9, Model: "gpt-oss-20b"},  // windows
	} {
		s.GPU, s.TP = "rtx-4090", 1
		if s.Utilization == 0 {
			s.Utilization = 0.9
		}
		switch s.Model {
		case "":
			s.Model = "llama-3.1-8b"
		default:
			s.GPU, s.TP = "h100", 2
		}
		s.KV = New(catalogModel(t, s.Model), roundCard()).KV
		c, err := NewServingCase(context.Background(), s)
		if err != nil {
			t.Errorf("%+v: %v", s, err)
			continue
		}
		rates, products, err := c.Deployment.Costs(fit)
		if err != nil {
			t.Fatal(err)
		}
		plan, _, err := c.Deployment.plan(sim.Limits{MaxNumSeqs: c.Deployment.MaxSeqs, MaxNumBatchedTokens: c.Deployment.MaxTokens})
		if err != nil {
			t.Fatal(err)
		}
		plan.Concurrency, plan.Rates, plan.Products, plan.V1.WholePrompts = s.Concurrency, rates, products, s.Whole
		if c.Rules.PrefillFirst {
			plan.Scheduler, plan.V1 = sim.KVCompressServer, sim.V1{}
		}
		var ttft, tpot float64
		several := 0
		out, err := sim.Project(context.Background(), plan, func(yield func(trace.Request, error) bool) {
			for _, r := range s.requests(c.Rules.Jitter, 16) {
				if !yield(r, nil) {
					return
				}
			}
		}, sim.Watch{Result: func(r *sim.Result) {
			ttft += float64(r.FirstToken-r.Arrival) / float64(s.Count())
			if r.OutputTokens > 1 {
				tpot += float64(r.Finished-r.FirstToken) / float64(r.OutputTokens-1)
				several++
			}
		}})
		if err != nil || out.Finished != s.Count() {
			t.Fatal(out, err)
		}
		tpot /= float64(max(1, several))
		exact := new([sim.NumFeatures]float64) // as the run has them, in whole ticks
		for f, ticks := range rates {
			exact[f] = float64(ticks) / sim.TicksPerNS
		}
		for _, mean := range []struct {
			name string
			run  float64 // ns
			of   *weighted
		}{{"TTFT", ttft, &c.record.ttft}, {"TPOT", tpot, &c.record.tpot}, {"duration", float64(out.EndNS), &c.record.total}} {
			if got := 1e9 * mean.of.seconds(exact, products); math.Abs(got-mean.run) > 1+1e-9*mean.run {
				t.Errorf("%s, %d and %d tokens, %d clients: the record has a %s of %v ns, the run %v", s.Model, s.ISL, s.OSL, s.Concurrency, mean.name, got, mean.run)
			}
		}
		if want := int64(out.InputTokens + out.Output); c.record.tokens != want {
			t.Errorf("%d tokens, want %d", c.record.tokens, want)
		}
	}
}

// TestWeighted adds up steps by hand, more often than they are gathered.
func TestWeighted(t *testing.T) {
	var w weighted
	for range 3000 {
		w.add(&sim.Work{sim.Steps: 2, sim.PrefillTokens: 8, sim.DecodeSeqs: 6}, 2, 0.5) // twice 4 and 3
		w.add(&sim.Work{sim.Steps: 1, sim.PrefillTokens: 4, sim.DecodeSeqs: 3}, 1, 0.25)
		w.add(&sim.Work{sim.Steps: 1, sim.PrefillTokens: 4, sim.DecodeSeqs: 2}, 1, 1)
	}
	w.gather()
	want := []batchWeight{{batch{4, 2}, 3000}, {batch{4, 3}, 3000 * 1.25}}
	if len(w.products) != 2 || w.products[0] != want[0] || w.products[1] != want[1] {
		t.Errorf("%v, want %v", w.products, want)
	}
	rates := &[sim.NumFeatures]float64{sim.Steps: 10, sim.DecodeSeqs: 100}
	// A round is ½·(2·10 + 6·100) + ¼·(10 + 300) + (10 + 200) ns = 597.5 ns.
	if got, want := w.seconds(rates, nil), 3000*597.5e-9; !near(got, want) {
		t.Errorf("%v s, want %v", got, want)
	}
	products := func(p, n int64) float64 { return float64(1000*p + n) }
	if got, want := w.seconds(rates, products), 3000*(597.5+4002+1.25*4003)*1e-9; !near(got, want) {
		t.Errorf("with products %v s, want %v", got, want)
	}
}

// TestRecordRefuses names the first request that cannot be served.
func TestRecordRefuses(t *testing.T) {
	s := Serving{GPU: "rtx-4090", Model: "llama-3.1-8b", TP: 1, Utilization: 0.75, ISL: 30_000, OSL: 100_000, Requests: 1}
	s.KV = New(catalogModel(t, s.Model), roundCard()).KV
	if _, err := NewServingCase(context.Background(), s); err == nil || !strings.Contains(err.Error(), "of 1 requests 1 do not finish") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.ISL, s.OSL = 100, 100
	if _, err := NewServingCase(ctx, s); err == nil {
		t.Error("a run that was cancelled has a record")
	}
}

// TestRequestsOfARun has the lengths by hand: frac(φ) = 0.618, frac(2φ) = 0.236; frac(√2) =
// 0.414, frac(2√2) = 0.828, each over ±10 %.
func TestRequestsOfARun(t *testing.T) {
	s := Serving{ISL: 1000, OSL: 1000, Concurrency: 1, Requests: 2}
	got := s.requests(0.1, 16)
	for i, want := range [][2]int{{1024, 983}, {947, 1066}} {
		if got[i].PromptTokens != want[0] || got[i].OutputTokens != want[1] {
			t.Errorf("request %d: %d and %d tokens, want %v", i, got[i].PromptTokens, got[i].OutputTokens, want)
		}
	}
	if got := s.requests(0, 16); got[1].PromptTokens != 1000 || got[1].OutputTokens != 1000 {
		t.Errorf("without jitter %+v", got)
	}
	batch := Serving{ISL: 10, OSL: 1, Requests: 3}
	if got := batch.requests(0.1, 16); len(got) != 3 || got[2].PromptTokens != 10 || got[2].OutputTokens != 1 {
		t.Errorf("a batch %+v", got)
	}
	if one := spreadLength(1, 1, math.Phi, 0.9); one != 1 {
		t.Errorf("a length of %d", one)
	}
	for n, s := range map[int]Serving{7: {Requests: 7, Concurrency: 3}, 24: {Concurrency: 3}, 1: {}} {
		if got := s.Count(); got != n {
			t.Errorf("%+v: %d requests, want %d", s, got, n)
		}
	}
}
