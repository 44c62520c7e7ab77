package ptx

import (
	"math/bits"
	"slices"
)

// Divergence and reconvergence of the lanes of a warp.

// split is a set of lanes that wait to execute from pc on.
type split struct {
	pc, rpc    int32
	mask       uint32
	call       bool // the lanes wait for a function to return
	converging bool // the lanes wait at a barrier or warp-wide instruction for others to reach pc
}

const maxStack = 4096

// pop resumes waiting lanes; it returns false if there are none.
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

// diverge splits the active lanes: those of taken branch; the others wait until the first have reached the
// branch's reconvergence point.
func (w *warp) diverge(in *instr, taken uint32) error {
	return w.divergeTo(in, taken, in.target, w.pc+1)
}

func (w *warp) divergeTo(in *instr, taken uint32, target, next int32) error {
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
	default:
		w.stack = append(w.stack, split{pc: next, rpc: r, mask: rest})
		w.active, w.pc = taken, target
	}
	return nil
}

// brx branches by an index; lanes with the same target stay together.
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

// converge is called when the active lanes need other lanes of their warp, at a barrier or a warp-wide
// instruction. Divergent lanes that have not reconverged with them run first, until they have exited or come
// here too; then all continue together. It returns false, and changes nothing, if no other lanes can come.
func (w *warp) converge() bool {
	first := len(w.stack) // the first divergent lanes
	for first > 0 && !w.stack[first-1].call && w.stack[first-1].rpc == w.rpc {
		first--
	}
	met, more := false, false
	ways := w.stack[first:first]
	for _, s := range w.stack[first:] {
		switch s.mask &= w.live; {
		case s.mask == 0:
		case s.converging && s.pc == w.pc:
			w.active |= s.mask
			met = true
		default:
			ways = append(ways, s)
			more = more || !s.converging
		}
	}
	w.stack = w.stack[:first+len(ways)]
	if !more {
		return met
	}
	// Below all others on the stack, so that these lanes run only when no divergent lanes are left.
	w.stack = slices.Insert(w.stack, first, split{pc: w.pc, rpc: w.rpc, mask: w.active, converging: true})
	return w.pop()
}

// exit ends the lanes of mask; it returns false if no lane is left.
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
