package ptx

import "unsafe"

// mov, cvta and isspacep.

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
		d.in.kind, d.in.cmp, d.in.imm = kindSetp, predMov, uint64(bit(not))
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
	switch {
	case ops[0].kind == opVector:
		return d.unpackVector(ops, t)
	case ops[1].kind == opVector:
		return d.packVector(ops, t)
	}
	if s, ok := specialRegs[ops[1].name]; ok && ops[1].kind == opName && s.ticks() && ops[1].bits == 0 {
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

// packVector decodes mov.b64 d, {a, b} and similar.
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

// unpackVector decodes mov.b64 {a, b}, s: one instruction for each element.
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

// wider returns the register of an operand of cvt, ld or st, which may be wider than the type.
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
