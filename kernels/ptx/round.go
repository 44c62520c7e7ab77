package ptx

import (
	"math"
	"math/big"
	"math/bits"
)

// rounding is a rounding modifier.
type rounding uint8

const (
	roundNearest rounding = iota // .rn: nearest, ties to even
	roundZero                    // .rz
	roundDown                    // .rm
	roundUp                      // .rp
)

// format is a binary floating-point format.
type format struct {
	bits     uint
	mantissa uint // bits of the fraction as stored
	bias     int
	top      int    // largest biased exponent of a finite number
	maximum  uint64 // the largest finite number
	infinity uint64 // 0 if the format has none
	nan      uint64 // the canonical NaN
}

// The canonical NaNs of the PTX ISA: 0x7fffffff for f32, 0x7fff for f16 and bf16 (§9.7.3, §9.7.4). For f64 it
// names none; Go's is used.
var (
	fmtF16  = &format{16, 10, 15, 30, 0x7bff, 0x7c00, 0x7fff}
	fmtBF16 = &format{16, 7, 127, 254, 0x7f7f, 0x7f80, 0x7fff}
	fmtF32  = &format{32, 23, 127, 254, 0x7f7fffff, 0x7f800000, 0x7fffffff}
	fmtF64  = &format{64, 52, 1023, 2046, 0x7fefffffffffffff, 0x7ff0000000000000, 0x7ff8000000000000}
	fmtE4M3 = &format{8, 3, 7, 15, 0x7e, 0, 0x7f}
	fmtE5M2 = &format{8, 2, 15, 30, 0x7b, 0x7c, 0x7f}

	// These have no NaN: one is converted to the largest number (§9.7.9.21, .satfinite).
	fmtE2M3 = &format{6, 3, 1, 3, 0x1f, 0, 0x1f}
	fmtE3M2 = &format{6, 2, 3, 7, 0x1f, 0, 0x1f}
	fmtE2M1 = &format{4, 1, 1, 3, 0x7, 0, 0x7}

	// fmtUE8M0 is a power of two, from 2^-127, or NaN: see packScale.
	fmtUE8M0 = &format{bits: 8}
)

func formatOf(t typ) *format {
	switch t {
	case f16, f16x2:
		return fmtF16
	case bf16, bf16x2:
		return fmtBF16
	case f32:
		return fmtF32
	case f64:
		return fmtF64
	case e4m3x2:
		return fmtE4M3
	case e5m2x2:
		return fmtE5M2
	case e2m3x2:
		return fmtE2M3
	case e3m2x2:
		return fmtE3M2
	case e2m1x2:
		return fmtE2M1
	case scales:
		return fmtUE8M0
	}
	return nil
}

// number is an unpacked floating-point number: ±mant·2^exp.
type number struct {
	neg, nan, inf bool
	mant          uint64
	exp           int
	sticky        bool // the exact number is slightly larger
}

func (n number) zero() bool { return n.mant == 0 && !n.nan && !n.inf }

// unpack unpacks a number, exactly.
func (f *format) unpack(b uint64) number {
	n := number{neg: b>>(f.bits-1)&1 != 0}
	frac := b & (1<<f.mantissa - 1)
	biased := int(b >> f.mantissa & (1<<(f.bits-1-f.mantissa) - 1))
	magnitude := b &^ (1 << (f.bits - 1))
	switch {
	case f.infinity != 0 && magnitude > f.infinity, f.infinity == 0 && magnitude > f.maximum:
		n.nan = true
	case f.infinity != 0 && magnitude == f.infinity:
		n.inf = true
	case biased == 0:
		n.mant, n.exp = frac, 1-f.bias-int(f.mantissa)
	default:
		n.mant, n.exp = frac|1<<f.mantissa, biased-f.bias-int(f.mantissa)
	}
	return n
}

// pack rounds a number to the format, once. Beyond the largest finite number the result is infinity or that
// number, depending on mode and saturate.
func (f *format) pack(n number, mode rounding, saturate bool) uint64 {
	sign := uint64(0)
	if n.neg {
		sign = 1 << (f.bits - 1)
	}
	switch {
	case n.nan:
		return f.nan
	case n.inf:
		if saturate || f.infinity == 0 {
			return sign | f.maximum
		}
		return sign | f.infinity
	case n.mant == 0:
		return sign
	}
	// The unit in the last place of the result is 2^unit.
	top := bits.Len64(n.mant) - 1 + n.exp
	unit := max(top, 1-f.bias) - int(f.mantissa)
	r, half, rest := n.mant, false, n.sticky
	switch shift := unit - n.exp; {
	case shift > 64:
		r, rest = 0, true
	case shift == 64:
		half, rest, r = r>>63 != 0, rest || r<<1 != 0, 0
	case shift > 0:
		half = r>>(shift-1)&1 != 0
		rest = rest || r&(1<<(shift-1)-1) != 0
		r >>= shift
	default:
		r <<= -shift
	}
	switch mode {
	case roundNearest:
		if half && (rest || r&1 != 0) {
			r++
		}
	case roundDown:
		if n.neg && (half || rest) {
			r++
		}
	case roundUp:
		if !n.neg && (half || rest) {
			r++
		}
	}
	if r == 1<<(f.mantissa+1) {
		r >>= 1
		unit++
	}
	if r < 1<<f.mantissa { // subnormal, or zero
		return sign | r
	}
	biased := unit + int(f.mantissa) + f.bias
	magnitude := uint64(biased)<<f.mantissa | r&(1<<f.mantissa-1)
	if biased > f.top || magnitude > f.maximum {
		away := mode == roundNearest || mode == roundDown && n.neg || mode == roundUp && !n.neg
		if saturate || f.infinity == 0 || !away {
			return sign | f.maximum
		}
		return sign | f.infinity
	}
	return sign | magnitude
}

