package ptx

import (
	"math"
	"unsafe"
)

// Floating-point instructions on rows (PTX ISA §9.7.3, §9.7.4). A NaN result is the format's canonical NaN.
// Rounding is to nearest even unless the name says otherwise.

var (
	nan32 = math.Float32frombits(0x7fffffff)
	nan64 = math.Float64frombits(0x7ff8000000000000)
)

type floating interface{ float32 | float64 }

// canonical returns x, or the canonical NaN if x is NaN.
func canonical[T floating](x T) T {
	if x != x {
		if unsafe.Sizeof(x) == 4 {
			return T(nan32)
		}
		return T(nan64)
	}
	return x
}

func addFloat[T floating](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	nan := canonical(T(math.NaN()))
	for i := range d {
		x := a[i] + b[i]
		if x != x {
			x = nan
		}
		d[i] = x
	}
}

func subFloat[T floating](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	nan := canonical(T(math.NaN()))
	for i := range d {
		x := a[i] - b[i]
		if x != x {
			x = nan
		}
		d[i] = x
	}
}

func mulFloat[T floating](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	nan := canonical(T(math.NaN()))
	for i := range d {
		x := T(a[i] * b[i])
		if x != x {
			x = nan
		}
		d[i] = x
	}
}

func divFloat[T floating](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	nan := canonical(T(math.NaN()))
	for i := range d {
		x := a[i] / b[i]
		if x != x {
			x = nan
		}
		d[i] = x
	}
}

func rcpFloat[T floating](p unsafe.Pointer, w *warp, in *instr) {
	d, a, _ := operands2[T](p, w, in)
	for i := range d {
		d[i] = canonical(1 / a[i])
	}
}

func sqrt32(p unsafe.Pointer, w *warp, in *instr) {
	d, a, _ := operands2[float32](p, w, in)
	for i := range d {
		d[i] = canonical(float32(math.Sqrt(float64(a[i]))))
	}
}

func sqrt64(p unsafe.Pointer, w *warp, in *instr) {
	d, a, _ := operands2[float64](p, w, in)
	for i := range d {
		d[i] = canonical(math.Sqrt(a[i]))
	}
}

// fma32 computes a·b + c with one rounding. The product is exact in float64; the sum is rounded to odd there,
// so rounding it to float32 gives the same as rounding the exact sum.
func fma32(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[float32](p, w, in)
	for i := range d {
		d[i] = canonical(float32(oddRounded(float64(a[i])*float64(b[i]), float64(c[i]))))
	}
}

func fma64(p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[float64](p, w, in)
	for i := range d {
		d[i] = canonical(math.FMA(a[i], b[i], c[i]))
	}
}

// Operations on the bits of a float as an unsigned number of the same size.
func absBits[T unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, _ := operands2[T](p, w, in)
	for i := range d {
		d[i] = a[i] &^ T(in.imm)
	}
}

func negBits[T unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, _ := operands2[T](p, w, in)
	for i := range d {
		d[i] = a[i] ^ T(in.imm)
	}
}

// copysign returns b with the sign of a.
func copysign[T unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	for i := range d {
		d[i] = b[i]&^T(in.imm) | a[i]&T(in.imm)
	}
}

// Flags of minMax, in in.imm.
const (
	minMaxMax = 1 << iota // max, else min
	minMaxNaN             // .NaN: a NaN operand makes the result NaN
	minMaxXor             // .xorsign.abs
)

// less is the order of min and max: -0 is less than +0.
func less[T floating](a, b T) bool {
	return a < b || a == b && math.Signbit(float64(a)) && !math.Signbit(float64(b))
}

func pickMinMax[T floating](a, b T, flags uint64) T {
	neg := math.Signbit(float64(a)) != math.Signbit(float64(b))
	if flags&minMaxXor != 0 {
		a, b = T(math.Abs(float64(a))), T(math.Abs(float64(b)))
	}
	var v T
	switch {
	case a != a && b != b, (a != a || b != b) && flags&minMaxNaN != 0:
		return canonical(T(math.NaN()))
	case a != a:
		v = b
	case b != b:
		v = a
	case less(a, b) == (flags&minMaxMax == 0):
		v = a
	default:
		v = b
	}
	if flags&minMaxXor != 0 && neg {
		v = -v
	}
	return v
}

func minMaxFloat[T floating](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	for i := range d {
		d[i] = pickMinMax(a[i], b[i], in.imm)
	}
}

