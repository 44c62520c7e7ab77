package validate

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref/vec"
	"kvcompress/trace"
)

// expFault is a fault in a computation of vec.Exp, step by step: a product or a sum rounded towards 0, an addition fused with
// its product, or a constant one unit in the last place further from 0. Each is a number, from 0 on, in the order of the steps;
// −1 is none.
type expFault struct{ rounding, fused, constant int }

// exp is vec.Exp with the fault.
func (f expFault) exp(x float32) float32 {
	steps, additions := 0, 0
	towards0 := func(y float32, exact, rest float64) float32 { // exact + rest is the result before it is rounded to y
		if d := (float64(y) - exact) - rest; d != 0 && (d > 0) == (y > 0) {
			return math.Nextafter32(y, 0)
		}
		return y
	}
	mul := func(a, b float32) float32 {
		y := float32(a * b)
		if steps++; steps-1 == f.rounding {
			y = towards0(y, float64(a)*float64(b), 0)
		}
		return y
	}
	add := func(a, b float32) float32 {
		y := a + b
		if steps++; steps-1 == f.rounding {
			s := float64(a) + float64(b)
			v := s - float64(a)
			y = towards0(y, s, (float64(a)-(s-v))+(float64(b)-v))
		}
		return y
	}
	addProduct := func(a, b, c float32) float32 {
		if additions++; additions-1 == f.fused {
			steps += 2
			return float32(math.FMA(float64(a), float64(b), float64(c)))
		}
		return add(mul(a, b), c)
	}
	c := []float32{0x1.715476p+0, 0x1.62e4p-1, 0x1.7f7d1cp-20, 0x1.6a23dp-10, 0x1.123a2p-7, 0x1.5558f2p-5, 0x1.555492p-3, 0x1.fffffcp-2, -104}
	if f.constant >= 0 {
		c[f.constant] = math.Nextafter32(c[f.constant], c[f.constant]*2)
	}
	if x < c[8] {
		return 0
	}
	const round = 0x1.8p+23 + 160
	t := addProduct(x, c[0], round)
	n := add(t, -round)
	r := addProduct(n, -c[1], x)
	r = addProduct(n, -c[2], r)
	q := addProduct(c[3], r, c[4])
	q = addProduct(q, r, c[5])
	q = addProduct(q, r, c[6])
	q = addProduct(q, r, c[7])
	p := add(1, addProduct(q, mul(r, r), r))
	return mul(mul(p, math.Float32frombits(math.Float32bits(t)<<23)), 0x1p-33)
}

// expSteps is the number of roundings of exp, expAdditions that of its additions of a product, and expConstants that of its
// constants.
const expSteps, expAdditions, expConstants = 21, 8, 9

// TestExponents: each fault in the computation of e^x changes the result at some of the exponents, except for faults that
// change no result at all. The scores of the pipelines reach these exponents.
func TestExponents(t *testing.T) {
	none := expFault{-1, -1, -1}
	for _, x := range exponents {
		if got := none.exp(x); got != vec.Exp(x) {
			t.Fatalf("exp(%v) is %v, want %v: the steps are not those of vec.Exp", x, got, vec.Exp(x))
		}
	}
	var faults []expFault
	for i := range expSteps {
		faults = append(faults, expFault{i, -1, -1})
	}
	for i := range expAdditions {
		faults = append(faults, expFault{-1, i, -1})
	}
	for i := range expConstants {
		faults = append(faults, expFault{-1, -1, i})
	}
	exact := []expFault{
		{2, -1, -1},  // t − round is an integer
		{3, -1, -1},  // n·ln2Hi has at most 23 bits
		{4, -1, -1},  // it is close to x, so their difference is a number
		{19, -1, -1}, // a product with a power of two
		{-1, 1, -1},  // n·ln2Hi again
		{-1, -1, 8},  // e^x rounds to 0 at −104 and below
	}
	for _, f := range faults {
		differs := slices.ContainsFunc(exponents, func(x float32) bool { return f.exp(x) != none.exp(x) })
		if differs == slices.Contains(exact, f) {
			t.Errorf("%+v: it changes a result: %v", f, differs)
		}
	}
	if x := math.Nextafter32(-104, -105); (expFault{-1, -1, 8}).exp(x) != 0 {
		t.Errorf("e^%v is not 0", x)
	}
	reached := map[string]int{}
	for _, d := range []int{8, 16, 32, 64} {
		for _, x := range exponents {
			scale := 1 / float32(math.Sqrt(float64(d)))
			if float32(scoring(x, scale)*scale) == x {
				reached[fmt.Sprint(d)]++
			}
		}
	}
	for d, n := range reached {
		if n < len(exponents)/2 {
			t.Errorf("of %d exponents %d are scores of heads of %s elements", len(exponents), n, d)
		}
	}
	m := &madeUp{shape: kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}, inputs: Inputs{Exponents: true, Tokens: []int{300}}}
	keys := make([]float32, 300*8)
	if err := m.Read(keys, trace.K, 0, 0, 300); err != nil {
		t.Fatal(err)
	}
	if keys[0] != 0 || keys[8+1] != 1 || keys[299*8+2] != 1 {
		t.Error("keys are not 0 in the first token and 1 in one element of the others")
	}
}
