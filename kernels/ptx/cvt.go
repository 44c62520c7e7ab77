package ptx

import (
	"math"
	"math/bits"
	"unsafe"
)

// Conversions (PTX ISA §9.7.9.21). Common ones have a function each; the others use number.

// convertInt widens or narrows integers: D gets S, extended with S's sign or zeros.
func convertInt[D, S ~int8 | ~uint8 | integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a := (*[warpSize]D)(p), row[S](w.regs, in.a)
	for i := range d {
		d[i] = D(a[i])
	}
}

// cvtOp is a conversion with all modifiers.
type cvtOp struct {
	from, to   typ
	srcBytes   uint8 // of the register, which may be wider than the type
	dstBytes   uint8
	mode       rounding
	integral   bool // to an integer, or with .rni, .rzi, .rmi or .rpi
	sat        bool
	relu       bool
	ftz        bool
	satfinite  bool // beyond the largest finite number, the result is that number
	fromF, toF *format
}

func cvt(p unsafe.Pointer, w *warp, in *instr) {
	op := in.cvt
	for i := range warpSize {
		storeLane(p, op.dstBytes, i, op.convert(w.lane(in.a, op.srcBytes, i)))
	}
}

func storeLane(p unsafe.Pointer, bytes uint8, i int, v uint64) {
	switch bytes {
	case 1:
		(*[warpSize]uint8)(p)[i] = uint8(v)
	case 2:
		(*[warpSize]uint16)(p)[i] = uint16(v)
	case 4:
		(*[warpSize]uint32)(p)[i] = uint32(v)
	default:
		(*[warpSize]uint64)(p)[i] = v
	}
}

// extend reads the low bits of a register as an integer of type t.
func extend(v uint64, t typ) uint64 {
	up := 64 - uint(t.bits)
	if t.signed() {
		return uint64(int64(v<<up) >> up)
	}
	return v << up >> up
}

func (c *cvtOp) convert(v uint64) uint64 {
	switch {
	case c.fromF == nil && c.toF == nil:
		return c.intToInt(extend(v, c.from))
	case c.fromF == nil:
		r := c.toF.pack(fromInt(extend(v, c.from), c.from.signed()), c.mode, false)
		if c.sat {
			r = c.toF.clamp(r)
		}
		return r
	case c.toF == nil:
		if c.ftz {
			v = c.fromF.flush(v & (1<<(c.fromF.bits-1)<<1 - 1))
		}
		return c.floatToInt(c.fromF.unpack(v & (1<<(c.fromF.bits-1)<<1 - 1)))
	}
	if c.ftz && c.from == f32 {
		v = c.fromF.flush(v & 0xffffffff)
	}
	if c.fromF == fmtUE8M0 {
		return c.toF.pack(unpackScale(v), c.mode, false)
	}
	n := c.fromF.unpack(v & (1<<(c.fromF.bits-1)<<1 - 1))
	if c.toF == fmtUE8M0 {
		return packScale(n, c.mode == roundUp, c.satfinite)
	}
	var r uint64
	if c.integral {
		r = c.toF.pack(integral(n, c.mode), roundNearest, false)
	} else {
		r = c.toF.pack(n, c.mode, c.satfinite)
	}
	if c.ftz && c.to == f32 {
		r = c.toF.flush(r)
	}
	if c.sat && c.toF.bits > 8 {
		r = c.toF.clamp(r)
	}
	if c.relu && r>>(c.toF.bits-1)&1 != 0 && !n.nan {
		r = 0
	}
	return r
}

// intToInt cuts, or with .sat clamps, to the destination's range. The value is then extended to the register
// by the destination's type.
func (c *cvtOp) intToInt(v uint64) uint64 {
	if c.sat {
		lo, hi := intRange(c.to)
		switch {
		case c.from.signed() && int64(v) < lo:
			v = uint64(lo)
		case c.from.signed() && int64(v) < 0: // fits a signed destination
		case v > hi:
			v = hi
		}
	}
	return extend(v, c.to)
}

