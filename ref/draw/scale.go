package draw

import (
	"math"
	"math/rand/v2"

	"kvcompress/dtype"
	"kvcompress/kv"
)

// Scale draws the scales of an fp8 cache of the given number of layers: one for all layers or one for each,
// sometimes the smallest or largest valid scale. For half of the fp8 caches, and all others, it is nil.
func Scale(r *rand.Rand, format dtype.DType, layers int) *kv.Scale {
	if format.Size() > 1 || r.IntN(2) == 0 {
		return nil
	}
	return &kv.Scale{K: scales(r, layers), V: scales(r, layers)}
}

func scales(r *rand.Rand, layers int) []float32 {
	s := make([]float32, pick(r, 1, layers))
	for i := range s {
		usual := float32(math.Ldexp(1+r.Float64(), r.IntN(16)-10)) // computed exactly, so the same on every platform
		s[i] = pick(r, usual, usual, usual, usual, usual, 1, kv.MinScale, kv.MaxScale)
	}
	return s
}
