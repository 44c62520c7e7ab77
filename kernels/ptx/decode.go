package ptx

import (
	"slices"
	"strings"
)

// maxCode bounds the number of instructions and declarations of all entries together. Functions are decoded
// again for each entry that calls them.
const maxCode = 1 << 20

// maxFile bounds a warp's register file.
const maxFile = 8 << 20

// decoder turns an entry and the functions that it calls into flat code.
type decoder struct {
	m      *module
	e      *entry
	approx bool // approximate instructions are allowed
	left   *limits

	consts   map[constKey]uint32
	specials map[specialReg]uint32
	symbols  map[*variable]uint64 // offsets of shared, local and param variables
	fns      map[*function]*fnState
	flag     *uint32 // number of the carry flag, once it is used
	queue    []*function

	fn   *fnState   // the function being decoded
	s    *statement // the statement being decoded
	in   instr
	flow flow     // belongs to in
	mod  []string // modifiers not yet handled
}

type constKey struct {
	value uint64
	bytes uint8
	sym   *variable
	gen   bool
}

// reg is a register and its place in the register file.
type reg struct {
	typ typ
	off uint32 // offset of its row; for a predicate its index
	id  uint32
}

type scopedName struct {
	scope int
	name  string
}

// fnState is a function as decoded for an entry.
type fnState struct {
	*function
	start   int32 // of its code
	end     int32 // end of its code
	regs    map[scopedName]reg
	decls   map[scopedName]regDecl
	vars    map[scopedName]*variable
	labels  map[string]int32
	jumps   []jump
	callees []*function
}

// jump is a branch to a label that is not decoded yet.
type jump struct {
	at    int32
	label string
	table int // index in a table, or -1
	line  int
}

// decodeEntry decodes a kernel, or a function that no kernel calls.
func decodeEntry(p *Program, f *function, approx bool, left *limits) (*entry, error) {
	e := &entry{program: p, fn: f, predTrue: -1, regBytes: 64, // row 0 is unused
		code: make([]instr, 0, len(f.stmts)+1)}
	d := &decoder{
		m: p.module, e: e, approx: approx, left: left,
		consts: map[constKey]uint32{}, specials: map[specialReg]uint32{},
		symbols: map[*variable]uint64{}, fns: map[*function]*fnState{},
	}
	if f.refused != nil {
		return nil, f.refused
	}
	if f.entry {
		if err := d.params(); err != nil {
			return nil, err
		}
	} else {
		d.formals(f)
	}
	d.place(f)
	for len(d.queue) > 0 {
		next := d.queue[0]
		d.queue = d.queue[1:]
		if err := d.function(d.fns[next]); err != nil {
			return nil, err
		}
	}
	for i := range e.code {
		if in := &e.code[i]; in.kind == kindCall {
			in.target = d.fns[in.callee].start
		}
	}
	if err := d.depth(f); err != nil {
		return nil, err
	}
	if err := d.finish(); err != nil {
		return nil, err
	}
	if err := reconverge(e.code, &left.steps, d.errorf); err != nil {
		return nil, err
	}
	starts := blockStarts(e.code)
	findKnown(e, starts)
	findSure(e, starts)
	for i := range e.consts {
		if v := e.consts[i].sym; v != nil && v.refused != nil {
			return nil, v.refused
		}
	}
	if f.entry {
		leaveAtOnce(e.code[:d.fns[f].end])
		left.origins = findOrigins(e, left.origins)
	}
	return e, nil
}

// params lays out the parameters of a kernel (PTX ISA §5.1.6.1).
func (d *decoder) params() error {
	off := 0
	for _, v := range d.e.fn.params {
		if v.space != spaceParam {
			return d.m.errorf(v.line, "a kernel's parameter %q in a register", short(v.name))
		}
		if v.size == 0 {
			return d.m.errorf(v.line, "parameter %q has no size", short(v.name))
		}
		off = (off + v.align - 1) &^ (v.align - 1)
		if int64(off)+v.size > maxParams {
			return d.m.errorf(v.line, "parameters of more than %d bytes", maxParams)
		}
		d.symbols[v] = uint64(off)
		d.e.params = append(d.e.params, param{name: v.name, off: off, size: int(v.size), elem: v.elem.bytes()})
		off += int(v.size)
	}
	d.e.paramSize = off
	return nil
}

// place queues a function to be decoded, once.
func (d *decoder) place(f *function) *fnState {
	if s := d.fns[f]; s != nil {
		return s
	}
	s := &fnState{
		function: f, regs: map[scopedName]reg{}, decls: map[scopedName]regDecl{},
		vars: map[scopedName]*variable{}, labels: map[string]int32{},
	}
	d.fns[f] = s
	d.queue = append(d.queue, f)
	return s
}

