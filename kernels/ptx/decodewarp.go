package ptx

import (
	"strconv"
	"strings"
)

// Barriers and the exchange between lanes.

func decodeBarrier(d *decoder) error {
	d.take("cta")
	if d.take("cluster") {
		return d.decodeClusterBarrier()
	}
	if d.s.op == "bar" && d.take("warp") {
		if !d.take("sync") {
			return d.unsupported()
		}
		ops, err := d.operands(1)
		if err != nil {
			return err
		}
		if d.in.e, err = d.src(ops[0], b32); err != nil {
			return err
		}
		d.need(0, "the mask")
		d.in.kind, d.in.run = kindWarpWide, warpBarrier
		return d.push()
	}
	op := &barOp{aligned: d.s.op == "bar", count: memReg{sink: true}}
	d.in.bar, d.in.kind = op, kindBarrier
	which := d.takeOne("sync", "arrive", "red")
	if which < 0 {
		return d.unsupported()
	}
	op.kind = barKind(which)
	op.aligned = d.take("aligned") || op.aligned
	ops := d.s.operands
	if op.kind == barRed {
		red := d.takeOne("popc", "and", "or")
		if red < 0 || len(ops) < 3 {
			return d.unsupported()
		}
		op.red = uint8(red)
		var err error
		if red == redPopc {
			d.take("u32")
			d.in.d, err = d.dst(ops[0], u32)
		} else {
			d.take("pred")
			d.in.d, err = d.dstPred(ops[0].name)
		}
		if err != nil {
			return err
		}
		p, not, err := d.pred(ops[len(ops)-1])
		if err != nil {
			return err
		}
		op.src, op.srcNot = int32(p), not
		ops = ops[1 : len(ops)-1]
	}
	if len(ops) < 1 || len(ops) > 2 || op.kind == barArrive && len(ops) != 2 {
		return d.errorf("%s: wrong number of operands", d.in.op)
	}
	var err error
	if op.id.off, err = d.src(ops[0], b32); err != nil {
		return err
	}
	if len(ops) == 2 {
		op.count.sink = false
		if op.count.off, err = d.src(ops[1], b32); err != nil {
			return err
		}
	}
	d.need(0, "the barrier")
	return d.push()
}

func decodeShfl(d *decoder) error {
	sync := d.take("sync")
	if err := d.unsynced(sync); err != nil {
		return err
	}
	mode := d.takeOne("up", "down", "bfly", "idx")
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if mode < 0 || t != b32 {
		return d.unsupported()
	}
	want := 5
	if !sync {
		want = 4
	}
	ops, err := d.operands(want)
	if err != nil {
		return err
	}
	d.in.imm = uint64(mode)
	for i, into := range []*uint32{&d.in.a, &d.in.b, &d.in.c} {
		if *into, err = d.src(ops[1+i], b32); err != nil {
			return err
		}
	}
	d.in.kind, d.in.run = kindRun, exchange
	if sync {
		if err := d.memberMask(ops[4]); err != nil {
			return err
		}
		d.in.kind, d.in.run = kindWarpWide, shfl
	}
	d.flow.spread = spreadShuffle
	if err := d.pairDst(ops[0]); err != nil {
		return err
	}
	return d.push()
}

// unsynced refuses shfl and vote without .sync if PTX does: from PTX 6.4 on, for sm_70 and above. Otherwise
// the lanes that execute them take part.
func (d *decoder) unsynced(sync bool) error {
	v, target := d.m.version, strings.TrimPrefix(d.m.target, "sm_")
	generation, err := strconv.Atoi(strings.TrimRight(target, "abcdefghijklmnopqrstuvwxyz"))
	if sync || v[0] < 6 || v[0] == 6 && v[1] < 4 || err == nil && generation < 70 {
		return nil
	}
	return d.errorf("%s: without .sync it is not supported by PTX %d.%d for %s: no lanes of a warp execute together there", d.in.op, v[0], v[1], d.m.target)
}

// memberMask decodes the mask of a .sync instruction, which must be defined.
func (d *decoder) memberMask(o operand) (err error) {
	first := len(d.in.uses)
	d.in.e, err = d.src(o, b32)
	d.need(first, "the mask")
	return err
}

