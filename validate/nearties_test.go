package validate

import (
	"math"
	"math/rand/v2"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref/merge"
)

// TestNearTies: an error of one unit in the last place changes an element of each direction, after it is rounded to the
// format.
func TestNearTies(t *testing.T) {
	by := merge.Default()
	for _, format := range []dtype.DType{dtype.F16, dtype.BF16} {
		const n, d = 20, kv.MaxHeadSize
		numbers, err := nearTies(n, 1, format, d, 0, by)
		if err != nil || len(numbers) != n {
			t.Fatalf("%v: %d vectors, %v", format, len(numbers), err)
		}
		code := func(x float32) [2]byte {
			var to [2]byte
			format.Encode(to[:], []float32{x})
			return to
		}
		x, y, shows := make([]float32, d), make([]float32, d), 0
		for _, number := range numbers {
			numberedVector(y, 1, number, 0, format)
			numberedVector(x, 1, number, 1, format)
			merged, err := by.Merge(x, y, d)
			if err != nil {
				t.Fatal(err)
			}
			differs := 0
			for _, v := range merged.Directions {
				for _, to := range []float32{2, -2} {
					if code(math.Nextafter32(v, to)) != code(v) {
						differs++
					}
				}
			}
			if differs > 0 {
				shows++
			}
		}
		if shows < n {
			t.Errorf("%v: %d of %d vectors", format, shows, n)
		}
	}
}

// TestEdgesOfTies: the pipelines can be run, and have the vectors of their method's weight.
func TestEdgesOfTies(t *testing.T) {
	methods := withOwnPages.of(allMethods(t))
	for i := range testsize.Of(2, 4, 4) {
		p, err := edgeOfTies(rand.New(rand.NewPCG(1, uint64(i))), 8*i+7, methods)
		if err != nil || p == nil {
			t.Fatalf("pipeline %d: %v, %v", i, p, err)
		}
		if err := p.check(); err != nil || len(p.Inputs.Vectors) < 24 {
			t.Errorf("%s: %v, %d vectors", p, err, len(p.Inputs.Vectors))
		}
	}
	if p, err := edgeOfTies(rand.New(rand.NewPCG(1, 0)), 7, only(t, "kivi")); p != nil || err != nil {
		t.Errorf("a pipeline of another method: %v, %v", p, err)
	}
}
