package ptx

import "slices"

// ld and st (PTX ISA §9.7.9).

// cacheHints are modifiers about caching, which do not change the effect of an access.
var cacheHints = []string{
	"ca", "cg", "cs", "lu", "cv", "wb", "wt",
	"L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate",
	"L2::64B", "L2::128B", "L2::256B", "L2::evict_last", "L2::evict_first", "L2::evict_normal",
}

func (d *decoder) takeHints() {
	for d.takeOne(cacheHints...) >= 0 {
	}
}

// takeOrder removes the memory ordering and the scope.
func (d *decoder) takeOrder(m *memOp) {
	d.take("mmio") // .mmio.relaxed
	switch d.takeOne("weak", "volatile", "relaxed", "acquire", "release", "acq_rel") {
	case 0:
		m.sem = semWeak
	case 1:
		m.sem, m.scope = semVolatile, scopeSys
	case 2:
		m.sem, m.scope = semRelaxed, scopeGPU
	case 3:
		m.sem, m.scope = semAcquire, scopeGPU
	case 4:
		m.sem, m.scope = semRelease, scopeGPU
	case 5:
		m.sem, m.scope = semAcqRel, scopeGPU
	}
	if s, ok := d.takeScope(); ok {
		m.scope = s
	}
}

func (d *decoder) takeScope() (scope, bool) {
	switch d.takeOne("cta", "cluster", "gpu", "gl", "sys") {
	case 0:
		return scopeCTA, true
	case 1:
		return scopeCluster, true
	case 2, 3:
		return scopeGPU, true
	case 4:
		return scopeSys, true
	}
	return 0, false
}

// address decodes [a] into a memory operation and d.in.imm.
func (d *decoder) address(o operand, m *memOp) error {
	if o.kind != opAddress {
		return d.errorf("%s: an address in brackets is wanted", d.in.op)
	}
	if len(o.list) > 0 {
		return d.errorf("%s: an address has one part", d.in.op)
	}
	if int64(o.bits) > 1<<40 && o.name != "" || int64(o.bits) < -1<<40 {
		return d.errorf("%s: the offset %d is absurd", d.in.op, int64(o.bits))
	}
	if o.name == "" {
		m.addr = d.constant(o.bits, 8, nil, false)
		return nil
	}
	d.in.imm = o.bits
	if r, ok := d.find(o.name, d.s.scope); ok {
		if r.typ.bits != 64 && r.typ.bits != 32 || r.typ == pred {
			return d.errorf("%s: %s is %v, no address", d.in.op, short(o.name), r.typ)
		}
		m.addr32 = r.typ.bits == 32
		if m.addr32 && (m.space == spaceGlobal || m.space == spaceGeneric) {
			return d.errorf("%s: an address of 32 bits in %v memory", d.in.op, m.space)
		}
		m.addr = r.off
		d.in.uses = append(d.in.uses, r.id)
		d.need(len(d.in.uses)-1, "the address")
		return nil
	}
	v, ok := d.variable(o.name)
	if !ok {
		return d.unknown(o.name)
	}
	switch {
	case m.space == spaceGeneric:
		m.addr = d.constant(0, 8, v, true)
	case m.space == v.space:
		m.addr = d.constant(0, 8, v, false)
	default:
		return d.errorf("%s: %s is in %v memory", d.in.op, short(o.name), v.space)
	}
	if v.space == spaceParam && !d.kernelParam(v) { // an argument of a call, in the thread's local memory
		m.space, m.call = spaceLocal, true
	}
	return nil
}

// kernelParam reports whether a variable is a parameter of the kernel.
func (d *decoder) kernelParam(v *variable) bool {
	if !d.e.fn.entry {
		return false
	}
	for _, p := range d.e.fn.params {
		if p == v {
			return true
		}
	}
	return false
}

// elements decodes the registers of a load or store: one, or a vector.
func (d *decoder) elements(o operand, m *memOp, t typ, load bool) error {
	list := []operand{o}
	if m.n > 1 {
		if o.kind != opVector || len(o.list) != int(m.n) {
			return d.errorf("%s: a vector of %d is wanted", d.in.op, m.n)
		}
		list = o.list
	} else if o.kind == opVector && len(o.list) == 1 {
		list = o.list
	}
	for i, e := range list {
		if load && e.kind == opSink {
			m.regs[i].sink = true
			continue
		}
		rt, err := d.wider(e, t)
		if err != nil {
			return err
		}
		r := memReg{bytes: uint8(rt.bytes())}
		if load {
			r.off, err = d.dst(e, rt)
		} else {
			if e.kind != opName {
				rt = t
			}
			r.off, err = d.src(e, rt)
		}
		if err != nil {
			return err
		}
		key := loadKey{r.bytes, uint8(t.bytes()), load && t.signed()}
		if load {
			m.loads[i], m.fills[i] = loads[key], fills[key]
		} else {
			m.stores[i] = stores[key]
		}
		if m.loads[i] == nil && m.stores[i] == nil {
			return d.unsupported()
		}
		m.regs[i] = r
	}
	return nil
}

