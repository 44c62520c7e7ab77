package ptx

import "unsafe"

// mov, cvt, cvta and isspacep.

func copyOf(bits uint8) aluFunc {
	f := map[uint8]aluFunc{8: copyRow[uint8], 16: copyRow[uint16], 32: copyRow[uint32], 64: copyRow[uint64]}[bits]
	return quick("mov", typ{classBits, bits, 1}, f)
}

func decodeMov(d *decoder) error {
	if d.take("pred") {
		ops, err := d.operands(2)
		if err != nil {
			return err
		}
		var not bool
		if d.in.a, not, err = d.pred(ops[1]); err != nil {
			return err
		}
		if d.in.d, err = d.dstPred(ops[0].name); err != nil {
			return err
		}
		d.in.kind, d.in.cmp, d.in.imm, d.in.copies = kindSetp, predMov, uint64(bit(not)), true
		return d.push()
	}
	t, err := d.takeType()
	if err != nil {
		return err
	}
	ops, err := d.operands(2)
	if err != nil {
		return err
	}
	d.in.copies = true
	switch {
	case ops[0].kind == opVector:
		return d.unpackVector(ops, t)
	case ops[1].kind == opVector:
		return d.packVector(ops, t)
	}
	if s, ok := specialRegs[ops[1].name]; ok && ops[1].kind == opName && s.ticks() {
		if t.bytes() != int(s.bytes()) {
			return d.unsupported()
		}
		d.in.kind, d.in.alu, d.in.imm, d.in.dbytes = kindALU, readClock, uint64(s), s.bytes()
		d.in.d, err = d.dst(ops[0], t)
		if err != nil {
			return err
		}
		return d.push()
	}
	return d.alu(copyOf(t.bits), t, t)
}

// packVector decodes mov.b64 d, {a, b} and its like.
func (d *decoder) packVector(ops []operand, t typ) error {
	n := len(ops[1].list)
	part := typ{classBits, t.bits / uint8(max(n, 1)), 1}
	if n != 2 && n != 4 || part.bits < 8 || t.bits%uint8(n) != 0 {
		return d.unsupported()
	}
	into := [...]*uint32{&d.in.a, &d.in.b, &d.in.c, &d.in.e}
	for i, o := range ops[1].list {
		var err error
		if *into[i], err = d.src(o, part); err != nil {
			return err
		}
	}
	var err error
	if d.in.d, err = d.dst(ops[0], t); err != nil {
		return err
	}
	d.in.kind, d.in.dbytes = kindALU, uint8(t.bytes())
	switch {
	case n == 2 && t.bits == 16:
		d.in.alu = pack2[uint16, uint8]
	case n == 2 && t.bits == 32:
		d.in.alu = pack2[uint32, uint16]
	case n == 2 && t.bits == 64:
		d.in.alu = pack2[uint64, uint32]
	case n == 4 && t.bits == 32:
		d.in.alu = pack4[uint32, uint8]
	case n == 4 && t.bits == 64:
		d.in.alu = pack4[uint64, uint16]
	default:
		return d.unsupported()
	}
	return d.push()
}

func pack2[W, P ~uint8 | unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := (*[warpSize]W)(p), row[P](w.regs, in.a), row[P](w.regs, in.b)
	bits := 8 * unsafe.Sizeof(a[0])
	for i := range d {
		d[i] = W(a[i]) | W(b[i])<<bits
	}
}

func pack4[W, P ~uint8 | unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := (*[warpSize]W)(p), row[P](w.regs, in.a), row[P](w.regs, in.b)
	c, e := row[P](w.regs, in.c), row[P](w.regs, in.e)
	bits := 8 * unsafe.Sizeof(a[0])
	for i := range d {
		d[i] = W(a[i]) | W(b[i])<<bits | W(c[i])<<(2*bits) | W(e[i])<<(3*bits)
	}
}

