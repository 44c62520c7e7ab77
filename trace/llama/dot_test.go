package llama

import (
	"math"
	"math/rand/v2"
	"testing"
)

// dots equals dot to the bit, and dot adds in the order of its doc comment.
func TestDots(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	vector := func(n int) []float32 {
		x := make([]float32, n+5) // elements after n must not be used
		for i := range x {
			x[i] = float32(random.NormFloat64())
		}
		return x
	}
	for n := range 100 {
		a := vector(n)[:n]
		b := [4][]float32{vector(n), vector(n), vector(n), vector(n)}
		sums := dots(a, &b)
		for i, got := range sums {
			if want := dotStated(a, b[i][:n]); math.Float32bits(got) != math.Float32bits(want) {
				t.Errorf("%d elements: dots gives %g, want %g", n, got, want)
			}
			if one := dot(a, b[i][:n]); math.Float32bits(got) != math.Float32bits(one) {
				t.Errorf("%d elements: dots gives %g, dot %g", n, got, one)
			}
		}
	}
}

func dotStated(a, b []float32) float32 {
	var s [8]float32
	for i := range a {
		part := i % 8
		if i >= len(a)/8*8 {
			part = 0
		}
		s[part] += float32(a[i] * b[i])
	}
	for half := 4; half > 0; half /= 2 {
		for i := range half {
			s[i] += s[i+half]
		}
	}
	return s[0]
}
