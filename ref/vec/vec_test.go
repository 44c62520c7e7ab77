package vec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// eachISA runs test for every instruction set that the loops support and the processor has, including the
// plain twins.
func eachISA(t *testing.T, test func(t *testing.T, s isa)) {
	t.Logf("supported here: %v", supported)
	for _, s := range supported {
		t.Run(s.String(), func(t *testing.T) { test(t, s) })
	}
}

// guard is written on both sides of an output, to detect writes outside it.
const guard = float32(-0x1.abcdep+77)

// guarded returns a copy of x between guards, and a function that checks the guards. The copy starts at an
// odd index, so that no vector in it is aligned.
func guarded(t *testing.T, x []float32) (inside []float32, check func()) {
	const margin = 33
	all := slices.Repeat([]float32{guard}, margin+len(x)+margin)
	inside = all[margin : margin+len(x) : margin+len(x)]
	copy(inside, x)
	return inside, func() {
		t.Helper()
		for i, y := range all {
			if (i < margin || i >= margin+len(x)) && y != guard {
				t.Fatalf("number %d of %d was written", i-margin, len(x))
			}
		}
	}
}

// kinds are the kinds of numbers that the loops are tested with.
var kinds = []struct {
	name string
	draw func(*rand.Rand) float32
}{
	{"normal", func(r *rand.Rand) float32 { return float32(r.NormFloat64()) }},
	{"integer", func(r *rand.Rand) float32 { return float32(r.IntN(17) - 8) }},
	{"subnormal product", func(r *rand.Rand) float32 { return float32(math.Ldexp(r.NormFloat64(), -65-r.IntN(12))) }},
	{"subnormal", func(r *rand.Rand) float32 { return math.Float32frombits(r.Uint32() & 0x807f_ffff) }},
	{"huge", func(r *rand.Rand) float32 { return float32(math.Ldexp(r.NormFloat64(), 56+r.IntN(3))) }},
	{"zero", func(r *rand.Rand) float32 { return math.Float32frombits(r.Uint32() & 0x8000_0000) }},
	{"any of all", func(r *rand.Rand) float32 {
		return float32(math.Ldexp(r.NormFloat64(), r.IntN(120)-60)) * float32(r.IntN(5)&1)
	}},
}

func draw(r *rand.Rand, n int, one func(*rand.Rand) float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = one(r)
	}
	return x
}

// sameBits fails the test if got and want differ in any bit.
func sameBits(t *testing.T, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("number %d of %d: %x, want %x", i, len(want), got[i], want[i])
		}
	}
}

// warpDot is a dot product as the 32 threads of a warp compute it.
func warpDot(q, k []float32) float32 {
	var lanes [32]float32
	for l := range lanes {
		for i := l; i < len(q); i += 32 {
			product := q[i] * k[i]
			lanes[l] = lanes[l] + float32(product)
		}
	}
	for _, step := range []int{16, 8, 4, 2, 1} {
		before := lanes
		for l := range lanes {
			lanes[l] = before[l] + before[l^step]
		}
	}
	for l := range lanes {
		if math.Float32bits(lanes[l]) != math.Float32bits(lanes[0]) {
			panic("a butterfly leaves different sums")
		}
	}
	return lanes[0]
}

// shapes calls f for every head size and some group sizes and numbers of rows, including more rows than a
// tile has.
func shapes(f func(g, d, rows int)) {
	for d := 8; d <= MaxD; d += 8 {
		for g := 1; g <= 9; g++ {
			for _, rows := range []int{0, 1, 2, 3, 5, 8, 16} {
				f(g, d, rows)
			}
		}
		f(3, d, 33)
		f(5, d, 97)
		f(1, d, 70)
	}
}

func TestDotsGroup(t *testing.T) {
	eachISA(t, func(t *testing.T, s isa) {
		rng := rand.New(rand.NewPCG(1, 1))
		kind := 0
		shapes(func(g, d, rows int) {
			kind = (kind + 1) % len(kinds)
			name := fmt.Sprintf("g %d, d %d, rows %d, %s", g, d, rows, kinds[kind].name)
			stride := rows + rng.IntN(3)
			q, _ := guarded(t, draw(rng, g*d, kinds[kind].draw))
			k, _ := guarded(t, draw(rng, rows*d, kinds[kind].draw))
			if rows == 0 {
				return
			}
			want := slices.Repeat([]float32{guard}, (g-1)*stride+rows)
			for j := range g {
				for r := range rows {
					want[j*stride+r] = warpDot(q[j*d:(j+1)*d], k[r*d:(r+1)*d])
				}
			}
			got, check := guarded(t, slices.Repeat([]float32{guard}, len(want)))
			s.dots(got, stride, q, k, rows, g, d)
			check()
			for i := range want {
				if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
					t.Fatalf("%s: query %d, row %d: %x, want %x", name, i/stride, i%stride, got[i], want[i])
				}
			}
		})
	})
}

