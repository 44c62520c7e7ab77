package sim

import (
	"math/rand/v2"
	"testing"
)

// TestAsking checks that asking agrees with Counting.asks, for budgets and rates, and for short
// and long sequences.
func TestAsking(t *testing.T) {
	asked := map[Counting]int{}
	for seed := range uint64(300) {
		cfg, _, _, _, _ := randomServing(seed)
		cfg.Compression.EvenLayers = false
		for _, c := range Countings() {
			rng := rand.New(rand.NewPCG(seed, 15))
			a := newAsking(cfg, c)
			for range 50 {
				tokens := 1 + rng.IntN(1<<(1+rng.IntN(18)))
				kvs := 1 + rng.IntN(tokens*cfg.Shape.Heads())
				blocks := kvs/cfg.BlockSize + rng.IntN(1+cfg.Shape.Heads())
				got, want := a.of(tokens, kvs, blocks), c.asks(cfg, tokens, kvs, blocks)
				if got != want {
					t.Fatalf("seed %d, counting %q: %d tokens, %d KVs in %d blocks: %d, want %d", seed, c, tokens, kvs, blocks, got, want)
				}
				asked[c] += min(1, got)
			}
			if len(a.kept) > mostKept {
				t.Fatalf("seed %d: %d KVs are kept in a table of at most %d", seed, len(a.kept), mostKept)
			}
		}
	}
	for _, c := range Countings() {
		if asked[c] == 0 {
			t.Errorf("counting %q asks for nothing", c)
		}
	}
}
