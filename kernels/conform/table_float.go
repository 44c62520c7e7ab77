package conform

import (
	"math/rand/v2"
	"slices"
)

// reg returns the register type of a format.
func (f format) reg() string {
	switch f.name {
	case "f32", "f64":
		return f.name
	}
	return "b16"
}

// like returns how a result of the format is compared if any NaN matches a NaN.
func (f format) like() likeness {
	return map[string]likeness{"f16": likeF16, "bf16": likeBF16, "f32": likeF32, "f64": likeF64}[f.name]
}

// arithmetic returns the expected result d of an operation. A double-precision NaN may
// have any payload. In single precision, an operation on a NaN yields 0x7fffffff. So does
// an operation on numbers that yields a NaN, except div, rcp and sqrt: these are
// subroutines, and their NaN is not specified.
func (f format) arithmetic(op string, a []uint64, d uint64) want {
	subroutine := slices.Contains([]string{"div", "rcp", "sqrt"}, op)
	if f.name == f32.name && (!subroutine || slices.ContainsFunc(a, f.isNaN)) {
		return want{bits: d}
	}
	return want{d, f.like()}
}

// floatOps returns the instructions on single and double precision.
func floatOps() []*Op {
	var ops []*Op
	for _, f := range []format{f32, f64} {
		for _, r := range roundings {
			for _, o := range []struct {
				op   string
				n    int
				rows table
				eval func(a []uint64) uint64
			}{
				{"add", 2, f.sums(), func(a []uint64) uint64 { return f.add(a[0], a[1], r) }},
				{"sub", 2, f.sums(), func(a []uint64) uint64 { return f.sub(a[0], a[1], r) }},
				{"mul", 2, f.products(), func(a []uint64) uint64 { return f.mul(a[0], a[1], r) }},
				{"fma", 3, f.fused(), func(a []uint64) uint64 { return f.fma(a[0], a[1], a[2], r) }},
				{"mad", 3, f.fused(), func(a []uint64) uint64 { return f.fma(a[0], a[1], a[2], r) }},
				{"div", 2, f.quotients(), func(a []uint64) uint64 { return f.div(a[0], a[1], r) }},
				{"rcp", 1, nil, func(a []uint64) uint64 { return f.rcp(a[0], r) }},
				{"sqrt", 1, nil, func(a []uint64) uint64 { return f.sqrt(a[0], r) }},
			} {
				t := rows(repeat(f.numbers(), o.n)...)
				if o.rows != nil {
					t = t.and(o.rows)
				} else {
					t = t.and(f.anywhere())
				}
				name := o.op + "." + string(r) + "." + f.name
				ops = append(ops, &Op{
					Name: name, in: repeat(f.reg(), o.n), out: []string{f.reg()},
					body: name + " " + operands(o.n) + ";", rows: t,
					eval: each(func(a []uint64) []want { return []want{f.arithmetic(o.op, a, o.eval(a))} }),
				})
				if f.name == "f32" && o.n > 1 && o.op != "div" && o.op != "mad" {
					ops = append(ops, saturated(f, o.op, r, o.n, t, o.eval))
				}
			}
		}
		ops = append(ops, minMax(f, f.name, f.reg(), "min"), minMax(f, f.name, f.reg(), "max"))
		ops = append(ops, signs(f, f.name, f.reg(), f.like(), f.anywhere())...)
		ops = append(ops, tests(f)...)
		ops = append(ops, &Op{
			Name: "copysign." + f.name, in: repeat(f.reg(), 2), out: []string{f.reg()},
			body: "copysign." + f.name + " " + operands(2) + ";", rows: rows(f.numbers(), f.numbers()),
			eval: exact(func(a []uint64) uint64 { return a[0]&f.sign() | a[1]&(f.sign()-1) }),
		})
	}
	ops = append(ops, minMaxNaN(f32, "f32", "f32", "min"), minMaxNaN(f32, "f32", "f32", "max"))
	for _, f := range []format{f32, f16, bf16} {
		ops = append(ops, magnitudes(f)...)
	}
	return ops
}

// anywhere returns numbers with all exponents.
func (f format) anywhere() table {
	return func(r *rand.Rand) [][]uint64 {
		t := make([][]uint64, 2*randomRows)
		for i := range t {
			t[i] = []uint64{f.near(r, r.IntN(1<<f.exp), 1)}
		}
		return t
	}
}

