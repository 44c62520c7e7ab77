package ptx

// setp, set, selp, slct, testp, and logic on predicates.

var comparisonNames = []string{
	"eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs",
	"equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan",
}

// decodeComparison decodes the modifiers that setp and set share.
func (d *decoder) decodeComparison() (name string, boolOp uint8, ftz bool, err error) {
	i := d.takeOne(comparisonNames...)
	if i < 0 {
		return "", 0, false, d.errorf("%s: no comparison", d.in.op)
	}
	boolOp = uint8(1 + d.takeOne("and", "or", "xor"))
	if d.take("ftz") {
		ftz, err = true, d.inexact(flushes)
	}
	return comparisonNames[i], boolOp, ftz, err
}

// flushes is the reason why .ftz is refused.
const flushes = ".ftz flushes subnormal numbers"

// comparing selects the function of a comparison; packed reports that it compares the halves of packed
// numbers.
func (d *decoder) comparing(name string, t typ, ftz bool) (packed bool, err error) {
	packed = t == f16x2 || t == bf16x2
	switch {
	case ftz && t == f32:
		d.in.cmp = quickCompare(name, ".ftz", f32, compareFlushed(name))
	case ftz:
		return false, d.unsupported()
	case packed:
		d.in.cmp = comparison(name, typ{t.class, 16, 1})
	default:
		d.in.cmp = comparison(name, t)
	}
	if d.in.cmp == nil {
		return false, d.unsupported()
	}
	return packed, nil
}

func decodeSetp(d *decoder) error {
	name, boolOp, ftz, err := d.decodeComparison()
	if err != nil {
		return err
	}
	t, err := d.takeType()
	if err != nil {
		return err
	}
	packed, err := d.comparing(name, t, ftz)
	if err != nil {
		return err
	}
	want := 3
	if boolOp != boolNone {
		want = 4
	}
	ops, err := d.operands(want)
	if err != nil {
		return err
	}
	if err := d.compared(ops[1:], t, boolOp); err != nil {
		return err
	}
	if ops[0].kind != opName && ops[0].kind != opSink {
		return d.errorf("%s: the destination is not a predicate", d.in.op)
	}
	if d.in.d, err = d.dstPred(ops[0].name); err != nil {
		return err
	}
	if ops[0].pair != "" {
		q, err := d.dstPred(ops[0].pair)
		if err != nil {
			return err
		}
		d.in.d2 = int32(q)
	}
	d.in.kind, d.flow.spread = kindSetp, spreadComparison
	if (name == "eq" || name == "ne") && t.integer() {
		d.in.equality = uint8(t.bytes())
	}
	if packed {
		if d.in.d2 < 0 {
			return d.errorf("%s: two destinations are wanted, p|q", d.in.op)
		}
		lower, upper := packedHalves(formatOf(t), name)
		d.in.kind, d.in.run = kindRun, func(w *warp, in *instr, mask uint32) error {
			p, q := w.combine(in, lower(w, in)), w.combine(in, upper(w, in))
			if in.d != noPred {
				w.set(in.d, mask, p)
			}
			if uint32(in.d2) != noPred {
				w.set(uint32(in.d2), mask, q)
			}
			return nil
		}
	}
	return d.push()
}

// packedHalves compares the lower and the upper halves of packed numbers.
func packedHalves(f *format, name string) (lower, upper cmpFunc) {
	at := func(shift uint) cmpFunc {
		return func(w *warp, in *instr) (p uint32) {
			a, b := row[uint32](w.regs, in.a), row[uint32](w.regs, in.b)
			for i := range a {
				x, y := uint64(a[i]>>shift&0xffff), uint64(b[i]>>shift&0xffff)
				p |= bit(compareFloats(name, f.float64(x), f.float64(y))) << i
			}
			return p
		}
	}
	return at(0), at(16)
}

func (d *decoder) compared(ops []operand, t typ, boolOp uint8) (err error) {
	if d.in.a, err = d.src(ops[0], t); err != nil {
		return err
	}
	if d.in.b, err = d.src(ops[1], t); err != nil {
		return err
	}
	if d.in.boolOp = boolOp; boolOp != boolNone {
		d.in.c, d.in.notC, err = d.pred(ops[2])
	}
	return err
}

