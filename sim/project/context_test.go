package project

import (
	"context"
	"testing"

	"kvcompress/sim"
)

// TestContext: a request is refused if it is longer than max_model_len, which is the model's context unless
// it is set, on every scheduler, together and disaggregated.
func TestContext(t *testing.T) {
	for _, scheduler := range sim.Schedulers() {
		for _, c := range []struct {
			limit   int // max_model_len; 0 is not set
			tokens  int // of each request
			refused bool
		}{
			{0, 1000, false}, {0, 1001, true}, {900, 900, false}, {900, 901, true},
		} {
			cfg := config(t, "llama-3.1-8b", "l4")
			cfg.Deployment.Model.MaxLen = 1000
			cfg.Deployment.MaxModelLen, cfg.Limits.MaxModelLen, cfg.Scheduler = c.limit, c.limit, scheduler
			for _, apart := range []bool{false, true} {
				if apart && scheduler != sim.VLLMV1 {
					continue
				}
				if apart {
					cfg.Disaggregation = &sim.Disaggregation{Prefill: 1, Decode: 1, Link: sim.Link{BytesPerSecond: 1e9}}
				}
				r, err := Run(context.Background(), cfg, equal(3, 1e9, c.tokens-10, 10))
				if err != nil {
					t.Fatal(err)
				}
				want := int64(0)
				if c.refused {
					want = 3
				}
				if r.TooLong != want || r.Metrics.Refused != want || r.Metrics.Finished != 3-want {
					t.Errorf("%s, %+v, disaggregated %v: %d too long, %d refused, %d finished", scheduler, c, apart, r.TooLong, r.Metrics.Refused, r.Metrics.Finished)
				}
			}
		}
	}
}
