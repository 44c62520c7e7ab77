package ptx

import (
	"math"
	"unsafe"
)

// Floating-point instructions.

// takeRounding removes a rounding modifier; given is false if there is none.
func (d *decoder) takeRounding() (mode rounding, given bool) {
	i := d.takeOne("rn", "rz", "rm", "rp")
	return rounding(max(i, 0)), i >= 0
}

// floats are the operations that have a function of their own for rounding to nearest.
var floats = map[string]map[typ]aluFunc{
	"add": {f32: addFloat[float32], f64: addFloat[float64]},
	"sub": {f32: subFloat[float32], f64: subFloat[float64]},
	"mul": {f32: mulFloat[float32], f64: mulFloat[float64]},
	"div": {f32: divFloat[float32], f64: divFloat[float64]},
	"fma": {f32: fma32, f64: fma64},

	"sqrt": {f32: sqrt32, f64: sqrt64},
	"rcp":  {f32: rcpFloat[float32], f64: rcpFloat[float64]},
}

var softNames = map[string]uint64{
	"add": softAdd, "sub": softSub, "mul": softMul, "fma": softFma, "mad": softFma, "div": softDiv, "sqrt": softSqrt, "rcp": softRcp,
}

// float decodes an arithmetic instruction on floats. Without a rounding modifier it rounds to nearest, but
// with contracts a GPU's compiler may fuse it with another instruction.
func (d *decoder) float(name string, t typ, sources int, contracts bool) error {
	pair := t == f32x2
	mode, given := d.takeRounding()
	how := softNames[name] | uint64(mode)<<softModeShift
	if d.take("ftz") {
		if t == f64 || t.class == classBF {
			return d.unsupported()
		}
		how |= softFtz
		if t == f32 || pair {
			if err := d.inexact(flushes); err != nil {
				return err
			}
		}
	}
	if d.take("sat") {
		if t == f64 || t.class == classBF || pair {
			return d.unsupported()
		}
		how |= softSat
	}
	if d.take("relu") {
		if name != "fma" || t.bits != 16 && t.lanes != 2 || pair {
			return d.unsupported()
		}
		how |= softRelu
	}
	if !given {
		if !contracts {
			return d.errorf("%s: a rounding modifier is missing", d.in.op)
		}
		why := "without .rn it may be fused with another instruction"
		if t == f32 || t == f64 || pair {
			why += " (nvcc -fmad=false and clang -ffp-contract=off write .rn)"
		}
		if err := d.inexact(why); err != nil {
			return err
		}
	}
	types := []typ{t, t, t}[:sources]
	d.in.imm = how
	switch t {
	case f32, f64, f32x2:
		if pair {
			t = f32
		}
		plain := soft[uint32]
		if t == f64 {
			plain = soft[uint64]
		}
		f := plain
		switch how &^ 0xff {
		case 0:
			if exact := floats[name][t]; exact != nil {
				f = quick(name, t, exact)
			}
		case softFtz:
			f = quick(name+".ftz", t, plain)
		}
		if pair {
			d.flow.spread = spreadPairs
			return d.floatALU(ofPairs(f), f32x2, types)
		}
		return d.floatALU(f, t, types)
	case f16, bf16, f16x2, bf16x2:
		if mode != roundNearest {
			return d.unsupported()
		}
		f := halfOp(formatOf(t))
		if t.lanes == 2 {
			d.flow.spread = spreadHalves
			f = halfOp2(formatOf(t))
		}
		if how&^0xff == 0 {
			if q := quickHalf(name, t); q != nil {
				f = q
			}
		}
		return d.floatALU(f, t, types)
	}
	return d.unsupported()
}

// ofPairs returns the operation on pairs of f32: a row of 32 pairs is two rows of 32 numbers.
func ofPairs(f aluFunc) aluFunc {
	return func(d unsafe.Pointer, w *warp, in *instr) {
		const half = 4 * warpSize
		rest := *in
		rest.a, rest.b, rest.c = in.a+half, in.b+half, in.c+half
		f(d, w, in)
		f(unsafe.Add(d, half), w, &rest)
	}
}

