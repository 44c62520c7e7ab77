package llama

import (
	"fmt"
	"math"
)

// Rope says how positions turn queries and keys (Su et al., arXiv 2104.09864).
// Pair i of the D/2 pairs of a head turns by position · Theta^(−2i/D).
type Rope struct {
	Theta float64

	// Interleaved pairs elements 2i and 2i+1, as llama2.c does; otherwise elements
	// i and i+D/2 make a pair, as in Hugging Face's files.
	Interleaved bool

	// Scaling stretches the slow pairs for longer contexts, if it is not nil.
	Scaling *Llama3Scaling
}

// Llama3Scaling is the scaling of rotary frequencies that Llama 3.1 introduced.
// A pair whose wavelength is longer than OriginalPositions/LowFreqFactor turns
// Factor times slower, one that is shorter than OriginalPositions/HighFreqFactor
// is left alone, and between the two it goes over smoothly.
type Llama3Scaling struct {
	Factor            float64
	LowFreqFactor     float64
	HighFreqFactor    float64
	OriginalPositions int
}

func (s *Llama3Scaling) validate() error {
	positive := func(x float64) bool { return x > 0 && !math.IsInf(x, 0) }
	switch {
	case !positive(s.Factor) || s.Factor < 1:
		return fmt.Errorf("factor: %g is not a number from 1 on", s.Factor)
	case !positive(s.LowFreqFactor):
		return fmt.Errorf("low_freq_factor: %g is not a positive number", s.LowFreqFactor)
	case !positive(s.HighFreqFactor) || s.HighFreqFactor <= s.LowFreqFactor:
		return fmt.Errorf("high_freq_factor: %g is not a number above low_freq_factor, which is %g",
			s.HighFreqFactor, s.LowFreqFactor)
	case s.OriginalPositions < 1 || s.OriginalPositions > maxPositions:
		return fmt.Errorf("original_max_position_embeddings: %d is not between 1 and %d", s.OriginalPositions, maxPositions)
	}
	return nil
}

// scale returns the scaled frequency of a pair.
func (s *Llama3Scaling) scale(freq float64) float64 {
	turns := float64(s.OriginalPositions) * freq / (2 * math.Pi) // within the original context
	switch {
	case turns < s.LowFreqFactor:
		return freq / s.Factor
	case turns > s.HighFreqFactor:
		return freq
	}
	smooth := (turns - s.LowFreqFactor) / (s.HighFreqFactor - s.LowFreqFactor)
	return (1-smooth)*freq/s.Factor + smooth*freq
}

// frequencies returns the angle by which each pair turns from one position to
// the next. Models are trained with binary32 frequencies and angles, so these
// are rounded to it.
func (r Rope) frequencies(headSize int) []float32 {
	freqs := make([]float32, headSize/2)
	for i := range freqs {
		f := math.Pow(r.Theta, -2*float64(i)/float64(headSize))
		if r.Scaling != nil {
			f = r.Scaling.scale(f)
		}
		freqs[i] = float32(f)
	}
	return freqs
}

// rotation is the turn of every pair at one position.
type rotation struct {
	cos, sin []float32 // [HeadSize/2]
}

func newRotation(freqs []float32, position int) rotation {
	r := rotation{cos: make([]float32, len(freqs)), sin: make([]float32, len(freqs))}
	for i, f := range freqs {
		sin, cos := math.Sincos(float64(float32(position) * f))
		r.cos[i], r.sin[i] = float32(cos), float32(sin)
	}
	return r
}

// apply turns each head of x, which is [heads, HeadSize].
func (r rotation) apply(x []float32, interleaved bool) {
	half := len(r.cos)
	step, partner := 1, half
	if interleaved {
		step, partner = 2, 1
	}
	for ; len(x) > 0; x = x[2*half:] {
		for i := range half {
			a, b := &x[i*step], &x[i*step+partner]
			*a, *b = float32(*a*r.cos[i])-float32(*b*r.sin[i]), float32(*a*r.sin[i])+float32(*b*r.cos[i])
		}
	}
}
