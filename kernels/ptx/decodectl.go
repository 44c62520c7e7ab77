package ptx

// Control flow, barriers and the exchange between lanes.

func decodeBranch(d *decoder) error {
	d.take("uni")
	ops, err := d.operands(1)
	if err != nil {
		return err
	}
	if ops[0].kind != opName {
		return d.errorf("bra: a label is wanted")
	}
	d.in.kind = kindBranch
	d.fn.jumps = append(d.fn.jumps, jump{int32(len(d.e.code)), ops[0].name, -1, d.s.line})
	return d.push()
}

func decodeBrx(d *decoder) error {
	if !d.take("idx") {
		return d.unsupported()
	}
	d.take("uni")
	ops, err := d.operands(2)
	if err != nil {
		return err
	}
	if d.in.a, err = d.src(ops[0], u32); err != nil {
		return err
	}
	list, ok := d.fn.tables[ops[1].name]
	if !ok {
		return d.errorf("brx: no .branchtargets %q", short(ops[1].name))
	}
	d.in.kind = kindBrx
	if *d.budget -= len(list); *d.budget < 0 {
		return d.errorf("more than %d instructions and branch targets", maxCode)
	}
	d.in.table = make([]int32, len(list))
	for i, label := range list {
		d.fn.jumps = append(d.fn.jumps, jump{int32(len(d.e.code)), label, i, d.s.line})
	}
	return d.push()
}

func decodeRet(d *decoder) error {
	d.take("uni")
	if _, err := d.operands(0); err != nil {
		return err
	}
	d.in.kind = kindRet
	return d.push()
}

func decodeExit(d *decoder) error {
	if _, err := d.operands(0); err != nil {
		return err
	}
	d.in.kind = kindExit
	return d.push()
}

func decodeTrap(d *decoder) error {
	if _, err := d.operands(0); err != nil {
		return err
	}
	d.in.kind, d.in.run = kindRun, trap
	return d.push()
}

func decodeNanosleep(d *decoder) error {
	d.mod = d.mod[:0]
	d.in.kind, d.in.run = kindRun, nothing
	return d.push()
}

// decodeCall decodes call [(result),] function [, (arguments)]. Arguments are
// copied to the function's parameters before, and results after: both are memory
// of the thread.
func decodeCall(d *decoder) error {
	d.take("uni")
	ops := d.s.operands
	var results, arguments []operand
	if len(ops) > 0 && ops[0].kind == opList {
		results, ops = ops[0].list, ops[1:]
	}
	if len(ops) == 0 || ops[0].kind != opName {
		return d.errorf("call: a function's name is wanted")
	}
	f := d.m.funcs[ops[0].name]
	switch {
	case f == nil:
		return d.errorf("call: no function %q (calls through a register are not supported)", short(ops[0].name))
	case f.entry:
		return d.errorf("call: %q is a kernel", short(f.name))
	case !f.body:
		return d.external(f)
	}
	if ops = ops[1:]; len(ops) > 0 {
		if ops[0].kind != opList || len(ops) > 1 {
			return d.errorf("call: arguments in parentheses are wanted")
		}
		arguments = ops[0].list
	}
	if len(arguments) != len(f.params) || len(results) != len(f.results) {
		return d.errorf("call: %q has %d parameters and %d results", short(f.name), len(f.params), len(f.results))
	}
	f.called = true
	d.formals(f)
	skip := int32(-1)
	if d.in.guard >= 0 { // around the whole sequence
		around := d.in
		around.kind, around.guardNot = kindBranch, ^around.guardNot
		whole := d.in
		d.in = around
		skip = int32(len(d.e.code))
		if err := d.push(); err != nil {
			return err
		}
		d.in = whole
		d.in.guard, d.in.guardNot, d.in.counted = -1, 0, false
	}
	call := d.in
	for i, o := range arguments {
		if err := d.passed(o, f.params[i], true); err != nil {
			return err
		}
	}
	d.in = call
	d.in.kind, d.in.callee = kindCall, f
	d.place(f)
	d.fn.callees = append(d.fn.callees, f)
	if err := d.push(); err != nil {
		return err
	}
	for i, o := range results {
		d.in = call
		if err := d.passed(o, f.results[i], false); err != nil {
			return err
		}
	}
	if skip >= 0 {
		d.e.code[skip].target = int32(len(d.e.code))
	}
	return nil
}

