package trace

import (
	"fmt"
	"math"

	"kvcompress/kv"
	"kvcompress/strictjson"
)

// Rope is the rotary position embedding of a trace's queries and keys (Su et al., arXiv 2104.09864). The
// first RotarySize elements of each head are RotarySize/2 pairs. At position p, pair i, (a, b), is rotated by
// the angle θ = p·InverseFrequencies()[i] to
//
//	(a·cos θ − b·sin θ, a·sin θ + b·cos θ)
//
// and multiplied by Magnitude. The other elements do not change. A token's position is its index in the
// request.
type Rope struct {
	Base       float64      `json:"base"`        // base of the frequencies, rope_theta in Hugging Face's files
	RotarySize int          `json:"rotary_size"` // rotated elements of a head; even
	Pairing    Pairing      `json:"pairing"`
	Scaling    *RopeScaling `json:"scaling,omitempty"` // nil for none
}

// Pairing says which elements of a head make a pair.
type Pairing string

// The pairings, for a head whose first R elements are rotated.
const (
	Half        Pairing = "half"        // i and i + R/2, as Hugging Face's rotate_half
	Interleaved Pairing = "interleaved" // 2i and 2i + 1, as llama2.c and the paper
)

// RopeScaling is a scaling of rotary frequencies, with the names of a Hugging Face config.json. Type
// determines which other fields are used.
//
//   - Linear divides every frequency by Factor (position interpolation).
//   - Llama3 is Llama 3.1's: a pair whose wavelength, in positions, is longer than
//     OriginalPositions/LowFreqFactor rotates Factor times slower, one with a wavelength
//     shorter than OriginalPositions/HighFreqFactor does not change, and between the two
//     there is a smooth transition.
//   - YaRN (Peng et al., arXiv 2309.00071) has the transition in the index of the pair:
//     pairs that make more than BetaFast turns within OriginalPositions do not change,
//     pairs that make less than BetaSlow turns rotate Factor times slower, and in between
//     the two frequencies are mixed linearly in the pair's index. Queries and keys are
//     each multiplied by AttentionFactor.
type RopeScaling struct {
	Type              string  `json:"rope_type"` // Linear, Llama3 or YaRN
	Factor            float64 `json:"factor"`
	LowFreqFactor     float64 `json:"low_freq_factor,omitempty"`                  // Llama3
	HighFreqFactor    float64 `json:"high_freq_factor,omitempty"`                 // Llama3
	OriginalPositions int     `json:"original_max_position_embeddings,omitempty"` // Llama3, YaRN
	BetaFast          float64 `json:"beta_fast,omitempty"`                        // YaRN
	BetaSlow          float64 `json:"beta_slow,omitempty"`                        // YaRN
	Untruncated       bool    `json:"untruncated,omitempty"`                      // YaRN: the two ends of the transition are not rounded outwards to whole pairs
	AttentionFactor   float64 `json:"attention_factor,omitempty"`                 // YaRN
}

// The types of RopeScaling.
const (
	Linear = "linear"
	Llama3 = "llama3"
	YaRN   = "yarn"
)

// Bounds of a Rope.
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
		if r.Scaling.Type == YaRN && r.Base == 1 {
			errs = append(errs, fmt.Errorf("rope: scaling: base is 1, so all pairs rotate alike: want more for %s", YaRN))
		}
	}
	return errs
}

// Check returns an error that names the first field that is out of bounds or not one of the type's.
func (s RopeScaling) Check() error {
	positive := func(x float64) bool { return x > 0 && !math.IsInf(x, 0) }
	var has RopeScaling // fields of the type
	switch s.Type {
	case Linear:
	case Llama3:
		has = RopeScaling{LowFreqFactor: s.LowFreqFactor, HighFreqFactor: s.HighFreqFactor, OriginalPositions: s.OriginalPositions}
	case YaRN:
		has = RopeScaling{OriginalPositions: s.OriginalPositions, BetaFast: s.BetaFast, BetaSlow: s.BetaSlow, Untruncated: s.Untruncated, AttentionFactor: s.AttentionFactor}
	default:
		return fmt.Errorf("rope_type is %q, want %s, %s or %s", strictjson.Excerpt(s.Type), Linear, Llama3, YaRN)
	}
	has.Type, has.Factor = s.Type, s.Factor
	switch {
	case !positive(s.Factor) || s.Factor < 1:
		return fmt.Errorf("factor is %g, want at least 1", s.Factor)
	case s.Type == Llama3 && !positive(s.LowFreqFactor):
		return fmt.Errorf("low_freq_factor is %g, want a positive number", s.LowFreqFactor)
	case s.Type == Llama3 && (!positive(s.HighFreqFactor) || s.HighFreqFactor <= s.LowFreqFactor):
		return fmt.Errorf("high_freq_factor is %g, want more than low_freq_factor, %g", s.HighFreqFactor, s.LowFreqFactor)
	case s.Type != Linear && (s.OriginalPositions < 1 || s.OriginalPositions > MaxOriginalPositions):
		return fmt.Errorf("original_max_position_embeddings is %d, want 1 to %d", s.OriginalPositions, MaxOriginalPositions)
	case s.Type == YaRN && !positive(s.BetaSlow):
		return fmt.Errorf("beta_slow is %g, want a positive number", s.BetaSlow)
	case s.Type == YaRN && (!positive(s.BetaFast) || s.BetaFast < s.BetaSlow):
		return fmt.Errorf("beta_fast is %g, want at least beta_slow, %g", s.BetaFast, s.BetaSlow)
	case s.Type == YaRN && !positive(s.AttentionFactor):
		return fmt.Errorf("attention_factor is %g, want a positive number", s.AttentionFactor)
	case s != has:
		return fmt.Errorf("a scaling of rope_type %s has fields of other types", s.Type)
	}
	return nil
}

