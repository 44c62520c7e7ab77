package ptx

import (
	"math/bits"
	"unsafe"
)

// Logic, shifts and bit fields on rows (PTX ISA §9.7.1, §9.7.7).

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

// bfind returns the position of the highest bit that differs from the sign; with in.imm = 1 (.shiftamt)
// counted from the top.
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

// bfe extracts c bits, starting at bit b. If T is signed, the bits above are copies of the field's sign bit;
// for a field that extends past the end, the number's sign bit.
func bfe[T integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a, pos, length := (*[warpSize]T)(p), row[T](w.regs, in.a), row[uint32](w.regs, in.b), row[uint32](w.regs, in.c)
	width := 8 * uint32(unsafe.Sizeof(d[0]))
	for i := range d {
		b, n := pos[i]&0xff, length[i]&0xff
		if n == 0 {
			d[i] = 0
			continue
		}
		v := a[i] >> b // extends the sign of a signed number past the end
		if b+n <= width {
			up := width - n
			v = v << up >> up
		}
		d[i] = v
	}
}

// bfi returns b with e bits, starting at bit c, replaced by the low bits of a.
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

// lop3 looks up each bit of the result in the truth table in.imm.
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

// Shifts by the width or more give 0, or for signed right shifts copies of the sign, as in Go.
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

// The funnel shifts return the upper (shf.l) or lower (shf.r) half of b:a shifted.
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

// funnel returns the amount of a funnel shift: modulo 32, or with clamp at most 32.
func funnel(n uint32, clamp uint64) uint32 {
	if clamp != 0 {
		return min(n, 32)
	}
	return n & 31
}

// prmt selects four bytes of b:a; in.imm is the mode.
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
	var pick [4]uint32 // source byte of each result byte; bit 3 replicates its sign
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

// fns finds the n-th set bit of a, c = n, starting at bit b: upwards for n > 0, downwards for n < 0. For n =
// 0 it tests bit b.
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
