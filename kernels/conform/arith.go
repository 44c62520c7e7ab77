package conform

import "math/big"

// The arithmetic of the oracle: exact, then rounded once. Each operation returns bits in its format. A NaN
// result is the canonical NaN.

// sumOf returns the exact a + b of finite numbers. An exact zero sum is +0, or −0 when rounding down, unless
// both are zeros of one sign.
func sumOf(a, b num, r rounding) num {
	e := min(a.e, b.e)
	signed := func(x num) *big.Int {
		m := new(big.Int).Lsh(x.m, uint(x.e-e))
		if x.neg {
			m.Neg(m)
		}
		return m
	}
	s := signed(a)
	s.Add(s, signed(b))
	if s.Sign() == 0 {
		neg := r == down
		if a.neg == b.neg && a.zero() && b.zero() {
			neg = a.neg
		}
		return num{neg: neg, m: s}
	}
	return num{neg: s.Sign() < 0, m: new(big.Int).Abs(s), e: e}
}

// productOf returns the exact a · b of finite numbers.
func productOf(a, b num) num {
	return num{neg: a.neg != b.neg, m: new(big.Int).Mul(a.m, b.m), e: a.e + b.e}
}

func (f format) add(a, b uint64, r rounding) uint64 {
	x, y := f.decode(a), f.decode(b)
	switch {
	case x.nan || y.nan || x.inf && y.inf && x.neg != y.neg:
		return f.nan()
	case x.inf:
		return a
	case y.inf:
		return b
	}
	return f.round(sumOf(x, y, r), false, r)
}

func (f format) sub(a, b uint64, r rounding) uint64 { return f.add(a, b^f.sign(), r) }

func (f format) mul(a, b uint64, r rounding) uint64 {
	x, y := f.decode(a), f.decode(b)
	switch {
	case x.nan || y.nan || x.inf && y.zero() || x.zero() && y.inf:
		return f.nan()
	case x.inf || y.inf:
		return f.round(num{inf: true, neg: x.neg != y.neg}, false, r)
	}
	return f.round(productOf(x, y), false, r)
}

func (f format) fma(a, b, c uint64, r rounding) uint64 {
	x, y, z := f.decode(a), f.decode(b), f.decode(c)
	neg := x.neg != y.neg
	switch {
	case x.nan || y.nan || z.nan || x.inf && y.zero() || x.zero() && y.inf:
		return f.nan()
	case x.inf || y.inf:
		if z.inf && z.neg != neg {
			return f.nan()
		}
		return f.round(num{inf: true, neg: neg}, false, r)
	case z.inf:
		return c
	}
	return f.round(sumOf(productOf(x, y), z, r), false, r)
}

func (f format) div(a, b uint64, r rounding) uint64 {
	x, y := f.decode(a), f.decode(b)
	neg := x.neg != y.neg
	switch {
	case x.nan || y.nan || x.inf && y.inf || x.zero() && y.zero():
		return f.nan()
	case x.inf || y.zero():
		return f.round(num{inf: true, neg: neg}, false, r)
	case x.zero() || y.inf:
		return f.round(num{neg: neg, m: new(big.Int)}, false, r)
	}
	// Enough bits for at least man+3 in the quotient.
	n := max(0, f.man+4+y.m.BitLen()-x.m.BitLen())
	q, rest := new(big.Int).QuoRem(new(big.Int).Lsh(x.m, uint(n)), y.m, new(big.Int))
	return f.round(num{neg: neg, m: q, e: x.e - y.e - n}, rest.Sign() != 0, r)
}

// one returns 1 in the format.
func (f format) one() uint64 { return uint64(f.bias()) << f.man }

func (f format) rcp(a uint64, r rounding) uint64 { return f.div(f.one(), a, r) }

