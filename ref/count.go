package ref

import (
	"math"

	"kvcompress/internal/ceil"
)

// A Quota is a number of units to evict from consecutive heads, in (layer, head) order. A decision has one
// quota for the whole sequence, one for each layer (even layers), or one for each head (uniform).
type Quota struct {
	First, Heads int // heads First to First+Heads-1 of the sequence's L·H
	Units        int // of [Ranking.Unit] KVs each
}

// Count is stage 1 of compression. It returns E, the number of blocks to evict from a sequence of length
// tokens that now holds kvs KVs in blocks blocks.
//
// With max_cache_tokens C, rounded up to whole blocks, the sequence keeps ⌈C·L·H/B⌉ blocks. With rate r, and
// w the protected window rounded up to whole blocks, it keeps ⌈(length−w)·L·H·r⌉ + w·L·H KVs. With even
// layers, E is rounded down to a multiple of L.
func (c *Config) Count(length, kvs, blocks int) int {
	var e int
	b, heads := c.BlockSize, c.Shape.Layers*c.Shape.KVHeads
	opt := &c.Compression
	switch {
	case opt.MaxCacheTokens > 0:
		keep := ceil.Div(ceil.Div(opt.MaxCacheTokens, b)*b*heads, b)
		e = blocks - keep
	case opt.Rate > 0:
		w := ceil.Div(opt.ProtectedWindow, b) * b
		if length <= w {
			return 0
		}
		target := int(math.Ceil(float64((length-w)*heads)*opt.Rate)) + w*heads
		if kvs > target {
			e = ceil.Div(kvs-target, b)
		}
	}
	e = max(e, 0)
	if opt.EvenLayers {
		e -= e % c.Shape.Layers
	}
	return e
}

// Quotas divides E blocks among the heads of a sequence, by even_layers, control_layers and uniform. A
// remainder that cannot be divided evenly, and the share of control layers, is not evicted.
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
