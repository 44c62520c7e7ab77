package draw

import (
	"math"
	"math/rand/v2"

	"kvcompress/dtype"
	"kvcompress/kv"
)

// Scale draws the scales of a cache of that many layers, for half of the fp8 caches: one for
// all layers or one for each, now and then the least or the largest that there may be. For
// the others it is nil.
func Scale(r *rand.Rand, format dtype.DType, layers int) *kv.Scale {
	if format.Size() > 1 || r.IntN(2) == 0 {
		return nil
	}
	return &kv.Scale{K: scales(r, layers), V: scales(r, layers)}
}

func scales(r *rand.Rand, layers int) []float32 {
	s := make([]float32, pick(r, 1, layers))
	for i := range s {
		usual := float32(math.Ldexp(1+r.Float64(), r.IntN(16)-10)) // exact: the same on every platform
		s[i] = pick(r, usual, usual, usual, usual, usual, 1, kv.MinScale, kv.MaxScale)
	}
	return s
}
