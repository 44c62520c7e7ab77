package trace

import (
	"math"
	"math/bits"

	"kvcompress/internal/splitmix"
)

// The functions here give the same bits on every machine. They use integers, single IEEE operations and
// math.Sqrt, which is correctly rounded. They do not use math.Sin, math.Log and the like, which differ
// between architectures, nor x*y + z, which the compiler may fuse unless the product is explicitly converted.

// derive returns the i-th key derived from a key.
func derive(key, i uint64) uint64 { return splitmix.Mix(key + (i+1)*splitmix.Golden) }

// hashString is FNV-1a, mixed once more.
func hashString(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return splitmix.Mix(h)
}

// unit returns a number in [0, 1) from the upper 53 bits of the key.
func unit(key uint64) float64 { return float64(float64(key>>11) * 0x1p-53) }

// between returns a number from low to high, determined by the key.
func between(key uint64, low, high float64) float64 {
	return low + float64(unit(key)*(high-low))
}

// below returns an integer from 0 to n-1, determined by the key; n is at least 1.
func below(key uint64, n uint64) uint64 {
	hi, _ := bits.Mul64(key, n)
	return hi
}

// sincos returns the sine and the cosine of 2π·phase/2³², within 2⁻⁵⁰.
func sincos(phase uint32) (sin, cos float64) {
	quadrant := (phase + 1<<29) >> 30
	return sincosNear(quadrant, float64(float64(int32(phase-quadrant<<30))*(2*math.Pi/(1<<32))))
}

// Sincos returns the sine and the cosine of an angle in radians, from 0 to 2²⁴, within 2⁻⁴⁸. They are
// bit-identical on every machine: see NUMERICS.md §5 of package ref.
func Sincos(angle float64) (sin, cos float64) {
	// π/2 in three parts. The first two have 29 bits, so that their products with a
	// number of quadrants, which is below 2²⁴, are exact.
	const hi, mid, lo = 0x1.921fb54p+0, 0x1.10b4611p-30, 0x1.4c4c6628b80dcp-59
	n := math.Floor(float64(angle*(2/math.Pi)) + 0.5)
	x := angle - float64(n*hi) - float64(n*mid) - float64(n*lo)
	return sincosNear(uint32(n), x)
}

// sincosNear returns the sine and the cosine of quadrant·π/2 + x, for x from -π/4 to
// π/4.
func sincosNear(quadrant uint32, x float64) (sin, cos float64) {
	z := float64(x * x)
	s := horner(z, -1.0/6, 1.0/120, -1.0/5040, 1.0/362880, -1.0/39916800, 1.0/6227020800, -1.0/1307674368000)
	s = x + float64(float64(x*z)*s)
	c := horner(z, -1.0/2, 1.0/24, -1.0/720, 1.0/40320, -1.0/3628800, 1.0/479001600, -1.0/87178291200, 1.0/20922789888000)
	c = 1 + float64(z*c)
	switch quadrant & 3 {
	case 1:
		return c, -s
	case 2:
		return -s, -c
	case 3:
		return -c, s
	}
	return s, c
}

// ln returns the natural logarithm of x, which is finite, normal and positive,
// within a few units in the last place.
func ln(x float64) float64 {
	b := math.Float64bits(x)
	e := int(b>>52) - 1023
	m := math.Float64frombits(b&(1<<52-1) | 1023<<52) // from 1 to 2
	if m > math.Sqrt2 {
		m, e = m/2, e+1
	}
	s := (m - 1) / (m + 1)
	z := float64(s * s)
	p := horner(z, 1.0/3, 1.0/5, 1.0/7, 1.0/9, 1.0/11, 1.0/13, 1.0/15, 1.0/17, 1.0/19, 1.0/21)
	p = s + float64(float64(s*z)*p)
	return float64(float64(e)*math.Ln2) + float64(2*p)
}

// exp returns e to the power of x, for x from -700 to 700, within a few units in
// the last place.
func exp(x float64) float64 {
	n := math.Floor(float64(x*(1/math.Ln2)) + 0.5)
	// ln2Hi ends in enough zero bits for its product with n to be exact.
	const ln2Hi, ln2Lo = 6.93147180369123816490e-01, 1.90821492927058770002e-10
	r := x - float64(n*ln2Hi) - float64(n*ln2Lo)
	p := horner(r, 1, 1, 1.0/2, 1.0/6, 1.0/24, 1.0/120, 1.0/720, 1.0/5040, 1.0/40320, 1.0/362880,
		1.0/3628800, 1.0/39916800, 1.0/479001600, 1.0/6227020800)
	return math.Ldexp(p, int(n))
}

// exponential draws from the exponential distribution of mean 1, by inversion.
func exponential(key uint64) float64 {
	return -ln(1 - unit(key)) // 1-unit is at least 2⁻⁵³
}

// normal draws from the standard normal distribution with the method of Box and Muller (1958).
func normal(key uint64) float64 {
	_, cos := sincos(uint32(derive(key, 1) >> 32))
	return float64(math.Sqrt(float64(2*exponential(derive(key, 0)))) * cos)
}

// gamma draws from the gamma distribution with scale 1 and the given shape, from 10⁻⁴ to 10⁴, with the method
// of Marsaglia and Tsang (2000).
func gamma(key uint64, shape float64) float64 {
	if shape < 1 {
		// Their §6: a draw for shape+1, times a power of a uniform draw.
		power := exp(max(-700, float64(-exponential(derive(key, 0))/shape)))
		return float64(gamma(derive(key, 1), shape+1) * power)
	}
	d := shape - 1.0/3
	c := float64(1 / math.Sqrt(float64(9*d)))
	for i := uint64(0); ; i += 2 {
		x := normal(derive(key, i))
		v := 1 + float64(c*x)
		if v <= 0 {
			continue
		}
		v = float64(float64(v*v) * v)
		limit := float64(0.5*float64(x*x)) + d - float64(d*v) + float64(d*ln(v))
		if -exponential(derive(key, i+1)) < limit {
			return float64(d * v)
		}
	}
}

// horner returns c[0] + c[1]·z + c[2]·z² + …
func horner(z float64, c ...float64) float64 {
	p := c[len(c)-1]
	for i := len(c) - 2; i >= 0; i-- {
		p = float64(p*z) + c[i]
	}
	return p
}
