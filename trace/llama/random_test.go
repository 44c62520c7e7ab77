package llama_test

import (
	"math/rand/v2"
)

// randomCheckpoint makes a small model of random weights.
func randomCheckpoint(seed uint64) *checkpoint {
	c := &checkpoint{dim: 32, hidden: 48, layers: 3, heads: 4, kvHeads: 2, vocab: 50, positions: 100}
	random := rand.New(rand.NewPCG(seed, 0))
	for _, w := range c.tensors() {
		if w.to == nil {
			continue
		}
		*w.to = make([]float32, w.len)
		for i := range *w.to {
			(*w.to)[i] = float32(random.NormFloat64()) * 0.3
		}
	}
	return c
}
