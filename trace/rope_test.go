package trace

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"kvcompress/kv"
)

// TestInverseFrequencies compares with the formula in math's functions: rounded to
// binary32, both are the same numbers.
func TestInverseFrequencies(t *testing.T) {
	scalings := []*RopeScaling{
		nil,
		{Type: Llama3, Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalPositions: 8192},
		{Type: Llama3, Factor: 32, LowFreqFactor: 1, HighFreqFactor: 4, OriginalPositions: 8192},
	}
	for _, base := range []float64{1, 100, 10_000, 500_000, 1e6, 8e6, 1e7, 123_456.75, 1e29} {
		for size := 2; size <= kv.MaxHeadSize; size += 2 {
			for i, s := range scalings {
				r := Rope{Base: base, RotarySize: size, Pairing: Half, Scaling: s}
				if err := r.Check(); err != nil {
					t.Fatal(err)
				}
				for pair, got := range r.InverseFrequencies() {
					want := math.Pow(base, -2*float64(pair)/float64(size))
					if s != nil {
						want = s.llama3(want)
					}
					if got != float32(want) {
						t.Errorf("base %g, size %d, scaling %d, pair %d: %g, want %g", base, size, i, pair, got, float32(want))
					}
				}
			}
		}
	}
}

// The formula as the documentation of transformers has it, with wavelengths.
func TestRopeScaling(t *testing.T) {
	const base, headSize = 500000.0, 128
	const factor, low, high, original = 8.0, 1.0, 4.0, 8192.0
	r := Rope{Base: base, RotarySize: headSize, Pairing: Half, Scaling: &RopeScaling{Type: Llama3, Factor: factor, LowFreqFactor: low, HighFreqFactor: high, OriginalPositions: original}}
	freqs := r.InverseFrequencies()
	var slow, smooth, fast int
	for i, got := range freqs {
		invFreq := 1 / math.Pow(base, float64(2*i)/headSize)
		wavelen := 2 * math.Pi / invFreq
		want := invFreq
		switch {
		case wavelen > original/low:
			want = invFreq / factor
			slow++
		case wavelen < original/high:
			fast++
		default:
			s := (original/wavelen - low) / (high - low)
			want = (1-s)*invFreq/factor + s*invFreq
			smooth++
		}
		if math.Abs(float64(got)-want) > 1e-7*want {
			t.Errorf("pair %d: %g, want %g", i, got, want)
		}
	}
	// Worked by hand: 2π·500000^(i/64) passes 2048 at i = 28.2 and 8192 at i = 35.0.
	if fast != 29 || smooth != 6 || slow != 29 {
		t.Errorf("%d pairs are left alone, %d go over, %d are slowed down; want 29, 6, 29", fast, smooth, slow)
	}
	// Pair 32, halfway: frequency 1/√500000, 1.84385 turns within 8192 positions.
	if want := 0.000524846; math.Abs(float64(freqs[32])-want) > 1e-9 {
		t.Errorf("pair 32: %.9f, want %.9f", freqs[32], want)
	}
}

// TestStrides checks that the pairs are each element once.
func TestStrides(t *testing.T) {
	for pairing, want := range map[Pairing]string{Half: "[0 3 1 4 2 5]", Interleaved: "[0 1 2 3 4 5]"} {
		var got []int
		step, partner := Rope{Base: 1, RotarySize: 6, Pairing: pairing}.Strides()
		for i := range 3 {
			got = append(got, i*step, i*step+partner)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: %v, want %s", pairing, got, want)
		}
	}
}

// yarn is Qwen2.5's scaling from 32,768 positions to four times as many.
func yarn(change func(*RopeScaling)) *RopeScaling {
	s := &RopeScaling{Type: YaRN, Factor: 4, OriginalPositions: 32768, BetaFast: 32, BetaSlow: 1, AttentionFactor: 1.138629436111989}
	if change != nil {
		change(s)
	}
	return s
}

