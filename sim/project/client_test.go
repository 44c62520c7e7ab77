package project

import (
	"context"
	"math"
	"testing"
	"time"

	"kvcompress/sim"
	"kvcompress/sim/cost"
	"kvcompress/sim/stats"
)

// TestClientByHand: one request of 3 tokens in steps of 10 ms, with a client's constant of 5 ms:
// 15 ms to the first token, 35 ms in all; with it, objectives are missed that the server alone
// would meet.
func TestClientByHand(t *testing.T) {
	profile := &cost.Profile{Fits: []cost.Fit{{Card: "l4", Server: sim.VLLMV1, Of: "a test", Factors: cost.Factors{"step": 10_000, cost.RequestTerm: 5000}, Quality: cost.Quality{TPOTMAPE: 0.02}}}}
	for _, c := range []struct {
		slo  stats.SLO
		kept float64
	}{{stats.SLO{TTFT: 15 * time.Millisecond}, 1}, {stats.SLO{TTFT: 14 * time.Millisecond}, 0}, {stats.SLO{E2E: 34 * time.Millisecond}, 0}, {stats.SLO{TPOT: 10 * time.Millisecond}, 1}} {
		cfg := config(t, "llama-3.1-8b", "l4")
		cfg.Scheduler, cfg.Profile, cfg.SLO = sim.VLLMV1, profile, c.slo
		r, err := Run(context.Background(), cfg, equal(1, 0, 100, 3))
		if err != nil {
			t.Fatal(err)
		}
		m := &r.Metrics
		for name, v := range map[string][2]float64{"TTFT": {m.TTFT.Mean, 0.015}, "TPOT": {m.TPOT.Mean, 0.010}, "E2E": {m.E2E.Mean, 0.035}, "client": {r.Client, 0.005}} {
			if !(math.Abs(v[0]-v[1]) <= 1e-9) {
				t.Errorf("%s: %v s, want %v", name, v[0], v[1])
			}
		}
		if m.GoodShare != c.kept {
			t.Errorf("%+v: %v of the requests keep it, want %v", c.slo, m.GoodShare, c.kept)
		}
		if r.Factors != "a test" || r.Other != "" || r.Expected != "TPOT 2.0 %, TTFT 0.0 % and throughput 0.0 % on average over its rows" {
			t.Errorf("%q, %q, %q", r.Factors, r.Other, r.Expected)
		}
	}
	cfg := config(t, "llama-3.1-8b", "h100")
	cfg.Scheduler, cfg.Profile = sim.VLLM06, profile
	r, err := Run(context.Background(), cfg, equal(1, 0, 100, 3))
	if err != nil || r.Other != "another server (vllm-v1, not vllm-0.6) and another card (l4, not h100)" || r.Expected != "not known: it is a fit to another server" {
		t.Errorf("%q, %q, %v", r.Other, r.Expected, err)
	}
}
