package sim_test

import (
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/cost"
)

// TestSkippingSpared checks that skipped steps change no result with the default spread.
func TestSkippingSpared(t *testing.T) {
	seeds := testsize.Of(25, 120, 900)
	sim.SkippingWith(t, seeds, func(kv.Shape) sim.Spread { return cost.Spared{} })
}

func TestCoursesSpared(t *testing.T) { sim.CoursesWith(t, cost.Spared{}) }

// BenchmarkSpared serves requests as BenchmarkServer does, with compression at every step and
// the default spread. With it some heads keep growing, so that no two steps are equal.
func BenchmarkSpared(b *testing.B) {
	for _, server := range []sim.Scheduler{sim.KVCompressServer, sim.VLLMV1} {
		for _, budget := range []struct {
			name   string
			tokens int
			rate   float64
		}{{"256 KVs a head", 256, 0}, {"rate 0.25", 0, 0.25}} {
			b.Run(string(server)+"/"+budget.name, func(b *testing.B) {
				cfg, limits, rates := sim.Llama8B()
				cfg.Compression = ref.Default().Compression
				cfg.Compression.MaxCacheTokens, cfg.Compression.Rate = budget.tokens, budget.rate
				p := &sim.Plan{
					Config: cfg, Schedule: sim.DefaultSchedule(), Limits: limits, Rates: *rates, Spread: cost.Spared{},
					Scheduler: server,
				}
				if server == sim.VLLMV1 {
					p.V1 = sim.DefaultV1(0)
					p.V1.Prefixes = false
				}
				sim.ServeLoad(b, p, sim.Load(b.N), sim.Watch{})
			})
		}
	}
}
