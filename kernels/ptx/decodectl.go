package ptx

// Control flow.

func decodeBranch(d *decoder) error {
	d.take("uni")
	ops, err := d.operands(1)
	if err != nil {
		return err
	}
	if ops[0].kind != opName || ops[0].bits != 0 {
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
	d.need(0, "where it goes")
	list, ok := d.fn.tables[ops[1].name]
	if !ok {
		return d.errorf("brx: no .branchtargets %q", short(ops[1].name))
	}
	d.in.kind = kindBrx
	if err := d.spend(len(list)); err != nil {
		return err
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

// decodeGriddepcontrol decodes griddepcontrol. A launch begins after the one before has ended, so there is
// nothing to wait for.
func decodeGriddepcontrol(d *decoder) error {
	if d.takeOne("wait", "launch_dependents") < 0 {
		return d.unsupported()
	}
	if _, err := d.operands(0); err != nil {
		return err
	}
	d.in.kind, d.in.run = kindRun, nothing
	return d.push()
}

// decodeSetmaxnreg decodes setmaxnreg. Registers are not counted here.
func decodeSetmaxnreg(d *decoder) error {
	if d.takeOne("inc", "dec") < 0 || !d.take("sync") || !d.take("aligned") || !d.take("u32") {
		return d.unsupported()
	}
	ops, err := d.operands(1)
	if err != nil {
		return err
	}
	if n := ops[0].bits; ops[0].kind != opInt || n < 24 || n > 256 || n%8 != 0 {
		return d.errorf("%s: the number of registers is a multiple of 8 from 24 to 256", d.in.op)
	}
	d.in.kind, d.in.run = kindRun, nothing
	return d.push()
}

// decodeCall decodes call [(result),] function [, (arguments)]. Arguments are copied to the function's
// parameters before the call, and results after it. Both are in the thread's local memory.
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
	_, pointer := d.find(ops[0].name, d.s.scope)
	switch {
	case f == nil && pointer:
		return d.errorf("call: %s is a function pointer: calls through one are not supported", short(ops[0].name))
	case f == nil:
		return d.errorf("call: no function %q", short(ops[0].name))
	case f.entry:
		return d.errorf("call: %q is a kernel", short(f.name))
	case !f.body:
		return d.external(f, results, ops[1:])
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
	if err := d.spend(len(f.params) + len(f.results)); err != nil {
		return err
	}
	d.formals(f)
	skip := int32(-1)
	if d.in.guard >= 0 { // guards the whole sequence
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

// passedBits is the number of bits of a place in local memory: see maxLocal.
const passedBits = 21

// passed returns from where to where an instruction of a call copies, and how many bytes.
func (in *instr) passed() (from, to, size uint64) {
	const ones = 1<<passedBits - 1
	return in.imm >> passedBits & ones, in.imm & ones, in.imm >> (2 * passedBits)
}

// formals allocates a function's parameters and results.
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
	d.in.kind, d.in.counted, d.in.effect = kindRun, false, own
	d.in.imm = uint64(v.size)<<(2*passedBits) | from<<passedBits | to
	d.in.run = func(w *warp, in *instr, mask uint32) error {
		from, to, size := in.passed()
		stride := w.block.launch.entry.local
		for lane := range warpSize {
			if mask>>lane&1 != 0 {
				at := w.local[lane*stride:]
				copy(at[to:to+size], at[from:from+size])
			}
		}
		if c := w.block.launch.checks; c != nil {
			c.passed(w, int64(from), int64(to), int64(size), mask)
		}
		return nil
	}
	return d.push()
}
