package ptx

import "strings"

// Operands of instructions, and the places that they have.

// scopes calls try for the scopes around a statement, innermost first, until it returns true.
func (d *decoder) scopes(scope int, try func(scope int) bool) {
	for {
		if try(scope) || scope == 0 {
			return
		}
		scope = d.fn.parents[scope-1]
	}
}

// find returns the register with a name, if there is one.
func (d *decoder) find(name string, scope int) (reg, bool) {
	var found reg
	ok := false
	d.scopes(scope, func(s int) bool {
		key := scopedName{s, name}
		if found, ok = d.fn.regs[key]; ok {
			return true
		}
		if decl, declared := d.fn.decls[key]; declared && decl.count < 0 {
			found, ok = d.newReg(key, decl.typ), true
			return true
		}
		for n := len(name) - 1; n > 0 && n > len(name)-11 && isDigit(name[n]); n-- {
			if name[n] == '0' && n < len(name)-1 {
				continue
			}
			decl, declared := d.fn.decls[scopedName{s, name[:n]}]
			if !declared || decl.count < 0 {
				continue
			}
			number := int64(0)
			for _, c := range []byte(name[n:]) {
				number = number*10 + int64(c-'0')
			}
			if number < decl.count {
				found, ok = d.newReg(key, decl.typ), true
				return true
			}
		}
		return false
	})
	return found, ok
}

func (d *decoder) newReg(key scopedName, t typ) reg {
	r := reg{typ: t, id: uint32(len(d.e.regNames))}
	if t == pred {
		r.off = d.newPred()
	} else {
		r.off = d.newRow(uint8(t.bytes()))
	}
	d.number(key.name, r)
	d.fn.regs[key] = r
	return r
}

// number assigns the next number to a register.
func (d *decoder) number(name string, r reg) {
	d.e.regNames = append(d.e.regNames, name)
	d.e.regs = append(d.e.regs, regInfo{r.off, uint8(r.typ.bytes())})
}

// carry returns the number of the carry flag, a register without a row.
func (d *decoder) carry() uint32 {
	if d.flag == nil {
		id := uint32(len(d.e.regNames))
		d.flag = &id
		d.number("the carry flag", reg{typ: pred, off: noPred})
	}
	return *d.flag
}

func (d *decoder) newPred() uint32 {
	d.e.preds++
	return uint32(d.e.preds - 1)
}

func (d *decoder) newRow(bytes uint8) uint32 {
	// Rows start at multiples of 64 bytes.
	size := (uint32(bytes)*warpSize + 63) &^ 63
	off := d.e.regBytes
	if off <= maxFile { // a larger file is refused at the end
		d.e.regBytes += size
	} else {
		off = 0
	}
	return off
}

// register returns the register with a name, or an error.
func (d *decoder) register(name string, scope int) (reg, error) {
	r, ok := d.find(name, scope)
	if !ok {
		return reg{}, d.errorf("no register %q", short(name))
	}
	return r, nil
}

// variable finds a variable by its name.
func (d *decoder) variable(name string) (*variable, bool) {
	var v *variable
	d.scopes(d.s.scope, func(s int) bool {
		v = d.fn.vars[scopedName{s, name}]
		return v != nil
	})
	if v == nil {
		v = d.m.globals[name]
	}
	if v == nil {
		return nil, false
	}
	d.layOut(v)
	return v, true
}

// layOut allocates a shared or local variable when it is first used.
func (d *decoder) layOut(v *variable) {
	if _, done := d.symbols[v]; done || v.extern {
		return
	}
	grow := func(total *int) {
		*total = (*total + v.align - 1) &^ (v.align - 1)
		d.symbols[v] = uint64(*total)
		if *total <= maxVariable { // larger totals are refused at the end
			*total += int(v.size)
		}
	}
	switch v.space {
	case spaceShared:
		grow(&d.e.shared)
	case spaceLocal, spaceParam:
		grow(&d.e.local)
	}
}

