package validate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/vec"
)

// The constants of vec.Acos and vec.Sin.
const (
	quarterTurn     = 0x1.921fb6p+0
	quarterTurnRest = -0x1.777a5cp-25
)

// acos is vec.Acos, with all that either way computes.
func (a *faulty) acos(c float32) float32 {
	s := float32(math.Abs(float64(c)))
	beyond := s > a.constantOf(0.5)
	half := a.mul(a.add(a.constantOf(1), -s), a.constantOf(0.5))
	z, root := a.mul(s, s), a.sqrt(half)
	if beyond {
		z, s = half, root
	}
	p := a.addProduct(a.constantOf(0x1.599f2ep-5), z, a.constantOf(0x1.8bf124p-6))
	p = a.addProduct(p, z, a.constantOf(0x1.748376p-5))
	p = a.addProduct(p, z, a.constantOf(0x1.3301b4p-4))
	p = a.addProduct(p, z, a.constantOf(0x1.5555cap-3))
	w := a.mul(s, a.mul(z, p))
	near1, nearMinus1, negative := c > a.constantOf(0.5), c < a.constantOf(-0.5), c < a.constantOf(0)
	sum := a.add(s, w)
	below := a.add(a.constantOf(quarterTurn), -a.add(s, a.add(w, a.constantOf(-quarterTurnRest))))
	above := a.add(a.constantOf(quarterTurn), a.add(s, a.add(w, a.constantOf(quarterTurnRest))))
	switch {
	case near1:
		return 2 * sum
	case nearMinus1:
		return 2 * below
	case negative:
		return above
	}
	return below
}

// sin is vec.Sin, with all that either way computes.
func (a *faulty) sin(x float32) float32 {
	r, rest := x, a.add(a.add(a.constantOf(2*quarterTurn), -x), a.constantOf(2*quarterTurnRest))
	if x > a.constantOf(quarterTurn) {
		r = rest
	}
	z := a.mul(r, r)
	p := a.addProduct(a.constantOf(0x1.5dbc58p-19), z, a.constantOf(-0x1.9f6fe2p-13))
	p = a.addProduct(p, z, a.constantOf(0x1.110ed2p-7))
	p = a.addProduct(p, z, a.constantOf(-0x1.55554cp-3))
	return a.addProduct(r, a.mul(z, p), r)
}

// slerped is the angle between two vectors of a cosine, and their weights.
type slerped struct{ angle, shallow, deep float32 }

// faultySlerp is what MiniCache computes from a cosine, with a fault.
func faultySlerp(f fault, c float32, t float64) slerped {
	a := &faulty{fault: f}
	angle := a.acos(c)
	sine := a.sin(angle)
	return slerped{
		angle:   angle,
		shallow: a.div(a.sin(a.mul(float32(1-t), angle)), sine),
		deep:    a.div(a.sin(a.mul(float32(t), angle)), sine),
	}
}

// slerpSteps is the number of roundings of faultySlerp, slerpAdditions that of its additions of a product, and slerpConstants
// that of its constants.
const slerpSteps, slerpAdditions, slerpConstants = 61, 16, 36

// TestCosines: each fault in what MiniCache computes from a cosine changes the angle or a weight at some of the cosines, except
// for faults that change no result at all.
func TestCosines(t *testing.T) {
	for _, c := range cosines {
		for _, weight := range angleWeights {
			angle := vec.Acos(c)
			sine := vec.Sin(angle)
			want := slerped{angle, vec.Sin(float32(1-weight)*angle) / sine, vec.Sin(float32(weight)*angle) / sine}
			if got := faultySlerp(noFault, c, weight); got != want {
				t.Fatalf("cosine %v: %v, want %v: the steps are not those of vec.Acos and vec.Sin", c, got, want)
			}
		}
	}
	exact := []fault{
		{0, -1, -1}, {1, -1, -1}, // from 1/2 to 1: their difference from 1, and the half of that, are numbers
		{21, -1, -1}, {34, -1, -1}, {48, -1, -1}, // likewise half a turn less an angle from a quarter turn on
		{-1, -1, 9},                              // only from −1/2 to the next number: both ways give a third of a turn
		{-1, -1, 10},                             // only at 0: both ways give a quarter turn
		{-1, -1, 16}, {-1, -1, 23}, {-1, -1, 30}, // what it is added to is larger, and no tie
		{-1, -1, 17}, {-1, -1, 24}, {-1, -1, 31}, // only next to a quarter turn: both ways give 1
	}
	for _, f := range faults(slerpSteps, slerpAdditions, slerpConstants) {
		differs := slices.ContainsFunc(cosines, func(c float32) bool {
			return slices.ContainsFunc(angleWeights, func(t float64) bool { return faultySlerp(f, c, t) != faultySlerp(noFault, c, t) })
		})
		if differs == slices.Contains(exact, f) {
			t.Errorf("%+v: it changes a result: %v", f, differs)
		}
	}
}

// TestAngledVectors: most vectors have the cosine of their number, and every format has their elements.
func TestAngledVectors(t *testing.T) {
	x, y := make([]float32, kv.MaxHeadSize), make([]float32, kv.MaxHeadSize)
	met := make([]int, len(cosines))
	const each = 20
	for number := range uint16(each * len(cosines)) {
		angledVectors(x, y, 1, number)
		if k := int(number) % len(cosines); cosine(x, y) == cosines[k] {
			met[k]++
		}
		for _, format := range []dtype.DType{dtype.F16, dtype.BF16} {
			for _, v := range [][]float32{x, y} {
				stored, read := make([]byte, 2*len(v)), make([]float32, len(v))
				format.Encode(stored, v)
				format.Decode(read, stored)
				if !slices.Equal(read, v) {
					t.Fatalf("number %d: %v does not have the elements of %v", number, format, v)
				}
			}
		}
	}
	if least := slices.Min(met); least < each*3/4 {
		t.Errorf("of %d vectors of each cosine, these have it: %v", each, met)
	}
}

// TestEdgesOfAngles: the pipelines can be run, have all or most cosines, and one of the weights.
func TestEdgesOfAngles(t *testing.T) {
	methods := withOwnPages.of(allMethods(t))
	for i := range testsize.Of(3, 6, 12) {
		p, err := edgeOfAngles(rand.New(rand.NewPCG(1, uint64(i))), 4*i+3, methods)
		if err != nil || p == nil {
			t.Fatalf("pipeline %d: %v, %v", i, p, err)
		}
		least := len(cosines)
		if p.Config.DType == dtype.BF16 { // few directions are near a tie
			least /= 2
		}
		by := p.newMethod().(ref.Merger).Merging()
		if err := p.check(); err != nil || len(p.Inputs.Vectors) < least || !slices.Contains(angleWeights, by.Slerp.T) || by.First != 0 {
			t.Errorf("%s: %v, %d vectors", p, err, len(p.Inputs.Vectors))
		}
	}
	if p, err := edgeOfAngles(rand.New(rand.NewPCG(1, 0)), 3, only(t, "kivi")); p != nil || err != nil {
		t.Errorf("a pipeline of another method: %v, %v", p, err)
	}
}