func minMaxFloat3[T floating](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[T](p, w, in)
	for i := range d {
		d[i] = pickMinMax(pickMinMax(a[i], b[i], in.imm), c[i], in.imm)
	}
}

// The operations of soft.
const (
	softAdd = iota
	softSub
	softMul
	softFma
	softDiv
	softSqrt
	softRcp
)

// softOp computes an operation in any format and rounding mode, slowly and exactly.
func softOp(op int, f *format, mode rounding, a, b, c uint64) uint64 {
	x := f.unpack(a)
	switch op {
	case softSub:
		b ^= 1 << (f.bits - 1)
		fallthrough
	case softAdd:
		return f.pack(sum(x, f.unpack(b), mode), mode, false)
	case softMul:
		return f.pack(product(x, f.unpack(b)), mode, false)
	case softFma:
		return f.pack(fusedSum(x, f.unpack(b), f.unpack(c), mode), mode, false)
	case softDiv:
		return f.pack(quotient(x, f.unpack(b)), mode, false)
	case softRcp:
		return f.pack(quotient(number{mant: 1}, x), mode, false)
	}
	return f.pack(squareRoot(x), mode, false)
}

// Fields of in.imm for soft: the operation, the rounding and the modifiers.
const (
	softModeShift = 8
	softSat       = 1 << 16 // clamp to [+0, 1], NaN to +0
	softRelu      = 1 << 17 // negative results become +0
	softFtz       = 1 << 18 // subnormal operands and results become zero
)

// soft executes a float32 or float64 operation that has no faster function.
func soft[T uint32 | uint64](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b, c := operands3[T](p, w, in)
	f := fmtF32
	if unsafe.Sizeof(d[0]) == 8 {
		f = fmtF64
	}
	for i := range d {
		d[i] = T(softLane(f, in.imm, uint64(a[i]), uint64(b[i]), uint64(c[i])))
	}
}

func softLane(f *format, how, a, b, c uint64) uint64 {
	if how&softFtz != 0 {
		a, b, c = f.flush(a), f.flush(b), f.flush(c)
	}
	return f.modified(how, softOp(int(how&0xff), f, rounding(how>>softModeShift&3), a, b, c))
}

// modified applies .ftz, .sat and .relu to a result.
func (f *format) modified(how, v uint64) uint64 {
	if how&softFtz != 0 {
		v = f.flush(v)
	}
	if how&softSat != 0 {
		v = f.clamp(v)
	}
	if how&softRelu != 0 && v>>(f.bits-1) != 0 && v != f.nan {
		v = 0
	}
	return v
}

// flush returns a zero of the same sign if the number is subnormal.
func (f *format) flush(v uint64) uint64 {
	if v>>f.mantissa&(1<<(f.bits-1-f.mantissa)-1) == 0 {
		return v &^ (1<<f.mantissa - 1)
	}
	return v
}

// one is the format's 1.
func (f *format) one() uint64 { return uint64(f.bias) << f.mantissa }

// clamp is .sat: it clamps to [+0, 1], and NaN to +0.
func (f *format) clamp(v uint64) uint64 {
	switch n := f.unpack(v); {
	case n.nan, n.neg:
		return 0
	case v > f.one():
		return f.one()
	}
	return v
}

// half executes an operation on f16 or bf16 in float64, in which sums of two numbers and products are exact,
// or have enough bits to be rounded once more.
func half(f *format, how uint64, a, b, c uint16) uint16 {
	return uint16(softHalf(f, how, uint64(a), uint64(b), uint64(c)))
}

func softHalf(f *format, how, a, b, c uint64) uint64 {
	if how&softFtz != 0 {
		a, b, c = f.flush(a), f.flush(b), f.flush(c)
	}
	x, y := f.float64(a), f.float64(b)
	var r float64
	switch how & 0xff {
	case softAdd:
		r = oddRounded(x, y)
	case softSub:
		r = oddRounded(x, -y)
	case softMul:
		r = x * y
	case softFma:
		r = oddRounded(x*y, f.float64(c))
	}
	return f.modified(how, f.pack(fmtF64.unpack(math.Float64bits(r)), roundNearest, false))
}

// float64 returns the exact value of a number.
func (f *format) float64(b uint64) float64 {
	n := f.unpack(b)
	var x float64
	switch {
	case n.nan:
		x = math.NaN()
	case n.inf:
		x = math.Inf(1)
	default:
		x = math.Ldexp(float64(n.mant), n.exp)
	}
	if n.neg {
		x = -x
	}
	return x
}