// Magnitude returns the factor by which the embedding multiplies queries and keys in addition to rotating
// them: YaRN's AttentionFactor, 1 for other types.
func (r Rope) Magnitude() float32 {
	if r.Scaling == nil || r.Scaling.Type != YaRN {
		return 1
	}
	return float32(r.Scaling.AttentionFactor)
}

// InverseFrequencies returns the angle in radians by which each pair rotates from one position to the next,
// [RotarySize/2]: Base^(−2i/RotarySize), scaled and then rounded to binary32, in which models are trained.
// The result is bit-identical on every machine. Check must accept r.
func (r Rope) InverseFrequencies() []float32 {
	freqs := make([]float32, r.RotarySize/2)
	log := ln(r.Base)
	scale := r.scaling()
	for i := range freqs {
		freqs[i] = float32(scale(i, exp(float64(log*float64(-2*i))/float64(r.RotarySize))))
	}
	return freqs
}

// Angles writes to cos and sin, [RotarySize/2] each, the cosine and the sine of every pair's angle at a
// position, which must be below 2²⁴. freqs are the inverse frequencies. The angle is the product of position
// and frequency in binary32, as models compute it; its sine and cosine are within 2⁻⁴⁸ before they are
// rounded to binary32. The results are bit-identical on every machine.
func Angles(cos, sin, freqs []float32, position int) {
	for i, f := range freqs {
		s, c := Sincos(float64(float32(float32(position) * f)))
		sin[i], cos[i] = float32(s), float32(c)
	}
}

// RotatePair returns (a·cos − b·sin, a·sin + b·cos): a pair of elements rotated by the angle with that cosine
// and sine. Every product is rounded to binary32 before it is used.
func RotatePair(a, b, cos, sin float32) (float32, float32) {
	return float32(a*cos) - float32(b*sin), float32(a*sin) + float32(b*cos)
}

// Strides returns where the pairs are: pair i is elements i·step and i·step + partner of a head.
func (r Rope) Strides() (step, partner int) {
	if r.Pairing == Interleaved {
		return 2, 1
	}
	return 1, r.RotarySize / 2
}

// scaling returns the function that scales the frequency of a pair.
func (r Rope) scaling() func(pair int, freq float64) float64 {
	s := r.Scaling
	if s == nil {
		return func(_ int, freq float64) float64 { return freq }
	}
	switch s.Type {
	case Linear:
		return func(_ int, freq float64) float64 { return freq / s.Factor }
	case YaRN:
		first, last := r.yarnRange()
		return func(pair int, freq float64) float64 {
			slow := max(0, min(1, (float64(pair)-first)/(last-first)))
			return float64(freq/s.Factor*slow) + float64(freq*(1-slow))
		}
	default:
		return func(_ int, freq float64) float64 { return s.llama3(freq) }
	}
}

// llama3 returns the scaled frequency.
func (s *RopeScaling) llama3(freq float64) float64 {
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

// yarnRange returns the first and last pair of YaRN's transition, which need not be integers. Pair i makes β
// turns within n positions if
//
//	i = R·ln(n/(2πβ)) / (2·ln base)
func (r Rope) yarnRange() (first, last float64) {
	s := r.Scaling
	pair := func(turns float64) float64 {
		return float64(float64(r.RotarySize)*ln(float64(s.OriginalPositions)/float64(turns*2*math.Pi))) / float64(2*ln(r.Base))
	}
	first, last = pair(s.BetaFast), pair(s.BetaSlow)
	if !s.Untruncated {
		first, last = math.Floor(first), math.Ceil(last)
	}
	first, last = max(first, 0), min(last, float64(r.RotarySize-1))
	if first == last {
		last += 0.001 // as published, to avoid a division by 0
	}
	return first, last
}
