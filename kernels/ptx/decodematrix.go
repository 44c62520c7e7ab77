package ptx

// mmaShapes are the shapes of mma.sync: the extent of k, for each kind the bytes of a row
// of A, and the registers of A; B has half as many.
var mmaShapes = []struct {
	name string
	k    int
}{{"m16n8k4", 4}, {"m16n8k8", 8}, {"m16n8k16", 16}, {"m16n8k32", 32}}

// decodeMMA decodes mma.sync.aligned.m16n8kK.row.col.
func decodeMMA(d *decoder) error {
	if !d.take("sync") || !d.take("aligned") || !d.take("row") || !d.take("col") {
		return d.unsupported()
	}
	k := 0
	for _, s := range mmaShapes {
		if d.take(s.name) {
			k = s.k
		}
	}
	m := &mmaOp{saturate: d.take("satfinite")}
	size := 1
	tf32 := d.take("tf32") // of A, and then of B as well
	if tf32 && !d.take("tf32") {
		return d.unsupported()
	}
	types := [4]typ{} // of d, a, b, c
	for i := range types {
		if tf32 && (i == 1 || i == 2) {
			continue
		}
		var err error
		if types[i], err = d.takeType(); err != nil {
			return err
		}
	}
	out, a, b := types[0], types[1], types[2]
	switch {
	case types[3] != out:
		return d.unsupported()
	case tf32 && out == f32:
		m.kind, size = mmaTF32, 4
	case a == f16 && b == f16 && (out == f32 || out == f16):
		m.kind, size, m.half = mmaF16, 2, out == f16
	case a == bf16 && b == bf16 && out == f32:
		m.kind, size = mmaBF16, 2
	case (a == s8 || a == u8) && (b == s8 || b == u8) && out == s32:
		m.kind, m.signedA, m.signedB = mmaInt8, a.signed(), b.signed()
	default:
		return d.unsupported()
	}
	if m.bytes = k * size; m.bytes != 16 && m.bytes != 32 || m.saturate && m.kind != mmaInt8 {
		return d.unsupported()
	}
	if m.kind != mmaInt8 {
		if err := d.inexact("the order and rounding of its sums are left open"); err != nil {
			return err
		}
	}
	ops, err := d.operands(4)
	if err != nil {
		return err
	}
	results := 4
	if m.half {
		results = 2
	}
	for i, v := range []struct {
		into *[]uint32
		n    int
	}{{&m.a, m.bytes / 8}, {&m.b, m.bytes / 16}, {&m.c, results}} {
		if *v.into, err = d.registersOf(ops[1+i], v.n, d.src); err != nil {
			return err
		}
	}
	if m.d, err = d.registersOf(ops[0], results, d.dst); err != nil {
		return err
	}
	d.in.kind, d.in.run, d.flow.spread = kindTogether, m.run, spreadWarp
	d.in.e = d.constant(uint64(allLanes), 4, nil, false)
	return d.push()
}

// registersOf decodes a vector of n registers of 32 bits; one may stand alone.
func (d *decoder) registersOf(o operand, n int, each func(operand, typ) (uint32, error)) ([]uint32, error) {
	list := []operand{o}
	if o.kind == opVector {
		list = o.list
	}
	if len(list) != n {
		return nil, d.errorf("%s: a vector of %d is wanted", d.in.op, n)
	}
	rows := make([]uint32, n)
	for i, o := range list {
		t := b32
		if o.kind == opF32 { // a constant of C
			t = f32
		}
		var err error
		if rows[i], err = each(o, t); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// decodeLdmatrix decodes ldmatrix.sync.aligned.m8n8.xN[.trans][.shared].b16.
func decodeLdmatrix(d *decoder) error {
	if !d.take("sync") || !d.take("aligned") || !d.take("m8n8") || !d.take("b16") {
		return d.unsupported()
	}
	n := 1 << max(d.takeOne("x1", "x2", "x4"), 0)
	m := &ldmatrixOp{transpose: d.take("trans"), mem: memOp{space: spaceGeneric, kind: accessLoad, elem: 8, n: 2, size: 16}}
	if d.take("shared") || d.take("shared::cta") {
		m.mem.space = spaceShared
	}
	ops, err := d.operands(2)
	if err != nil {
		return err
	}
	if m.d, err = d.registersOf(ops[0], n, d.dst); err != nil {
		return err
	}
	if err := d.address(ops[1], &m.mem); err != nil {
		return err
	}
	m.imm = d.in.imm
	d.in.kind, d.in.run = kindTogether, m.run
	d.in.e = d.constant(uint64(allLanes), 4, nil, false)
	return d.push()
}