func halfOp(f *format) aluFunc {
	return func(p unsafe.Pointer, w *warp, in *instr) {
		d, a, b, c := operands3[uint16](p, w, in)
		for i := range d {
			d[i] = half(f, in.imm, a[i], b[i], c[i])
		}
	}
}

// halfOp2 operates on both halves of packed numbers.
func halfOp2(f *format) aluFunc {
	return func(p unsafe.Pointer, w *warp, in *instr) {
		d, a, b, c := operands3[uint32](p, w, in)
		for i := range d {
			lo := half(f, in.imm, uint16(a[i]), uint16(b[i]), uint16(c[i]))
			hi := half(f, in.imm, uint16(a[i]>>16), uint16(b[i]>>16), uint16(c[i]>>16))
			d[i] = uint32(hi)<<16 | uint32(lo)
		}
	}
}

// halfMinMax is min or max of f16 and bf16, exact in float32.
func halfMinMax(f *format, flags uint64, a, b uint16) uint16 {
	switch {
	case flags&minMaxXor != 0: // the sign of a NaN matters
		x, y := float32(f.float64(uint64(a))), float32(f.float64(uint64(b)))
		return uint16(f.pack(fmtF32.unpack(uint64(math.Float32bits(pickMinMax(x, y, flags)))), roundNearest, false))
	case f == fmtBF16:
		of := func(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }
		return singleToBF16(math.Float32bits(pickMinMax(of(a), of(b), flags)))
	}
	return halfOfSingle(pickMinMax(singleOfHalf(a), singleOfHalf(b), flags))
}

func halfMinMaxOp(f *format) aluFunc {
	return func(p unsafe.Pointer, w *warp, in *instr) {
		d, a, b := operands2[uint16](p, w, in)
		for i := range d {
			d[i] = halfMinMax(f, in.imm, a[i], b[i])
		}
	}
}

func halfMinMaxOp2(f *format) aluFunc {
	return func(p unsafe.Pointer, w *warp, in *instr) {
		d, a, b := operands2[uint32](p, w, in)
		for i := range d {
			lo := halfMinMax(f, in.imm, uint16(a[i]), uint16(b[i]))
			hi := halfMinMax(f, in.imm, uint16(a[i]>>16), uint16(b[i]>>16))
			d[i] = uint32(hi)<<16 | uint32(lo)
		}
	}
}

// approx executes an approximate instruction: f in float64, rounded to float32.
func approx(f func(float64) float64) aluFunc {
	return func(p unsafe.Pointer, w *warp, in *instr) {
		d, a, _ := operands2[uint32](p, w, in)
		for i := range d {
			v := uint64(a[i])
			if in.imm&softFtz != 0 {
				v = fmtF32.flush(v)
			}
			x := canonical(float32(f(float64(math.Float32frombits(uint32(v))))))
			v = uint64(math.Float32bits(x))
			if in.imm&softFtz != 0 {
				v = fmtF32.flush(v)
			}
			d[i] = uint32(v)
		}
	}
}

// flushed is f with .ftz, for an f for which flushing the operands or the result gives the same.
func flushed(f aluFunc) aluFunc {
	return func(p unsafe.Pointer, w *warp, in *instr) {
		f(p, w, in)
		d := (*[warpSize]uint32)(p)
		for i := range d {
			d[i] = uint32(fmtF32.flush(uint64(d[i])))
		}
	}
}

// approx64 executes an approximate instruction on float64.
func approx64(f func(float64) float64) aluFunc {
	return func(p unsafe.Pointer, w *warp, in *instr) {
		d, a, _ := operands2[uint64](p, w, in)
		for i := range d {
			d[i] = math.Float64bits(canonical(f(math.Float64frombits(a[i]))))
		}
	}
}

// approxUpper executes .approx.ftz.f64, with which compilers begin a division: it reads and writes only the
// upper half of a float64.
func approxUpper(f func(float64) float64) aluFunc {
	const upper = ^uint64(0xffffffff)
	return func(p unsafe.Pointer, w *warp, in *instr) {
		d, a, _ := operands2[uint64](p, w, in)
		for i := range d {
			x := f(math.Float64frombits(fmtF64.flush(a[i] & upper)))
			d[i] = fmtF64.flush(math.Float64bits(canonical(x)) & upper)
		}
	}
}
