package vec

import "math"

// The constants of Exp. The coefficients are the float32 nearest to those of the minimax polynomial q of
// degree 4 for the relative error of 1 + r + r²·q(r) as exp(r) on |r| ≤ 1.0005·ln(2)/2, which is 2^-28.3.
const (
	expLowest = -104 // exp(-104) < 2^-150: it and everything below rounds to +0

	expLog2e = 0x1.715476p+0  // 1/ln(2)
	expLn2Hi = 0x1.62e4p-1    // 15 bits of ln(2): its product with an integer up to 150 is exact
	expLn2Lo = 0x1.7f7d1cp-20 // ln(2) - expLn2Hi

	// Adding expRound to a number from -2^22 to 2^22 leaves its nearest integer n in the low bits of the sum,
	// as n + 160.
	expRound = 0x1.8p+23 + 160

	expC2 = 0x1.fffffcp-2
	expC3 = 0x1.555492p-3
	expC4 = 0x1.5558f2p-5
	expC5 = 0x1.123a2p-7
	expC6 = 0x1.6a23dp-10
)

// Exp returns an approximation of e^x for finite x ≤ 0, computed with IEEE 754 binary32 operations in a fixed
// order. It is within 0.98 ulp and never decreases with x. It is 1 at 0 and +0 below -104, and a subnormal
// result is rounded only once. All of this is tested for every x.
//
// With n the integer nearest to x/ln(2) and r = x - n·ln(2), it is (1 + r + r²·q(r))·2^n, where q is a
// polynomial of degree 4.
func Exp(x float32) float32 {
	if x < expLowest {
		return 0
	}
	t := float32(x*expLog2e) + expRound
	n := t - expRound
	r := float32(x-float32(n*expLn2Hi)) - float32(n*expLn2Lo)

	q := float32(expC6*r) + expC5
	q = float32(q*r) + expC4
	q = float32(q*r) + expC3
	q = float32(q*r) + expC2
	p := 1 + float32(r+float32(q*float32(r*r)))

	// The low bits of t are n + 160 = (n + 33) + 127. Shifted into the exponent they give 2^(n+33), and the
	// product with it is exact. The second product rounds if the result is subnormal.
	scale := math.Float32frombits(math.Float32bits(t) << 23)
	return float32(p*scale) * 0x1p-33
}

// ExpSub writes exp(x - m), as computed by Exp, to dst, which may be x:
//
//	for i := range dst {
//		dst[i] = Exp(x[i] - m)
//	}
//
// No element of x exceeds m; x - m may overflow to −∞. dst and x have the same length.
func ExpSub(dst, x []float32, m float32) {
	best.expSub(dst, x[:len(dst)], m)
}

func expSubPlain(dst, x []float32, m float32) {
	for i, y := range x {
		dst[i] = Exp(y - m)
	}
}
