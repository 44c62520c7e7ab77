package ptx

import (
	"bytes"
	"math/bits"
	"slices"
	"unsafe"
)

// Deadlocks: threads that wait in a loop for something that no thread will do. (Warps that wait at bar.sync do not run at
// all; [block.stuck] reports them.)
//
// A warp is idle if it comes back to a state that it was in before, and all it did in between was compute, read
// memory, and write values that were already there. What it does next depends only on this state and on
// memory. So if all warps that can run are idle one after another, none of them has changed memory, and none
// ever will, in any order of turns. This is exact: a loop that reads a clock, counts, or changes memory is not
// idle. (Such a loop is ended by the budget.)
//
// Looking for a repeated state makes a warp slow, so the launch does it only for some instructions, and only
// in some turns: when nothing has been heard of any warp for 1, 2, 4, 8, … turns. To be heard of is to reach a
// barrier or exit.

// watch decides when a launch looks for idle warps.
type watch struct {
	silent  int  // turns of all warps in which nothing was heard of any
	looking bool // in these turns
	heard   bool // in these turns, of a warp; or, when looking, a warp is not idle
}

// endTurns is called when all warps that can run have had their turns. It reports whether all are idle.
func (v *watch) endTurns() (deadlock bool) {
	if v.looking && !v.heard {
		return true
	}
	if v.silent++; v.heard && !v.looking {
		v.silent = 0
	}
	v.looking, v.heard = v.silent > 0 && v.silent&(v.silent-1) == 0, false
	return false
}

// lookFor returns the number of instructions in which a repeated state is looked for.
func (v *watch) lookFor() int { return min(quantum, 1024*v.silent) }

// take gives the warp its turn.
func (w *warp) take() error {
	v := &w.block.launch.watch
	if v.looking && !v.heard {
		idle, err := w.idle(v.lookFor())
		if idle || err != nil {
			return err
		}
		v.heard = true
	}
	var err error
	if w.live != 0 && w.waiting < 0 {
		err = w.step(quantum)
	}
	v.heard = v.heard || w.live == 0 || w.waiting >= 0
	return err
}

// probe watches the instructions of a warp.
type probe struct {
	effect bool // one may have changed what other warps see, or may depend on more than the warp's state and memory
	access instr
	mem    memOp // of access

	recording bool
	waits     []wait
}

// wait is an instruction that reads what other threads may write.
type wait struct {
	in    *instr
	lanes uint32
	at    [warpSize]uint64 // addresses in the space of the instruction
}

// idle executes at most some instructions, and reports whether the warp is idle.
func (w *warp) idle(most int) (bool, error) {
	p := &probe{}
	polls := w.polls
	w.probe, w.polls = p, 0
	defer func() { w.probe, w.polls = nil, polls }()
	clock := w.block.launch.clock
	var then warpState
	for n, next := 0, 0; n < most; n++ {
		if n == next { // the period may be any, and some instructions may come before it
			then.save(w)
			next = 2*n + 1
		}
		if err := w.step(1); err != nil {
			return false, err
		}
		if p.effect || w.live == 0 || w.waiting >= 0 || w.block.launch.clock != clock {
			return false, nil
		}
		if then.equals(w) {
			return true, nil
		}
	}
	return false, nil
}

// waits returns what an idle warp waits for: it executes the repeated instructions once more.
func (w *warp) waits() ([]wait, error) {
	p := &probe{recording: true}
	w.probe, w.polls = p, 0
	defer func() { w.probe = nil }()
	var then warpState
	then.save(w)
	for {
		if err := w.step(1); err != nil || then.equals(w) {
			return p.waits, err
		}
	}
}

// warpState is the state of a warp, by a copy.
type warpState struct {
	pc, rpc      int32
	active, live uint32
	cc           uint32
	calls        int
	stack        []split
	preds        []uint32
	file         []uint64
	local        []byte
}

func (s *warpState) save(w *warp) {
	s.pc, s.rpc, s.active, s.live, s.cc, s.calls = w.pc, w.rpc, w.active, w.live, w.cc, w.calls
	s.stack = append(s.stack[:0], w.stack...)
	s.preds = append(s.preds[:0], w.preds...)
	s.file = append(s.file[:0], w.file...)
	s.local = append(s.local[:0], w.local...)
}

func (s *warpState) equals(w *warp) bool {
	return s.pc == w.pc && s.rpc == w.rpc && s.active == w.active && s.live == w.live && s.cc == w.cc && s.calls == w.calls &&
		slices.Equal(s.stack, w.stack) && slices.Equal(s.preds, w.preds) && slices.Equal(s.file, w.file) && bytes.Equal(s.local, w.local)
}

// watch looks at an instruction before it is executed for the lanes of mask, and returns the one to execute
// instead: a store or atomic compares memory before and after.
func (p *probe) watch(w *warp, in *instr, mask uint32) *instr {
	if mask == 0 {
		return in
	}
	switch in.kind {
	case kindBarrier:
		p.effect = true
	case kindRun, kindWarpWide:
		m := in.mem
		if m != nil && m.kind != accessLoad && m.do != nil && !m.regs[0].sink || m != nil && m.kind == accessAtomic {
			p.access, p.mem = *in, *m
			p.mem.do = p.writes
			p.access.mem = &p.mem
			in = &p.access
		} else if !in.onlyReads() {
			p.effect = true
		}
		if p.recording && (m != nil || in.mbarrier != nil) {
			p.record(w, in, mask)
		}
	}
	return in
}

// onlyReads reports whether an instruction that is executed by run certainly changes nothing but its own warp,
// and depends on nothing but that and memory.
func (in *instr) onlyReads() bool {
	if in.mbarrier != nil {
		return in.mbarrier.waits()
	}
	for _, m := range in.memory() {
		if m.kind != accessLoad {
			return false
		}
	}
	return in.effect == own
}

// writes performs a store or atomic lane by lane. If no lane changes memory, none does in another order.
func (p *probe) writes(w *warp, in *instr, t *target) {
	do := w.block.launch.entry.code[w.pc].mem.do
	if t.space == spaceLocal { // a part of the warp's state
		do(w, in, t)
		return
	}
	one := *t
	one.contiguous, one.same = false, false
	for rest := t.mask; rest != 0; rest &= rest - 1 {
		one.mask = rest & -rest
		lane := bits.TrailingZeros32(rest) & 31
		now := unsafe.Slice((*byte)(unsafe.Add(t.mem, t.addr[lane]-t.base)), in.mem.size)
		var before [32]byte
		copy(before[:], now)
		do(w, in, &one)
		p.effect = p.effect || !bytes.Equal(before[:len(now)], now)
	}
}

// record notes what the instruction reads from memory that other threads can write.
func (p *probe) record(w *warp, in *instr, mask uint32) {
	m := in.mem
	if in.mbarrier != nil {
		m = &in.mbarrier.mem
	}
	if m.space != spaceGlobal && m.space != spaceShared && m.space != spaceGeneric || m.kind == accessStore {
		return
	}
	one := wait{in: &w.block.launch.entry.code[w.pc], lanes: mask, at: *w.addresses(m)}
	for lane := range one.at {
		one.at[lane] += in.imm
		if s := spaceOfAddress(one.at[lane]); m.space == spaceGeneric && s != spaceGlobal && s != spaceShared {
			one.lanes &^= 1 << lane
		}
	}
	if one.lanes != 0 {
		p.waits = append(p.waits, one)
	}
}