// pairDst decodes d|p: a register of 32 bits, or _, and a predicate.
func (d *decoder) pairDst(o operand) error {
	pair := o.pair
	o.pair = ""
	d.in.d = noPred
	if o.kind != opSink {
		var err error
		if d.in.d, err = d.dst(o, b32); err != nil {
			return err
		}
	}
	if pair != "" {
		p, err := d.dstPred(pair)
		if err != nil {
			return err
		}
		if p != noPred {
			d.in.d2 = int32(p)
		}
	}
	return nil
}

func decodeVote(d *decoder) error {
	sync := d.take("sync")
	mode := d.takeOne("all", "any", "uni", "ballot")
	if mode < 0 {
		return d.unsupported()
	}
	if err := d.unsynced(sync); err != nil {
		return err
	}
	want := 3
	if !sync {
		want = 2
	}
	ops, err := d.operands(want)
	if err != nil {
		return err
	}
	if d.in.a, d.in.notC, err = d.pred(ops[1]); err != nil {
		return err
	}
	d.in.kind, d.in.run = kindRun, ballot
	if sync {
		if err := d.memberMask(ops[2]); err != nil {
			return err
		}
		d.in.kind, d.in.run, d.flow.spread = kindWarpWide, vote, byGroup(spreadVote)
	} else {
		d.flow.spread = spreadVote
	}
	if mode == voteBallot {
		d.take("b32")
		d.in.d, err = d.dst(ops[0], b32)
	} else {
		d.take("pred")
		d.in.d, err = d.dstPred(ops[0].name)
	}
	if err != nil {
		return err
	}
	d.in.imm = uint64(mode)
	return d.push()
}

func decodeMatch(d *decoder) error {
	mode := d.takeOne("any", "all")
	if mode < 0 || !d.take("sync") {
		return d.unsupported()
	}
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if t != b32 && t != b64 {
		return d.unsupported()
	}
	ops, err := d.operands(3)
	if err != nil {
		return err
	}
	if d.in.a, err = d.src(ops[1], t); err != nil {
		return err
	}
	if err := d.memberMask(ops[2]); err != nil {
		return err
	}
	if mode == 0 && ops[0].pair != "" {
		return d.unsupported()
	}
	if err := d.pairDst(ops[0]); err != nil {
		return err
	}
	d.in.imm = uint64(mode)
	d.in.boolOp = uint8(t.bits / 64)
	d.in.kind, d.in.run, d.flow.spread = kindWarpWide, match, byGroup(spreadWarp)
	return d.push()
}

func decodeRedux(d *decoder) error {
	if !d.take("sync") {
		return d.unsupported()
	}
	op := d.takeOne("add", "min", "max", "and", "or", "xor")
	t, err := d.takeType()
	if err != nil {
		return err
	}
	logic := op >= 3
	if op < 0 || logic != (t == b32) || !logic && t != u32 && t != s32 {
		return d.unsupported()
	}
	d.in.imm = map[int]uint64{0: reduxAdd, 1: reduxMinU, 2: reduxMaxU, 3: reduxAnd, 4: reduxOr, 5: reduxXor}[op]
	if t.signed() && op > 0 {
		d.in.imm += reduxMinS - reduxMinU
	}
	ops, err := d.operands(3)
	if err != nil {
		return err
	}
	if d.in.a, err = d.src(ops[1], b32); err != nil {
		return err
	}
	if err := d.memberMask(ops[2]); err != nil {
		return err
	}
	if d.in.d, err = d.dst(ops[0], b32); err != nil {
		return err
	}
	d.in.kind, d.in.run, d.flow.spread = kindWarpWide, redux, byGroup(spreadWarp)
	return d.push()
}

// decodeElect decodes elect.sync. The elected lane is the first of the member mask.
func decodeElect(d *decoder) error {
	if !d.take("sync") {
		return d.unsupported()
	}
	ops, err := d.operands(2)
	if err != nil {
		return err
	}
	if err := d.memberMask(ops[1]); err != nil {
		return err
	}
	if err := d.pairDst(ops[0]); err != nil {
		return err
	}
	d.in.kind, d.in.run = kindWarpWide, elect
	return d.push()
}

func decodeActivemask(d *decoder) error {
	d.take("b32")
	ops, err := d.operands(1)
	if err != nil {
		return err
	}
	if d.in.d, err = d.dst(ops[0], b32); err != nil {
		return err
	}
	d.in.kind, d.in.run = kindRun, activemask
	return d.push()
}
