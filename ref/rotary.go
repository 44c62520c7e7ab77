package ref

import (
	"slices"

	"kvcompress/kv"
	"kvcompress/trace"
)

// Rerotator is a method that may read keys at their cache positions, as in StreamingLLM: a KV's cache
// position is the rank of its token among the tokens that the head holds.
type Rerotator interface {
	Method

	// ByCachePosition reports whether it does. The configuration must then have a Rope.
	ByCachePosition() bool
}

// rotary rotates keys from one position to another.
type rotary struct {
	inverse       []float32 // inverse frequency of each pair: radians per position
	step, partner int       // pair i is elements i·step and i·step + partner
}

func newRotary(r *trace.Rope) *rotary {
	step, partner := r.Strides()
	return &rotary{r.InverseFrequencies(), step, partner}
}

// turn rotates a key, [D], by a number of positions:
//
//	(a, b) → (a·cos θ − b·sin θ, a·sin θ + b·cos θ)    θ = positions · the pair's inverse frequency
//
// Every product is rounded to binary32 before it is used; θ is exact in binary64.
func (r *rotary) turn(key []float32, positions int32) {
	for i, f := range r.inverse {
		s, c := trace.Sincos(float64(positions) * float64(f))
		x, y := &key[i*r.step], &key[i*r.step+r.partner]
		*x, *y = trace.RotatePair(*x, *y, float32(c), float32(s))
	}
}

// turnsOf returns by how many positions each key of a head is rotated towards the query at position t, in
// logical order: the number of evicted tokens that are newer than the key's. That is its distance from the
// query by token position minus the distance by cache position. It returns nil if keys are read at their
// token positions. It may reuse turns.
func (e *Engine) turnsOf(turns []int32, h *kv.Head, t int) []int32 {
	if e.rotary == nil {
		return nil
	}
	turns = turns[:0]
	for i := range h.Len {
		turns = append(turns, e.cache.Positions[e.cache.Slot(h, i)])
	}
	held := slices.Sorted(slices.Values(turns))
	for i, position := range turns {
		rank, _ := slices.BinarySearch(held, position)
		turns[i] = int32(t) - position - int32(len(held)-1-rank)
	}
	return turns
}
