package heads

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"
)

func TestSlopes(t *testing.T) {
	exp := func(powers ...float64) []float64 {
		slopes := make([]float64, len(powers))
		for i, p := range powers {
			slopes[i] = math.Exp2(p)
		}
		return slopes
	}
	for n, want := range map[int][]float64{
		1:  exp(-8),
		2:  exp(-4, -8),
		3:  exp(-4, -8, -2),
		6:  exp(-2, -4, -6, -8, -1, -3),
		8:  exp(-1, -2, -3, -4, -5, -6, -7, -8),
		12: exp(-1, -2, -3, -4, -5, -6, -7, -8, -0.5, -1.5, -2.5, -3.5),
	} {
		if got := Slopes(n); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%d heads: %v, want %v", n, got, want)
		}
	}
}

// randomHead draws a head: its projections, and a norm whose γ is even or not.
func randomHead(r *rand.Rand, d, size int, even bool) (q, k Projection, n Norm) {
	draw := func(n int, scale float64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64() * scale)
		}
		return x
	}
	q, k = Projection{Weight: draw(d*size, 0.3)}, Projection{Weight: draw(d*size, 0.3)}
	n = Norm{Gamma: draw(size, 1)}
	if even {
		for i := range n.Gamma {
			n.Gamma[i] = 0.5
		}
		return q, k, n
	}
	q.Bias, k.Bias, n.Beta = draw(d, 1), draw(d, 1), draw(size, 0.3)
	return q, k, n
}

// project returns W·x + b.
func (p Projection) project(x []float64) []float64 {
	d := len(p.Weight) / len(x)
	out := wide(p.Bias, d)
	for i := range out {
		for j, v := range x {
			out[i] += float64(p.Weight[i*len(x)+j]) * v
		}
	}
	return out
}

// TestScope attends with random heads to tokens of which some are as far apart as they
// can be: no key beyond the scope has a weight of epsilon or more, and the bound is not
// idle: with its half, some have.
func TestScope(t *testing.T) {
	const epsilon = 1e-5
	beyond := func(bound func(q, k Projection, n Norm) float64) (worst float64) {
		for seed := range uint64(300) {
			r := rand.New(rand.NewPCG(seed, 1))
			d, size := 1+r.IntN(4), 4+r.IntN(8)
			q, k, n := randomHead(r, d, size, seed%2 == 0)
			slope := math.Exp2(-float64(r.IntN(4)))
			scope := Scope(bound(q, k, n), slope, epsilon)
			far := int(scope) + 1 // tokens back: the nearest key beyond
			// The largest weight over x̂ of the far key, relative to the query's own.
			worst = max(worst, math.Exp(largest(r, q, k, n)-slope*float64(far))/epsilon)
		}
		return worst
	}
	if worst := beyond(ProvenBound); worst >= 1 {
		t.Errorf("a key beyond the scope has %g times epsilon", worst)
	}
	half := func(q, k Projection, n Norm) float64 { return ProvenBound(q, k, n) / 2 }
	if worst := beyond(half); worst < 1 {
		t.Errorf("with half the bound no key has more than %g of epsilon: the test is too weak", worst)
	}
	// Uneven γ, β and biases, which the paper's bound does not cover.
	if worst := beyond(PublishedBound); worst < 1 {
		t.Errorf("the published bound held here: at most %g of epsilon", worst)
	}
}

// largest climbs to an x̂_m and an x̂_n of length √N, whose elements sum to 0 as LayerNorm
// has it, for which (q_m·k_n − q_m·k_m)/√D is large.
func largest(r *rand.Rand, q, k Projection, n Norm) float64 {
	size := len(n.Gamma)
	normed := func(x []float64) []float64 {
		mean, square := 0.0, 0.0
		for _, v := range x {
			mean += v / float64(size)
		}
		for i := range x {
			x[i] -= mean
			square += x[i] * x[i]
		}
		for i := range x {
			x[i] *= math.Sqrt(float64(size) / square)
		}
		return x
	}
	score := func(m, of []float64) float64 {
		x := func(hat []float64) []float64 {
			y := wide(n.Beta, size)
			for i, v := range hat {
				y[i] += float64(n.Gamma[i]) * v
			}
			return y
		}
		query, far, own := q.project(x(m)), k.project(x(of)), k.project(x(m))
		sum := 0.0
		for i, v := range query {
			sum += v * (far[i] - own[i])
		}
		return sum / math.Sqrt(float64(len(query)))
	}
	random := func() []float64 {
		x := make([]float64, size)
		for i := range x {
			x[i] = r.NormFloat64()
		}
		return normed(x)
	}
	best := math.Inf(-1)
	for range 3 {
		m, of := random(), random()
		now := score(m, of)
		for step := 1.0; step > 1e-3; step *= 0.97 {
			a, b := append([]float64(nil), m...), append([]float64(nil), of...)
			for i := range a {
				a[i] += step * r.NormFloat64()
				b[i] += step * r.NormFloat64()
			}
			if s := score(normed(a), normed(b)); s > now {
				m, of, now = a, b, s
			}
		}
		best = max(best, now)
	}
	return best
}

