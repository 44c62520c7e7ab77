package llama

import (
	"math"

	"kvcompress/trace"
)

// DynamicRope is the dynamic (NTK-aware) scaling of a rotary embedding. If a sequence has n
// tokens, those being fed included, these are rotated with the base
//
//	base · (Factor·n/OriginalPositions − (Factor − 1))^(d/(d−2))
//
// where d is the head size and n is above OriginalPositions. Cached keys are not rotated again.
type DynamicRope struct {
	Factor            float64
	OriginalPositions int
}

// RopeOf returns the rotary embedding of the tokens being fed. length is the number of tokens
// of the sequence, these included. Without dynamic scaling it is Rope for every length.
func (c Config) RopeOf(length int) trace.Rope {
	r := c.Rope
	if c.Dynamic == nil || length <= c.Dynamic.OriginalPositions {
		return r
	}
	d := float64(c.HeadSize)
	grown := c.Dynamic.Factor*float64(length)/float64(c.Dynamic.OriginalPositions) - (c.Dynamic.Factor - 1)
	r.Base = min(r.Base*math.Pow(grown, d/(d-2)), trace.MaxRopeBase/2)
	return r
}

// RopeWithin returns the rotary embedding of all tokens of a sequence of at most length tokens,
// or nil if dynamic scaling changes it within that length.
func (c Config) RopeWithin(length int) *trace.Rope {
	if c.Dynamic != nil && length > c.Dynamic.OriginalPositions {
		return nil
	}
	return &c.Rope
}

// rotation is the rotation of every pair at one position. cos and sin include the magnitude.
type rotation struct {
	cos, sin []float32 // [HeadSize/2]
}

func newRotation(freqs []float32, magnitude float32, position int) rotation {
	r := rotation{cos: make([]float32, len(freqs)), sin: make([]float32, len(freqs))}
	trace.Angles(r.cos, r.sin, freqs, position)
	for i := range r.cos {
		r.cos[i] *= magnitude
		r.sin[i] *= magnitude
	}
	return r
}

// apply rotates each head of x, which is [heads, rope.RotarySize].
func (r rotation) apply(x []float32, rope trace.Rope) {
	step, partner := rope.Strides()
	for ; len(x) > 0; x = x[rope.RotarySize:] {
		for i := range r.cos {
			a, b := &x[i*step], &x[i*step+partner]
			*a, *b = trace.RotatePair(*a, *b, r.cos[i], r.sin[i])
		}
	}
}
