package ptx

import (
	"math/bits"
	"unsafe"
)

// Integer instructions on rows (PTX ISA §9.7.1, §9.7.2, §9.7.7).

type signedInt interface{ ~int16 | ~int32 | ~int64 }
type unsignedInt interface{ ~uint16 | ~uint32 | ~uint64 }
type integer interface{ signedInt | unsignedInt }

// operands2 returns the rows of a destination and two sources.
func operands2[T any](p unsafe.Pointer, w *warp, in *instr) (d, a, b *[warpSize]T) {
	return (*[warpSize]T)(p), row[T](w.regs, in.a), row[T](w.regs, in.b)
}

func operands3[T any](p unsafe.Pointer, w *warp, in *instr) (d, a, b, c *[warpSize]T) {
	return (*[warpSize]T)(p), row[T](w.regs, in.a), row[T](w.regs, in.b), row[T](w.regs, in.c)
}

func copyRow[T any](p unsafe.Pointer, w *warp, in *instr) {
	*(*[warpSize]T)(p) = *row[T](w.regs, in.a)
}

func add[T integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	for i := range d {
		d[i] = a[i] + b[i]
	}
}

func sub[T integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	for i := range d {
		d[i] = a[i] - b[i]
	}
}

func mulLo[T integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	for i := range d {
		d[i] = a[i] * b[i]
	}
}

func madLo[T integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[T](p, w, in)
	for i := range d {
		d[i] = a[i]*b[i] + c[i]
	}
}

// mulWide multiplies T to W, which is twice as wide.
func mulWide[T, W integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := (*[warpSize]W)(p), row[T](w.regs, in.a), row[T](w.regs, in.b)
	for i := range d {
		d[i] = W(a[i]) * W(b[i])
	}
}

func madWide[T, W integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := (*[warpSize]W)(p), row[T](w.regs, in.a), row[T](w.regs, in.b), row[W](w.regs, in.c)
	for i := range d {
		d[i] = W(a[i])*W(b[i]) + c[i]
	}
}

// mulHi is the upper half of a product; W is twice as wide as T.
func mulHi[T, W integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	shift := 8 * unsafe.Sizeof(d[0])
	for i := range d {
		d[i] = T(W(a[i]) * W(b[i]) >> shift)
	}
}

func madHi[T, W integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[T](p, w, in)
	shift := 8 * unsafe.Sizeof(d[0])
	for i := range d {
		d[i] = T(W(a[i])*W(b[i])>>shift) + c[i]
	}
}

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

func mulHiU64(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[uint64](p, w, in)
	for i := range d {
		d[i] = highU64(a[i], b[i])
	}
}

func mulHiS64(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[int64](p, w, in)
	for i := range d {
		d[i] = highS64(a[i], b[i])
	}
}

func madHiU64(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[uint64](p, w, in)
	for i := range d {
		d[i] = highU64(a[i], b[i]) + c[i]
	}
}

func madHiS64(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[int64](p, w, in)
	for i := range d {
		d[i] = highS64(a[i], b[i]) + c[i]
	}
}

// madHiSat is mad.hi.sat.s32.
func madHiSat(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[int32](p, w, in)
	for i := range d {
		d[i] = saturate32(int64(a[i])*int64(b[i])>>32 + int64(c[i]))
	}
}

func saturate32(v int64) int32 { return int32(min(max(v, -1<<31), 1<<31-1)) }

func addSat(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[int32](p, w, in)
	for i := range d {
		d[i] = saturate32(int64(a[i]) + int64(b[i]))
	}
}

func subSat(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[int32](p, w, in)
	for i := range d {
		d[i] = saturate32(int64(a[i]) - int64(b[i]))
	}
}

// product24 is the 48-bit product of the low 24 bits.
func product24U(a, b uint32) uint64 { return uint64(a&0xffffff) * uint64(b&0xffffff) }
func product24S(a, b int32) int64   { return int64(a<<8>>8) * int64(b<<8>>8) }

