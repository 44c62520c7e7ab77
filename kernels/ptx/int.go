package ptx

import "unsafe"

// Integer instructions on rows (PTX ISA §9.7.1).

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

// mulHi returns the upper half of a product; W is twice as wide as T.
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

// product24U returns the 48-bit product of the low 24 bits.
func product24U(a, b uint32) uint64 { return uint64(a&0xffffff) * uint64(b&0xffffff) }

func product24S(a, b int32) int64 { return int64(a<<8>>8) * int64(b<<8>>8) }

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

// divU divides unsigned numbers. Division by zero gives all ones, as on hardware (PTX leaves it unspecified),
// and rem the dividend.
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

// dp4a adds four products of bytes to c; in.imm says which factors are signed.
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

// addPacked is add.u16x2 and add.s16x2.
func addPacked(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[uint32](p, w, in)
	for i := range d {
		d[i] = (a[i]+b[i])&0xffff | (a[i]>>16+b[i]>>16)<<16
	}
}