func (f format) sqrt(a uint64, r rounding) uint64 {
	x := f.decode(a)
	switch {
	case x.zero():
		return a
	case x.nan || x.neg:
		return f.nan()
	case x.inf:
		return a
	}
	n := max(0, 2*(f.man+4)-x.m.BitLen())
	if (x.e-n)%2 != 0 {
		n++
	}
	m := new(big.Int).Lsh(x.m, uint(n))
	root := new(big.Int).Sqrt(m)
	more := new(big.Int).Mul(root, root).Cmp(m) != 0
	return f.round(num{m: root, e: (x.e - n) / 2}, more, r)
}

// cmp returns −1, 0 or 1 for x < y, x = y or x > y. Neither is a NaN; zeros are equal.
func cmp(x, y num) int {
	rank := func(x num) int { // −∞, numbers, +∞
		if !x.inf {
			return 0
		}
		if x.neg {
			return -1
		}
		return 1
	}
	if rx, ry := rank(x), rank(y); rx != 0 || ry != 0 {
		return rx - ry
	}
	// The sign of an exact zero difference does not matter.
	y.neg = !y.neg
	d := sumOf(x, y, nearest)
	switch {
	case d.m.Sign() == 0:
		return 0
	case d.neg:
		return -1
	}
	return 1
}

// minNum returns the smaller of a and b, with −0 below +0. If one is a NaN, it returns the other.
func (f format) minNum(a, b uint64) uint64 {
	x, y := f.decode(a), f.decode(b)
	switch {
	case x.nan && y.nan:
		return f.nan()
	case x.nan:
		return b
	case y.nan:
		return a
	}
	switch c := cmp(x, y); {
	case c < 0 || c == 0 && x.neg:
		return a
	default:
		return b
	}
}

// maxNum returns the larger of a and b, by the same rules.
func (f format) maxNum(a, b uint64) uint64 {
	if f.isNaN(a) || f.isNaN(b) {
		return f.minNum(a, b)
	}
	if f.minNum(a, b) == a {
		return b
	}
	return a
}

// saturate clamps a result to [0, 1]; a NaN becomes +0.
func (f format) saturate(a uint64) uint64 {
	x := f.decode(a)
	switch {
	case x.nan || x.neg:
		return 0
	case x.inf || cmp(x, f.decode(f.one())) > 0:
		return f.one()
	}
	return a
}

// relu replaces negative numbers by 0, and a NaN by the canonical NaN.
func (f format) relu(a uint64) uint64 {
	switch x := f.decode(a); {
	case x.nan:
		return f.nan()
	case x.neg:
		return 0
	}
	return a
}

// xorsign returns the min or max of the magnitudes with the product of the signs. A NaN has no sign.
func (f format) xorsign(pick func(a, b uint64) uint64, a, b uint64) uint64 {
	sign := (a ^ b) & f.sign()
	d := pick(a&^f.sign(), b&^f.sign())
	if f.isNaN(d) {
		return d
	}
	return d&^f.sign() | sign
}

// integral rounds a finite x to an integer.
func integral(x num, r rounding) num {
	if x.e >= 0 {
		return num{neg: x.neg, m: new(big.Int).Lsh(x.m, uint(x.e))}
	}
	return num{neg: x.neg, m: x.shiftRight(-x.e, false, r)}
}

// convert converts a number from one format to another.
func convert(to, from format, a uint64, r rounding) uint64 {
	x := from.decode(a)
	if x.nan {
		return to.nan()
	}
	return to.round(x, false, r)
}

// satfinite converts to the nearest number. If that would exceed the largest finite number, or a is infinite, the
// result is the largest finite number with the same sign.
func satfinite(to, from format, a uint64) uint64 {
	x := from.decode(a)
	if x.nan {
		return to.nan()
	}
	var sign uint64
	if x.neg {
		sign = to.sign()
	}
	if x.inf || cmp(num{m: x.m, e: x.e}, to.decode(to.max())) > 0 {
		return sign | to.max()
	}
	return to.round(x, false, nearest)
}

// roundToIntegral rounds to an integer in the same format.
func (f format) roundToIntegral(a uint64, r rounding) uint64 {
	x := f.decode(a)
	switch {
	case x.nan:
		return f.nan()
	case x.inf:
		return a
	}
	return f.round(integral(x, r), false, r)
}