func mul24LoU(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[uint32](p, w, in)
	for i := range d {
		d[i] = uint32(product24U(a[i], b[i])) + c[i]
	}
}

func mul24LoS(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[int32](p, w, in)
	for i := range d {
		d[i] = int32(product24S(a[i], b[i])) + c[i]
	}
}

func mul24HiU(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[uint32](p, w, in)
	for i := range d {
		d[i] = uint32(product24U(a[i], b[i])>>16) + c[i]
	}
}

func mul24HiS(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[int32](p, w, in)
	for i := range d {
		d[i] = int32(product24S(a[i], b[i])>>16) + c[i]
	}
}

func mad24HiSat(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[int32](p, w, in)
	for i := range d {
		d[i] = saturate32(product24S(a[i], b[i])>>16 + int64(c[i]))
	}
}

func sad[T integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[T](p, w, in)
	for i := range d {
		if a[i] < b[i] {
			d[i] = c[i] + (b[i] - a[i])
		} else {
			d[i] = c[i] + (a[i] - b[i])
		}
	}
}

// div of unsigned numbers. Division by zero gives all ones, as hardware does
// (PTX leaves it unspecified), and rem the dividend.
func divU[T unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	for i := range d {
		if b[i] == 0 {
			d[i] = ^T(0)
		} else {
			d[i] = a[i] / b[i]
		}
	}
}

func divS[T signedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	for i := range d {
		if b[i] == 0 {
			d[i] = ^T(0)
		} else {
			d[i] = a[i] / b[i] // Go's MinInt / -1 is MinInt
		}
	}
}

func rem[T integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	for i := range d {
		if b[i] == 0 {
			d[i] = a[i]
		} else {
			d[i] = a[i] % b[i]
		}
	}
}

func absInt[T signedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, _ := operands2[T](p, w, in)
	for i := range d {
		d[i] = max(a[i], -a[i])
		if a[i] == -a[i] {
			d[i] = a[i]
		}
	}
}

func negInt[T signedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, _ := operands2[T](p, w, in)
	for i := range d {
		d[i] = -a[i]
	}
}

func minInt[T integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	for i := range d {
		d[i] = min(a[i], b[i])
	}
}

func maxInt[T integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	for i := range d {
		d[i] = max(a[i], b[i])
	}
}

func popc32(p unsafe.Pointer, w *warp, in *instr) {
	d, a, _ := operands2[uint32](p, w, in)
	for i := range d {
		d[i] = uint32(bits.OnesCount32(a[i]))
	}
}

func popc64(p unsafe.Pointer, w *warp, in *instr) {
	d, a := (*[warpSize]uint32)(p), row[uint64](w.regs, in.a)
	for i := range d {
		d[i] = uint32(bits.OnesCount64(a[i]))
	}
}

func clz32(p unsafe.Pointer, w *warp, in *instr) {
	d, a, _ := operands2[uint32](p, w, in)
	for i := range d {
		d[i] = uint32(bits.LeadingZeros32(a[i]))
	}
}

func clz64(p unsafe.Pointer, w *warp, in *instr) {
	d, a := (*[warpSize]uint32)(p), row[uint64](w.regs, in.a)
	for i := range d {
		d[i] = uint32(bits.LeadingZeros64(a[i]))
	}
}

func brev32(p unsafe.Pointer, w *warp, in *instr) {
	d, a, _ := operands2[uint32](p, w, in)
	for i := range d {
		d[i] = bits.Reverse32(a[i])
	}
}

func brev64(p unsafe.Pointer, w *warp, in *instr) {
	d, a, _ := operands2[uint64](p, w, in)
	for i := range d {
		d[i] = bits.Reverse64(a[i])
	}
}

