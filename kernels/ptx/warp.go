package ptx

import (
	"fmt"
	"math/bits"
	"unsafe"
)

// warp is 32 threads of a block that execute together.
type warp struct {
	block *block
	index int // in the block
	regs  unsafe.Pointer
	file  []uint64 // what regs points to
	preds []uint32
	init  []uint32 // by a register's number, the lanes that have written it
	local []byte   // localBytes of each lane, one after another
	cc    uint32   // the carry flag of each lane

	pc     int32
	rpc    int32  // where active waits for the lanes that have gone another way
	active uint32 // the lanes that execute
	live   uint32 // the lanes that have not exited
	stack  []split
	calls  int

	waiting int32 // the barrier that the warp waits at; -1 is none
	redOut  int32 // what bar.red found, for when the warp goes on

	scratch [warpSize]uint64 // a row for a result of which only some lanes count
	addr    [warpSize]uint64
	survey  survey
	copied  [warpSize][16]byte // by cp.async
	target  target
	access  access
}

// split is lanes that wait to execute from pc on.
type split struct {
	pc, rpc int32
	mask    uint32
	call    bool // they wait for a function to return
}

// quantum is how many instructions a warp executes before another has its turn,
// so that a warp that waits for another in a loop does not wait for ever.
const quantum = 20000

const maxStack = 4096

// step executes instructions until the warp waits at a barrier, has exited, or
// has had its turn.
func (w *warp) step() error {
	l := w.block.launch
	code := l.entry.code
	checkRegs := l.checkRegisters
	executed, warpExecuted := int64(0), int64(0)
	defer func() {
		l.device.instructions += executed
		l.budget -= warpExecuted
	}()
	for ; warpExecuted < quantum; warpExecuted++ {
		if w.pc == w.rpc {
			if !w.pop() {
				return nil
			}
			continue
		}
		in := &code[w.pc]
		mask := w.active
		if in.guard >= 0 {
			mask &= w.preds[in.guard] ^ in.guardNot
		}
		if in.counted {
			executed += int64(bits.OnesCount32(mask))
		}
		if checkRegs {
			if err := w.checkRegisters(in, mask); err != nil {
				return err
			}
		}
		switch in.kind {
		case kindALU:
			if mask == w.live {
				in.alu(unsafe.Add(w.regs, in.d), w, in)
			} else if mask != 0 {
				in.alu(unsafe.Pointer(&w.scratch), w, in)
				w.blend(in, mask)
			}
			w.pc++
		case kindSetp:
			if mask != 0 {
				w.setp(in, mask)
			}
			w.pc++
		case kindRun:
			if mask != 0 {
				if err := in.run(w, in, mask); err != nil {
					return err
				}
			}
			w.pc++
		case kindBranch:
			switch mask {
			case w.active:
				w.pc = in.target
			case 0:
				w.pc++
			default:
				if err := w.diverge(in, mask); err != nil {
					return err
				}
			}
		case kindBrx:
			if err := w.brx(in, mask); err != nil {
				return err
			}
		case kindCall:
			if w.calls++; w.calls > l.entry.maxDepth || len(w.stack) >= maxStack {
				return w.errorf(in, mask, "calls nested deeper than %d", l.entry.maxDepth)
			}
			w.stack = append(w.stack, split{pc: w.pc + 1, rpc: w.rpc, mask: w.active, call: true})
			w.pc, w.rpc = in.target, -1
		case kindRet:
			w.pc++
			if mask != 0 && !w.ret(mask) {
				return nil
			}
		case kindExit:
			w.pc++
			if mask != 0 && !w.exit(mask) {
				return nil
			}
		case kindBarrier:
			if mask == 0 {
				w.pc++
				continue
			}
			wait, err := w.barrier(in, mask)
			if err != nil {
				return err
			}
			w.pc++
			if wait {
				warpExecuted++
				return nil
			}
		}
	}
	return nil
}

// pop goes on with lanes that wait; it returns false if there are none.
func (w *warp) pop() bool {
	for n := len(w.stack) - 1; n >= 0; n-- {
		s := &w.stack[n]
		w.stack = w.stack[:n]
		if s.call {
			w.calls--
		}
		if mask := s.mask & w.live; mask != 0 {
			w.pc, w.rpc, w.active = s.pc, s.rpc, mask
			return true
		}
	}
	w.active = 0
	return false
}

