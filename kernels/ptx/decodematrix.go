package ptx

// mmaShapes are the shapes of mma.sync: the extents of m and k; n is 8.
var mmaShapes = []struct {
	name string
	m, k int
}{
	{"m8n8k4", 8, 4}, {"m8n8k16", 8, 16}, {"m8n8k32", 8, 32},
	{"m16n8k4", 16, 4}, {"m16n8k8", 16, 8}, {"m16n8k16", 16, 16}, {"m16n8k32", 16, 32}, {"m16n8k64", 16, 64},
}

// Types that only matrices have. The lower 13 bits of a tf32 are ignored.
var (
	tf32 = typ{classTF32, 32, 1}
	s4   = typ{classSigned, 4, 1}
	u4   = typ{classUnsigned, 4, 1}

	// matrixTypes are their names. An element of less than 8 bits of a float has a byte.
	matrixTypes = map[string]typ{
		"tf32": tf32, "s4": s4, "u4": u4,
		"e4m3": {classE4M3, 8, 1}, "e5m2": {classE5M2, 8, 1}, "e2m3": {classE2M3, 8, 1}, "e3m2": {classE3M2, 8, 1}, "e2m1": {classE2M1, 8, 1},
	}
)

// matrixType removes the first modifier that is the type of a matrix's elements.
func (d *decoder) matrixType() (typ, error) {
	for i, m := range d.mod {
		if t, ok := matrixTypes[m]; ok {
			d.mod = append(d.mod[:i], d.mod[i+1:]...)
			return t, nil
		}
		if _, ok := typeNames[m]; ok {
			break
		}
	}
	return d.takeType()
}

// decodeMMA decodes mma.sync.aligned.mMn8kK.row.col.
func decodeMMA(d *decoder) error {
	if !d.take("sync") || !d.take("aligned") || !d.take("row") || !d.take("col") {
		return d.unsupported()
	}
	if d.take("block_scale") {
		return d.errorf("%s: block scaling is not supported", d.in.op)
	}
	small := d.take("kind::f8f6f4") // elements of 4 and 6 bits too
	rows, k := 0, 0
	for _, s := range mmaShapes {
		if d.take(s.name) {
			rows, k = s.m, s.k
		}
	}
	saturate := d.take("satfinite")
	types := [4]typ{} // of d, a, b, c
	for i := range types {
		var err error
		if types[i], err = d.matrixType(); err != nil {
			return err
		}
	}
	out, a, b := types[0], types[1], types[2]
	m := &mmaOp{mmaRows: mmaRows{half: out == f16}, saturate: saturate, signedA: a.signed(), signedB: b.signed()}
	whole := a.integer() && a.bits == b.bits && b.integer() && out == s32
	switch {
	case types[3] != out || saturate && !whole || small && whole:
		return d.unsupported()
	case a == f64 && b == f64 && out == f64:
		return d.mmaDouble(rows, k)
	case whole && a.bits == 8:
		m.kind = mmaInt8
	case whole && a.bits == 4:
		m.kind = mmaInt4
	case byteValues[a.class] != nil && byteValues[b.class] != nil && (out == f32 || out == f16) && rows == 16 &&
		(small && k == 32 || !small && max(a.class, b.class) <= classE5M2):
		m.kind, m.valuesA, m.valuesB = mmaBytes, byteValues[a.class], byteValues[b.class]
	case small:
		return d.unsupported()
	case a == tf32 && b == tf32 && out == f32:
		m.kind = mmaTF32
	case a == f16 && b == f16 && (out == f32 || out == f16):
		m.kind = mmaF16
	case a == bf16 && b == bf16 && out == f32:
		m.kind = mmaBF16
	default:
		return d.unsupported()
	}
	m.bytes = k * int(a.bits) / 8
	if m.bytes != 16 && (m.bytes != 32 || rows == 8) || rows == 8 && !whole {
		return d.unsupported()
	}
	if !whole {
		if err := d.inexact(openSums); err != nil {
			return err
		}
	}
	results := rows / 4
	if m.half {
		results /= 2
	}
	return d.mmaRegisters(b32, &m.mmaRows, rows*m.bytes/128, m.bytes/16, results, m.run)
}

const openSums = "the order and rounding of its sums are left open"