// bfind is the place of the highest bit that is not the sign: in.imm is 1 for
// .shiftamt, which counts from the top.
func bfind[T integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a := (*[warpSize]uint32)(p), row[T](w.regs, in.a)
	width := 8 * int(unsafe.Sizeof(a[0]))
	for i := range d {
		v := a[i]
		if v < 0 {
			v = ^v
		}
		top := bits.Len64(uint64(v)) - 1
		if in.imm != 0 && top >= 0 {
			top = width - 1 - top
		}
		d[i] = uint32(top)
	}
}

// bfe extracts c bits from bit b on. Above the field are copies of its sign, if T
// is signed; a field that reaches past the end has the number's.
func bfe[T integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a, pos, length := (*[warpSize]T)(p), row[T](w.regs, in.a), row[uint32](w.regs, in.b), row[uint32](w.regs, in.c)
	width := 8 * uint32(unsafe.Sizeof(d[0]))
	for i := range d {
		b, n := pos[i]&0xff, length[i]&0xff
		if n == 0 {
			d[i] = 0
			continue
		}
		v := a[i] >> b // of a signed number the sign goes on past the end
		if b+n <= width {
			up := width - n
			v = v << up >> up
		}
		d[i] = v
	}
}

// bfi is b with the low bits of a, e of them, in place of b's from bit c on.
func bfi[T unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	pos, length := row[uint32](w.regs, in.c), row[uint32](w.regs, in.e)
	width := 8 * uint32(unsafe.Sizeof(d[0]))
	for i := range d {
		at, n := pos[i]&0xff, length[i]&0xff
		field := ^T(0)
		if n < width {
			field = T(1)<<n - 1
		}
		field <<= at
		d[i] = b[i]&^field | a[i]<<at&field
	}
}

func and[T unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	for i := range d {
		d[i] = a[i] & b[i]
	}
}

func or[T unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	for i := range d {
		d[i] = a[i] | b[i]
	}
}

func xor[T unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	for i := range d {
		d[i] = a[i] ^ b[i]
	}
}

func not[T unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, _ := operands2[T](p, w, in)
	for i := range d {
		d[i] = ^a[i]
	}
}

func cnot[T unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, _ := operands2[T](p, w, in)
	for i := range d {
		if a[i] == 0 {
			d[i] = 1
		} else {
			d[i] = 0
		}
	}
}

// lop3 looks each bit of the result up in the table in.imm.
func lop3(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[uint32](p, w, in)
	for i := range d {
		x, y, z := a[i], b[i], c[i]
		var v uint32
		for k := range 8 {
			if in.imm>>k&1 == 0 {
				continue
			}
			term := allLanes
			for j, bit := range [3]uint32{z, y, x} {
				if k>>j&1 == 0 {
					bit = ^bit
				}
				term &= bit
			}
			v |= term
		}
		d[i] = v
	}
}

// Shifts by the width or more clear an unsigned number and leave the sign of a
// signed one, as Go's do.
func shl[T unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, n := (*[warpSize]T)(p), row[T](w.regs, in.a), row[uint32](w.regs, in.b)
	for i := range d {
		d[i] = a[i] << n[i]
	}
}

func shr[T integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a, n := (*[warpSize]T)(p), row[T](w.regs, in.a), row[uint32](w.regs, in.b)
	for i := range d {
		d[i] = a[i] >> n[i]
	}
}

// The funnel shifts take the upper (shf.l) or lower (shf.r) half of b:a shifted.
func shfL(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, n := operands3[uint32](p, w, in)
	for i := range d {
		d[i] = uint32((uint64(b[i])<<32 | uint64(a[i])) << funnel(n[i], in.imm) >> 32)
	}
}

func shfR(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, n := operands3[uint32](p, w, in)
	for i := range d {
		d[i] = uint32((uint64(b[i])<<32 | uint64(a[i])) >> funnel(n[i], in.imm))
	}
}

// funnel is the amount of a funnel shift: wrapped to 31, or, with clamp, at most 32.
func funnel(n uint32, clamp uint64) uint32 {
	if clamp != 0 {
		return min(n, 32)
	}
	return n & 31
}

