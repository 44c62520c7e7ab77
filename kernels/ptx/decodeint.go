package ptx

// Integer and logic instructions. Opcodes that also exist for floats are dispatched here.

func decodeAddSub(d *decoder) error {
	if d.take("cc") {
		d.mod = append(d.mod, "cc")
		return decodeCarry(d)
	}
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if t.float() {
		return d.float(d.s.op, t, 2, true)
	}
	ops := addOps
	if d.s.op == "sub" {
		ops = subOps
	}
	f := quick(d.s.op, t, ops[t])
	d.flow.spread = spreadUp
	if d.take("sat") {
		d.flow.spread = spreadAll
		f = nil
		if t == s32 {
			f = addSat
			if d.s.op == "sub" {
				f = subSat
			}
		}
	}
	switch t {
	case u16x2, s16x2:
		d.flow.spread = spreadHalves
		f = addPacked
		if d.s.op == "sub" {
			f = nil
		}
	}
	return d.alu(f, t, t, t)
}

func decodeMul(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if t.float() {
		return d.float("mul", t, 2, true)
	}
	switch d.takeOne("lo", "hi", "wide") {
	case 0:
		d.flow.spread = spreadUp
		return d.alu(quick("mul", t, mulLoOps[t]), t, t, t)
	case 1:
		return d.alu(mulHiOps[t], t, t, t)
	case 2:
		return d.alu(quick("mul.wide", t, mulWideOps[t]), wideOf[t], t, t)
	}
	return d.errorf("%s: .lo, .hi or .wide is missing", d.in.op)
}

func decodeMad(d *decoder) error {
	if d.take("cc") {
		d.mod = append(d.mod, "cc")
		return decodeCarry(d)
	}
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if t.float() { // mad.f32 of sm_20 and later is fma
		if t != f32 && t != f64 {
			return d.unsupported()
		}
		if mode, given := d.takeRounding(); given {
			d.mod = append(d.mod, [...]string{"rn", "rz", "rm", "rp"}[mode])
		} else {
			return d.errorf("%s: a rounding modifier is missing", d.in.op)
		}
		return d.float("fma", t, 3, false)
	}
	switch d.takeOne("lo", "hi", "wide") {
	case 0:
		d.flow.spread = spreadUp
		return d.alu(quick("mad", t, madLoOps[t]), t, t, t, t)
	case 1:
		f := madHiOps[t]
		if d.take("sat") {
			f = nil
			if t == s32 {
				f = madHiSat
			}
		}
		return d.alu(f, t, t, t, t)
	case 2:
		return d.alu(madWideOps[t], wideOf[t], t, t, wideOf[t])
	}
	return d.errorf("%s: .lo, .hi or .wide is missing", d.in.op)
}

func decodeMul24(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	half := d.takeOne("lo", "hi")
	if half < 0 || t != u32 && t != s32 {
		return d.unsupported()
	}
	f := map[typ][2]aluFunc{u32: {mul24LoU, mul24HiU}, s32: {mul24LoS, mul24HiS}}[t][half]
	if d.s.op == "mad24" {
		if d.take("sat") {
			if t != s32 || half != 1 {
				return d.unsupported()
			}
			f = mad24HiSat
		}
		return d.alu(f, t, t, t, t)
	}
	if err := d.rows(t, t, t); err != nil {
		return err
	}
	d.in.c = d.constant(0, 4, nil, false)
	d.in.kind, d.in.alu = kindALU, f
	return d.push()
}

func decodeMinMax(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	isMax := d.s.op == "max"
	if !t.float() {
		relu := d.take("relu")
		switch {
		case t == u16x2 && !relu, t == s16x2:
			d.flow.spread = spreadHalves
			return d.alu(minMaxPacked(isMax, t == s16x2, relu), t, t, t)
		case relu && t == s32 && isMax:
			return d.alu(maxRelu, t, t, t)
		case relu && t == s32:
			return d.alu(minRelu, t, t, t)
		case relu:
			return d.unsupported()
		}
		ops := minOps
		if isMax {
			ops = maxOps
		}
		return d.alu(quick(d.s.op, t, ops[t]), t, t, t)
	}
	if isMax {
		d.in.imm |= minMaxMax
	}
	ftz := d.take("ftz")
	if ftz {
		if t != f32 {
			return d.unsupported()
		}
		if err := d.inexact(flushes); err != nil {
			return err
		}
	}
	if d.take("NaN") {
		d.in.imm |= minMaxNaN
	}
	if d.take("xorsign") {
		if !d.take("abs") {
			return d.unsupported()
		}
		d.in.imm |= minMaxXor
	}
	switch t {
	case f32:
		if len(d.s.operands) == 4 && d.in.imm&minMaxXor == 0 {
			if ftz {
				return d.unsupported()
			}
			return d.alu(minMaxFloat3[float32], t, t, t, t)
		}
		if ftz {
			return d.alu(flushed(minMaxFloat[float32]), t, t, t)
		}
		if d.in.imm&^minMaxMax == 0 {
			return d.alu(quick(d.s.op, t, minMaxFloat[float32]), t, t, t)
		}
		return d.alu(minMaxFloat[float32], t, t, t)
	case f64:
		if d.in.imm&^minMaxMax != 0 {
			return d.unsupported()
		}
		return d.alu(minMaxFloat[float64], t, t, t)
	case f16, bf16:
		return d.alu(halfMinMaxOp(formatOf(t)), t, t, t)
	}
	d.flow.spread = spreadHalves
	f := halfMinMaxOp2(formatOf(t))
	if d.in.imm&^minMaxMax == 0 {
		f = quick(d.s.op, t, f)
	}
	return d.alu(f, t, t, t)
}