// unpackVector decodes mov.b64 {a, b}, s: an instruction for each part.
func (d *decoder) unpackVector(ops []operand, t typ) error {
	list := ops[0].list
	n := len(list)
	part := typ{classBits, t.bits / uint8(max(n, 1)), 1}
	if n != 2 && n != 4 || part.bits < 8 {
		return d.unsupported()
	}
	src, err := d.src(ops[1], t)
	if err != nil {
		return err
	}
	var f aluFunc
	switch {
	case n == 2 && t.bits == 16:
		f = extract[uint16, uint8]
	case n == 2 && t.bits == 32:
		f = extract[uint32, uint16]
	case n == 2 && t.bits == 64:
		f = extract[uint64, uint32]
	case n == 4 && t.bits == 32:
		f = extract[uint32, uint8]
	case n == 4 && t.bits == 64:
		f = extract[uint64, uint16]
	default:
		return d.unsupported()
	}
	whole := d.in
	first := true
	for i, o := range list {
		if o.kind == opSink && !(first && i == n-1) {
			continue
		}
		d.in = whole
		d.in.counted = first
		first = false
		d.in.kind, d.in.alu, d.in.a, d.in.imm = kindALU, f, src, uint64(i)*uint64(part.bits)
		d.in.dbytes = uint8(part.bytes())
		d.in.defs = nil
		if d.in.d, err = d.dst(o, part); err != nil {
			return err
		}
		if err := d.push(); err != nil {
			return err
		}
	}
	return nil
}

func extract[W, P ~uint8 | unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a := (*[warpSize]P)(p), row[W](w.regs, in.a)
	shift := in.imm
	for i := range d {
		d[i] = P(a[i] >> shift)
	}
}

// wider returns the register of an operand of cvt, ld or st, which may have more
// bits than the type.
func (d *decoder) wider(o operand, t typ) (typ, error) {
	if o.kind != opName {
		return t, nil
	}
	if s, ok := specialRegs[o.name]; ok {
		if _, own := d.find(o.name, d.s.scope); !own {
			return typ{classBits, s.bytes() * 8, 1}, nil
		}
	}
	r, err := d.register(o.name, d.s.scope)
	if err != nil {
		return t, err
	}
	if r.typ == pred || r.typ.bits < t.bits {
		return t, d.errorf("%s: %s is %v, too narrow for %v", d.in.op, short(o.name), r.typ, t)
	}
	return typ{classBits, r.typ.bits, 1}, nil
}

func decodeCvt(d *decoder) error {
	op := &cvtOp{}
	d.in.cvt = op
	given := d.takeOne("rn", "rz", "rm", "rp")
	whole := d.takeOne("rni", "rzi", "rmi", "rpi")
	satfinite := d.take("satfinite")
	op.relu = d.take("relu")
	op.ftz = d.take("ftz")
	op.sat = d.take("sat")
	var err error
	if op.to, err = d.takeType(); err != nil {
		return err
	}
	if op.from, err = d.takeType(); err != nil {
		return err
	}
	op.fromF, op.toF = formatOf(op.from), formatOf(op.to)
	op.mode = rounding(max(given, 0))
	if whole >= 0 {
		op.mode, op.integral = rounding(whole), true
	}
	if op.ftz {
		if op.from != f32 && op.to != f32 {
			return d.unsupported()
		}
		if err := d.inexact(".ftz flushes subnormal numbers"); err != nil {
			return err
		}
	}
	if op.to.lanes == 2 || op.from.lanes == 2 {
		return d.cvtPacked(op, given, satfinite)
	}
	if err := d.checkCvt(op, given >= 0, whole >= 0, satfinite); err != nil {
		return err
	}
	ops, err := d.operands(2)
	if err != nil {
		return err
	}
	from, err := d.wider(ops[1], op.from)
	if err != nil {
		return err
	}
	if op.from == bf16 && from.bits != 16 || ops[0].kind == opSink {
		return d.unsupported()
	}
	if op.srcBytes = uint8(from.bytes()); ops[1].kind != opName {
		from = op.from
	}
	to, err := d.wider(ops[0], op.to)
	if err != nil {
		return err
	}
	op.dstBytes = uint8(to.bytes())
	if op.to == bf16 && to.bits != 16 {
		return d.unsupported()
	}
	return d.alu(fastCvt(op), to, from)
}

