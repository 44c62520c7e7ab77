package conform

// According to the manual, half-precision instructions return an unspecified NaN; only
// .NaN returns the canonical NaN.

// halfOps returns the instructions on f16 and bf16, with one or two numbers in a register.
func halfOps() []*Op {
	var ops []*Op
	for _, f := range []format{f16, bf16} {
		for _, two := range []bool{false, true} {
			ops = append(ops, halfArithmetic(f, two)...)
		}
	}
	return ops
}

// halfArithmetic returns the instructions on a format, with one or two numbers.
func halfArithmetic(f format, two bool) []*Op {
	typ, reg, like := f.name, f.reg(), f.like()
	if two {
		typ, reg = f.name+"x2", "b32"
		like = map[string]likeness{"f16": likeF16x2, "bf16": likeBF16x2}[f.name]
	}
	// lift returns an operation on each half of the registers if there are two numbers.
	lift := func(g func(a []uint64) uint64) func(a []uint64) uint64 {
		if !two {
			return g
		}
		return func(a []uint64) uint64 {
			lo, hi := make([]uint64, len(a)), make([]uint64, len(a))
			for i, v := range a {
				lo[i], hi[i] = v&mask(16), v>>16&mask(16)
			}
			return g(hi)<<16 | g(lo)
		}
	}
	shape := func(t table) table {
		if two {
			return packed(16, t)
		}
		return t
	}
	var ops []*Op
	add := func(name, target string, n int, t table, like likeness, g func(a []uint64) uint64) {
		ops = append(ops, &Op{
			Name: name, Target: target, in: repeat(reg, n), out: []string{reg},
			body: name + " " + operands(n) + ";", rows: shape(t), eval: single(like, lift(g)),
		})
	}

	for _, o := range []struct {
		op   string
		n    int
		rows table
		eval func(a []uint64) uint64
	}{
		{"add", 2, f.sums(), func(a []uint64) uint64 { return f.add(a[0], a[1], nearest) }},
		{"sub", 2, f.sums(), func(a []uint64) uint64 { return f.sub(a[0], a[1], nearest) }},
		{"mul", 2, f.products(), func(a []uint64) uint64 { return f.mul(a[0], a[1], nearest) }},
		{"fma", 3, f.fused(), func(a []uint64) uint64 { return f.fma(a[0], a[1], a[2], nearest) }},
	} {
		target := "sm_80"
		if f.name == "bf16" && o.op != "fma" {
			target = "sm_90"
		}
		t := rows(repeat(f.numbers(), o.n)...).and(o.rows)
		add(o.op+".rn."+typ, target, o.n, t, like, o.eval)
		// The sign of a zero is not specified with .sat and .relu.
		zero := eitherZero
		if two {
			zero = eitherZeroF16x2
		}
		if f.name == "f16" {
			add(o.op+".rn.sat."+typ, target, o.n, t, zero, func(a []uint64) uint64 { return f.saturate(o.eval(a)) })
		}
		if o.op == "fma" {
			add(o.op+".rn.relu."+typ, target, o.n, t, zero, func(a []uint64) uint64 { return f.relu(o.eval(a)) })
		}
	}
	pairs := rows(f.numbers(), f.numbers()).and(f.sums())
	add("min."+typ, "sm_80", 2, pairs, like, func(a []uint64) uint64 { return f.minNum(a[0], a[1]) })
	add("max."+typ, "sm_80", 2, pairs, like, func(a []uint64) uint64 { return f.maxNum(a[0], a[1]) })
	add("min.NaN."+typ, "sm_80", 2, pairs, exactly, func(a []uint64) uint64 { return f.strict("min", a[0], a[1]) })
	add("max.NaN."+typ, "sm_80", 2, pairs, exactly, func(a []uint64) uint64 { return f.strict("max", a[0], a[1]) })
	return append(ops, signs(f, typ, reg, like, shape(rows(f.numbers()).and(f.anywhere())))...)
}
