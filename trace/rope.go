package trace

import (
	"fmt"
	"math"

	"kvcompress/kv"
	"kvcompress/strictjson"
)

// Rope is the rotary position embedding that a trace's queries and keys carry (Su
// et al., arXiv 2104.09864). Of each head, the first RotarySize elements are
// RotarySize/2 pairs. At position p pair i, (a, b), is turned by the angle
// θ = p·InverseFrequencies()[i]:
//
//	(a·cos θ − b·sin θ, a·sin θ + b·cos θ)
//
// The other elements are left alone. A token's position is its index in the request.
type Rope struct {
	Base       float64      `json:"base"`        // the frequencies' base, rope_theta in Hugging Face's files
	RotarySize int          `json:"rotary_size"` // elements of a head that are turned; even
	Pairing    Pairing      `json:"pairing"`
	Scaling    *RopeScaling `json:"scaling,omitempty"` // nil for none
}

// Pairing says which elements of a head make a pair.
type Pairing string

// The pairings, of a head whose first R elements are turned.
const (
	Half        Pairing = "half"        // i and i + R/2, as Hugging Face's rotate_half
	Interleaved Pairing = "interleaved" // 2i and 2i + 1, as llama2.c and the paper
)

// RopeScaling is the scaling of rotary frequencies that Llama 3.1 introduced, under
// the names that a Hugging Face config.json has for it. A pair whose wavelength, in
// positions, is longer than OriginalPositions/LowFreqFactor turns Factor times
// slower, one that is shorter than OriginalPositions/HighFreqFactor is left alone,
// and between the two it goes over smoothly.
type RopeScaling struct {
	Type              string  `json:"rope_type"` // Llama3
	Factor            float64 `json:"factor"`
	LowFreqFactor     float64 `json:"low_freq_factor"`
	HighFreqFactor    float64 `json:"high_freq_factor"`
	OriginalPositions int     `json:"original_max_position_embeddings"`
}

// Llama3 is the one type of RopeScaling.
const Llama3 = "llama3"

// The bounds of a Rope.
const (
	MinRopeBase          = 1
	MaxRopeBase          = 1e30
	MaxOriginalPositions = 1 << 26
)

// Check returns an error that names the first field out of bounds.
func (r Rope) Check() error { return first(r.problems()) }

func (r Rope) problems() []error {
	var errs []error
	if !(r.Base >= MinRopeBase && r.Base < MaxRopeBase) {
		errs = append(errs, fmt.Errorf("rope: base is %g, want a number from %d to %g", r.Base, MinRopeBase, MaxRopeBase))
	}
	if r.RotarySize < 2 || r.RotarySize > kv.MaxHeadSize || r.RotarySize%2 != 0 {
		errs = append(errs, fmt.Errorf("rope: rotary_size is %d, want an even number from 2 to %d", r.RotarySize, kv.MaxHeadSize))
	}
	if r.Pairing != Half && r.Pairing != Interleaved {
		errs = append(errs, fmt.Errorf("rope: pairing is %q, want %s or %s", strictjson.Excerpt(string(r.Pairing)), Half, Interleaved))
	}
	if r.Scaling != nil {
		if err := r.Scaling.Check(); err != nil {
			errs = append(errs, fmt.Errorf("rope: scaling: %w", err))
		}
	}
	return errs
}

// Check returns an error that names the first field out of bounds.
func (s RopeScaling) Check() error {
	positive := func(x float64) bool { return x > 0 && !math.IsInf(x, 0) }
	switch {
	case s.Type != Llama3:
		return fmt.Errorf("rope_type is %q, want %s", strictjson.Excerpt(s.Type), Llama3)
	case !positive(s.Factor) || s.Factor < 1:
		return fmt.Errorf("factor is %g, want a number from 1 on", s.Factor)
	case !positive(s.LowFreqFactor):
		return fmt.Errorf("low_freq_factor is %g, want a positive number", s.LowFreqFactor)
	case !positive(s.HighFreqFactor) || s.HighFreqFactor <= s.LowFreqFactor:
		return fmt.Errorf("high_freq_factor is %g, want a number above low_freq_factor, which is %g", s.HighFreqFactor, s.LowFreqFactor)
	case s.OriginalPositions < 1 || s.OriginalPositions > MaxOriginalPositions:
		return fmt.Errorf("original_max_position_embeddings is %d, want 1 to %d", s.OriginalPositions, MaxOriginalPositions)
	}
	return nil
}

// InverseFrequencies returns the angle in radians by which each pair turns from one
// position to the next, [RotarySize/2]: Base^(−2i/RotarySize), scaled and then
// rounded to binary32, in which models are trained. It is the same to the bit on
// every machine. r is one that Check accepts.
func (r Rope) InverseFrequencies() []float32 {
	freqs := make([]float32, r.RotarySize/2)
	log := ln(r.Base)
	for i := range freqs {
		f := exp(float64(log*float64(-2*i)) / float64(r.RotarySize))
		if r.Scaling != nil {
			f = r.Scaling.scale(f)
		}
		freqs[i] = float32(f)
	}
	return freqs
}

// Angles writes to cos and sin, [RotarySize/2] each, the cosine and the sine of the angle
// of every pair at a position. freqs are the inverse frequencies. The angle is the product
// of position and frequency, each in binary32 and rounded to it, as models compute it; its
// sine and cosine are within 2⁻⁴⁸ before they are rounded to binary32. They are the same to
// the bit on every machine. A position is below 2²⁴.
func Angles(cos, sin, freqs []float32, position int) {
	for i, f := range freqs {
		s, c := Sincos(float64(float32(float32(position) * f)))
		sin[i], cos[i] = float32(s), float32(c)
	}
}

// Strides says where the pairs lie: pair i is elements i·step and i·step + partner of
// a head.
func (r Rope) Strides() (step, partner int) {
	if r.Pairing == Interleaved {
		return 2, 1
	}
	return 1, r.RotarySize / 2
}

// scale returns the scaled frequency of a pair.
func (s *RopeScaling) scale(freq float64) float64 {
	turns := float64(float64(s.OriginalPositions)*freq) / (2 * math.Pi) // within the original context
	switch {
	case turns < s.LowFreqFactor:
		return freq / s.Factor
	case turns > s.HighFreqFactor:
		return freq
	}
	smooth := (turns - s.LowFreqFactor) / (s.HighFreqFactor - s.LowFreqFactor)
	return float64((1-smooth)*freq)/s.Factor + float64(smooth*freq)
}
