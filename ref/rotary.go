package ref

import (
	"math"
	"slices"

	"kvcompress/kv"
	"kvcompress/trace"
)

// Rerotator is a method under which keys may be read as if the evicted tokens had never
// been: at their cache positions, the ranks of their tokens among those that the head holds.
type Rerotator interface {
	Method

	// ByCachePosition reports whether they are. The configuration then has a Rope.
	ByCachePosition() bool
}

// rotary turns keys from one position to another.
type rotary struct {
	inverse       []float32 // radians by which each pair turns from one position to the next
	step, partner int       // pair i is elements i·step and i·step + partner
}

func newRotary(r *trace.Rope) *rotary {
	step, partner := r.Strides()
	return &rotary{r.InverseFrequencies(), step, partner}
}

// turn turns a key, [D], by a number of positions:
//
//	(a, b) → (a·cos θ − b·sin θ, a·sin θ + b·cos θ)    θ = positions · the pair's inverse frequency
//
// Every product is rounded to binary32 before it is used; θ is exact in binary64.
func (r *rotary) turn(key []float32, positions int32) {
	for i, f := range r.inverse {
		sin, cos := sincos(float64(positions) * float64(f))
		x, y := &key[i*r.step], &key[i*r.step+r.partner]
		a, b := *x, *y
		*x = float32(a*cos) - float32(b*sin)
		*y = float32(a*sin) + float32(b*cos)
	}
}

// The two parts of π/2: the first has 28 bits, so that its product with an integer below
// 2²⁵ is exact in binary64.
const (
	halfPiHi = 0x1.921fb54p+0
	halfPiLo = 0x1.10b4611a62633p-30
)

// sincos returns the sine and the cosine of an angle in radians, of magnitude up to 2²⁴,
// within 2⁻²⁵ + 2⁻⁴⁹. It is made of binary64 operations in a stated order and rounded to
// binary32 at the end: NUMERICS.md §5.
func sincos(angle float64) (sin, cos float32) {
	const round = 0x1.8p+52
	n := float64(angle*(2/math.Pi)) + round - round
	x := angle - float64(n*halfPiHi) - float64(n*halfPiLo)
	z := float64(x * x)

	s := float64(z*(-1.0/1307674368000)) + 1.0/6227020800
	s = float64(s*z) - 1.0/39916800
	s = float64(s*z) + 1.0/362880
	s = float64(s*z) - 1.0/5040
	s = float64(s*z) + 1.0/120
	s = float64(s*z) - 1.0/6
	s = x + float64(float64(x*z)*s)

	c := float64(z*(1.0/20922789888000)) - 1.0/87178291200
	c = float64(c*z) + 1.0/479001600
	c = float64(c*z) - 1.0/3628800
	c = float64(c*z) + 1.0/40320
	c = float64(c*z) - 1.0/720
	c = float64(c*z) + 1.0/24
	c = float64(c*z) - 1.0/2
	c = 1 + float64(z*c)

	switch int64(n) & 3 {
	case 1:
		return float32(c), float32(-s)
	case 2:
		return float32(-s), float32(-c)
	case 3:
		return float32(-c), float32(s)
	}
	return float32(s), float32(c)
}

// turnsOf returns by how many positions each key of a head is turned towards the query at
// position t, in logical order: as many as tokens newer than the key's have been evicted.
// That is the difference of the two distances, by token and by cache position. It is nil
// if keys are read where they are; it may use turns again.
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
