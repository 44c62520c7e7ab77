package ptx

import (
	"strings"
	"unsafe"
)

// Instructions on integers of a few bits: packed halves, cvt.pack, szext and bmsk.

// minMaxPacked returns min or max on two halves, with relu not below 0.
func minMaxPacked(isMax, signed, relu bool) aluFunc {
	pick := func(a, b uint16) uint16 {
		less := a < b
		if signed {
			less = int16(a) < int16(b)
		}
		if less == isMax {
			a = b
		}
		if relu && int16(a) < 0 {
			return 0
		}
		return a
	}
	return func(p unsafe.Pointer, w *warp, in *instr) {
		d, a, b := operands2[uint32](p, w, in)
		for i := range d {
			d[i] = uint32(pick(uint16(a[i]), uint16(b[i]))) | uint32(pick(uint16(a[i]>>16), uint16(b[i]>>16)))<<16
		}
	}
}

func minRelu(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[int32](p, w, in)
	for i := range d {
		d[i] = max(min(a[i], b[i]), 0)
	}
}

func maxRelu(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[int32](p, w, in)
	for i := range d {
		d[i] = max(a[i], b[i], 0)
	}
}

// packTypes are the types to which cvt.pack converts.
var packTypes = map[string]typ{
	"u2": {classUnsigned, 2, 1}, "s2": {classSigned, 2, 1}, "u4": {classUnsigned, 4, 1}, "s4": {classSigned, 4, 1},
	"u8": u8, "s8": s8, "u16": u16, "s16": s16,
}

// decodeCvtPack decodes cvt.pack: a and b, each clamped to a few bits, below the low bits of c.
func (d *decoder) decodeCvtPack() error {
	if len(d.mod) < 3 || d.mod[0] != "sat" || d.mod[2] != "s32" {
		return d.unsupported()
	}
	t, ok := packTypes[d.mod[1]]
	whole := t.bits == 16
	if rest := strings.Join(d.mod[3:], "."); !ok || whole && rest != "" || !whole && rest != "b32" {
		return d.unsupported()
	}
	d.mod, d.flow.spread = nil, spreadAll
	lo, hi := intRange(t)
	clamp := func(v uint32) uint32 {
		return uint32(min(max(int64(int32(v)), lo), int64(hi))) & (1<<t.bits - 1)
	}
	f := func(p unsafe.Pointer, w *warp, in *instr) {
		d, a, b := operands2[uint32](p, w, in)
		c := row[uint32](w.regs, in.c)
		for i := range d {
			d[i] = clamp(b[i]) | clamp(a[i])<<t.bits
			if !whole {
				d[i] |= c[i] << (2 * t.bits)
			}
		}
	}
	if whole {
		return d.alu(f, b32, b32, b32)
	}
	return d.alu(f, b32, b32, b32, b32)
}

// decodeSzext decodes szext: the low b bits of a, extended.
func decodeSzext(d *decoder) error {
	clamps := d.takeOne("wrap", "clamp")
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if clamps < 0 || t != u32 && t != s32 {
		return d.unsupported()
	}
	return d.alu(func(p unsafe.Pointer, w *warp, in *instr) {
		d, a, b := operands2[uint32](p, w, in)
		for i := range d {
			n := fieldBits(b[i], clamps == 1)
			if d[i] = a[i] << (32 - n); t.signed() && n > 0 { // a shift by 32 gives 0
				d[i] = uint32(int32(d[i]) >> (32 - n))
			} else {
				d[i] >>= 32 - n
			}
		}
	}, t, t, b32)
}

// decodeBmsk decodes bmsk: b ones from bit a on.
func decodeBmsk(d *decoder) error {
	clamps := d.takeOne("wrap", "clamp")
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if clamps < 0 || t != b32 {
		return d.unsupported()
	}
	return d.alu(func(p unsafe.Pointer, w *warp, in *instr) {
		d, a, b := operands2[uint32](p, w, in)
		for i := range d {
			d[i] = (uint32(1)<<fieldBits(b[i], clamps == 1) - 1) << fieldBits(a[i], clamps == 1)
		}
	}, t, t, b32)
}

// fieldBits returns a number of bits up to 32: clamped to 32, or modulo 32.
func fieldBits(n uint32, clamps bool) uint32 {
	if clamps {
		return min(n, 32)
	}
	return n & 31
}
