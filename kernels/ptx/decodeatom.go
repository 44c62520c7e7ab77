package ptx

import (
	"math"
	"slices"
)

// Atomics, fences, prefetches and asynchronous copies (PTX ISA §9.7.9, §9.7.13).

func decodeAtom(d *decoder) error {
	m := &memOp{kind: accessAtomic, n: 1, sem: semRelaxed, scope: scopeGPU}
	d.in.mem = m
	m.space, _ = d.takeSpace()
	d.takeOrder(m)
	if m.sem == semWeak || m.sem == semVolatile || d.s.op == "red" && m.sem != semRelaxed && m.sem != semRelease {
		return d.unsupported()
	}
	if err := d.dropPolicy(); err != nil {
		return err
	}
	if d.take("async") {
		return d.errorf("%s: asynchronous reductions are not supported", d.in.op)
	}
	vector := map[int]int{0: 2, 1: 4, 2: 8}[d.takeOne("v2", "v4", "v8")]
	noFlush := d.take("noftz")
	opNames := []string{"and", "or", "xor", "exch", "cas", "add", "inc", "dec", "min", "max"}
	i := d.takeOne(opNames...)
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if i < 0 || m.space != spaceGlobal && m.space != spaceShared && m.space != spaceGeneric {
		return d.unsupported()
	}
	name := opNames[i]
	if m.atomic = atomics[atomKey{name, t}]; m.atomic == nil {
		return d.unsupported()
	}
	m.quick = quickAtomics[atomKey{name, t}]
	half := t.float() && (t.bits == 16 || t.lanes == 2)
	switch {
	case half && !noFlush:
		return d.errorf("%s: the modifier .noftz is needed", d.in.op)
	case noFlush && !half && t != f32:
		return d.unsupported()
	case half && name != "add" && vector == 0:
		return d.errorf("%s: only vectors of %v have a minimum and a maximum", d.in.op, t)
	}
	m.flush = name == "add" && t == f32 && !noFlush
	m.elem = uint8(t.bytes())
	m.size = uint32(m.elem)
	rt := typ{classBits, t.bits, 1}
	if t.float() && t.lanes == 1 {
		rt = t
	}
	if vector > 0 {
		if !half && (name != "add" || t != f32) || m.size*uint32(vector) > maxVector/2 || m.space == spaceShared {
			return d.errorf("%s: a vector atomic is .add, .min or .max of 4 to 16 bytes of f16, bf16, f16x2 or bf16x2, or .add of 2 or 4 f32, in global memory", d.in.op)
		}
		return d.vectorAtom(m, rt, vector)
	}
	ops := d.s.operands
	red := d.s.op == "red"
	if !red {
		if len(ops) == 0 {
			return d.errorf("%s has no operands", d.in.op)
		}
		if m.regs[0].off, err = d.dst(ops[0], rt); err != nil {
			return err
		}
		m.regs[0].sink = ops[0].kind == opSink
		ops = ops[1:]
	} else {
		m.regs[0].sink = true
		if name == "exch" || name == "cas" {
			return d.unsupported()
		}
	}
	want := 2
	if name == "cas" {
		want, m.hasC = 3, true
	}
	if len(ops) != want {
		return d.errorf("%s: %d operands after the destination, not %d", d.in.op, want, len(ops))
	}
	if err := d.address(ops[0], m); err != nil {
		return err
	}
	if m.call {
		return d.unsupported()
	}
	first := len(d.in.uses)
	if d.in.b, err = d.src(ops[1], rt); err != nil {
		return err
	}
	if m.hasC {
		if d.in.c, err = d.src(ops[2], rt); err != nil {
			return err
		}
	}
	d.need(first, "what the atomic does")
	d.in.kind, d.in.run = kindRun, m.run()
	m.do = atom
	return d.push()
}

// vectorAtom decodes an atomic on the n elements of a vector as one on each: only those are atomic.
func (d *decoder) vectorAtom(m *memOp, rt typ, n int) error {
	ops, red := d.s.operands, d.s.op == "red"
	m.whole = m.size * uint32(n)
	if len(ops) != 3-int(bit(red)) {
		return d.errorf("%s: wrong number of operands", d.in.op)
	}
	value, address := ops[len(ops)-1], ops[len(ops)-2]
	if value.kind != opVector || len(value.list) != n || !red && (ops[0].kind != opVector || len(ops[0].list) != n) {
		return d.errorf("%s: a vector of %d is wanted", d.in.op, n)
	}
	in, flow := d.in, d.flow
	in.uses, flow.needs = slices.Clip(in.uses), slices.Clip(flow.needs)
	for k, v := range value.list {
		d.in, d.flow = in, flow
		one, at := *m, address
		d.in.mem, d.in.counted = &one, k == 0
		if one.whole = 0; k == 0 {
			one.whole = m.whole
		}
		at.bits += uint64(k) * uint64(m.size)
		var err error
		if one.regs[0].sink = red; !red {
			to := ops[0].list[k]
			if one.regs[0].sink = to.kind == opSink; slices.ContainsFunc(value.list[k+1:], func(o operand) bool { return o.name == to.name && o.kind == opName }) || to.name == address.name {
				return d.errorf("%s: %s is both a source and a destination", d.in.op, short(to.name))
			}
			if one.regs[0].off, err = d.dst(to, rt); err != nil {
				return err
			}
		}
		if err := d.address(at, &one); err != nil {
			return err
		}
		first := len(d.in.uses)
		if d.in.b, err = d.src(v, rt); err != nil {
			return err
		}
		d.need(first, "what the atomic does")
		if d.in.kind, d.in.run = kindRun, one.run(); one.space == spaceGeneric {
			d.in.run = atomGlobal
		}
		one.do = atom
		if err := d.push(); err != nil {
			return err
		}
	}
	return nil
}

