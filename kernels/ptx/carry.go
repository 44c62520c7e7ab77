package ptx

import (
	"math/bits"
	"unsafe"
)

func highU64(a, b uint64) uint64 {
	hi, _ := bits.Mul64(a, b)
	return hi
}

func highS64(a, b int64) int64 {
	hi := highU64(uint64(a), uint64(b))
	if a < 0 {
		hi -= uint64(b)
	}
	if b < 0 {
		hi -= uint64(a)
	}
	return int64(hi)
}

// carry executes add.cc, addc, sub.cc, subc and mad's forms; in.imm has the flags below. As on hardware, a
// subtraction is the addition a + ^b + 1, and subc is a + ^b + carry: after a borrow the carry flag is 0. In
// the manual the flag of a subtraction is the borrow. Chains of only additions or only subtractions give the
// same results; ptxas mixes them (a sub.cc before an addc, an add.cc before a subc) as here.
func carry[T uint32 | uint64](w *warp, in *instr, mask uint32) error {
	d, a, b := row[T](w.regs, in.d), row[T](w.regs, in.a), row[T](w.regs, in.b)
	out := w.cc
	for m := mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m) & 31
		x, y := uint64(a[i]), uint64(b[i])
		wide := unsafe.Sizeof(d[0]) == 8
		if in.imm&carryMul != 0 {
			x, y = multiply(x, y, in.imm, wide), uint64(row[T](w.regs, in.c)[i])
		}
		carryIn := uint64(0)
		if in.imm&carrySub != 0 {
			carryIn = 1
			y = uint64(^T(y))
		}
		if in.imm&carryIn1 != 0 {
			carryIn = uint64(w.cc >> i & 1)
		}
		v, c := bits.Add64(x, y, carryIn)
		if !wide {
			c = v >> 32 & 1
		}
		d[i] = T(v)
		out = out&^(1<<i) | uint32(c)<<i
	}
	if in.imm&carryOut != 0 {
		w.cc = out
	}
	return nil
}

// Flags of carry.
const (
	carryOut = 1 << iota
	carryIn1
	carrySub
	carryMul
	carryHi
	carrySigned
)

func multiply(a, b, flags uint64, wide bool) uint64 {
	switch {
	case !wide && flags&carryHi == 0:
		return uint64(uint32(a * b))
	case !wide && flags&carrySigned != 0:
		return uint64(uint32(int64(int32(a)) * int64(int32(b)) >> 32))
	case !wide:
		return a * b >> 32
	case flags&carryHi == 0:
		return a * b
	case flags&carrySigned != 0:
		return uint64(highS64(int64(a), int64(b)))
	}
	return highU64(a, b)
}
