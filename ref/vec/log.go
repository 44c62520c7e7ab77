package vec

import "math"

// The constants of Log. The coefficients are the float32 nearest to those of the minimax polynomial R of
// degree 2 for 2/3 + 2z/5 + 2z²/7 + … over the possible z, with an error of 2^-22.3. ln(2) is split as for
// Exp.
const (
	logRoot = 0x3f3504f3 // bits of the float32 nearest to √½

	logR0 = 0x1.55555cp-1
	logR1 = 0x1.997c06p-2
	logR2 = 0x1.2eeb9p-2
)

// Log returns an approximation of ln(x) for finite x ≥ 1, computed with IEEE 754 binary32 operations in a
// fixed order. It is 0 at 1. For the integers up to 2^24, all of which are tested, it is within 0.81 ulp and
// never decreases with x.
//
// With x = 2^e·(1+f), where 1+f is from √½ to √2, and s = f/(2+f), so that ln(1+f) = 2·artanh(s), it is
//
//	e·ln(2) + f − s·(f − z·R(z)), z = s²
func Log(x float32) float32 {
	above := int32(math.Float32bits(x)) - logRoot // x ≥ 1 has larger bits
	e := float32(above >> 23)
	f := math.Float32frombits(uint32(above&(1<<23-1)+logRoot)) - 1 // exact

	s := f / (2 + f)
	z := float32(s * s)
	r := float32(logR2*z) + logR1
	r = float32(r*z) + logR0
	c := float32(s * (f - float32(z*r)))
	return float32(e*expLn2Hi) + (f - (c - float32(e*expLn2Lo)))
}
