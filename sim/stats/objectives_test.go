package stats

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kvcompress/sim"
)

// finished is a request that arrives at 0 and has the given number of tokens, the first at first
// and the last at last seconds.
func finished(first, last float64, tokens int) *sim.Result {
	return &sim.Result{FirstToken: int64(first * 1e9), Finished: int64(last * 1e9), PromptTokens: 1, OutputTokens: tokens}
}

// TestObjectives has five requests. One is refused, and one has a single token: its time per
// further token counts as zero.
func TestObjectives(t *testing.T) {
	for _, c := range []struct {
		part float64
		want []Objective
		meet bool
	}{
		// Four of five: the fourth in the order of each time.
		{0.8, []Objective{{"ttft", 2, 0.8, 2}, {"tpot", 0.5, 0.6, 1}, {"e2e", 4, 0.6, 5}}, false},
		{0.6, []Objective{{"ttft", 2, 0.8, 1}, {"tpot", 0.5, 0.6, 0.5}, {"e2e", 4, 0.6, 3}}, true},
		{0.2, []Objective{{"ttft", 2, 0.8, 1}, {"tpot", 0.5, 0.6, 0}, {"e2e", 4, 0.6, 1}}, true},
		{0, []Objective{{"ttft", 2, 0.8, 0}, {"tpot", 0.5, 0.6, 0}, {"e2e", 4, 0.6, 0}}, false},
	} {
		slo := SLO{TTFT: 2 * time.Second, TPOT: 500 * time.Millisecond, E2E: 4 * time.Second, Part: c.part}
		r := Run{SLO: slo}
		r.Request(finished(1, 2, 3))  // 0.5 s a token
		r.Request(finished(1, 1, 1))  // keeps all
		r.Request(finished(2, 5, 4))  // 1 s a token, too late
		r.Request(finished(1, 3, 11)) // 0.2 s a token
		r.Request(&sim.Result{FirstToken: -1, Finished: -1, Error: "too long"})
		s := r.Summary()
		if diff := cmp.Diff(c.want, s.Objectives); diff != "" {
			t.Errorf("%v: %s", c.part, diff)
		}
		if s.GoodShare != 0.6 || s.Meets(slo) != c.meet {
			t.Errorf("%v: %v keep all, and that they meet them is %v", c.part, s.GoodShare, s.Meets(slo))
		}
		if w := s.Worst(); w == nil || w.Name != "tpot" {
			t.Errorf("the worst is %v", w)
		}
	}
	for _, bad := range []SLO{{TTFT: -1}, {Part: -0.1}, {Part: 1.1}, {Part: math.NaN()}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is valid", bad)
		}
	}
	// 0.07 · 100 is rounded to above 7.
	r := Run{SLO: SLO{Part: 0.07}, requests: 100}
	if n := r.required(); n != 7 {
		t.Errorf("7 %% of 100 are %d", n)
	}
}

// TestMerge merges two servers by hand: the first runs from 0 to 4 s with a request, and the
// second from 2 s to 3 s with two.
func TestMerge(t *testing.T) {
	const s = 1e9
	slo := SLO{E2E: 3 * time.Second, Part: 0.5}
	a, b := Run{SLO: slo, Blocks: 10}, Run{SLO: slo, Blocks: 10}
	a.Step(&Step{Steps: 2, Start: 0, End: 4 * s, Batch: 1, Running: 1, Blocks: 5, Generated: 2})
	a.Request(finished(1, 4, 2))
	b.Step(&Step{Steps: 1, Start: 2 * s, End: 3 * s, Batch: 2, Running: 2, Waiting: 1, Blocks: 10, Generated: 2})
	b.Request(&sim.Result{Arrival: 2 * s, FirstToken: 3 * s, Finished: 3 * s, OutputTokens: 1, Admitted: 2 * s})
	b.Request(&sim.Result{Arrival: 1 * s, FirstToken: -1, Finished: -1})
	a.Merge(&b)
	got := a.Summary()
	want := Summary{
		Duration: 4, Busy: (4 + 1) / 8.0, Finished: 2, Unfinished: 1, Steps: 3, PromptTokens: 1, GenerationTokens: 3,
		MaxBatch: 2, MaxDecodeBatch: 2, OfferedRate: 1, RequestThroughput: 0.5, InputThroughput: 0.25, OutputThroughput: 0.75, TotalThroughput: 1,
		Goodput: 0.25, GoodShare: 1.0 / 3, Objectives: []Objective{{"e2e", 3, 1.0 / 3, 4}},
		Running: Level{(4 + 2) / 4.0, 2}, Waiting: Level{1 / 4.0, 1}, BatchSize: Level{(4 + 2) / 4.0, 2},
		KVUsage: Usage{(20 + 10) / 4.0 / 20, 1},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(1e-12, 0), cmpopts.IgnoreTypes(Latency{})); diff != "" {
		t.Error(diff)
	}
	if got.E2E.Count != 2 || got.E2E.Max != 4 || got.TTFT.Mean != 1 {
		t.Errorf("latencies %+v, %+v", got.E2E, got.TTFT)
	}
	empty := Run{SLO: slo, Blocks: 10}
	empty.Merge(&a)
	if diff := cmp.Diff(got.Duration, empty.Summary().Duration); diff != "" || empty.Summary().OfferedRate != 1 {
		t.Errorf("with a server that was idle: %s, %v requests a second", diff, empty.Summary().OfferedRate)
	}
}