// diverge parts the active lanes: those of taken branch, the others go on. The
// others wait until the first have come to the branch's reconvergence point.
func (w *warp) diverge(in *instr, taken uint32) error {
	return w.part(in, taken, in.target, w.pc+1)
}

func (w *warp) part(in *instr, taken uint32, target, next int32) error {
	if len(w.stack) >= maxStack {
		return w.errorf(in, taken, "more than %d parts of a warp wait for each other", maxStack)
	}
	rest := w.active &^ taken
	r := in.rpc
	if r < 0 {
		r = w.rpc
	}
	if r != w.rpc {
		w.stack = append(w.stack, split{pc: r, rpc: w.rpc, mask: w.active})
		w.rpc = r
	}
	switch {
	case target == r:
		w.active, w.pc = rest, next
	case next == r:
		w.active, w.pc = taken, target
	case w.block.launch.entry.code[next].leaves:
		w.stack = append(w.stack, split{pc: target, rpc: r, mask: taken})
		w.active, w.pc = rest, next
	default:
		w.stack = append(w.stack, split{pc: next, rpc: r, mask: rest})
		w.active, w.pc = taken, target
	}
	return nil
}

// brx branches by an index; lanes of one target go together.
func (w *warp) brx(in *instr, mask uint32) error {
	if mask == 0 {
		w.pc++
		return nil
	}
	index := row[uint32](w.regs, in.a)
	type group struct {
		target int32
		mask   uint32
	}
	var groups []group
	add := func(target int32, lane int) {
		for i := range groups {
			if groups[i].target == target {
				groups[i].mask |= 1 << lane
				return
			}
		}
		groups = append(groups, group{target, 1 << lane})
	}
	for m := w.active; m != 0; m &= m - 1 {
		lane := bits.TrailingZeros32(m)
		if mask>>lane&1 == 0 {
			add(w.pc+1, lane)
			continue
		}
		if index[lane] >= uint32(len(in.table)) {
			return w.errorf(in, 1<<lane, "index %d of %d branch targets", index[lane], len(in.table))
		}
		add(in.table[index[lane]], lane)
	}
	if len(groups) == 1 {
		w.pc = groups[0].target
		return nil
	}
	if len(w.stack)+len(groups) >= maxStack {
		return w.errorf(in, mask, "more than %d parts of a warp wait for each other", maxStack)
	}
	r := in.rpc
	if r < 0 {
		r = w.rpc
	}
	if r != w.rpc {
		w.stack = append(w.stack, split{pc: r, rpc: w.rpc, mask: w.active})
	}
	for _, g := range groups {
		w.stack = append(w.stack, split{pc: g.target, rpc: r, mask: g.mask})
	}
	w.pop()
	return nil
}

// exit ends the lanes of mask; it returns false if none is left.
func (w *warp) exit(mask uint32) bool {
	w.live &^= mask
	w.active &^= mask
	return w.active != 0 || w.pop()
}

// ret returns from a function, or exits from a kernel.
func (w *warp) ret(mask uint32) bool {
	if w.calls == 0 {
		return w.exit(mask)
	}
	w.active &^= mask
	for n := len(w.stack) - 1; n >= 0 && !w.stack[n].call; n-- {
		w.stack[n].mask &^= mask
	}
	return w.active != 0 || w.pop()
}

// scratchRow is a row that no register has.
func (w *warp) scratchRow() unsafe.Pointer { return unsafe.Pointer(&w.scratch) }

// blend puts the lanes of mask of the scratch row in place.
func (w *warp) blend(in *instr, mask uint32) {
	switch in.dbytes {
	case 1:
		blend(row[uint8](w.regs, in.d), (*[warpSize]uint8)(unsafe.Pointer(&w.scratch)), mask)
	case 2:
		blend(row[uint16](w.regs, in.d), (*[warpSize]uint16)(unsafe.Pointer(&w.scratch)), mask)
	case 4:
		blendWords(row[uint32](w.regs, in.d), (*[warpSize]uint32)(unsafe.Pointer(&w.scratch)), mask)
	case 8:
		blendDoubles(row[uint64](w.regs, in.d), &w.scratch, mask)
	}
}

