package ptx

// ld, st, atom, red, prefetch, fences and cp.async (PTX ISA §9.7.9, §9.7.13).

// cacheHints are modifiers that say how a cache may treat an access, and change
// nothing of what it does.
var cacheHints = []string{
	"ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc",
	"L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate",
	"L2::64B", "L2::128B", "L2::256B", "L2::evict_last", "L2::evict_first", "L2::evict_normal",
}

func (d *decoder) takeHints() {
	for d.takeOne(cacheHints...) >= 0 {
	}
}

// takeOrder removes the memory ordering and the scope.
func (d *decoder) takeOrder(m *memOp) {
	switch d.takeOne("weak", "volatile", "relaxed", "acquire", "release", "acq_rel", "mmio") {
	case 0:
		m.sem = semWeak
	case 1:
		m.sem, m.scope = semVolatile, scopeSys
	case 2, 6:
		m.sem, m.scope = semRelaxed, scopeGPU
	case 3:
		m.sem, m.scope = semAcquire, scopeGPU
	case 4:
		m.sem, m.scope = semRelease, scopeGPU
	case 5:
		m.sem, m.scope = semAcqRel, scopeGPU
	}
	d.takeOne("weak", "volatile", "relaxed") // .mmio.relaxed
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
		return nil
	}
	v, ok := d.variable(o.name)
	if !ok {
		return d.errorf("no register or variable %q", short(o.name))
	}
	switch {
	case m.space == spaceGeneric:
		m.addr = d.constant(0, 8, v, true)
	case m.space == v.space:
		m.addr = d.constant(0, 8, v, false)
	default:
		return d.errorf("%s: %s is in %v memory", d.in.op, short(o.name), v.space)
	}
	if v.space == spaceParam && !d.kernelParam(v) { // an argument of a call: it is the thread's own
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

// memory decodes what ld and st have in common.
func (d *decoder) memory(kind accessKind) (*memOp, typ, error) {
	m := &memOp{kind: kind, n: 1}
	d.in.mem = m
	m.space, _ = d.takeSpace()
	d.takeOrder(m)
	d.takeHints()
	switch {
	case d.take("v2"):
		m.n = 2
	case d.take("v4"):
		m.n = 4
	}
	t, err := d.takeType()
	if err != nil {
		return nil, t, err
	}
	if t == pred || t.lanes == 2 {
		return nil, t, d.unsupported()
	}
	m.elem = uint8(t.bytes())
	m.size = uint32(m.elem) * uint32(m.n)
	if m.size > 16 {
		return nil, t, d.unsupported()
	}
	return m, t, nil
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
	if err := d.elements(ops[0], m, t, true); err != nil {
		return err
	}
	if err := d.address(ops[1], m); err != nil {
		return err
	}
	d.in.kind, d.in.run = kindRun, accessMemory
	m.do = load
	m.together(loadVectors, loadBlocks)
	if v, ok := d.variable(ops[1].name); ok && m.space == spaceParam && d.kernelParam(v) && m.n == 1 && !m.regs[0].sink {
		if _, isReg := d.find(ops[1].name, d.s.scope); !isReg {
			return d.loadParam(v, m, t)
		}
	}
	return d.push()
}

// loadParam reads a kernel's parameter at a place that is known.
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
	m, t, err := d.memory(accessStore)
	if err != nil {
		return err
	}
	ops, err := d.operands(2)
	if err != nil {
		return err
	}
	if err := d.elements(ops[1], m, t, false); err != nil {
		return err
	}
	if err := d.address(ops[0], m); err != nil {
		return err
	}
	if m.space == spaceConst || m.space == spaceParam {
		return d.errorf("%s: %v memory is read only", d.in.op, m.space)
	}
	d.in.kind, d.in.run = kindRun, accessMemory
	m.do = store
	m.together(storeVectors, storeBlocks)
	return d.push()
}

func decodeAtom(d *decoder) error {
	m := &memOp{kind: accessAtomic, n: 1, sem: semRelaxed, scope: scopeGPU}
	d.in.mem = m
	m.space, _ = d.takeSpace()
	d.takeOrder(m)
	d.takeHints()
	d.take("noftz")
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
	m.flush = name == "add" && t == f32
	m.elem = uint8(t.bytes())
	m.size = uint32(m.elem)
	rt := typ{classBits, t.bits, 1}
	if t.float() && t.lanes == 1 {
		rt = t
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
	if d.in.b, err = d.src(ops[1], rt); err != nil {
		return err
	}
	if m.hasC {
		if d.in.c, err = d.src(ops[2], rt); err != nil {
			return err
		}
	}
	d.in.kind, d.in.run = kindRun, accessMemory
	m.do = atom
	return d.push()
}

// decodePrefetch decodes what only warms a cache.
func decodePrefetch(d *decoder) error {
	m := &memOp{}
	m.space, _ = d.takeSpace()
	d.takeHints()
	if d.takeOne("L1", "L2") < 0 && d.s.op != "applypriority" {
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
		d.takeOne("alias", "async", "async.global")
	}
	if d.s.op == "fence" {
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

// decodeCp decodes cp.async and what waits for it. The copy is done at once, and
// so there is nothing to wait for.
func decodeCp(d *decoder) error {
	if !d.take("async") {
		return d.unsupported()
	}
	d.in.kind, d.in.run = kindRun, nothing
	switch d.takeOne("commit_group", "wait_group", "wait_all") {
	case 0, 2:
		if _, err := d.operands(0); err != nil {
			return err
		}
		return d.push()
	case 1:
		if _, err := d.operands(1); err != nil {
			return err
		}
		return d.push()
	}
	if d.takeOne("ca", "cg") < 0 {
		return d.unsupported()
	}
	d.takeHints()
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
		to:   memOp{space: spaceShared, kind: accessStore, n: 1, size: uint32(size.bits), do: asyncWrite},
		from: memOp{space: spaceGlobal, kind: accessLoad, n: 1, size: uint32(size.bits), do: asyncRead},
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
		if c.amount, err = d.src(ops[3], b32); err != nil {
			return err
		}
		c.hasAmount = true
	}
	d.in.copy, d.in.run = c, asyncCopy
	return d.push()
}