func decodeCount(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	ops := map[typ]aluFunc{b32: popc32, b64: popc64}
	if d.s.op == "clz" {
		ops = map[typ]aluFunc{b32: clz32, b64: clz64}
	}
	return d.alu(ops[t], b32, t)
}

func decodeBfind(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if d.take("shiftamt") {
		d.in.imm = 1
	}
	return d.alu(map[typ]aluFunc{u32: bfind[uint32], u64: bfind[uint64], s32: bfind[int32], s64: bfind[int64]}[t], b32, t)
}

func decodeBfe(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	return d.alu(bfeOps[t], t, t, b32, b32)
}

func decodeBfi(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	return d.alu(map[typ]aluFunc{b32: bfi[uint32], b64: bfi[uint64]}[t], t, t, t, b32, b32)
}

func decodeFns(d *decoder) error {
	if t, err := d.takeType(); err != nil || t != b32 {
		return d.unsupported()
	}
	return d.alu(fns, b32, b32, b32, b32)
}

func decodeDp4a(d *decoder) error {
	if err := d.takeSigns(); err != nil {
		return err
	}
	return d.alu(dp4a, b32, b32, b32, b32)
}

// takeSigns removes the types of both factors of a dp4a or dp2a. Bits 0 and 1 of the immediate say which
// factors are signed.
func (d *decoder) takeSigns() error {
	for i := range 2 {
		t, err := d.takeType()
		if err != nil {
			return err
		}
		switch t {
		case s32:
			d.in.imm |= 1 << i
		case u32:
		default:
			return d.unsupported()
		}
	}
	return nil
}

func decodeDp2a(d *decoder) error {
	switch d.takeOne("lo", "hi") {
	case -1:
		return d.unsupported()
	case 1:
		d.in.imm |= 4
	}
	if err := d.takeSigns(); err != nil {
		return err
	}
	return d.alu(dp2a, b32, b32, b32, b32)
}

// decodeCarry decodes add, sub and mad with .cc, and addc, subc and madc.
func decodeCarry(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if !t.integer() || t.class == classBits || t.bits != 32 && t.bits != 64 {
		return d.unsupported()
	}
	flags := uint64(0)
	if d.take("cc") {
		flags |= carryOut
	}
	sources := []typ{t, t}
	switch d.s.op {
	case "addc", "subc", "madc":
		flags |= carryIn1
	}
	switch d.s.op {
	case "sub", "subc":
		flags |= carrySub
	case "mad", "madc":
		flags |= carryMul
		sources = append(sources, t)
		switch d.takeOne("lo", "hi") {
		case -1:
			return d.unsupported()
		case 1:
			flags |= carryHi
		}
		if t.signed() {
			flags |= carrySigned
		}
	}
	if err := d.rows(t, sources...); err != nil {
		return err
	}
	if flags&carryIn1 != 0 {
		d.in.uses = append(d.in.uses, d.carry())
	}
	if flags&carryOut != 0 {
		d.in.defs = append(d.in.defs, d.carry())
	}
	d.in.imm = flags
	d.in.kind, d.in.run = kindRun, carry[uint32]
	if t.bits == 64 {
		d.in.run = carry[uint64]
	}
	return d.push()
}

func decodeLogic(d *decoder) error {
	if d.take("pred") {
		return d.logicPred()
	}
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if d.s.op == "not" {
		return d.alu(logicOps["not"][t], t, t)
	}
	return d.alu(quick(d.s.op, t, logicOps[d.s.op][t]), t, t, t)
}

func decodeLop3(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if t != b32 {
		return d.unsupported()
	}
	ops, err := d.operands(5)
	if err != nil {
		return err
	}
	table := ops[4]
	if table.kind != opInt || table.bits > 255 {
		return d.errorf("lop3's table is a constant from 0 to 255")
	}
	d.in.imm = table.bits
	d.s = &statement{op: d.s.op, operands: ops[:4], line: d.s.line, scope: d.s.scope}
	return d.alu(lop3, t, t, t, t)
}

func decodeShift(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	ops := shlOps
	if d.s.op == "shr" {
		ops = shrOps
	}
	return d.alu(quick(d.s.op, t, ops[t]), t, t, b32)
}

func decodeFunnel(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	side, mode := d.takeOne("l", "r"), d.takeOne("wrap", "clamp")
	if side < 0 || mode < 0 || t != b32 {
		return d.unsupported()
	}
	d.in.imm = uint64(mode)
	f := shfL
	if side == 1 {
		f = shfR
	}
	return d.alu(f, t, t, t, t)
}

func decodePrmt(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if t != b32 {
		return d.unsupported()
	}
	d.in.imm = uint64(1 + d.takeOne("f4e", "b4e", "rc8", "ecl", "ecr", "rc16"))
	return d.alu(prmt, t, t, t, t)
}
