package draw

import (
	"math/rand/v2"

	"kvcompress/kv"
	"kvcompress/ref"
)

// KVCompress draws the options of KV-Compress for a cache of a shape. The options may exclude each other.
func KVCompress(r *rand.Rand, s kv.Shape) (ref.Metric, ref.Compression) {
	m := ref.Metric{
		Norm:      pick(r, ref.L2, ref.L1),
		Reduction: pick(r, ref.Sum, ref.Avg),
		MaxPool:   pick(r, 0, 3, 7, 7, 31),
		Window:    pick(r, 1, 2, 8, 31, 32, 33, 300),
		Buffer:    pick(r, 0, 0, 1, 5, 40),
	}
	c := ref.Compression{
		ProtectedWindow: pick(r, 0, 0, 1, 5, 32),
		Sinks:           pick(r, 0, 0, 1, 4),
		Random:          r.IntN(6) == 0,
		Seed:            r.Uint64(),
	}
	if r.IntN(2) == 0 {
		c.MaxCacheTokens = 1 + r.IntN(pick(r, 8, 64))
	} else {
		c.Rate = pick(r, 0.01, 0.25, 0.5, 0.5, 0.9, 1)
	}
	switch r.IntN(4) {
	case 0:
		c.EvenLayers = true
		if r.IntN(2) == 0 {
			c.ControlLayers = []int{r.IntN(s.Layers)}
		}
	case 1:
		c.Uniform = true
	}
	if r.IntN(3) == 0 {
		c.HeadBias = HeadBias(r, s, 1+r.IntN(4))
		c.BiasWeight = pick[float32](r, 1, 0.5, -1, 0)
	}
	return m, c
}

// HeadBias draws a head bias with the given number of bins.
func HeadBias(r *rand.Rand, s kv.Shape, bins int) *ref.HeadBias {
	b := &ref.HeadBias{Bins: []int32{0}}
	for range bins - 1 {
		b.Bins = append(b.Bins, b.Bins[len(b.Bins)-1]+1+int32(r.IntN(40)))
	}
	for range s.Layers {
		var heads [][]float32
		for range s.KVHeads {
			var bins []float32
			for range b.Bins {
				bins = append(bins, pick(r, 0, 1, -1, r.Float32()))
			}
			heads = append(heads, bins)
		}
		b.Bias = append(b.Bias, heads)
	}
	return b
}
