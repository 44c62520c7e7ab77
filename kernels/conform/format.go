package conform

import "math/big"

// A format is a binary floating-point format in the style of IEEE 754.
type format struct {
	name string
	exp  int // bits of the exponent
	man  int // stored bits of the significand
	// finite: there are no infinities, the largest exponent also has numbers, and only the largest
	// significand in it is a NaN (e4m3).
	finite bool
}

var (
	f16  = format{name: "f16", exp: 5, man: 10}
	bf16 = format{name: "bf16", exp: 8, man: 7}
	f32  = format{name: "f32", exp: 8, man: 23}
	f64  = format{name: "f64", exp: 11, man: 52}
	e4m3 = format{name: "e4m3", exp: 4, man: 3, finite: true}
	e5m2 = format{name: "e5m2", exp: 5, man: 2}
)

func (f format) width() int   { return 1 + f.exp + f.man }
func (f format) bias() int    { return 1<<(f.exp-1) - 1 }
func (f format) sign() uint64 { return 1 << (f.exp + f.man) }

// nan returns NVIDIA's canonical NaN: all bits set except the sign.
func (f format) nan() uint64 { return f.sign() - 1 }

// inf returns +∞, which a finite format does not have.
func (f format) inf() uint64 { return mask(f.exp) << f.man }

// max returns the largest finite number.
func (f format) max() uint64 {
	if f.finite {
		return f.nan() - 1
	}
	return f.inf() - 1
}

func (f format) isNaN(bits uint64) bool {
	if f.finite {
		return bits&f.nan() == f.nan()
	}
	return bits&f.nan() > f.inf()
}

// minExp returns the exponent of the smallest normal number.
func (f format) minExp() int { return 1 - f.bias() }

// A num is a decoded number: a NaN, an infinity, or (−1)^neg·m·2^e.
type num struct {
	nan, inf bool
	neg      bool
	m        *big.Int // never negative
	e        int
}

func (x num) zero() bool { return !x.nan && !x.inf && x.m.Sign() == 0 }

// decode reads a number of the format.
func (f format) decode(bits uint64) num {
	x := num{neg: bits&f.sign() != 0, m: new(big.Int)}
	switch {
	case f.isNaN(bits):
		x.nan = true
		return x
	case !f.finite && bits&f.nan() == f.inf():
		x.inf = true
		return x
	}
	man := bits & mask(f.man)
	field := int(bits >> f.man & mask(f.exp))
	if field == 0 {
		field = 1
	} else {
		man |= 1 << f.man
	}
	x.m.SetUint64(man)
	x.e = field - f.bias() - f.man
	return x
}

// A rounding is a rounding direction.
type rounding string

const (
	nearest rounding = "rn" // to nearest, ties to even
	toZero  rounding = "rz"
	down    rounding = "rm"
	up      rounding = "rp"
)

var roundings = []rounding{nearest, toZero, down, up}

// away reports whether a magnitude is rounded up. half compares the part that is cut off with half a unit;
// odd tells whether the remaining part is odd.
func (r rounding) away(neg bool, half int, odd bool) bool {
	switch r {
	case nearest:
		return half > 0 || half == 0 && odd
	case toZero:
		return false
	case down:
		return neg
	default:
		return !neg
	}
}

// shiftRight returns x.m·2^−n rounded to an integer, n > 0. more means that the exact number exceeds x by
// less than a unit of x.m.
func (x num) shiftRight(n int, more bool, r rounding) *big.Int {
	q, rest := new(big.Int).QuoRem(x.m, new(big.Int).Lsh(big.NewInt(1), uint(n)), new(big.Int))
	if rest.Sign() == 0 && !more {
		return q
	}
	half := rest.Cmp(new(big.Int).Lsh(big.NewInt(1), uint(n-1)))
	if half == 0 && more {
		half = 1
	}
	if r.away(x.neg, half, q.Bit(0) == 1) {
		q.Add(q, big.NewInt(1))
	}
	return q
}

// round rounds x, which is not a NaN, to the format. more means that the magnitude of the exact number
// exceeds that of x by less than a unit of x.m; x.m then has at least two bits more than the format.
func (f format) round(x num, more bool, r rounding) uint64 {
	var sign uint64
	if x.neg {
		sign = f.sign()
	}
	if x.inf {
		return sign | f.inf()
	}
	if x.m.Sign() == 0 {
		return sign
	}
	// unit is the weight of the result's last bit.
	unit := max(x.e+x.m.BitLen()-1, f.minExp()) - f.man
	var q *big.Int
	if n := unit - x.e; n > 0 {
		q = x.shiftRight(n, more, r)
	} else {
		q = new(big.Int).Lsh(x.m, uint(-n))
	}
	if q.BitLen() > f.man+1 { // the significand was all ones
		q.Rsh(q, 1)
		unit++
	}
	man := q.Uint64()
	if man < 1<<f.man {
		return sign | man // subnormal: unit is the smallest possible
	}
	field := uint64(unit + f.man + f.bias())
	bits := field<<f.man | man&mask(f.man)
	if bits <= f.max() {
		return sign | bits
	}
	// Too large: the largest number when rounding towards zero, infinity when rounding away from it.
	if r == nearest || r == down && x.neg || r == up && !x.neg {
		return sign | f.inf()
	}
	return sign | f.max()
}
