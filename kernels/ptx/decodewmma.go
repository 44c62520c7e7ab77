package ptx

// wmmaShapes are the shapes of wmma for element types of 8 to 64 bits: the extents of m, n and k.
var wmmaShapes = []struct {
	name    string
	m, n, k int
}{{"m16n16k16", 16, 16, 16}, {"m8n32k16", 8, 32, 16}, {"m32n8k16", 32, 8, 16}, {"m16n16k8", 16, 16, 8}, {"m8n8k4", 8, 8, 4}}

// wmmaFragment returns a fragment without its registers, and the number of registers. matrix 0, 1 or 2 is A,
// B or C, with elements of type t.
func wmmaFragment(matrix, m, n, k int, t typ) (f fragment, regs int, ok bool) {
	f = fragment{rows: m, cols: n, size: t.bytes()}
	switch matrix {
	case 0:
		f.rows, f.cols = m, k
	case 1:
		f.rows, f.cols = k, n
	}
	regs = f.rows * f.cols * f.size / (f.regBytes() * warpSize)
	switch {
	case t == f64, k == 4:
		return f, regs, t == f64 && k == 4
	case matrix == 2:
		return f, regs, t == f32 || t == f16 || t == s32
	case t == tf32:
		return f, regs, k == 8
	case k == 8:
		return f, 0, false
	case t == f16:
		return f, 8, true
	}
	return f, regs, t == bf16 || t == s8 || t == u8
}

// register returns the type of a fragment's registers.
func (m *fragment) register() typ {
	if m.size == 8 {
		return b64
	}
	return b32
}

// decodeWMMA decodes wmma.load, wmma.store and wmma.mma.
func decodeWMMA(d *decoder) error {
	what := d.takeOne("load", "store", "mma")
	if what < 0 || !d.take("sync") || !d.take("aligned") {
		return d.unsupported()
	}
	m, n, k := 0, 0, 0
	for _, s := range wmmaShapes {
		if d.take(s.name) {
			m, n, k = s.m, s.n, s.k
		}
	}
	if m == 0 {
		return d.errorf("%s: only the shapes m16n16k16, m8n32k16, m32n8k16, m16n16k8 and m8n8k4 are supported", d.in.op)
	}
	if what == 2 {
		return d.wmmaProduct(m, n, k)
	}
	matrix := d.takeOne("a", "b", "c", "d")
	if matrix < 0 || what == 0 && matrix == 3 || what == 1 && matrix != 3 {
		return d.unsupported()
	}
	layout := d.takeOne("row", "col")
	space, _ := d.takeSpace()
	t, err := d.matrixType()
	if err != nil {
		return err
	}
	f, regs, ok := wmmaFragment(min(matrix, 2), m, n, k, t)
	if layout < 0 || !ok || space != spaceGlobal && space != spaceShared && space != spaceGeneric {
		return d.unsupported()
	}
	move := &wmmaMove{fragment: f, colMajor: layout == 1, stride: memReg{sink: true}}
	move.mem = memOp{space: space, kind: accessLoad, elem: uint8(f.size), n: 1, size: uint32(f.size)}
	if what == 1 {
		move.mem.kind = accessStore
	}
	ops := d.s.operands
	if len(ops) == 3 {
		first := len(d.in.uses)
		move.stride.sink = false
		if move.stride.off, err = d.src(ops[2], b32); err != nil {
			return err
		}
		d.need(first, "the stride")
		ops = ops[:2]
	}
	if len(ops) != 2 {
		return d.errorf("%s has 2 or 3 operands, not %d", d.in.op, len(ops))
	}
	registers, address := ops[0], ops[1]
	if what == 1 {
		registers, address = address, registers
	}
	if err := d.address(address, &move.mem); err != nil {
		return err
	}
	if move.mem.call {
		return d.unsupported()
	}
	move.imm, d.in.imm = d.in.imm, 0
	move.addresses, d.in.matrix = d.newRow(8), &move.mem
	if what == 0 {
		move.regs, err = d.registersOf(registers, regs, f.register(), d.dst)
	} else {
		first := len(d.in.uses)
		move.regs, err = d.registersOf(registers, regs, f.register(), d.src)
		d.need(first, "what is stored")
	}
	if err != nil {
		return err
	}
	return d.warpWide(move.run)
}

// wmmaProduct decodes wmma.mma.
func (d *decoder) wmmaProduct(m, n, k int) error {
	for range 2 { // .row or .col of A and B, which do not matter: fragments are the same
		if d.takeOne("row", "col") < 0 {
			return d.unsupported()
		}
	}
	op := &wmmaProduct{}
	run := op.run
	op.saturate = d.take("satfinite")
	d.take("rn")
	var types []typ
	for len(d.mod) > 0 {
		t, err := d.matrixType()
		if err != nil {
			return err
		}
		types = append(types, t)
	}
	a, b := f16, f16
	switch len(types) {
	case 2: // of D and C
	case 4: // of D, A, B and C
		a, b = types[1], types[2]
		types = []typ{types[0], types[3]}
	default:
		return d.unsupported()
	}
	out, in := types[0], types[1]
	whole := a == s8 || a == u8
	switch {
	case whole && (b == s8 || b == u8) && out == s32 && in == s32:
		op.kind, op.signedA, op.signedB = mmaInt8, a.signed(), b.signed()
	case a != b || whole || op.saturate:
		return d.unsupported()
	case a == f16 && (out == f16 || out == f32) && (in == f16 || in == f32):
		op.kind = mmaF16
	case a == bf16 && out == f32 && in == f32:
		op.kind = mmaBF16
	case a == tf32 && out == f32 && in == f32:
		op.kind = mmaTF32
	case a == f64 && out == f64 && in == f64:
		run = op.runDouble
	default:
		return d.unsupported()
	}
	if !whole {
		if err := d.inexact(openSums); err != nil {
			return err
		}
	}
	ops, err := d.operands(4)
	if err != nil {
		return err
	}
	for i, x := range []struct {
		f *fragment
		t typ
	}{{&op.d, out}, {&op.a, a}, {&op.b, b}, {&op.c, in}} {
		f, regs, ok := wmmaFragment([4]int{2, 0, 1, 2}[i], m, n, k, x.t)
		if !ok {
			return d.unsupported()
		}
		each := d.src
		if i == 0 {
			each = d.dst
		}
		if f.regs, err = d.registersOf(ops[i], regs, f.register(), each); err != nil {
			return err
		}
		*x.f = f
	}
	d.flow.spread = spreadWarp
	return d.warpWide(run)
}