func blend[T any](d, s *[warpSize]T, mask uint32) {
	for ; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros32(mask) & 31
		d[i] = s[i]
	}
}

// set sets the lanes of mask of a predicate.
func (w *warp) set(pred uint32, mask, value uint32) {
	w.preds[pred] = w.preds[pred]&^mask | value&mask
}

// The ways in which setp and set combine a comparison with a predicate.
const (
	boolNone = iota
	boolAnd
	boolOr
	boolXor
)

// setp compares, combines the result and its complement with the predicate c,
// and sets one or two predicates.
func (w *warp) setp(in *instr, mask uint32) {
	p := in.cmp(w, in)
	p, q := w.combine(in, p), w.combine(in, ^p)
	if in.d != noPred {
		w.set(in.d, mask, p)
	}
	if in.d2 >= 0 {
		w.set(uint32(in.d2), mask, q)
	}
}

// combine combines the result of a comparison with the predicate c.
func (w *warp) combine(in *instr, p uint32) uint32 {
	if in.boolOp == boolNone {
		return p
	}
	c := w.preds[in.c]
	if in.notC {
		c = ^c
	}
	switch in.boolOp {
	case boolAnd:
		return p & c
	case boolOr:
		return p | c
	}
	return p ^ c
}

// noPred is a destination that is not kept.
const noPred = ^uint32(0)

// checkRegisters reports a read of a register that no lane has written, and
// notes what the instruction writes.
func (w *warp) checkRegisters(in *instr, mask uint32) error {
	if in.guard >= 0 {
		if bad := w.active &^ w.init[in.guardReg]; bad != 0 {
			return w.unwritten(in, in.guardReg, bad)
		}
	}
	read := allLanes
	for _, r := range in.uses {
		read &= w.init[r]
	}
	if mask&^read != 0 && !in.copies {
		for _, r := range in.uses {
			if bad := mask &^ w.init[r]; bad != 0 {
				return w.unwritten(in, r, bad)
			}
		}
	}
	for _, r := range in.defs {
		if in.copies {
			w.init[r] = w.init[r]&^mask | read&mask
		} else {
			w.init[r] |= mask
		}
	}
	return nil
}

func (w *warp) unwritten(in *instr, reg, lanes uint32) error {
	r := w.report(UninitRegister, in, lanes)
	r.Detail = fmt.Sprintf("%s has not been written", w.block.launch.entry.regNames[reg])
	return r
}

// thread returns a lane's coordinates in its block.
func (w *warp) thread(lane int) [3]int { return w.block.launch.thread(w.index, lane) }

func (l *launch) thread(warp, lane int) [3]int {
	d := l.block
	t := warp*warpSize + lane
	return [3]int{t % d[0], t / d[0] % d[1], t / (d[0] * d[1])}
}

// report begins a report on the first lane of mask.
func (w *warp) report(kind Kind, in *instr, mask uint32) *Report {
	l := w.block.launch
	r := &Report{Kind: kind, Kernel: l.entry.fn.name}
	r.Access = w.accessOf(in, bits.TrailingZeros32(mask|1<<31))
	return r
}

// accessOf says who executes an instruction, and where it stands.
func (w *warp) accessOf(in *instr, lane int) Access {
	return w.block.launch.entry.accessOf(in, w.block.index, w.thread(lane))
}

func (e *entry) accessOf(in *instr, block, thread [3]int) Access {
	m := e.program.module
	return Access{
		Block: block, Thread: thread,
		Op: in.op, File: m.files[in.loc.file], Line: in.loc.line,
		PTX: m.name, PTXLine: int(in.line),
	}
}

// errorf is an error of the kernel that is no checker's.
func (w *warp) errorf(in *instr, mask uint32, format string, args ...any) error {
	a := w.accessOf(in, bits.TrailingZeros32(mask|1<<31))
	return fmt.Errorf("ptx: %s: block %s thread %s: %s: %s: %s", w.block.launch.entry.fn.name,
		coordinates(a.Block), coordinates(a.Thread), a.place(), a.Op, fmt.Sprintf(format, args...))
}
