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

// faultyExp is vec.Exp with a fault.
func faultyExp(f fault, x float32) float32 {
	a := &faulty{fault: f}
	const round = 0x1.8p+23 + 160
	t := a.addProduct(x, a.constantOf(0x1.715476p+0), round)
	n := a.add(t, -round)
	r := a.addProduct(n, -a.constantOf(0x1.62e4p-1), x)
	r = a.addProduct(n, -a.constantOf(0x1.7f7d1cp-20), r)
	q := a.addProduct(a.constantOf(0x1.6a23dp-10), r, a.constantOf(0x1.123a2p-7))
	q = a.addProduct(q, r, a.constantOf(0x1.5558f2p-5))
	q = a.addProduct(q, r, a.constantOf(0x1.555492p-3))
	q = a.addProduct(q, r, a.constantOf(0x1.fffffcp-2))
	p := a.add(1, a.addProduct(q, a.mul(r, r), r))
	e := a.mul(a.mul(p, math.Float32frombits(math.Float32bits(t)<<23)), 0x1p-33)
	if x < a.constantOf(-104) {
		return 0
	}
	return e
}

// expSteps is the number of roundings of faultyExp, expAdditions that of its additions of a product, and expConstants that of
// its constants.
const expSteps, expAdditions, expConstants = 21, 8, 9

// TestExponents: each fault in the computation of e^x changes the result at some of the exponents, except for faults that
// change no result at all. The scores of the pipelines reach these exponents.
func TestExponents(t *testing.T) {
	for _, x := range exponents {
		if got := faultyExp(noFault, x); got != vec.Exp(x) {
			t.Fatalf("exp(%v) is %v, want %v: the steps are not those of vec.Exp", x, got, vec.Exp(x))
		}
	}
	exact := []fault{
		{2, -1, -1},  // t − round is an integer
		{3, -1, -1},  // n·ln2Hi has at most 23 bits
		{4, -1, -1},  // it is close to x, so their difference is a number
		{19, -1, -1}, // a product with a power of two
		{-1, 1, -1},  // n·ln2Hi again
		{-1, -1, 8},  // e^x rounds to 0 at −104 and below
	}
	for _, f := range faults(expSteps, expAdditions, expConstants) {
		differs := slices.ContainsFunc(exponents, func(x float32) bool { return faultyExp(f, x) != faultyExp(noFault, x) })
		if differs == slices.Contains(exact, f) {
			t.Errorf("%+v: it changes a result: %v", f, differs)
		}
	}
	if x := math.Nextafter32(-104, -105); faultyExp(fault{-1, -1, 8}, x) != 0 {
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
