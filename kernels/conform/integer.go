package conform

import "math/big"

// An integer is an integer type of PTX: u8 … u64, s8 … s64, or bits.
type integer struct {
	name   string
	bits   int
	signed bool
}

var (
	u8, s8   = integer{"u8", 8, false}, integer{"s8", 8, true}
	u16, s16 = integer{"u16", 16, false}, integer{"s16", 16, true}
	u32, s32 = integer{"u32", 32, false}, integer{"s32", 32, true}
	u64, s64 = integer{"u64", 64, false}, integer{"s64", 64, true}
	b16      = integer{"b16", 16, false}
	b32      = integer{"b32", 32, false}
	b64      = integer{"b64", 64, false}
)

// value returns the number in the low bits of a register.
func (t integer) value(reg uint64) *big.Int {
	v := new(big.Int).SetUint64(reg & mask(t.bits))
	if t.signed && v.Bit(t.bits-1) == 1 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(t.bits)))
	}
	return v
}

// wrap returns v modulo 2^bits, as a register's low bits.
func wrap(v *big.Int, bits int) uint64 {
	m := new(big.Int).Lsh(big.NewInt(1), uint(bits))
	return new(big.Int).Mod(v, m).Uint64() // Mod is Euclidean: never negative
}

// extend returns a register of the type, sign- or zero-extended to 64 bits.
func (t integer) extend(reg uint64) uint64 { return wrap(t.value(reg), 64) }

func (t integer) min() *big.Int {
	if !t.signed {
		return new(big.Int)
	}
	return new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(1), uint(t.bits-1)))
}

func (t integer) max() *big.Int {
	n := t.bits
	if t.signed {
		n--
	}
	m := new(big.Int).Lsh(big.NewInt(1), uint(n))
	return m.Sub(m, big.NewInt(1))
}

// clamp returns v limited to the range of the type, as a register of 64 bits.
func (t integer) clamp(v *big.Int) uint64 {
	if v.Cmp(t.min()) < 0 {
		v = t.min()
	}
	if v.Cmp(t.max()) > 0 {
		v = t.max()
	}
	return wrap(v, 64)
}

// covers reports whether every value of o is a value of t.
func (t integer) covers(o integer) bool {
	return t.min().Cmp(o.min()) <= 0 && t.max().Cmp(o.max()) >= 0
}

// fromFloat computes cvt from a float: rounded to an integer and limited to the range.
func (t integer) fromFloat(f format, a uint64, r rounding) uint64 {
	x := f.decode(a)
	switch {
	case x.nan:
		// The manual's rule for NaN: 0 if the source is not .f64 and the destination has less than 64 bits,
		// else only the top bit.
		if f.name != f64.name && t.bits < 64 {
			return 0
		}
		return t.extend(1 << (t.bits - 1))
	case x.inf && x.neg:
		return wrap(t.min(), 64)
	case x.inf:
		return wrap(t.max(), 64)
	}
	v := integral(x, r).m
	if x.neg {
		v = new(big.Int).Neg(v)
	}
	return t.clamp(v)
}

// fromInteger computes cvt from an integer to the format.
func (f format) fromInteger(t integer, reg uint64, r rounding) uint64 {
	v := t.value(reg)
	return f.round(num{neg: v.Sign() < 0, m: new(big.Int).Abs(v)}, false, r)
}
