package ptx

import (
	"math"
	"unsafe"
)

// Approximate instructions. Results are correctly rounded, except for rare errors of the float64 computation.

// exp2Coefficients are ln(2)^k/k!, the coefficients of 2^r by powers of r.
var exp2Coefficients = [...]float64{
	1.0,
	0.6931471805599453,
	0.24022650695910072,
	0.05550410866482158,
	0.009618129107628477,
	0.0013333558146428443,
	0.0001540353039338161,
	1.5252733804059841e-05,
	1.321548679014431e-06,
	1.01780860092397e-07,
	7.054911620801123e-09,
	4.4455382718708116e-10,
	2.5678435993488206e-11,
	1.3691488853904128e-12,
}

// exp2Single returns 2^x by a polynomial in float64 with an error below 2^-51: it computes 2^(x-n), with n
// the nearest integer, and adds n to the exponent. The assembly performs the same operations.
func exp2Single(x float32) float32 {
	if x != x {
		return nan32
	}
	t := max(min(float64(x), 200), -200) // outside this range the result is infinite or 0
	n := math.RoundToEven(t)
	r := t - n
	p := exp2Coefficients[len(exp2Coefficients)-1]
	for k := len(exp2Coefficients) - 2; k >= 0; k-- {
		p = float64(p*r) + exp2Coefficients[k]
	}
	return float32(math.Float64frombits(math.Float64bits(p) + uint64(int64(n))<<52))
}

// ex2 is ex2.approx.f32.
func ex2(p unsafe.Pointer, w *warp, in *instr) {
	d, a := (*[warpSize]uint32)(p), row[float32](w.regs, in.a)
	for i := range d {
		d[i] = math.Float32bits(exp2Single(a[i]))
		if in.imm&softFtz != 0 { // a subnormal operand gives 1, as 0 does
			d[i] = uint32(fmtF32.flush(uint64(d[i])))
		}
	}
}