// Worked by hand for base 10⁶ and 128 elements: a pair turns 32 times within 32,768
// positions at i = 23.6 and once at 39.6, so that pairs 0 to 23 are left alone, those from
// 40 on turn 4 times slower, and pair 30 is 7/17 of the way.
func TestYaRN(t *testing.T) {
	r := Rope{Base: 1e6, RotarySize: 128, Pairing: Half, Scaling: yarn(nil)}
	freqs := r.InverseFrequencies()
	for i, share := range map[int]float64{0: 0, 23: 0, 24: 1.0 / 17, 30: 7.0 / 17, 39: 16.0 / 17, 40: 1, 63: 1} {
		f := math.Pow(1e6, -float64(i)/64)
		if want := f*(1-share) + f/4*share; math.Abs(float64(freqs[i])-want) > 1e-7*want {
			t.Errorf("pair %d: %g, want %g", i, freqs[i], want)
		}
	}
	if r.Magnitude() != 1.1386294 {
		t.Errorf("magnitude %g, want 0.1·ln 4 + 1", r.Magnitude())
	}
	r.Scaling = &RopeScaling{Type: Linear, Factor: 4}
	if got, want := r.InverseFrequencies()[1], float32(math.Pow(1e6, -1.0/64)/4); got != want || r.Magnitude() != 1 {
		t.Errorf("linear: %g and magnitude %g, want %g and 1", got, r.Magnitude(), want)
	}
}

func TestRopeCheck(t *testing.T) {
	llama3 := RopeScaling{Type: Llama3, Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalPositions: 8192}
	for _, tc := range []struct {
		breaks func(*Rope)
		want   string // "" for none
	}{
		{func(*Rope) {}, ""},
		{func(r *Rope) { r.Scaling = nil }, ""},
		{func(r *Rope) { r.Base = 0.5 }, "rope: base is 0.5, want"},
		{func(r *Rope) { r.Base = MaxRopeBase }, "rope: base is 1e+30, want"},
		{func(r *Rope) { r.Base = math.NaN() }, "rope: base is NaN, want"},
		{func(r *Rope) { r.RotarySize = 0 }, "rope: rotary_size is 0, want"},
		{func(r *Rope) { r.RotarySize = 7 }, "rope: rotary_size is 7, want an even number"},
		{func(r *Rope) { r.RotarySize = kv.MaxHeadSize + 2 }, "rope: rotary_size is 258, want"},
		{func(r *Rope) { r.Pairing = "" }, `rope: pairing is "", want half or interleaved`},
		{func(r *Rope) { r.Scaling.Type = "longrope" }, `rope: scaling: rope_type is "longrope", want linear, llama3 or yarn`},
		{func(r *Rope) { r.Scaling = &RopeScaling{Type: Linear, Factor: 2} }, ""},
		{func(r *Rope) { r.Scaling.Type = Linear }, "rope: scaling: a scaling of rope_type linear has fields of other types"},
		{func(r *Rope) { r.Scaling = yarn(nil) }, ""},
		{func(r *Rope) { r.Scaling, r.Base = yarn(nil), 1 }, "rope: scaling: base is 1"},
		{func(r *Rope) { r.Scaling = yarn(func(s *RopeScaling) { s.BetaSlow = 0 }) }, "rope: scaling: beta_slow is 0"},
		{func(r *Rope) { r.Scaling = yarn(func(s *RopeScaling) { s.BetaFast = 0.5 }) }, "rope: scaling: beta_fast is 0.5"},
		{func(r *Rope) { r.Scaling = yarn(func(s *RopeScaling) { s.AttentionFactor = math.NaN() }) }, "rope: scaling: attention_factor is NaN"},
		{func(r *Rope) { r.Scaling = yarn(func(s *RopeScaling) { s.LowFreqFactor = 1 }) }, "rope: scaling: a scaling of rope_type yarn has fields"},
		{func(r *Rope) { r.Scaling.Factor = 0.5 }, "rope: scaling: factor is 0.5, want"},
		{func(r *Rope) { r.Scaling.Factor = math.Inf(1) }, "rope: scaling: factor is +Inf, want"},
		{func(r *Rope) { r.Scaling.LowFreqFactor = 0 }, "rope: scaling: low_freq_factor is 0, want"},
		{func(r *Rope) { r.Scaling.HighFreqFactor = 1 }, "rope: scaling: high_freq_factor is 1, want"},
		{func(r *Rope) { r.Scaling.OriginalPositions = 0 }, "rope: scaling: original_max_position_embeddings is 0, want"},
	} {
		scaling := llama3
		r := Rope{Base: 10_000, RotarySize: 8, Pairing: Interleaved, Scaling: &scaling}
		tc.breaks(&r)
		switch err := r.Check(); {
		case tc.want == "" && err != nil:
			t.Error(err)
		case tc.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tc.want)):
			t.Errorf("%v, want %s…", err, tc.want)
		}
	}
}