// constant returns a row that holds a value in all lanes.
func (d *decoder) constant(value uint64, bytes uint8, sym *variable, gen bool) uint32 {
	key := constKey{value, bytes, sym, gen}
	off, ok := d.consts[key]
	if !ok {
		off = d.newRow(bytes)
		d.consts[key] = off
		d.e.consts = append(d.e.consts, constRow{off: off, bytes: bytes, value: value, sym: sym, gen: gen})
	}
	return off
}

// src returns the row of an operand that is read as type t.
func (d *decoder) src(o operand, t typ) (uint32, error) {
	switch o.kind {
	case opInt, opF32, opF64:
		bits, err := constantAs(o, t)
		if err != nil {
			return 0, d.errorf("%s: %v", d.in.op, err)
		}
		return d.constant(bits, uint8(t.bytes()), nil, false), nil
	case opName:
		if o.not || o.pair != "" {
			return 0, d.errorf("%s: an operand of %v cannot be a predicate", d.in.op, t)
		}
		if r, ok := d.find(o.name, d.s.scope); ok {
			if r.typ.bits != t.bits || r.typ == pred {
				return 0, d.errorf("%s: %s is %v, not of %v", d.in.op, short(o.name), r.typ, t)
			}
			d.in.uses = append(d.in.uses, r.id)
			if o.bits != 0 {
				return d.sum(r, o, t)
			}
			return r.off, nil
		}
		if s, ok := specialRegs[o.name]; ok {
			if o.bits != 0 {
				return 0, d.errorf("%s: %s cannot have a constant added to it", d.in.op, o.name)
			}
			if int(s.bytes()) != t.bytes() {
				return 0, d.errorf("%s: %s has %d bits, not those of %v", d.in.op, o.name, s.bytes()*8, t)
			}
			return d.special(s), nil
		}
		if o.name == "WARP_SZ" {
			return d.constant(warpSize+o.bits, uint8(t.bytes()), nil, false), nil
		}
		if v, ok := d.variable(o.name); ok {
			if t.bits != 64 && (t.bits != 32 || v.space == spaceGlobal) || t.float() {
				return 0, d.errorf("%s: the address of %s is not %v", d.in.op, short(o.name), t)
			}
			return d.constant(o.bits, uint8(t.bytes()), v, false), nil
		}
		return 0, d.unknown(o.name)
	}
	return 0, d.errorf("%s: an operand of %v is wanted", d.in.op, t)
}

// unknown returns the error for a name that is neither a register nor a variable.
func (d *decoder) unknown(name string) error {
	if d.m.funcs[name] != nil {
		return d.errorf("%s: the address of %s: function pointers are not supported", d.in.op, short(name))
	}
	for prefix, what := range unsupportedRegs {
		if strings.HasPrefix(name, prefix) {
			return d.errorf("%s: %s, %s, is not supported", d.in.op, short(name), what)
		}
	}
	return d.errorf("no register or variable %q", short(name))
}

// unsupportedRegs are special registers that the machine does not support, by the prefix of their name (PTX
// ISA §10).
var unsupportedRegs = map[string]string{
	"%envreg": "which only a driver knows", "%pm": "a performance counter", "%is_explicit_cluster": "of clusters", "%aggr_smem_size": "of clusters",
	"%current_graph_exec": "of CUDA graphs", "%reserved_smem_offset": "of reserved shared memory",
}

// sum decodes the operand reg+constant, which ptxas accepts for any integer register: an extra addition
// before the instruction.
func (d *decoder) sum(r reg, o operand, t typ) (uint32, error) {
	add := map[uint8]aluFunc{16: add[uint16], 32: add[uint32], 64: add[uint64]}[t.bits]
	if t.float() || t.lanes > 1 || add == nil {
		return 0, d.errorf("%s: %s is %v and cannot have a constant added to it", d.in.op, short(o.name), t)
	}
	bits, err := constantAs(operand{kind: opInt, bits: o.bits}, t)
	if err != nil {
		return 0, d.errorf("%s: %v", d.in.op, err)
	}
	sum := reg{typ: t, off: d.newRow(uint8(t.bytes())), id: uint32(len(d.e.regNames))}
	d.number(o.name+" and a constant", sum)
	d.in.uses[len(d.in.uses)-1] = sum.id
	whole, itsFlow := d.in, d.flow
	d.in.uses, d.in.defs, d.flow.needs = []uint32{r.id}, []uint32{sum.id}, nil
	bytes := uint8(t.bytes())
	d.in.kind, d.in.alu, d.in.dbytes = kindALU, add, bytes
	d.in.counted = false
	d.flow.spread = spreadUp
	d.in.a, d.in.b, d.in.d = r.off, d.constant(bits, bytes, nil, false), sum.off
	err = d.push()
	d.in, d.flow = whole, itsFlow
	return sum.off, err
}