func TestAccumulate(t *testing.T) {
	eachISA(t, func(t *testing.T, s isa) {
		rng := rand.New(rand.NewPCG(2, 2))
		kind := 0
		shapes(func(g, d, rows int) {
			kind = (kind + 1) % len(kinds)
			name := fmt.Sprintf("g %d, d %d, rows %d, %s", g, d, rows, kinds[kind].name)
			stride := rows + rng.IntN(3)
			if rows == 0 {
				return
			}
			e, _ := guarded(t, draw(rng, (g-1)*stride+rows, kinds[kind].draw))
			v, _ := guarded(t, draw(rng, rows*d, kinds[kind].draw))
			want := draw(rng, g*d, kinds[kind].draw)
			got, check := guarded(t, want)
			for i := range want {
				for r := range rows {
					product := e[i/d*stride+r] * v[r*d+i%d]
					want[i] = want[i] + float32(product)
				}
			}
			s.accumulate(got, e, stride, v, rows, g, d)
			check()
			for i := range want {
				if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
					t.Fatalf("%s: query %d, column %d: %x, want %x", name, i/d, i%d, got[i], want[i])
				}
			}
		})
	})
}

// TestPublic calls the exported functions, which check shapes.
func TestPublic(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	const g, d, rows = 4, 64, 7
	q, k := draw(rng, g*d, kinds[0].draw), draw(rng, rows*d, kinds[0].draw)

	scores := make([]float32, g*rows)
	DotsGroup(scores, rows, q, k, g, d)
	for j := range g {
		one := make([]float32, rows)
		Dots(one, q[j*d:(j+1)*d], k, d)
		sameBits(t, scores[j*rows:(j+1)*rows], one)
		for r, score := range one {
			sameBits(t, []float32{score}, []float32{warpDot(q[j*d:(j+1)*d], k[r*d:(r+1)*d])})
		}
	}

	// A paged cache with blocks of 2 rows gives the same.
	paged := make([]float32, g*rows)
	for r := 0; r < rows; r += 2 {
		DotsGroup(paged[r:], rows, q, k[r*d:min(r+2, rows)*d], g, d)
	}
	sameBits(t, paged, scores)

	acc, pagedAcc := make([]float32, g*d), make([]float32, g*d)
	Accumulate(acc, scores, rows, k, g, d)
	for r := 0; r < rows; r += 2 {
		Accumulate(pagedAcc, scores[r:], rows, k[r*d:min(r+2, rows)*d], g, d)
	}
	sameBits(t, pagedAcc, acc)

	DotsGroup(nil, 0, q, nil, g, d)
	Accumulate(acc, nil, 0, nil, g, d)
	Dots(nil, q[:d], nil, d)
	ExpSub(nil, nil, 0)
}

func TestShapesThatDoNotFit(t *testing.T) {
	x := make([]float32, 1024)
	for _, c := range []struct {
		name string
		call func()
	}{
		{"d 0", func() { DotsGroup(x, 4, nil, nil, 1, 0) }},
		{"d 12", func() { DotsGroup(x, 4, x[:12], x[:24], 1, 12) }},
		{"d 264", func() { DotsGroup(x, 4, x[:264], x[:264], 1, 264) }},
		{"no queries", func() { DotsGroup(x, 4, nil, x[:32], 0, 8) }},
		{"part of a query", func() { DotsGroup(x, 4, x[:15], x[:32], 2, 8) }},
		{"part of a row", func() { DotsGroup(x, 4, x[:16], x[:31], 2, 8) }},
		{"stride below rows", func() { DotsGroup(x, 3, x[:16], x[:32], 2, 8) }},
		{"short scores", func() { DotsGroup(x[:7:7], 4, x[:16], x[:32], 2, 8) }},
		{"short weights", func() { Accumulate(x[:16], x[:7:7], 4, x[:32], 2, 8) }},
		{"short keys", func() { Dots(x[:4], x[:8], x[:31:31], 8) }},
		{"nothing to take the maximum of", func() { Max(nil) }},
		{"more results than exponents", func() { ExpSub(x[:4], x[:3:3], 0) }},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", c.name)
				}
			}()
			c.call()
		}()
	}
}

func TestMax(t *testing.T) {
	eachISA(t, func(t *testing.T, s isa) {
		rng := rand.New(rand.NewPCG(4, 4))
		for n := 1; n < 200; n++ {
			for _, kind := range kinds {
				x, _ := guarded(t, draw(rng, n, kind.draw))
				if n%3 == 0 {
					for i := range x {
						x[i] = -float32(math.Abs(float64(x[i])))
					}
				}
				want := slices.Max(x) + 0
				sameBits(t, []float32{s.max(x)}, []float32{want})
			}
			for i := range n { // a single maximum at every index
				x := slices.Repeat([]float32{-2}, n)
				x[i] = -1
				sameBits(t, []float32{s.max(x)}, []float32{-1})
			}
		}
	})
}

func TestExpSub(t *testing.T) {
	eachISA(t, func(t *testing.T, s isa) {
		rng := rand.New(rand.NewPCG(5, 5))
		for n := range 100 {
			for _, spread := range []float64{1e-6, 1, 30, 150, 3e38} {
				x := draw(rng, n, func(r *rand.Rand) float32 { return float32((r.Float64()*2 - 1) * spread) })
				m := float32(spread)
				want := make([]float32, n)
				for i := range x {
					want[i] = Exp(x[i] - m)
				}
				in, checkIn := guarded(t, x)
				got, check := guarded(t, make([]float32, n))
				s.expSub(got, in, m)
				check()
				sameBits(t, got, want)
				s.expSub(in, in, m)
				checkIn()
				sameBits(t, in, want)
			}
		}
	})
}