// formals gives a function's parameters and results their places.
func (d *decoder) formals(f *function) {
	for _, list := range [][]*variable{f.params, f.results} {
		for _, v := range list {
			d.layOut(v)
		}
	}
}

// passed copies an argument to a parameter, or a result back.
func (d *decoder) passed(o operand, formal *variable, in bool) error {
	if formal.space == spaceReg {
		return d.errorf("call: parameters in registers are not supported")
	}
	if o.kind != opName {
		return d.errorf("call: an argument is a .param variable")
	}
	v, ok := d.variable(o.name)
	if !ok || v.space != spaceParam {
		return d.errorf("call: %q is not a .param variable", short(o.name))
	}
	if v.size != formal.size {
		return d.errorf("call: %q has %d bytes, %q %d", short(v.name), v.size, short(formal.name), formal.size)
	}
	from, to := d.symbols[v], d.symbols[formal]
	if !in {
		from, to = to, from
	}
	d.in.kind, d.in.counted = kindRun, false
	d.in.imm = from<<32 | to
	size := int(v.size)
	d.in.run = func(w *warp, in *instr, mask uint32) error {
		from, to, stride := int(in.imm>>32), int(uint32(in.imm)), w.block.launch.entry.local
		for lane := range warpSize {
			if mask>>lane&1 != 0 {
				at := w.local[lane*stride:]
				copy(at[to:to+size], at[from:from+size])
			}
		}
		return nil
	}
	return d.push()
}

// external decodes a call of what CUDA's runtime brings: vprintf prints nothing,
// and a failed assertion stops the kernel.
func (d *decoder) external(f *function) error {
	switch f.name {
	case "vprintf":
		d.in.kind, d.in.run = kindRun, nothing
	case "__assertfail":
		d.in.kind, d.in.run = kindRun, trap
	default:
		return d.errorf("call: %q is nowhere defined", short(f.name))
	}
	return d.push()
}

func decodeBarrier(d *decoder) error {
	d.take("cta")
	if d.s.op == "bar" && d.take("warp") {
		if !d.take("sync") {
			return d.unsupported()
		}
		ops, err := d.operands(1)
		if err != nil {
			return err
		}
		if d.in.a, err = d.src(ops[0], b32); err != nil {
			return err
		}
		d.in.kind, d.in.run = kindRun, warpBarrier
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
	return d.push()
}

func decodeShfl(d *decoder) error {
	if !d.take("sync") {
		return d.errorf("%s: shfl without .sync is not supported", d.in.op)
	}
	mode := d.takeOne("up", "down", "bfly", "idx")
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if mode < 0 || t != b32 {
		return d.unsupported()
	}
	ops, err := d.operands(5)
	if err != nil {
		return err
	}
	d.in.imm = uint64(mode)
	for i, into := range []*uint32{&d.in.a, &d.in.b, &d.in.c, &d.in.e} {
		if *into, err = d.src(ops[1+i], b32); err != nil {
			return err
		}
	}
	if err := d.pairDst(ops[0]); err != nil {
		return err
	}
	d.in.kind, d.in.run = kindRun, shfl
	return d.push()
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
	if mode < 0 || !sync {
		return d.unsupported()
	}
	ops, err := d.operands(3)
	if err != nil {
		return err
	}
	if d.in.a, d.in.notC, err = d.pred(ops[1]); err != nil {
		return err
	}
	if d.in.e, err = d.src(ops[2], b32); err != nil {
		return err
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
	d.in.kind, d.in.run = kindRun, vote
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
	if d.in.e, err = d.src(ops[2], b32); err != nil {
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
	d.in.kind, d.in.run = kindRun, match
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
	if d.in.e, err = d.src(ops[2], b32); err != nil {
		return err
	}
	if d.in.d, err = d.dst(ops[0], b32); err != nil {
		return err
	}
	d.in.kind, d.in.run = kindRun, redux
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
