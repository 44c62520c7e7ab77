package draw

import (
	"math/rand/v2"
	"testing"

	"kvcompress/dtype"
	"kvcompress/kv"
)

// TestScale draws scales: only for fp8 caches, all valid, of all kinds.
func TestScale(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0))
	have := map[string]int{}
	for range 1000 {
		cfg := kv.Config{Shape: kv.Shape{Layers: 1 + r.IntN(3), KVHeads: 1, Group: 1, HeadSize: 8}, BlockSize: 1, Blocks: 1, DType: dtype.DType(r.IntN(5))}
		cfg.KVScale = Scale(r, cfg.DType, cfg.Shape.Layers)
		if bad := cfg.Problems(nil); bad != nil {
			t.Fatal(bad)
		}
		s := cfg.KVScale
		if s == nil {
			if cfg.DType.Size() == 1 {
				have["none, fp8"]++
			}
			continue
		}
		for what, is := range map[string]bool{
			"one for all": len(s.K) < cfg.Shape.Layers, "one for each": len(s.V) > 1,
			"least": s.K[0] == kv.MinScale, "largest": s.V[0] == kv.MaxScale, "1": s.K[0] == 1, "another": s.K[0] != s.V[0],
		} {
			if is {
				have[what]++
			}
		}
	}
	for _, what := range []string{"none, fp8", "one for all", "one for each", "least", "largest", "1", "another"} {
		if have[what] < 5 {
			t.Errorf("%s: %d of 1000", what, have[what])
		}
	}
}