func (d *decoder) special(s specialReg) uint32 {
	off, ok := d.specials[s]
	if !ok {
		off = d.newRow(s.bytes())
		d.specials[s] = off
		d.e.specials = append(d.e.specials, specialRow{off, s})
	}
	return off
}

// dst returns the row of an operand that is written as type t.
func (d *decoder) dst(o operand, t typ) (uint32, error) {
	r, err := d.dstReg(o, t)
	return r.off, err
}

func (d *decoder) dstReg(o operand, t typ) (reg, error) {
	if o.kind == opSink {
		return reg{typ: t, off: d.newSink(t)}, nil
	}
	if o.kind != opName || o.not || o.bits != 0 {
		return reg{}, d.errorf("%s: the destination is not a register", d.in.op)
	}
	r, err := d.register(o.name, d.s.scope)
	if err != nil {
		return reg{}, err
	}
	if t != (typ{}) && (r.typ.bits != t.bits || r.typ == pred) {
		return reg{}, d.errorf("%s: %s is %v, not of %v", d.in.op, short(o.name), r.typ, t)
	}
	d.in.defs = append(d.in.defs, r.id)
	return r, nil
}

// newSink returns a row for a result that is discarded.
func (d *decoder) newSink(t typ) uint32 { return d.newRow(uint8(max(t.bytes(), 1))) }

// pred returns the index of a predicate that is read, and whether it is negated.
func (d *decoder) pred(o operand) (uint32, bool, error) {
	if o.kind == opInt { // a constant: 0 is false
		return d.truePred(), o.bits == 0, nil
	}
	if o.kind != opName || o.pair != "" || o.bits != 0 {
		return 0, false, d.errorf("%s: a predicate is wanted", d.in.op)
	}
	r, err := d.register(o.name, d.s.scope)
	if err != nil {
		return 0, false, err
	}
	if r.typ != pred {
		return 0, false, d.errorf("%s: %s is not a predicate", d.in.op, short(o.name))
	}
	d.in.uses = append(d.in.uses, r.id)
	return r.off, o.not, nil
}

func (d *decoder) truePred() uint32 {
	if d.e.predTrue < 0 {
		d.e.predTrue = int32(d.newPred())
	}
	return uint32(d.e.predTrue)
}

// dstPred returns the index of a predicate that is written, or noPred for _.
func (d *decoder) dstPred(name string) (uint32, error) {
	if name == "_" {
		return noPred, nil
	}
	r, err := d.register(name, d.s.scope)
	if err != nil {
		return 0, err
	}
	if r.typ != pred {
		return 0, d.errorf("%s: %s is not a predicate", d.in.op, short(name))
	}
	d.in.defs = append(d.in.defs, r.id)
	return r.off, nil
}

// rows decodes a destination of type dt and sources of the given types into d.in.d, a, b, c and e.
func (d *decoder) rows(dt typ, sources ...typ) error {
	ops, err := d.operands(1 + len(sources))
	if err != nil {
		return err
	}
	into := [...]*uint32{&d.in.a, &d.in.b, &d.in.c, &d.in.e}
	for i, t := range sources {
		if *into[i], err = d.src(ops[1+i], t); err != nil {
			return err
		}
	}
	if ops[0].pair != "" {
		return d.errorf("%s has one destination", d.in.op)
	}
	d.in.d, err = d.dst(ops[0], dt)
	d.in.dbytes = uint8(dt.bytes())
	return err
}