// decodePrefetch decodes instructions that only prefetch into a cache.
func decodePrefetch(d *decoder) error {
	m := &memOp{}
	m.space, _ = d.takeSpace()
	if d.take("tensormap") {
		return d.errorf("%s: tensor maps are not supported", d.in.op)
	}
	if d.takeOne("L1", "L2", "L2::evict_last", "L2::evict_normal") < 0 && d.s.op != "applypriority" {
		return d.unsupported()
	}
	if len(d.s.operands) == 0 {
		return d.errorf("%s: no address", d.in.op)
	}
	if err := d.address(d.s.operands[0], m); err != nil {
		return err
	}
	d.in.kind, d.in.run = kindRun, nothing
	return d.push()
}

func decodeFence(d *decoder) error {
	if d.take("proxy") {
		if d.takeOne("tensormap::generic", "tensormap") >= 0 {
			return d.errorf("%s: tensor maps are not supported", d.in.op)
		}
		d.takeOne("alias", "async", "async.global")
		d.takeOne("global", "shared::cta", "shared::cluster")
	}
	if d.s.op == "fence" {
		d.take("mbarrier_init")
		d.takeOne("sc", "acq_rel", "acquire", "release")
	}
	s, ok := d.takeScope()
	if !ok {
		s = scopeSys
	}
	if _, err := d.operands(0); err != nil {
		return err
	}
	d.in.imm = uint64(s)
	d.in.kind, d.in.run = kindRun, fence
	return d.push()
}

// unlessIgnored decodes ignore-src of cp.async: an extra instruction before it for the number of bytes, 0 where the
// predicate is true.
func (d *decoder) unlessIgnored(o operand, size uint64) (uint32, error) {
	amount := reg{typ: b32, off: d.newRow(4), id: uint32(len(d.e.regNames))}
	d.number(o.name+" of ignore-src", amount)
	whole, itsFlow := d.in, d.flow
	d.in.uses, d.in.defs, d.flow = nil, []uint32{amount.id}, flow{spread: spreadAll}
	ignored, not, err := d.pred(o)
	if err != nil {
		return 0, err
	}
	d.in.d2, d.in.notC = int32(ignored), not
	d.in.kind, d.in.alu, d.in.d, d.in.dbytes, d.in.imm, d.in.counted = kindALU, unlessIgnored, amount.off, 4, size, false
	err = d.push()
	d.in, d.flow = whole, itsFlow
	d.in.uses = append(d.in.uses, amount.id)
	return amount.off, err
}

// decodeCp decodes cp.async and the instructions that wait for it.
func decodeCp(d *decoder) error {
	if !d.take("async") {
		return d.unsupported()
	}
	if d.take("reduce") {
		return d.errorf("%s: asynchronous reductions are not supported", d.in.op)
	}
	if d.take("mbarrier") {
		return d.asyncArrive()
	}
	if d.take("bulk") {
		return d.decodeBulk()
	}
	d.in.kind = kindRun
	switch which := d.takeOne("commit_group", "wait_group", "wait_all"); which {
	case 0, 2:
		if _, err := d.operands(0); err != nil {
			return err
		}
		if d.in.run = asyncCommit; which == 2 {
			d.in.run = asyncWaitAll
		}
		return d.push()
	case 1:
		ops, err := d.operands(1)
		if err != nil {
			return err
		}
		if ops[0].kind != opInt || ops[0].bits > math.MaxInt32 {
			return d.errorf("%s: the number of groups is a constant", d.in.op)
		}
		d.in.imm, d.in.run = ops[0].bits, asyncWait
		return d.push()
	}
	if d.takeOne("ca", "cg") < 0 {
		return d.unsupported()
	}
	d.takeHints()
	if err := d.dropPolicy(); err != nil {
		return err
	}
	if d.takeOne("shared", "shared::cta") < 0 || !d.take("global") {
		return d.unsupported()
	}
	ops := d.s.operands
	if len(ops) != 3 && len(ops) != 4 {
		return d.errorf("%s has 3 or 4 operands, not %d", d.in.op, len(ops))
	}
	size := ops[2]
	if size.kind != opInt || size.bits != 4 && size.bits != 8 && size.bits != 16 {
		return d.errorf("%s: the size is 4, 8 or 16", d.in.op)
	}
	c := &copyOp{
		to:   memOp{space: spaceShared, kind: accessStore, n: 1, size: uint32(size.bits), do: asyncTarget},
		from: memOp{space: spaceGlobal, kind: accessLoad, n: 1, size: uint32(size.bits), do: asyncSource},
	}
	if err := d.address(ops[0], &c.to); err != nil {
		return err
	}
	c.toImm = d.in.imm
	d.in.imm = 0
	if err := d.address(ops[1], &c.from); err != nil {
		return err
	}
	c.fromImm = d.in.imm
	if len(ops) == 4 {
		var err error
		first := len(d.in.uses)
		if r, ok := d.find(ops[3].name, d.s.scope); ok && r.typ == pred {
			c.amount, err = d.unlessIgnored(ops[3], size.bits)
		} else {
			c.amount, err = d.src(ops[3], b32)
		}
		if err != nil {
			return err
		}
		d.need(first, "how much is copied")
		c.hasAmount = true
	}
	d.in.copy, d.in.run = c, asyncCopy
	return d.push()
}