// checkCvt refuses what PTX does not allow (§9.7.9.21): a conversion that can round
// needs to say how, and one that cannot must not.
func (d *decoder) checkCvt(op *cvtOp, rounds, integral, satfinite bool) error {
	if satfinite {
		return d.unsupported()
	}
	fromInt, toInt := op.fromF == nil, op.toF == nil
	if op.from.class > classBF || op.to.class > classBF || op.from.class == classBits || op.to.class == classBits {
		return d.unsupported()
	}
	if op.relu && (op.from != f32 || op.to != f16 && op.to != bf16) {
		return d.unsupported()
	}
	switch {
	case fromInt && toInt:
		if rounds || integral {
			return d.unsupported()
		}
	case fromInt:
		if !rounds || integral {
			return d.errorf("%s: a rounding modifier .rn, .rz, .rm or .rp is needed", d.in.op)
		}
	case toInt:
		if rounds || !integral {
			return d.errorf("%s: a rounding modifier .rni, .rzi, .rmi or .rpi is needed", d.in.op)
		}
	case op.from == op.to:
		if rounds {
			return d.unsupported()
		}
	case op.toF.mantissa < op.fromF.mantissa || op.toF.bias < op.fromF.bias:
		if !rounds || integral {
			return d.errorf("%s: a rounding modifier .rn, .rz, .rm or .rp is needed", d.in.op)
		}
	default:
		if rounds || integral {
			return d.unsupported()
		}
	}
	return nil
}

// fastCvt returns the function of a conversion: one of its own, or cvt.
func fastCvt(op *cvtOp) aluFunc {
	plain := !op.sat && !op.relu && !op.ftz
	if !plain {
		return cvt
	}
	nearest := op.mode == roundNearest && !op.integral
	exact := op.srcBytes == uint8(op.from.bytes()) && op.dstBytes == uint8(op.to.bytes())
	switch {
	case op.fromF == nil && op.toF == nil:
		if f := cutOrExtend(op); f != nil {
			return f
		}
	case !exact:
	case op.fromF == nil && nearest:
		if f := intToFloats[[2]typ{op.to, op.from}]; f != nil {
			return f
		}
	case op.to == f32 && op.from == f16:
		return quick("cvt.f32", f16, cvtF32F16)
	case op.to == f16 && op.from == f32 && nearest:
		return cvtF16F32
	case op.to == f32 && op.from == bf16:
		return cvtF32BF16
	case op.to == bf16 && op.from == f32 && nearest:
		return cvtBF16F32
	case op.to == s32 && op.from == f32 && op.mode == roundZero:
		return cvtTruncS32F32
	}
	return cvt
}

var intToFloats = map[[2]typ]aluFunc{
	{f32, u16}: intToFloat[float32, uint16], {f32, u32}: intToFloat[float32, uint32], {f32, u64}: intToFloat[float32, uint64],
	{f32, s16}: intToFloat[float32, int16], {f32, s32}: intToFloat[float32, int32], {f32, s64}: intToFloat[float32, int64],
	{f64, u16}: intToFloat[float64, uint16], {f64, u32}: intToFloat[float64, uint32], {f64, u64}: intToFloat[float64, uint64],
	{f64, s16}: intToFloat[float64, int16], {f64, s32}: intToFloat[float64, int32], {f64, s64}: intToFloat[float64, int64],
}

// cutOrExtend is a conversion between integers whose registers have just their
// widths.
func cutOrExtend(op *cvtOp) aluFunc {
	if op.dstBytes != uint8(op.to.bytes()) {
		return nil
	}
	if op.to.bits <= op.from.bits { // the low bits of the register, whatever its width
		switch [2]uint8{op.dstBytes, op.srcBytes} {
		case [2]uint8{4, 8}:
			return quick("cvt.32", b64, convertInt[uint32, uint64])
		case [2]uint8{2, 8}:
			return convertInt[uint16, uint64]
		case [2]uint8{2, 4}:
			return convertInt[uint16, uint32]
		case [2]uint8{4, 4}:
			return copyOf(32)
		case [2]uint8{8, 8}:
			return copyOf(64)
		case [2]uint8{2, 2}:
			return copyRow[uint16]
		}
		return nil
	}
	if op.srcBytes != uint8(op.from.bytes()) {
		return nil
	}
	switch [2]typ{{bits: op.to.bits}, {bits: op.from.bits, class: op.from.class}} {
	case [2]typ{{bits: 64}, {bits: 32, class: classUnsigned}}:
		return quick("cvt.64", u32, convertInt[uint64, uint32])
	case [2]typ{{bits: 64}, {bits: 32, class: classSigned}}:
		return quick("cvt.64", s32, convertInt[int64, int32])
	case [2]typ{{bits: 64}, {bits: 16, class: classUnsigned}}:
		return convertInt[uint64, uint16]
	case [2]typ{{bits: 64}, {bits: 16, class: classSigned}}:
		return convertInt[int64, int16]
	case [2]typ{{bits: 32}, {bits: 16, class: classUnsigned}}:
		return convertInt[uint32, uint16]
	case [2]typ{{bits: 32}, {bits: 16, class: classSigned}}:
		return convertInt[int32, int16]
	}
	return nil
}