// memory decodes the common part of ld and st.
func (d *decoder) memory(kind accessKind) (*memOp, typ, error) {
	m := &memOp{kind: kind, n: 1}
	d.in.mem = m
	m.space, _ = d.takeSpace()
	d.takeOrder(m)
	m.nc = kind == accessLoad && (d.s.op == "ldu" || d.take("nc"))
	d.takeHints()
	if err := d.dropPolicy(); err != nil {
		return nil, typ{}, err
	}
	switch d.takeOne("v2", "v4", "v8") {
	case 0:
		m.n = 2
	case 1:
		m.n = 4
	case 2:
		m.n = 8
	}
	t, err := d.takeType()
	if err != nil {
		return nil, t, err
	}
	if t == pred || t.lanes == 2 {
		return nil, t, d.unsupported()
	}
	m.elem, m.signed = uint8(t.bytes()), t.signed()
	m.size = uint32(m.elem) * uint32(m.n)
	switch {
	case m.size > maxVector, m.n == 8 && m.size < maxVector:
		return nil, t, d.unsupported()
	case m.size == maxVector && m.space != spaceGlobal:
		return nil, t, d.errorf("%s: a vector of %d bytes has to be in global memory", d.in.op, maxVector)
	}
	return m, t, nil
}

// maxVector is the size in bytes of the largest vector.
const maxVector = 32

// inParts decodes a vector of 32 bytes as two accesses of 16, in an order in which a load does not overwrite its
// address before the second. part decodes one of them.
func (d *decoder) inParts(m *memOp, registers, address operand, part func(m *memOp, registers, address operand) error) error {
	if m.size < maxVector {
		return part(m, registers, address)
	}
	if registers.kind != opVector || len(registers.list) != int(m.n) {
		return d.errorf("%s: a vector of %d is wanted", d.in.op, m.n)
	}
	in, flow, n := d.in, d.flow, m.n/2
	in.uses, flow.needs = slices.Clip(in.uses), slices.Clip(flow.needs)
	order := []uint8{0, 1}
	if slices.ContainsFunc(registers.list[:n], func(o operand) bool { return o.name == address.name && o.kind == opName }) {
		order = []uint8{1, 0}
	}
	for i, k := range order {
		d.in, d.flow = in, flow
		half, some, at := *m, registers, address
		half.n, half.size, half.whole = n, m.size/2, m.size*uint32(1-k)
		some.list = registers.list[k*n : k*n+n]
		at.bits += uint64(k) * uint64(half.size)
		d.in.mem, d.in.counted = &half, i == 0
		if err := part(&half, some, at); err != nil {
			return err
		}
	}
	return nil
}

func decodeLoad(d *decoder) error {
	m, t, err := d.memory(accessLoad)
	if err != nil {
		return err
	}
	ops, err := d.operands(2)
	if err != nil {
		return err
	}
	return d.inParts(m, ops[0], ops[1], func(m *memOp, to, from operand) error { return d.load(m, t, to, from) })
}

func (d *decoder) load(m *memOp, t typ, to, from operand) error {
	if err := d.elements(to, m, t, true); err != nil {
		return err
	}
	if err := d.address(from, m); err != nil {
		return err
	}
	d.in.kind, d.in.run = kindRun, m.run()
	m.do = load
	m.chooseWide(loadVectors, loadBlocks)
	if v, ok := d.variable(from.name); ok && m.space == spaceParam && d.kernelParam(v) && m.n == 1 && !m.regs[0].sink {
		if _, isReg := d.find(from.name, d.s.scope); !isReg {
			return d.loadParam(v, m, t)
		}
	}
	return d.push()
}

// loadParam decodes a load of a kernel's parameter at a constant offset.
func (d *decoder) loadParam(v *variable, m *memOp, t typ) error {
	off := int64(d.in.imm)
	if off < 0 || off+int64(m.elem) > v.size {
		return d.errorf("%s: outside %s, which has %d bytes", d.in.op, short(v.name), v.size)
	}
	at := d.symbols[v] + uint64(off)
	if at%uint64(m.elem) != 0 {
		return d.errorf("%s: %s+%d is misaligned", d.in.op, short(v.name), off)
	}
	r := m.regs[0]
	d.in.kind, d.in.alu, d.in.imm = kindALU, paramLoads[loadKey{r.bytes, m.elem, t.signed()}], at
	d.in.d, d.in.dbytes, d.in.mem, d.in.run = r.off, r.bytes, nil, nil
	if d.in.alu == nil {
		return d.unsupported()
	}
	return d.push()
}

func decodeStore(d *decoder) error {
	if d.takeOne("async", "bulk") >= 0 {
		return d.errorf("%s: asynchronous stores are not supported", d.in.op)
	}
	m, t, err := d.memory(accessStore)
	if err != nil {
		return err
	}
	ops, err := d.operands(2)
	if err != nil {
		return err
	}
	return d.inParts(m, ops[1], ops[0], func(m *memOp, from, to operand) error { return d.store(m, t, to, from) })
}

func (d *decoder) store(m *memOp, t typ, to, from operand) error {
	if err := d.elements(from, m, t, false); err != nil {
		return err
	}
	if err := d.address(to, m); err != nil {
		return err
	}
	if m.space == spaceConst || m.space == spaceParam {
		return d.errorf("%s: %v memory is read only", d.in.op, m.space)
	}
	d.in.kind, d.in.run = kindRun, m.run()
	m.do = store
	m.chooseWide(storeVectors, storeBlocks)
	return d.push()
}