// function appends a function's code.
func (d *decoder) function(f *fnState) error {
	d.fn = f
	d.s = &statement{line: f.line}
	if f.refused != nil {
		return f.refused
	}
	// Declarations count each time they are visited: once for each entry.
	if err := d.spend(len(f.function.regs) + len(f.params) + len(f.results) + len(f.locals) + len(f.function.labels)); err != nil {
		return err
	}
	for _, r := range f.function.regs {
		key := scopedName{r.scope, r.name}
		if _, twice := f.decls[key]; twice {
			return d.m.errorf(f.line, "register %q is declared twice", short(r.name))
		}
		f.decls[key] = r
	}
	for _, list := range [][]*variable{f.params, f.results, f.locals} {
		for _, v := range list {
			if v.space == spaceReg {
				if v.size != int64(v.elem.bytes()) {
					return d.m.errorf(v.line, "%q: an array in a register", short(v.name))
				}
				f.decls[scopedName{0, v.name}] = regDecl{name: v.name, count: -1, typ: v.elem}
				continue
			}
			key := scopedName{v.scoped, v.name}
			if _, twice := f.vars[key]; twice && v.name != "_" {
				return d.m.errorf(v.line, "%q is declared twice", short(v.name))
			}
			f.vars[key] = v
		}
	}
	f.start = int32(len(d.e.code))
	// Labels are indices of statements; a statement may become several instructions.
	at := make([]int32, len(f.stmts)+1)
	for i := range f.stmts {
		at[i] = int32(len(d.e.code))
		if err := d.statement(&f.stmts[i]); err != nil {
			return err
		}
	}
	at[len(f.stmts)] = int32(len(d.e.code))
	d.s = &statement{line: f.line, op: "ret"}
	d.in, d.flow = instr{kind: kindRet, guard: -1, d2: -1, line: int32(f.line)}, flow{}
	if err := d.push(); err != nil {
		return err
	}
	f.end = int32(len(d.e.code))
	for name, i := range f.function.labels {
		f.labels[name] = at[i]
	}
	for _, j := range f.jumps {
		target, ok := f.labels[j.label]
		if !ok {
			return d.m.errorf(j.line, "no label %q", short(j.label))
		}
		if j.table >= 0 {
			d.e.code[j.at].table[j.table] = target
		} else {
			d.e.code[j.at].target = target
		}
	}
	return nil
}

// depth returns an error for recursion, and finds the maximum call depth.
func (d *decoder) depth(root *function) error {
	deep := map[*function]int{}
	var visit func(f *function) (int, error)
	visit = func(f *function) (int, error) {
		if n, ok := deep[f]; ok {
			if n < 0 {
				return 0, d.m.errorf(f.line, "%q calls itself: recursion is not supported", short(f.name))
			}
			return n, nil
		}
		deep[f] = -1
		n := 0
		for _, callee := range d.fns[f].callees {
			k, err := visit(callee)
			if err != nil {
				return 0, err
			}
			n = max(n, k+1)
		}
		deep[f] = n
		return n, nil
	}
	n, err := visit(root)
	d.e.maxDepth = n
	return err
}

// finish lays out what is only known after all code is decoded.
func (d *decoder) finish() error {
	e := d.e
	if e.shared > maxStaticShared {
		return d.m.errorf(e.fn.line, "%q has %d bytes of static shared memory; the limit is %d", short(e.fn.name), e.shared, maxStaticShared)
	}
	if e.local > maxLocal {
		return d.m.errorf(e.fn.line, "%q has %d bytes of local memory a thread; the limit is %d", short(e.fn.name), e.local, maxLocal)
	}
	e.dynamicAt = (e.shared + 15) &^ 15
	e.local = (e.local + 15) &^ 15
	if e.regBytes > maxFile {
		return d.m.errorf(e.fn.line, "%q has %d bytes of registers a warp; the limit is %d", short(e.fn.name), e.regBytes, maxFile)
	}
	e.rowReg, e.predReg = make([]int32, e.regBytes/64+1), make([]int32, e.preds)
	for i := range e.rowReg {
		e.rowReg[i] = -1
	}
	for i := range e.predReg {
		e.predReg[i] = -1
	}
	for id, r := range e.regs {
		if r.bytes > 0 {
			e.rowReg[r.off/64] = int32(id)
		} else if r.off != noPred {
			e.predReg[r.off] = int32(id)
		}
	}
	for i := range e.consts {
		c := &e.consts[i]
		if c.sym == nil {
			continue
		}
		switch v := c.sym; {
		case v.space == spaceShared && v.extern:
			c.value += uint64(e.dynamicAt)
		case v.space == spaceShared || v.space == spaceLocal || v.space == spaceParam:
			c.value += d.symbols[v]
		default:
			continue
		}
		if c.gen {
			c.value += windowOf(c.sym.space)
		}
		if c.sym.space != spaceParam {
			c.of = c.sym
		}
		c.sym = nil
	}
	e.placed = d.symbols
	return nil
}

