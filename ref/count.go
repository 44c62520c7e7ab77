package ref

import "math"

// A Quota is a number of units to be evicted from a run of consecutive heads, in
// (layer, head) order. A decision has one quota for the whole sequence, or one for
// each layer (even layers), or one for each head (uniform).
type Quota struct {
	First, Heads int // heads First to First+Heads-1 of the sequence's L·H
	Units        int // [Ranking.Unit] KVs each: blocks, or KVs
}

// Count is stage 1 of compression: E, the number of blocks that a sequence of
// length tokens, which now holds kvs KVs in blocks blocks, has to lose.
//
// By max_cache_tokens C, rounded up to whole blocks, it keeps ⌈C·L·H/B⌉ blocks.
// By rate r, with w the protected window rounded up to whole blocks, it keeps
// ⌈(length−w)·L·H·r⌉ + w·L·H KVs. Even layers round E down to a multiple of L.
func (c *Config) Count(length, kvs, blocks int) int {
	var e int
	b, heads := c.BlockSize, c.Shape.Layers*c.Shape.KVHeads
	opt := &c.Compression
	switch {
	case opt.MaxCacheTokens > 0:
		keep := ceilDiv(ceilDiv(opt.MaxCacheTokens, b)*b*heads, b)
		e = blocks - keep
	case opt.Rate > 0:
		w := ceilDiv(opt.ProtectedWindow, b) * b
		if length <= w {
			return 0
		}
		target := int(math.Ceil(float64((length-w)*heads)*opt.Rate)) + w*heads
		if kvs > target {
			e = ceilDiv(kvs-target, b)
		}
	}
	e = max(e, 0)
	if opt.EvenLayers {
		e -= e % c.Shape.Layers
	}
	return e
}

// Quotas spreads E blocks over the heads of a sequence, as even_layers,
// control_layers and uniform have it. What cannot be spread evenly, and a control
// layer's part, is not asked for.
func (c *Config) Quotas(e int) []Quota {
	layers, heads := c.Shape.Layers, c.Shape.KVHeads
	opt := &c.Compression
	switch {
	case opt.EvenLayers:
		exempt := make([]bool, layers)
		for _, l := range opt.ControlLayers {
			exempt[l] = true
		}
		var quotas []Quota
		for l := range layers {
			if !exempt[l] {
				quotas = append(quotas, Quota{l * heads, heads, e / layers})
			}
		}
		return quotas
	case opt.Uniform:
		quotas := make([]Quota, layers*heads)
		for i := range quotas {
			quotas[i] = Quota{i, 1, e / len(quotas)}
		}
		return quotas
	default:
		return []Quota{{0, layers * heads, e}}
	}
}

// asked returns how many units the quotas ask for.
func asked(quotas []Quota) int {
	n := 0
	for _, q := range quotas {
		n += q.Units
	}
	return n
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