// cvtPacked decodes the conversions to and from pairs.
func (d *decoder) cvtPacked(op *cvtOp, given int, satfinite bool) error {
	if op.sat || op.ftz || op.integral || given > 1 || given < 0 {
		return d.unsupported()
	}
	half := uint8(op.to.bits / 2)
	op.dstBytes = uint8(op.to.bytes())
	eight := op.to.class == classE4M3 || op.to.class == classE5M2
	if eight != satfinite || eight && given != 0 {
		return d.unsupported()
	}
	from := op.from
	switch {
	case from == f32 && (op.to == f16x2 || op.to == bf16x2 || eight): // cvt.rn.f16x2.f32 d, a, b
		f := cvtPack
		if plain := op.mode == roundNearest && !op.relu; plain && op.to == f16x2 {
			f = packF16
		} else if plain && op.to == bf16x2 {
			f = packBF16
		}
		return d.alu(f, typ{classBits, op.to.bits, 1}, f32, f32)
	case from == f16x2 && eight, (from == e4m3x2 || from == e5m2x2) && op.to == f16x2 && given == 0:
		op.from.bits /= 2
		op.srcBytes = uint8(from.bytes())
		return d.alu(cvtUnpack, typ{classBits, half * 2, 1}, typ{classBits, from.bits, 1})
	}
	return d.unsupported()
}

func decodeCvta(d *decoder) error {
	toSpace := d.take("to")
	sp, ok := d.takeSpace()
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if !ok || t != u64 {
		return d.unsupported()
	}
	ops, err := d.operands(2)
	if err != nil {
		return err
	}
	if v, isVar := d.variable(ops[1].name); isVar && ops[1].kind == opName {
		if _, isReg := d.find(ops[1].name, d.s.scope); !isReg {
			if toSpace || v.space != sp {
				return d.errorf("%s: %s is in %v memory", d.in.op, short(v.name), v.space)
			}
			d.in.a = d.constant(ops[1].bits, 8, v, true)
			if d.in.d, err = d.dst(ops[0], t); err != nil {
				return err
			}
			d.in.kind, d.in.alu, d.in.dbytes = kindALU, copyOf(64), 8
			return d.push()
		}
	}
	base := windowOf(sp)
	if base == 0 {
		d.in.copies = true
		return d.alu(copyOf(64), t, t)
	}
	if toSpace {
		base = -base
	}
	d.in.imm = base
	return d.alu(addConstant, t, t)
}

func addConstant(p unsafe.Pointer, w *warp, in *instr) {
	d, a, _ := operands2[uint64](p, w, in)
	for i := range d {
		d[i] = a[i] + in.imm
	}
}

// takeSpace removes a state space's name.
func (d *decoder) takeSpace() (space, bool) {
	for i, m := range d.mod {
		if s, ok := spaceOf[m]; ok {
			d.mod = append(d.mod[:i], d.mod[i+1:]...)
			return s, true
		}
	}
	return spaceGeneric, false
}

func decodeIsspacep(d *decoder) error {
	sp, ok := d.takeSpace()
	if !ok {
		return d.unsupported()
	}
	ops, err := d.operands(2)
	if err != nil {
		return err
	}
	if d.in.a, err = d.src(ops[1], b64); err != nil {
		return err
	}
	if d.in.d, err = d.dstPred(ops[0].name); err != nil {
		return err
	}
	d.in.kind, d.in.imm = kindSetp, uint64(sp)
	d.in.cmp = func(w *warp, in *instr) (p uint32) {
		for i, a := range row[uint64](w.regs, in.a) {
			at := spaceOfAddress(a)
			p |= bit(at == space(in.imm)) << i
		}
		return p
	}
	return d.push()
}