// decodeSet decodes set: a comparison into a register, as all ones or as 1.0.
func decodeSet(d *decoder) error {
	name, boolOp, ftz, err := d.decodeComparison()
	if err != nil {
		return err
	}
	dt, err := d.takeType()
	if err != nil {
		return err
	}
	t, err := d.takeType()
	if err != nil {
		return err
	}
	packed, err := d.comparing(name, t, ftz)
	if err != nil {
		return err
	}
	truth := uint64(0xffffffff)
	switch dt {
	case f16x2, bf16x2: // the result for one half
		if dt != t {
			return d.unsupported()
		}
		truth = formatOf(dt).one()
	case u32, s32:
	case f32:
		truth = fmtF32.one()
	case f16, bf16:
		truth = formatOf(dt).one()
	case u16, s16:
		truth = 0xffff
	default:
		return d.unsupported()
	}
	if packed {
		if dt.bits != 32 || dt == f32 {
			return d.unsupported()
		}
		truth &= 0xffff
	}
	want := 3
	if boolOp != boolNone {
		want = 4
	}
	ops, err := d.operands(want)
	if err != nil {
		return err
	}
	if err := d.compared(ops[1:], t, boolOp); err != nil {
		return err
	}
	if d.in.d, err = d.dst(ops[0], dt); err != nil {
		return err
	}
	d.in.imm, d.in.dbytes = truth, uint8(dt.bytes())
	d.in.kind, d.in.run = kindRun, set
	if packed {
		d.in.run = setPacked(packedHalves(formatOf(t), name))
	}
	return d.push()
}

func decodeSelp(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	ops, err := d.operands(4)
	if err != nil {
		return err
	}
	if d.in.a, err = d.src(ops[1], t); err != nil {
		return err
	}
	if d.in.b, err = d.src(ops[2], t); err != nil {
		return err
	}
	if d.in.c, d.in.notC, err = d.pred(ops[3]); err != nil {
		return err
	}
	if d.in.d, err = d.dst(ops[0], t); err != nil {
		return err
	}
	d.in.kind, d.in.dbytes = kindALU, uint8(t.bytes())
	switch t.bits {
	case 16:
		d.in.alu = selp[uint16]
	case 32:
		d.in.alu = quick("selp", b32, selp[uint32])
	case 64:
		d.in.alu = quick("selp", b64, selp[uint64])
	default:
		return d.unsupported()
	}
	return d.push()
}

func decodeSlct(d *decoder) error {
	ftz := d.take("ftz")
	t, err := d.takeType()
	if err != nil {
		return err
	}
	ct, err := d.takeType()
	if err != nil {
		return err
	}
	var f aluFunc
	switch ct {
	case s32:
		f = map[uint8]aluFunc{16: slct[uint16, int32], 32: slct[uint32, int32], 64: slct[uint64, int32]}[t.bits]
	case f32:
		f = map[uint8]aluFunc{16: slct[uint16, float32], 32: slct[uint32, float32], 64: slct[uint64, float32]}[t.bits]
		if ftz {
			f = map[uint8]aluFunc{16: slctFlushed[uint16], 32: slctFlushed[uint32], 64: slctFlushed[uint64]}[t.bits]
			if err := d.inexact(flushes); err != nil {
				return err
			}
			ftz = false
		}
	}
	if ftz {
		return d.unsupported()
	}
	return d.alu(f, t, t, t, ct)
}

// logicPred decodes and, or, xor and not on predicates.
func (d *decoder) logicPred() error {
	want := 3
	if d.s.op == "not" {
		want = 2
	}
	ops, err := d.operands(want)
	if err != nil {
		return err
	}
	var notA, notB bool
	if d.in.a, notA, err = d.pred(ops[1]); err != nil {
		return err
	}
	if want == 3 {
		if d.in.b, notB, err = d.pred(ops[2]); err != nil {
			return err
		}
	}
	if d.in.d, err = d.dstPred(ops[0].name); err != nil {
		return err
	}
	d.in.imm = uint64(bit(notA) | bit(notB)<<1)
	d.flow.spread = spreadPredicates(map[string]uint8{"and": boolAnd, "or": boolOr, "xor": boolXor, "not": boolNone}[d.s.op])
	d.in.kind, d.in.cmp = kindSetp, map[string]cmpFunc{"and": predAnd, "or": predOr, "xor": predXor, "not": predNot}[d.s.op]
	return d.push()
}

// decodeTestp decodes testp. A zero counts as normal.
func decodeTestp(d *decoder) error {
	i := d.takeOne("finite", "infinite", "number", "notanumber", "normal", "subnormal")
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if i < 0 || t != f32 && t != f64 {
		return d.unsupported()
	}
	ops, err := d.operands(2)
	if err != nil {
		return err
	}
	if d.in.a, err = d.src(ops[1], t); err != nil {
		return err
	}
	if d.in.d, err = d.dstPred(ops[0].name); err != nil {
		return err
	}
	f := formatOf(t)
	bytes := uint8(t.bytes())
	d.in.kind = kindSetp
	d.in.cmp = func(w *warp, in *instr) (p uint32) {
		for lane := range warpSize {
			n := f.unpack(w.lane(in.a, bytes, lane))
			normal := n.mant>>f.mantissa != 0 || n.zero()
			p |= bit([...]bool{
				!n.nan && !n.inf, n.inf, !n.nan, n.nan,
				normal, !n.nan && !n.inf && !normal,
			}[i]) << lane
		}
		return p
	}
	return d.push()
}