// floatALU pushes an operation whose function reads three sources. If the instruction has fewer, the missing
// ones are set to its first.
func (d *decoder) floatALU(f aluFunc, t typ, types []typ) error {
	if err := d.rows(t, types...); err != nil {
		return err
	}
	if len(types) < 2 {
		d.in.b = d.in.a
	}
	if len(types) < 3 {
		d.in.c = d.in.a
	}
	d.in.kind, d.in.alu = kindALU, f
	return d.push()
}

func decodeFma(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if !t.float() {
		return d.unsupported()
	}
	return d.float("fma", t, 3, false)
}

func decodeDiv(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if !t.float() {
		return d.alu(divOps[t], t, t, t)
	}
	if t != f32 && t != f64 {
		return d.unsupported()
	}
	if t == f32 && d.takeOne("approx", "full") >= 0 {
		if err := d.inexact("the quotient is approximate"); err != nil {
			return err
		}
		d.mod = append(d.mod, "rn")
	}
	return d.float("div", t, 2, false)
}

func decodeAbsNeg(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if !t.float() {
		f := map[typ]aluFunc{s16: absInt[int16], s32: absInt[int32], s64: absInt[int64]}[t]
		if d.s.op == "neg" {
			f = map[typ]aluFunc{s16: negInt[int16], s32: negInt[int32], s64: negInt[int64]}[t]
		}
		return d.alu(f, t, t)
	}
	sign := uint64(1) << (t.bits - 1)
	if t.lanes == 2 {
		sign |= 1 << 15
		d.flow.spread = spreadHalves
	}
	d.in.imm = sign
	f := map[uint8]aluFunc{16: absBits[uint16], 32: absBits[uint32], 64: absBits[uint64]}[t.bits]
	if d.s.op == "neg" {
		f = map[uint8]aluFunc{16: negBits[uint16], 32: negBits[uint32], 64: negBits[uint64]}[t.bits]
	}
	if t == f32 && d.take("ftz") {
		if err := d.inexact(flushes); err != nil {
			return err
		}
		f = flushed(f)
	}
	return d.alu(f, t, t)
}

func decodeSqrtRcp(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if t != f32 && t != f64 {
		return d.unsupported()
	}
	if d.take("approx") {
		if err := d.inexact("the result is approximate"); err != nil {
			return err
		}
		if t == f64 {
			if d.s.op != "rcp" || !d.take("ftz") {
				return d.unsupported()
			}
			return d.alu(approxUpper(func(x float64) float64 { return 1 / x }), t, t)
		}
		d.mod = append(d.mod, "rn")
	}
	return d.float(d.s.op, t, 1, false)
}

var approximate = map[string]func(float64) float64{
	"rsqrt": func(x float64) float64 { return 1 / math.Sqrt(x) },
	"sin":   math.Sin, "cos": math.Cos, "lg2": math.Log2, "ex2": math.Exp2, "tanh": math.Tanh,
}

func decodeApprox(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if !d.take("approx") {
		return d.errorf("%s: .approx is missing", d.in.op)
	}
	if err := d.inexact("the result is approximate"); err != nil {
		return err
	}
	f := approximate[d.s.op]
	switch {
	case t == f64 && d.s.op == "rsqrt":
		if d.take("ftz") {
			return d.alu(approxUpper(f), t, t)
		}
		return d.alu(approx64(f), t, t)
	case t != f32:
		return d.unsupported()
	}
	if d.take("ftz") {
		d.in.imm = softFtz
	}
	plain := approx(f)
	if d.s.op == "ex2" {
		plain = ex2
	}
	return d.alu(quick(d.s.op+".approx", t, plain), t, t)
}

func decodeCopysign(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	d.in.imm = 1 << (t.bits - 1)
	return d.alu(map[typ]aluFunc{f32: copysign[uint32], f64: copysign[uint64]}[t], t, t, t)
}