// TestEvenBounds: of an even γ without β and biases, both bounds are the same.
func TestEvenBounds(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		q, k, n := randomHead(r, 1+r.IntN(8), 8+r.IntN(40), true)
		published, proven := PublishedBound(q, k, n), ProvenBound(q, k, n)
		if math.Abs(proven/published-1) > 2e-9 {
			t.Errorf("%g and %g", published, proven)
		}
	}
}

// TestSpectral compares ‖aᵀ·b‖₂ with the largest eigenvalue of the product's square, and
// with values found by hand.
func TestSpectral(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		rows, columns := 1+r.IntN(6), 6+r.IntN(20)
		random := func() *mat.Dense {
			x := make([]float64, rows*columns)
			for i := range x {
				x[i] = r.NormFloat64()
			}
			return mat.NewDense(rows, columns, x)
		}
		a, b := random(), random()
		if seed%3 == 0 {
			b.SetRow(rows-1, make([]float64, columns)) // of lower rank
		}
		var product mat.Dense
		product.Mul(a.T(), b)
		square := mat.NewSymDense(columns, nil)
		square.SymOuterK(1, product.T())
		var eigen mat.EigenSym
		if !eigen.Factorize(square, false) {
			t.Fatal("no eigenvalues")
		}
		if got, want := spectral(a, b), math.Sqrt(eigen.Values(nil)[columns-1]); math.Abs(got-want) > 1e-11*want {
			t.Errorf("%g, want %g", got, want)
		}
	}
	diagonal := func(x ...float64) *mat.Dense {
		m := mat.NewDense(len(x), len(x)+1, nil)
		for i, v := range x {
			m.Set(i, i, v)
		}
		return m
	}
	for _, tt := range []struct {
		a, b *mat.Dense
		want float64
	}{
		{mat.NewDense(1, 3, []float64{3, 0, 4}), mat.NewDense(1, 3, []float64{3, 0, 4}), 25},
		{diagonal(1, 2, -3), diagonal(1, 5, 2), 10}, // of 1, 10 and 6: not the root of their squares' sum
		{diagonal(1e38, 1), diagonal(1e38, 1), 1e76},
		{diagonal(0, 0), diagonal(1, 2), 0},
	} {
		if got := spectral(tt.a, tt.b); math.Abs(got-tt.want) > 1e-12*tt.want {
			t.Errorf("%g, want %g", got, tt.want)
		}
	}
}

// TestUneven: where γ has one element, that of x̂ may be as large as √(N−1), and |q·k| is
// N−1 times what the published bound says.
func TestUneven(t *testing.T) {
	const size = 9
	first := make([]float32, size)
	first[0] = 1
	q, n := Projection{Weight: first}, Norm{Gamma: first}
	if got := PublishedBound(q, q, n); math.Abs(got-1) > 1e-12 {
		t.Errorf("the published bound is %g, want 1", got)
	}
	if got := ProvenBound(q, q, n); got < size-1 {
		t.Errorf("the bound is %g, and q·k reaches %d", got, size-1)
	}
}

func TestHeld(t *testing.T) {
	for _, tt := range []struct {
		scope  float64
		tokens int
		want   int
	}{
		{0, 5, 1}, {0.9, 5, 1}, {1, 5, 2}, {3.5, 5, 4}, {4, 5, 5}, {1e300, 5, 5}, {math.Inf(1), 5, 5}, {math.NaN(), 5, 5}, {10, 1, 1},
	} {
		if got := Held(tt.scope, tt.tokens); got != tt.want {
			t.Errorf("%g of %d: %d, want %d", tt.scope, tt.tokens, got, tt.want)
		}
	}
	// (2·3 − ln 1e-5)/0.5, by hand: ln 10 is 2.302585.
	if got := Scope(3, 0.5, 1e-5); math.Abs(got-(6+11.512925)*2) > 1e-5 {
		t.Error(got)
	}
}
