package vec

import "math"

// The constants of Acos and Sin. The coefficients are the float32 nearest to those of the minimax polynomials
// of their degree, for the relative error of s + s·z·P(z), z = s², as arcsin(s) on 0 ≤ s ≤ ½ (2^-27.6) and as
// sin(s) on 0 ≤ s ≤ π/2 (2^-27.3). π/2 is split: anglePi2Lo is π/2 − anglePi2Hi.
const (
	anglePi2Hi = 0x1.921fb6p+0
	anglePi2Lo = -0x1.777a5cp-25

	asinP0 = 0x1.5555cap-3
	asinP1 = 0x1.3301b4p-4
	asinP2 = 0x1.748376p-5
	asinP3 = 0x1.8bf124p-6
	asinP4 = 0x1.599f2ep-5

	sinP0 = -0x1.55554cp-3
	sinP1 = 0x1.110ed2p-7
	sinP2 = -0x1.9f6fe2p-13
	sinP3 = 0x1.5dbc58p-19
)

// Acos returns an approximation of arccos(c), in radians, for −1 ≤ c ≤ 1, computed with IEEE 754 binary32
// operations in a fixed order. It is +0 at 1 and the float32 nearest to π at −1. It is within 1.4 ulp and
// never increases with c; both are tested for every c.
//
// With A(s) = s + s·z·P(z), z = s², it is π/2 ∓ A(|c|) if |c| ≤ ½. Otherwise, with s = √((1−|c|)/2), it is
// 2·A(s), or π − 2·A(s) if c is negative.
func Acos(c float32) float32 {
	s := float32(math.Abs(float64(c)))
	z := float32(s * s)
	if s > 0.5 {
		z = float32((1 - s) * 0.5) // exact
		s = float32(math.Sqrt(float64(z)))
	}
	p := float32(asinP4*z) + asinP3
	p = float32(p*z) + asinP2
	p = float32(p*z) + asinP1
	p = float32(p*z) + asinP0
	w := float32(s * float32(z*p)) // arcsin(s) = s + w
	switch {
	case c > 0.5:
		return float32(2 * (s + w)) // exact, apart from the sum
	case c < -0.5:
		return float32(2 * (anglePi2Hi - (s + (w - anglePi2Lo))))
	case c < 0:
		return anglePi2Hi + (s + (w + anglePi2Lo))
	default:
		return anglePi2Hi - (s + (w - anglePi2Lo))
	}
}

// Sin returns an approximation of sin(x) for x from 0 to the float32 nearest to π, computed with IEEE 754
// binary32 operations in a fixed order. It is within 3.1 ulp, which is tested for every x. It equals x below
// 2^-13. It is negative only for the largest x, which is above π.
//
// It is r + r·z·P(z), z = r², where r = x up to π/2 and r = π − x above.
func Sin(x float32) float32 {
	r := x
	if x > anglePi2Hi {
		r = (2*anglePi2Hi - x) + 2*anglePi2Lo // the difference is exact
	}
	z := float32(r * r)
	p := float32(sinP3*z) + sinP2
	p = float32(p*z) + sinP1
	p = float32(p*z) + sinP0
	return r + float32(r*float32(z*p))
}
