package ptx

import (
	"math"
	"unsafe"
)

// Fast arithmetic on f16 and bf16, to nearest even and without modifiers; half is the plain form. A result is
// computed in float32 or float64 and rounded once more. That gives the same as a single rounding:
//
//   - the product of two f16 is exact in float32; their sum is rounded there to 24 bits,
//     and 24 ≥ 2·11 + 2 is enough (Figueroa, "When is double rounding innocuous?",
//     1995); a sum with a subnormal result is exact;
//   - the others are first rounded to odd, with at least two more bits than the result.

// oddSingle rounds to float32, to odd: an inexact result is the neighbour with a 1 in the last place.
func oddSingle(x float64) float32 {
	f := float32(x)
	if float64(f) == x || x != x {
		return f
	}
	b := math.Float32bits(f)
	if math.Abs(float64(f)) > math.Abs(x) {
		b--
	}
	return math.Float32frombits(b | 1)
}

func singleOfHalf(h uint16) float32 { return math.Float32frombits(halfToSingle(h)) }

func halfOfSingle(x float32) uint16 { return singleToHalf(math.Float32bits(x)) }

func addF16(a, b, _ uint16) uint16 { return halfOfSingle(singleOfHalf(a) + singleOfHalf(b)) }
func subF16(a, b, _ uint16) uint16 { return halfOfSingle(singleOfHalf(a) - singleOfHalf(b)) }
func mulF16(a, b, _ uint16) uint16 { return halfOfSingle(singleOfHalf(a) * singleOfHalf(b)) }
func fmaF16(a, b, c uint16) uint16 {
	p := float64(singleOfHalf(a)) * float64(singleOfHalf(b))
	return halfOfSingle(oddSingle(oddRounded(p, float64(singleOfHalf(c)))))
}

func doubleOfBF16(b uint16) float64 { return float64(math.Float32frombits(uint32(b) << 16)) }

func bf16OfDouble(x float64) uint16 { return singleToBF16(math.Float32bits(oddSingle(x))) }

func addBF16(a, b, _ uint16) uint16 {
	return bf16OfDouble(oddRounded(doubleOfBF16(a), doubleOfBF16(b)))
}
func subBF16(a, b, _ uint16) uint16 {
	return bf16OfDouble(oddRounded(doubleOfBF16(a), -doubleOfBF16(b)))
}
func mulBF16(a, b, _ uint16) uint16 { return bf16OfDouble(doubleOfBF16(a) * doubleOfBF16(b)) }
func fmaOfBF16(a, b, c uint16) uint16 {
	return bf16OfDouble(oddRounded(doubleOfBF16(a)*doubleOfBF16(b), doubleOfBF16(c)))
}

// halfLane is an operation on one lane, or on one half of a packed lane.
type halfLane func(a, b, c uint16) uint16

var halfLanes = map[opType]halfLane{
	{"add", f16}: addF16, {"sub", f16}: subF16, {"mul", f16}: mulF16, {"fma", f16}: fmaF16,
	{"add", bf16}: addBF16, {"sub", bf16}: subBF16, {"mul", bf16}: mulBF16, {"fma", bf16}: fmaOfBF16,
}

// quickHalf returns the fast function of an operation on numbers of type t, or nil.
func quickHalf(name string, t typ) aluFunc {
	f := halfLanes[opType{name, typ{t.class, 16, 1}}]
	switch (opType{name, t}) {
	case opType{"fma", bf16}:
		return quick(name, t, fmaBF16)
	case opType{"fma", bf16x2}:
		return quick(name, t, fmaBF16x2)
	}
	if f == nil {
		return nil
	}
	if t.lanes == 2 {
		return quick(name, t, func(p unsafe.Pointer, w *warp, in *instr) { halfRow2(p, w, in, f) })
	}
	return quick(name, t, func(p unsafe.Pointer, w *warp, in *instr) { halfRow(p, w, in, f) })
}

func halfRow(p unsafe.Pointer, w *warp, in *instr, f halfLane) {
	d, a, b, c := operands3[uint16](p, w, in)
	for i := range d {
		d[i] = f(a[i], b[i], c[i])
	}
}

// halfRow2 operates on packed numbers: a row of them is a row of twice as many halves.
func halfRow2(p unsafe.Pointer, w *warp, in *instr, f halfLane) {
	d := (*[2 * warpSize]uint16)(p)
	of := func(off uint32) *[2 * warpSize]uint16 { return (*[2 * warpSize]uint16)(unsafe.Add(w.regs, off)) }
	a, b, c := of(in.a), of(in.b), of(in.c)
	for i := range d {
		d[i] = f(a[i], b[i], c[i])
	}
}

// fmaBF16 and fmaBF16x2 handle the cases that the assembly leaves to Go.
func fmaBF16(p unsafe.Pointer, w *warp, in *instr)   { halfRow(p, w, in, fmaOfBF16) }
func fmaBF16x2(p unsafe.Pointer, w *warp, in *instr) { halfRow2(p, w, in, fmaOfBF16) }