// saturated returns an operation with .sat: clamped to [0, 1], with +0 for a NaN. The
// sign of a zero is not specified.
func saturated(f format, op string, r rounding, n int, t table, eval func(a []uint64) uint64) *Op {
	name := op + "." + string(r) + ".sat." + f.name
	return &Op{
		Name: name, in: repeat(f.reg(), n), out: []string{f.reg()},
		body: name + " " + operands(n) + ";", rows: t,
		eval: single(eitherZero, func(a []uint64) uint64 { return f.saturate(eval(a)) }),
	}
}

// minMax returns min or max. If one operand is a NaN, the result is the other; if both
// are, it is a NaN.
func minMax(f format, typ, reg, op string) *Op {
	g := f.minNum
	if op == "max" {
		g = f.maxNum
	}
	name := op + "." + typ
	return &Op{
		Name: name, in: repeat(reg, 2), out: []string{reg},
		body: name + " " + operands(2) + ";", rows: rows(f.numbers(), f.numbers()).and(f.sums()),
		eval: each(func(a []uint64) []want { return []want{f.arithmetic(op, a, g(a[0], a[1]))} }),
	}
}

// minMaxNaN returns min.NaN or max.NaN: the canonical NaN if an operand is a NaN.
func minMaxNaN(f format, typ, reg, op string) *Op {
	name := op + ".NaN." + typ
	return &Op{
		Name: name, in: repeat(reg, 2), out: []string{reg},
		body: name + " " + operands(2) + ";", rows: rows(f.numbers(), f.numbers()),
		eval: exact(func(a []uint64) uint64 { return f.strict(op, a[0], a[1]) }),
	}
}

// magnitudes returns min and max with .xorsign.abs.
func magnitudes(f format) []*Op {
	var ops []*Op
	for _, op := range []string{"min", "max"} {
		for _, strict := range []bool{false, true} {
			name, like := op+".xorsign.abs."+f.name, f.like()
			g := map[string]func(a, b uint64) uint64{"min": f.minNum, "max": f.maxNum}[op]
			if strict {
				name = op + ".NaN.xorsign.abs." + f.name
				g = func(a, b uint64) uint64 { return f.strict(op, a, b) }
			}
			if strict || f.name == f32.name {
				like = exactly
			}
			ops = append(ops, &Op{
				Name: name, Target: "sm_86", in: repeat(f.reg(), 2), out: []string{f.reg()},
				body: name + " " + operands(2) + ";", rows: rows(f.numbers(), f.numbers()),
				eval: single(like, func(a []uint64) uint64 { return f.xorsign(g, a[0], a[1]) }),
			})
		}
	}
	return ops
}

// strict is min or max, or the canonical NaN if an operand is a NaN.
func (f format) strict(op string, a, b uint64) uint64 {
	switch {
	case f.isNaN(a) || f.isNaN(b):
		return f.nan()
	case op == "min":
		return f.minNum(a, b)
	}
	return f.maxNum(a, b)
}

// signs returns abs and neg. A NaN yields an unspecified NaN.
func signs(f format, typ, reg string, like likeness, t table) []*Op {
	var ops []*Op
	elements := regBits(reg) / f.width()
	sign := uint64(0)
	for i := range elements {
		sign |= f.sign() << (i * f.width())
	}
	for _, op := range []string{"abs", "neg"} {
		name := op + "." + typ
		all := t
		if elements == 1 {
			all = rows(f.numbers()).and(t)
		}
		ops = append(ops, &Op{
			Name: name, in: []string{reg}, out: []string{reg},
			body: name + " %d0, %a0;", rows: all,
			eval: single(like, func(a []uint64) uint64 {
				if op == "abs" {
					return a[0] &^ sign
				}
				return a[0] ^ sign
			}),
		})
	}
	return ops
}

// tests returns the forms of testp. A zero counts as normal.
func tests(f format) []*Op {
	var ops []*Op
	for _, t := range []struct {
		prop string
		eval func(x num) bool
	}{
		{"finite", func(x num) bool { return !x.nan && !x.inf }},
		{"infinite", func(x num) bool { return x.inf }},
		{"number", func(x num) bool { return !x.nan }},
		{"notanumber", func(x num) bool { return x.nan }},
		{"normal", func(x num) bool { return !x.nan && !x.inf && (x.zero() || x.m.BitLen() == f.man+1) }},
		{"subnormal", func(x num) bool { return !x.nan && !x.inf && !x.zero() && x.m.BitLen() <= f.man }},
	} {
		name := "testp." + t.prop + "." + f.name
		ops = append(ops, &Op{
			Name: name, in: []string{f.reg()}, out: []string{"pred"},
			body: name + " %d0, %a0;", rows: rows(f.numbers()),
			eval: exact(func(a []uint64) uint64 { return truthOf(t.eval(f.decode(a[0]))) }),
		})
	}
	return ops
}