// prmt picks four bytes of b:a; in.imm is the mode.
func prmt(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[uint32](p, w, in)
	for i := range d {
		d[i] = permute(uint64(b[i])<<32|uint64(a[i]), c[i], int(in.imm))
	}
}

// The modes of prmt.
const (
	prmtGeneral = iota
	prmtF4E
	prmtB4E
	prmtRC8
	prmtECL
	prmtECR
	prmtRC16
)

func permute(from uint64, sel uint32, mode int) uint32 {
	var pick [4]uint32 // the byte for each place; bit 3 replicates its sign
	s := sel & 3
	for i := range uint32(4) {
		switch mode {
		case prmtGeneral:
			pick[i] = sel >> (4 * i) & 15
		case prmtF4E:
			pick[i] = s + i
		case prmtB4E:
			pick[i] = (s - i) & 7
		case prmtRC8:
			pick[i] = s
		case prmtECL:
			pick[i] = max(s, i)
		case prmtECR:
			pick[i] = min(s, i)
		case prmtRC16:
			pick[i] = s&1<<1 + i&1
		}
	}
	var out uint32
	for i, k := range pick {
		v := uint32(from>>(8*(k&7))) & 0xff
		if k&8 != 0 {
			v = uint32(int32(int8(v))>>7) & 0xff
		}
		out |= v << (8 * i)
	}
	return out
}

// dp4a adds four products of bytes to c; in.imm says which side is signed.
func dp4a(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[uint32](p, w, in)
	byteOf := func(v uint32, k int, signed bool) int32 {
		if signed {
			return int32(int8(v >> (8 * k)))
		}
		return int32(uint8(v >> (8 * k)))
	}
	for i := range d {
		sum := int32(c[i])
		for k := range 4 {
			sum += byteOf(a[i], k, in.imm&1 != 0) * byteOf(b[i], k, in.imm&2 != 0)
		}
		d[i] = uint32(sum)
	}
}

// carry executes add.cc, addc, sub.cc, subc and mad's: in.imm is carryFlags. The
// carry of a subtraction is its borrow.
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
		if in.imm&carryIn1 != 0 {
			carryIn = uint64(w.cc >> i & 1)
		}
		var v, c uint64
		if in.imm&carrySub != 0 {
			v, c = bits.Sub64(x, y, carryIn)
		} else {
			v, c = bits.Add64(x, y, carryIn)
		}
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

// What carry does.
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

func dp2a(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[uint32](p, w, in)
	for i := range d {
		sum := int64(int32(c[i]))
		for k := range 2 {
			x := int64(uint16(a[i] >> (16 * k)))
			if in.imm&1 != 0 {
				x = int64(int16(x))
			}
			y := int64(uint8(b[i] >> (8*k + 16*int(in.imm>>2&1))))
			if in.imm&2 != 0 {
				y = int64(int8(y))
			}
			sum += x * y
		}
		d[i] = uint32(sum)
	}
}

// fns finds the n-th set bit of a, c = n, from bit b on: upwards for n > 0,
// downwards for n < 0; for n = 0 it is whether bit b is set.
func fns(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[uint32](p, w, in)
	for i := range d {
		d[i] = findNth(a[i], b[i], int32(c[i]))
	}
}

func findNth(mask, base uint32, n int32) uint32 {
	if n == 0 {
		if mask>>base&1 != 0 {
			return base
		}
		return ^uint32(0)
	}
	step := 1
	if n < 0 {
		step = -1
	}
	count := int64(n) * int64(step)
	for pos := int64(base); pos >= 0 && pos < 32; pos += int64(step) {
		if mask>>pos&1 != 0 {
			if count--; count == 0 {
				return uint32(pos)
			}
		}
	}
	return ^uint32(0)
}

// addPacked is add.u16x2 and add.s16x2.
func addPacked(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[uint32](p, w, in)
	for i := range d {
		d[i] = (a[i]+b[i])&0xffff | (a[i]>>16+b[i]>>16)<<16
	}
}