// intRange returns the smallest and largest value of an integer type.
func intRange(t typ) (lo int64, hi uint64) {
	if t.signed() {
		return -1 << (t.bits - 1), 1<<(t.bits-1) - 1
	}
	return 0, 1<<(t.bits-1)<<1 - 1
}

// floatToInt rounds and clamps. NaN becomes 0, or, if either type has 64 bits, the value with only the
// highest bit set.
func (c *cvtOp) floatToInt(n number) uint64 {
	lo, hi := intRange(c.to)
	switch {
	case n.nan:
		if c.from == f64 || c.to.bits == 64 {
			return extend(1<<(c.to.bits-1), c.to)
		}
		return 0
	case n.inf:
		if n.neg {
			return extend(uint64(lo), c.to)
		}
		return hi
	}
	n = integral(n, c.mode)
	// n is mant·2^exp with exp ≥ 0, or zero.
	if n.mant == 0 {
		return 0
	}
	big := n.exp > 63 || n.exp > 0 && n.mant>>(64-n.exp) != 0
	v := uint64(0)
	if !big {
		v = n.mant << n.exp
	}
	switch {
	case n.neg && (big || v > uint64(-(lo+1))+1 || lo == 0):
		return extend(uint64(lo), c.to)
	case n.neg:
		return extend(-v, c.to)
	case big || v > hi:
		return hi
	}
	return v
}

// integral rounds a number to an integer.
func integral(n number, mode rounding) number {
	if n.nan || n.inf || n.exp >= 0 || n.mant == 0 {
		return n
	}
	shift := -n.exp
	var r uint64
	var half, rest bool
	switch {
	case shift > 64:
		rest = true
	case shift == 64:
		half, rest = n.mant>>63 != 0, n.mant<<1 != 0
	default:
		r = n.mant >> shift
		half = n.mant>>(shift-1)&1 != 0
		rest = n.mant&(1<<(shift-1)-1) != 0
	}
	switch {
	case mode == roundNearest && half && (rest || r&1 != 0),
		mode == roundDown && n.neg && (half || rest),
		mode == roundUp && !n.neg && (half || rest):
		r++
	}
	return number{neg: n.neg, mant: r}
}

// Exact and correctly rounded conversions between the formats of caches.

func cvtF32F16(p unsafe.Pointer, w *warp, in *instr) {
	d, a := (*[warpSize]uint32)(p), row[uint16](w.regs, in.a)
	for i := range d {
		d[i] = halfToSingle(a[i])
	}
}

// halfToSingle converts f16 to f32, exactly.
func halfToSingle(h uint16) uint32 {
	sign, magnitude := uint32(h&0x8000)<<16, uint32(h&0x7fff)
	switch {
	case magnitude > 0x7c00:
		return 0x7fffffff
	case magnitude == 0x7c00:
		return sign | 0x7f800000
	case magnitude >= 0x0400:
		return sign | (magnitude<<13 + (127-15)<<23)
	}
	// Subnormal: magnitude·2^-24, exact.
	return sign | math.Float32bits(float32(magnitude)*0x1p-24)
}

func cvtF16F32(p unsafe.Pointer, w *warp, in *instr) {
	d, a := (*[warpSize]uint16)(p), row[uint32](w.regs, in.a)
	for i := range d {
		d[i] = singleToHalf(a[i])
	}
}

// singleToHalf converts f32 to f16, to nearest even.
func singleToHalf(v uint32) uint16 {
	sign, magnitude := uint16(v>>16&0x8000), v&0x7fffffff
	switch {
	case magnitude > 0x7f800000:
		return 0x7fff
	case magnitude >= 0x47800000: // 2^16 and more
		return sign | 0x7c00
	case magnitude >= 0x38800000: // 2^-14 and more: normal, or rounds to infinity
		r := magnitude - (127-15)<<23
		return sign | uint16((r+0xfff+r>>13&1)>>13)
	}
	// The addition leaves the rounded bits of the subnormal at the end of the float32.
	x := math.Float32frombits(magnitude) + 0.5
	return sign | uint16(math.Float32bits(x)-math.Float32bits(0.5))
}

