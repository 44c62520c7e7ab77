package ref

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/trace"
)

// TestTurn compares rotated keys with float64, within 2.6·2⁻²⁴·(|a|+|b|): each of two products has an error
// of 1.5 u (the rounding of sine or cosine and its own) and their sum one of 1 u.
func TestTurn(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	far := 0.0
	for _, rope := range []trace.Rope{
		{Base: 10000, RotarySize: 16, Pairing: trace.Half},
		{Base: 500000, RotarySize: 8, Pairing: trace.Interleaved},
	} {
		r := newRotary(&rope)
		for range 20_000 {
			key := make([]float32, 16)
			for i := range key {
				key[i] = float32(rng.NormFloat64())
			}
			got, by := slices.Clone(key), int32(rng.Uint32()>>(8+rng.UintN(24)))
			r.turn(got, by)
			want := turned(key, &rope, int(by))
			for i := range rope.RotarySize / 2 {
				x, y := i*r.step, i*r.step+r.partner
				size := math.Abs(float64(key[x])) + math.Abs(float64(key[y]))
				for _, e := range []int{x, y} {
					d := math.Abs(float64(got[e])-want[e]) / (size * 0x1p-24)
					far = max(far, d)
					if !(d <= 2.6) {
						t.Fatalf("%+v: element %d turned by %d: %g, want %g", rope, e, by, got[e], want[e])
					}
				}
			}
			if !slices.Equal(got[rope.RotarySize:], key[rope.RotarySize:]) {
				t.Fatalf("%+v: turned more than %d elements", rope, rope.RotarySize)
			}
		}
	}
	t.Logf("at most %.2f·2⁻²⁴·(|a|+|b|) away", far)
}

// turned returns a key rotated in float64.
func turned(key []float32, rope *trace.Rope, by int) []float64 {
	out := make([]float64, len(key))
	for i, v := range key {
		out[i] = float64(v)
	}
	step, partner := rope.Strides()
	for i, f := range rope.InverseFrequencies() {
		sin, cos := math.Sincos(float64(by) * float64(f))
		x, y := i*step, i*step+partner
		out[x], out[y] = out[x]*cos-out[y]*sin, out[x]*sin+out[y]*cos
	}
	return out
}

// cacheRun runs streaming-llm with cache positions at random and returns how far outputs are from the
// expected ones.
func cacheRun(t *testing.T, rope *trace.Rope, seed uint64, bend func(*Engine)) (far float64) {
	const d, prompt, steps, sinks, capacity = 16, 30, 10, 4, 12
	cfg := Default()
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: d}
	cfg.DType, cfg.BlockSize, cfg.Blocks = dtype.F32, 4, 16
	cfg.UseMethod("streaming-llm")
	cfg.Set, cfg.Rope = set("positions", `"cache"`), rope
	cfg.Compression = Compression{MaxCacheTokens: capacity}
	e, err := NewEngine(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if bend != nil {
		bend(e)
	}
	rng := rand.New(rand.NewPCG(seed, 9))
	draw := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		return x
	}
	// The keys and queries before rotation; the engine receives them rotated, as a model computes them.
	n := prompt + steps
	raw := struct{ q, k, v []float32 }{draw(n * d), draw(n * d), draw(n * d)}
	rotated := func(x []float32, first, last int) []float32 {
		out := make([]float32, 0, (last-first)*d)
		for i := first; i < last; i++ {
			for _, v := range turned(x[i*d:][:d], rope, i) {
				out = append(out, float32(v))
			}
		}
		return out
	}
	p, err := e.BeginPrompt(0, prompt)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Layer(nil, rotated(raw.k, 0, prompt), raw.v[:prompt*d]); err != nil {
		t.Fatal(err)
	}
	p.End()
	for at := prompt; at < n; at++ {
		if _, err := e.Compress(0); err != nil {
			t.Fatal(err)
		}
		// As published: the held tokens in order, then the new one; keys are rotated by their rank, the query
		// by the last rank.
		var held []int
		for i := range sinks {
			held = append(held, i)
		}
		for i := at - (capacity - sinks); i <= at; i++ {
			held = append(held, i)
		}
		want, sum := make([]float64, d), 0.0
		q := turned(raw.q[at*d:][:d], rope, len(held)-1)
		for rank, i := range held {
			dot := 0.0
			for e, v := range turned(raw.k[i*d:][:d], rope, rank) {
				dot += q[e] * v
			}
			weight := math.Exp(dot / math.Sqrt(d))
			sum += weight
			for e := range want {
				want[e] += weight * float64(raw.v[i*d+e])
			}
		}
		s, err := e.BeginTokens([]kv.SeqID{0})
		if err != nil {
			t.Fatal(err)
		}
		out := make([]float32, d)
		if err := s.Layer(rotated(raw.q, at, at+1), rotated(raw.k, at, at+1), raw.v[at*d:][:d], out); err != nil {
			t.Fatal(err)
		}
		s.End()
		for e := range want {
			far = max(far, math.Abs(float64(out[e])-want[e]/sum))
		}
	}
	return far
}

// TestCachePositions compares outputs with StreamingLLM's implementation, which caches keys before rotation
// and rotates them by rank, and plants bugs that this must find.
func TestCachePositions(t *testing.T) {
	const tolerance = 1e-5
	ropes := []trace.Rope{
		{Base: 10000, RotarySize: 16, Pairing: trace.Half},
		{Base: 10000, RotarySize: 8, Pairing: trace.Interleaved},
	}
	for i := range ropes {
		for seed := range uint64(10) {
			if far := cacheRun(t, &ropes[i], seed, nil); far > tolerance {
				t.Errorf("%+v: an output is %g away", ropes[i], far)
			}
		}
		for _, bug := range []plantedBug{
			{"keys are read where they were", func(e *Engine) { e.rotary = nil }},
			{"keys are turned away from the query", func(e *Engine) {
				for j := range e.rotary.inverse {
					e.rotary.inverse[j] = -e.rotary.inverse[j]
				}
			}},
			{"pairs are interleaved the other way", func(e *Engine) {
				other := ropes[1-i]
				other.RotarySize = ropes[i].RotarySize
				e.rotary = newRotary(&other)
			}},
			{"the slowest pair is not turned", func(e *Engine) { e.rotary.inverse = e.rotary.inverse[:len(e.rotary.inverse)-1] }},
			{"another base", func(e *Engine) {
				other := ropes[i]
				other.Base = 500000
				e.rotary = newRotary(&other)
			}},
		} {
			if far := cacheRun(t, &ropes[i], 1, bug.bend); far <= tolerance {
				t.Errorf("%+v: nothing notices: %s", ropes[i], bug.name)
			}
		}
	}
}