func windowOf(s space) uint64 {
	switch s {
	case spaceShared:
		return sharedBase
	case spaceLocal:
		return localBase
	case spaceParam:
		return paramBase
	case spaceConst:
		return constBase
	}
	return 0
}

// statement decodes one instruction.
func (d *decoder) statement(s *statement) error {
	d.s = s
	op, ok := opcodes[s.op]
	if !ok {
		if what := unsupportedOps[s.op]; what != "" {
			return d.errorf("%s: %s are not supported", s.op, what)
		}
		return d.errorf("unknown opcode %q", short(s.op))
	}
	d.in, d.flow = instr{guard: -1, d2: -1, counted: true, effect: op.effect, line: int32(s.line), loc: s.loc, op: s.op}, flow{}
	if len(s.mods) > 0 {
		d.in.op += "." + strings.Join(s.mods, ".")
	}
	d.mod = append(d.mod[:0], s.mods...)
	if s.guard != "" {
		r, err := d.register(s.guard, s.scope)
		if err != nil {
			return err
		}
		if r.typ != pred {
			return d.errorf("guard %s is not a predicate", short(s.guard))
		}
		d.in.guard, d.in.guardReg = int32(r.off), r.id
		if s.guardNot {
			d.in.guardNot = allLanes
		}
	}
	if err := op.decode(d); err != nil {
		return err
	}
	if len(d.mod) > 0 {
		return d.errorf("%s: modifier .%s is not supported here", s.op, short(d.mod[0]))
	}
	return nil
}

func (d *decoder) errorf(format string, args ...any) error {
	return d.m.errorf(d.s.line, format, args...)
}

// spend takes n from the budget of maxCode.
func (d *decoder) spend(n int) error {
	if d.left.code -= n; d.left.code < 0 {
		return d.errorf("more than %d instructions, declarations and branch targets, those of functions counted for each kernel that calls them", maxCode)
	}
	return nil
}

// push appends the instruction d.in.
func (d *decoder) push() error {
	if err := d.spend(1); err != nil {
		return err
	}
	if d.flow.spread == nil && d.in.kind == kindALU {
		d.flow.spread = spreadRules[d.s.op]
	}
	d.e.flows = append(d.e.flows, d.flow)
	d.e.code = append(d.e.code, d.in)
	return nil
}

// need records that the source registers from index n of d.in.uses on must be defined. Reports call them what, their role in
// the instruction.
func (d *decoder) need(n int, what string) {
	for _, r := range d.in.uses[n:] {
		d.flow.needs = append(d.flow.needs, need{r, what})
	}
}

// take removes a modifier and reports whether it was present.
func (d *decoder) take(name string) bool {
	for i, m := range d.mod {
		if m == name {
			d.mod = append(d.mod[:i], d.mod[i+1:]...)
			return true
		}
	}
	return false
}

// takeOne removes the first present one of several modifiers and returns its index, or -1.
func (d *decoder) takeOne(names ...string) int {
	for i, n := range names {
		if d.take(n) {
			return i
		}
	}
	return -1
}

// takeType removes the first type among the modifiers.
func (d *decoder) takeType() (typ, error) {
	for i, m := range d.mod {
		if t, ok := typeNames[m]; ok {
			if t == f32x2 && !slices.Contains([]string{"add", "sub", "mul", "fma"}, d.s.op) {
				return typ{}, d.unsupported()
			}
			d.mod = append(d.mod[:i], d.mod[i+1:]...)
			return t, nil
		}
	}
	if n := len(d.mod); n > 0 {
		return typ{}, d.errorf("%s: .%s is not supported", d.in.op, short(d.mod[n-1]))
	}
	return typ{}, d.errorf("%s: no type", d.s.op)
}

// operands returns the operands after checking their number.
func (d *decoder) operands(n int) ([]operand, error) {
	if len(d.s.operands) != n {
		return nil, d.errorf("%s has %d operands, not %d", d.in.op, n, len(d.s.operands))
	}
	return d.s.operands, nil
}

// alu pushes an instruction on rows.
func (d *decoder) alu(f aluFunc, dt typ, sources ...typ) error {
	if f == nil {
		return d.unsupported()
	}
	if err := d.rows(dt, sources...); err != nil {
		return err
	}
	d.in.kind, d.in.alu = kindALU, f
	return d.push()
}

func (d *decoder) unsupported() error { return d.errorf("%s is not supported", d.in.op) }

// inexact returns an error for an instruction whose result may differ on a GPU, unless approximate ones are
// allowed.
func (d *decoder) inexact(why string) error {
	if !d.approx {
		return d.errorf("%s: %s; it is refused, as results may differ from hardware (AllowApprox, or --allow-approx, lets it run)", d.in.op, why)
	}
	d.e.approx = true
	return nil
}
