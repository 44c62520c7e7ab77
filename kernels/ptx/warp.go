package ptx

import (
	"math/bits"
	"unsafe"
)

// warp is 32 threads of a block that execute together.
type warp struct {
	block *block
	index int // in the block
	regs  unsafe.Pointer
	file  []uint64 // register file that regs points to
	preds []uint32
	init  []uint32 // by a register's number: the lanes in which it is completely defined
	local []byte   // localBytes for each lane, lane after lane
	cc    uint32   // carry flag of each lane

	pc     int32
	rpc    int32  // reconvergence point of the active lanes with divergent ones
	active uint32 // lanes that execute
	live   uint32 // lanes that have not exited
	stack  []split
	calls  int

	pending     []*pendingCopy   // asynchronous copies that have not been performed, in order
	issued      []*pendingCopy   // those of them issued by the current instruction
	spare       []*pendingCopy   // unused, for reuse
	issues      uint64           // number of copies issued in the block
	commits     [warpSize]uint32 // number of groups of copies that each lane has committed
	ownCommits  bool             // lanes may differ in commits
	bulkCommits [warpSize]uint32 // number of bulk groups that each lane has committed
	targeted    uint32           // lanes of the copies being issued whose destination is in memory

	undef          *undefined // nil while all registers are defined
	undefinedAbout bool       // some registers, or bytes read from memory, may be undefined
	undefStored    uint32     // lanes of the current store with undefined values, for the checkers

	waiting      int32  // barrier that the warp waits at; -1 for none
	clusterPhase int    // of barrier.cluster in which lanes have arrived and not waited yet, from 1; 0 for none
	clusterLanes uint32 // these lanes
	polls        int32  // number of strong accesses that end its turn; 0 if none do
	probe        *probe // nil unless the warp is watched

	scratch    [warpSize]uint64 // a row for results of which only some lanes are kept
	addr       [warpSize]uint64
	coalescing coalescing
	known      []knownRow
	target     target
	access     access
}

// quantum is the number of instructions that a warp executes in its turn, so that a warp which spins on
// another does not spin forever.
const quantum = 20000

// step executes instructions until the warp waits at a barrier, has exited, or has executed as many.
func (w *warp) step(most int64) error {
	l := w.block.launch
	code := l.entry.code
	followed, covered := l.followed, l.covered
	watched := followed || covered != nil || w.probe != nil
	executed, warpExecuted := int64(0), int64(0)
	defer func() {
		l.device.instructions += executed
		l.budget -= warpExecuted
	}()
	for ; warpExecuted < most; warpExecuted++ {
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
		if watched {
			if covered != nil {
				covered[w.pc].count(w.active, mask)
			}
			if w.probe != nil {
				in = w.probe.watch(w, in, mask)
			}
			if followed && (!in.sure || w.undefinedAbout) {
				if err := w.follow(in, mask); err != nil {
					return err
				}
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
		case kindWarpWide:
			if mask != 0 {
				if w.active != w.live && w.named(in, mask)&w.live&^w.active != 0 && w.converge() {
					executed -= int64(bits.OnesCount32(mask))
					continue
				}
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
			if w.active != w.live && w.converge() {
				executed -= int64(bits.OnesCount32(mask))
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

// scratchRow returns a row that belongs to no register.
func (w *warp) scratchRow() unsafe.Pointer { return unsafe.Pointer(&w.scratch) }

// blend copies the lanes of mask from the scratch row to the destination.
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

// set sets the lanes of mask in a predicate.
func (w *warp) set(pred uint32, mask, value uint32) {
	w.preds[pred] = w.preds[pred]&^mask | value&mask
}

// How setp and set combine a comparison with a predicate.
const (
	boolNone = iota
	boolAnd
	boolOr
	boolXor
)

// setp compares, combines the result and its complement with predicate c, and sets one or two predicates.
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

// noPred is the destination of a discarded predicate.
const noPred = ^uint32(0)