// fromInt returns an integer as a number.
func fromInt(v uint64, signed bool) number {
	if signed && int64(v) < 0 {
		return number{neg: true, mant: -v}
	}
	return number{mant: v}
}

// exact returns a finite number as a big.Float, exactly.
func (n number) exact() *big.Float {
	x := new(big.Float).SetPrec(64).SetUint64(n.mant)
	x.SetMantExp(x, n.exp)
	if n.neg {
		x.Neg(x)
	}
	return x
}

// fromBig returns a number for a big.Float that was rounded to zero; its Acc tells whether bits were lost.
func fromBig(x *big.Float) number {
	n := number{neg: x.Signbit(), sticky: x.Acc() != big.Exact}
	if x.Sign() == 0 {
		return n
	}
	mant := new(big.Float)
	n.exp = x.MantExp(mant) - 62
	mant.SetMantExp(mant, 62)
	mant.Abs(mant)
	n.mant, _ = mant.Uint64()
	return n
}

// truncated returns a big.Float that keeps 62 bits, rounded to zero.
func truncated() *big.Float { return new(big.Float).SetPrec(62).SetMode(big.ToZero) }

var nanNumber = number{nan: true}

// sum returns a + b for any rounding; mode determines the sign of an exact zero.
func sum(a, b number, mode rounding) number {
	switch {
	case a.nan || b.nan || a.inf && b.inf && a.neg != b.neg:
		return nanNumber
	case a.inf:
		return a
	case b.inf:
		return b
	case a.zero() && b.zero():
		if a.neg == b.neg {
			return a
		}
		return number{neg: mode == roundDown}
	}
	return signedZero(fromBig(truncated().Add(a.exact(), b.exact())), mode)
}

func signedZero(n number, mode rounding) number {
	if n.zero() && !n.sticky {
		n.neg = mode == roundDown
	}
	return n
}

func product(a, b number) number {
	neg := a.neg != b.neg
	switch {
	case a.nan || b.nan || a.inf && b.zero() || a.zero() && b.inf:
		return nanNumber
	case a.inf || b.inf:
		return number{inf: true, neg: neg}
	case a.zero() || b.zero():
		return number{neg: neg}
	}
	n := fromBig(truncated().Mul(a.exact(), b.exact()))
	n.neg = neg
	return n
}

func fusedSum(a, b, c number, mode rounding) number {
	p := product(a, b)
	if p.nan || p.inf || p.zero() || c.nan || c.inf || c.zero() {
		if c.zero() && !p.zero() && !p.nan && !p.inf {
			return p
		}
		return sum(p, c, mode)
	}
	x := new(big.Float).SetPrec(128).Mul(a.exact(), b.exact())
	return signedZero(fromBig(truncated().Add(x, c.exact())), mode)
}

func quotient(a, b number) number {
	neg := a.neg != b.neg
	switch {
	case a.nan || b.nan || a.inf && b.inf || a.zero() && b.zero():
		return nanNumber
	case a.inf || b.zero():
		return number{inf: true, neg: neg}
	case a.zero() || b.inf:
		return number{neg: neg}
	}
	return fromBig(truncated().Quo(a.exact(), b.exact()))
}

func squareRoot(a number) number {
	switch {
	case a.nan || a.zero():
		return a
	case a.neg:
		return nanNumber
	case a.inf:
		return a
	}
	// mant·2^exp with an even exp, and enough bits for a root of 62.
	m, exp := new(big.Int).SetUint64(a.mant), a.exp
	shift := 124 - bits.Len64(a.mant)
	if (exp-shift)&1 != 0 {
		shift--
	}
	m.Lsh(m, uint(shift))
	root := new(big.Int).Sqrt(m)
	exact := new(big.Int).Mul(root, root).Cmp(m) == 0
	return number{mant: root.Uint64(), exp: (exp - shift) / 2, sticky: !exact}
}

// oddRounded returns a + b in float64, rounded to odd: if bits are lost, the last place is 1, so that
// rounding once more, to a format of 51 bits or fewer, is the same as rounding the exact sum.
func oddRounded(a, b float64) float64 {
	s := a + b
	// Knuth's two-sum: s + e is a + b exactly.
	bb := s - a
	e := (a - (s - bb)) + (b - bb)
	if e == 0 || e != e {
		return s
	}
	bits := math.Float64bits(s)
	if bits&1 != 0 {
		return s
	}
	// s is even and inexact: take the odd neighbour on e's side.
	if (e > 0) == (s > 0) {
		bits++
	} else {
		bits--
	}
	return math.Float64frombits(bits)
}