// mmaDouble decodes mma.sync of f64.
func (d *decoder) mmaDouble(rows, k int) error {
	m := &mmaDouble{k: k}
	if rows == 0 || k > 16 || rows == 8 && k != 4 {
		return d.unsupported()
	}
	if err := d.inexact(openSums); err != nil {
		return err
	}
	return d.mmaRegisters(f64, &m.mmaRows, rows*k/warpSize, k/4, rows/4, m.run)
}

// mmaRegisters decodes the operands of an mma: a registers of A, b of B and c of C.
func (d *decoder) mmaRegisters(t typ, m *mmaRows, a, b, c int, run runFunc) error {
	ops, err := d.operands(4)
	if err != nil {
		return err
	}
	for i, v := range []struct {
		into *[]uint32
		n    int
	}{{&m.a, a}, {&m.b, b}, {&m.c, c}} {
		if *v.into, err = d.registersOf(ops[1+i], v.n, t, d.src); err != nil {
			return err
		}
	}
	if m.d, err = d.registersOf(ops[0], c, t, d.dst); err != nil {
		return err
	}
	d.flow.spread = m.spread
	return d.warpWide(run)
}

// registersOf decodes a vector of n registers of type t; a single register needs no braces.
func (d *decoder) registersOf(o operand, n int, t typ, each func(operand, typ) (uint32, error)) ([]uint32, error) {
	list := []operand{o}
	if o.kind == opVector {
		list = o.list
	}
	if len(list) != n {
		return nil, d.errorf("%s: a vector of %d is wanted", d.in.op, n)
	}
	rows := make([]uint32, n)
	for i, o := range list {
		as := t
		if o.kind == opF32 { // a constant for C
			as = f32
		}
		var err error
		if rows[i], err = each(o, as); err != nil {
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
	m := &matrixOp{transpose: d.take("trans"), mem: memOp{space: spaceGeneric, kind: accessLoad, elem: 8, n: 2, size: 16}}
	if d.take("shared") || d.take("shared::cta") {
		m.mem.space = spaceShared
	}
	ops, err := d.operands(2)
	if err != nil {
		return err
	}
	if m.regs, err = d.registersOf(ops[0], n, b32, d.dst); err != nil {
		return err
	}
	if err := d.address(ops[1], &m.mem); err != nil {
		return err
	}
	m.imm, d.in.matrix, d.in.rows = d.in.imm, &m.mem, m
	return d.warpWide(m.load)
}

// decodeStmatrix decodes stmatrix.sync.aligned.m8n8.xN[.trans][.shared].b16.
func decodeStmatrix(d *decoder) error {
	if !d.take("sync") || !d.take("aligned") || !d.take("m8n8") || !d.take("b16") {
		return d.unsupported()
	}
	n := 1 << max(d.takeOne("x1", "x2", "x4"), 0)
	m := &matrixOp{transpose: d.take("trans"), mem: memOp{space: spaceGeneric, kind: accessStore, elem: 8, n: 2, size: 16}}
	if d.take("shared") || d.take("shared::cta") {
		m.mem.space = spaceShared
	}
	ops, err := d.operands(2)
	if err != nil {
		return err
	}
	if err := d.address(ops[0], &m.mem); err != nil {
		return err
	}
	m.imm, d.in.matrix, d.in.rows = d.in.imm, &m.mem, m
	if m.regs, err = d.registersOf(ops[1], n, b32, d.src); err != nil {
		return err
	}
	return d.warpWide(m.store)
}

// decodeMovmatrix decodes movmatrix.sync.aligned.m8n8.trans.b16.
func decodeMovmatrix(d *decoder) error {
	if !d.take("sync") || !d.take("aligned") || !d.take("m8n8") || !d.take("trans") || !d.take("b16") {
		return d.unsupported()
	}
	ops, err := d.operands(2)
	if err != nil {
		return err
	}
	if d.in.d, err = d.dst(ops[0], b32); err != nil {
		return err
	}
	if d.in.a, err = d.src(ops[1], b32); err != nil {
		return err
	}
	d.flow.spread = spreadTransposed
	return d.warpWide(movmatrix)
}

// warpWide pushes an instruction that all lanes of a warp execute together.
func (d *decoder) warpWide(run runFunc) error {
	d.in.kind, d.in.run = kindWarpWide, run
	d.in.e = d.constant(uint64(allLanes), 4, nil, false)
	return d.push()
}
