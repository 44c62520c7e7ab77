package ptx

import (
	"fmt"
	"math/bits"
)

type barKind uint8

const (
	barSync barKind = iota
	barArrive
	barRed
	barClusterArrive
	barClusterWait
)

// The reductions of bar.red.
const (
	redPopc = iota
	redAnd
	redOr
)

// barrierState is the state of one of a block's barriers.
type barrierState struct {
	arrived  int // threads, counted in whole warps
	expected int // 0 while no warp waits
	whole    bool
	popc     int
	all, any bool
	pc       int32
}

// barrier executes bar and barrier; it reports whether the warp has to wait. A warp arrives with all its
// lanes (PTX ISA §9.7.12.1), except by barrier.cluster.arrive without .aligned.
func (w *warp) barrier(in *instr, mask uint32) (bool, error) {
	b, op := w.block, in.bar
	lane, id := bits.TrailingZeros32(mask), uint32(atCluster)
	if op.kind < barClusterArrive {
		if id = row[uint32](w.regs, op.id.off)[lane]; id >= maxBarriers {
			return false, w.errorf(in, mask, "barrier %d of %d", id, maxBarriers)
		}
	}
	alone := op.kind == barClusterArrive && !op.aligned
	if w.block.launch.checkSync && mask != w.live && !alone {
		r := w.report(BarrierDiverged, in, mask)
		r.Detail = fmt.Sprintf("lanes %#x of warp %d are at the barrier, but lanes %#x are not", mask, w.index, w.live&^mask)
		if err := w.block.launch.found(r); err != nil {
			return false, err
		}
	}
	if id == atCluster {
		return w.clusterBarrier(in, mask)
	}
	expected, whole := len(b.warps)*warpSize, op.count.sink
	if !whole {
		expected = int(row[uint32](w.regs, op.count.off)[lane])
		if expected == 0 || expected%warpSize != 0 || expected > len(b.warps)*warpSize {
			return false, w.errorf(in, mask, "a barrier for %d threads: it is a multiple of %d up to the block's %d", expected, warpSize, len(b.warps)*warpSize)
		}
	}
	s := &b.barriers[id]
	if s.expected == 0 {
		*s = barrierState{expected: expected, whole: whole, all: true, pc: w.pc}
	} else if s.expected != expected {
		r := w.report(BarrierDiverged, in, mask)
		r.Detail = fmt.Sprintf("barrier %d expects %d threads here, but %d where other warps wait (line %d)", id, expected, s.expected, b.launch.entry.code[s.pc].line)
		return false, b.launch.foundFatal(r)
	}
	if op.kind == barRed {
		p := w.preds[op.src]
		if op.srcNot {
			p = ^p
		}
		s.popc += bits.OnesCount32(p & mask)
		s.all = s.all && p&mask == mask
		s.any = s.any || p&mask != 0
	}
	s.arrived += warpSize
	if op.kind == barArrive {
		if c := b.launch.checks; c != nil {
			c.arrive(w, int(id))
		}
		return false, nil
	}
	w.waiting = int32(id)
	return true, nil
}

// release resumes the warps at every barrier at which all threads have arrived.
func (b *block) release() error {
	b.releaseCluster()
	exited := 0
	for i := range b.warps {
		if b.warps[i].live == 0 {
			exited += warpSize
		}
	}
	for id := range b.barriers {
		s := &b.barriers[id]
		come := s.arrived
		if s.whole {
			come += exited // exited threads count as arrived
		}
		if s.expected == 0 || come < s.expected {
			continue
		}
		l := b.launch
		waited := uint32(0)
		for i := range b.warps {
			w := &b.warps[i]
			if w.waiting != int32(id) {
				continue
			}
			w.waiting = -1
			waited |= 1 << i
			in := &l.entry.code[w.pc-1]
			if in.bar.kind == barRed {
				w.reduced(in, s)
			}
		}
		if l.checks != nil {
			if err := l.checks.barrier(b, id, waited); err != nil {
				return err
			}
		}
		*s = barrierState{}
	}
	return nil
}

// reduced writes the result of bar.red.
func (w *warp) reduced(in *instr, s *barrierState) {
	mask := w.active
	if in.guard >= 0 {
		mask &= w.preds[in.guard] ^ in.guardNot
	}
	truth := uint32(0)
	switch in.bar.red {
	case redPopc:
		d := row[uint32](w.regs, in.d)
		for m := mask; m != 0; m &= m - 1 {
			d[bits.TrailingZeros32(m)] = uint32(s.popc)
		}
		return
	case redAnd:
		if s.all {
			truth = allLanes
		}
	case redOr:
		if s.any {
			truth = allLanes
		}
	}
	w.set(in.d, mask, truth)
}

// stuck reports a block in which every remaining warp waits at a barrier.
func (b *block) stuck(w *warp) *Report {
	in := &b.launch.entry.code[w.pc-1]
	r := w.report(BarrierDiverged, in, w.active)
	if w.waiting == atCluster {
		r.Detail = b.stuckInCluster()
		return r
	}
	s := &b.barriers[w.waiting]
	gone := 0
	for i := range b.warps {
		if b.warps[i].live == 0 {
			gone++
		}
	}
	r.Detail = fmt.Sprintf("barrier %d waits for %d threads; %d have arrived, and no other can (%d of %d warps have exited)",
		w.waiting, s.expected, s.arrived, gone, len(b.warps))
	return r
}