func cvtF32BF16(p unsafe.Pointer, w *warp, in *instr) {
	d, a := (*[warpSize]uint32)(p), row[uint16](w.regs, in.a)
	for i := range d {
		v := uint32(a[i]) << 16
		if v&0x7fffffff > 0x7f800000 {
			v = 0x7fffffff
		}
		d[i] = v
	}
}

func cvtBF16F32(p unsafe.Pointer, w *warp, in *instr) {
	d, a := (*[warpSize]uint16)(p), row[uint32](w.regs, in.a)
	for i := range d {
		d[i] = singleToBF16(a[i])
	}
}

// singleToBF16 converts f32 to bf16, to nearest even.
func singleToBF16(v uint32) uint16 {
	if v&0x7fffffff > 0x7f800000 {
		return 0x7fff
	}
	return uint16((v + 0x7fff + v>>16&1) >> 16)
}

func packF16(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[uint32](p, w, in)
	for i := range d {
		d[i] = uint32(singleToHalf(a[i]))<<16 | uint32(singleToHalf(b[i]))
	}
}

func packBF16(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[uint32](p, w, in)
	for i := range d {
		d[i] = uint32(singleToBF16(a[i]))<<16 | uint32(singleToBF16(b[i]))
	}
}

// intToFloat converts to nearest; Go's conversion rounds once.
func intToFloat[D floating, S integer](p unsafe.Pointer, w *warp, in *instr) {
	d, a := (*[warpSize]D)(p), row[S](w.regs, in.a)
	for i := range d {
		d[i] = D(a[i])
	}
}

// cvtTruncS32F32 truncates and saturates.
func cvtTruncS32F32(p unsafe.Pointer, w *warp, in *instr) {
	d, a := (*[warpSize]int32)(p), row[float32](w.regs, in.a)
	for i := range d {
		switch x := a[i]; {
		case x != x:
			d[i] = 0
		case x >= 1<<31:
			d[i] = math.MaxInt32
		case x < -1<<31:
			d[i] = math.MinInt32
		default:
			d[i] = int32(x)
		}
	}
}

// cvtPack converts two numbers and packs them: a into the upper half, b into the lower.
func cvtPack(p unsafe.Pointer, w *warp, in *instr) {
	op := in.cvt
	a, b := row[uint32](w.regs, in.a), row[uint32](w.regs, in.b)
	half := uint(op.to.bits / 2)
	for i := range warpSize {
		storeLane(p, op.dstBytes, i, op.convert(uint64(a[i]))<<half|op.convert(uint64(b[i])))
	}
}

// cvtUnpack converts both halves of packed numbers to packed numbers.
func cvtUnpack(p unsafe.Pointer, w *warp, in *instr) {
	op := in.cvt
	from, to := uint(op.from.bits), uint(op.to.bits/2)
	low := uint64(1)<<from - 1
	for i := range warpSize {
		v := w.lane(in.a, op.srcBytes, i)
		storeLane(p, op.dstBytes, i, op.convert(v>>from&low)<<to|op.convert(v&low))
	}
}

// packScale converts the magnitude of a number to ue8m0: the exponent of the power of two at or below it or, with up,
// at or above it.
func packScale(n number, up, satfinite bool) uint64 {
	const nan, bias = 0xff, 127
	e := 0
	switch top := bits.Len64(n.mant) - 1 + n.exp; {
	case n.nan:
		return nan
	case n.inf:
		e = nan
	case n.mant == 0 || top < -bias: // the smallest power
	default:
		e = top + bias + int(bit(up && n.mant&(n.mant-1) != 0))
	}
	if e >= nan {
		return nan - uint64(bit(satfinite))
	}
	return uint64(e)
}

// unpackScale returns the number of a ue8m0.
func unpackScale(v uint64) number {
	return number{nan: v == 0xff, mant: 1, exp: int(v) - 127}
}
