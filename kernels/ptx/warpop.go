package ptx

import (
	"fmt"
	"math/bits"
	"unsafe"
)

// Instructions by which the lanes of a warp exchange values (PTX ISA §9.7.9.6,
// §9.7.13.9 and following).

// A .sync instruction is executed together by the lanes that name the same lanes in their member masks. There
// may be several such groups at a time: the tiles of a warp, for example.

// byGroup executes an instruction for each group of the executing lanes.
func (w *warp) byGroup(in *instr, executing uint32, run runFunc) error {
	for rest := executing; rest != 0; {
		group := w.group(in, rest)
		rest &^= group
		if w.block.launch.checkSync {
			if err := w.checkGroup(in, group, executing); err != nil {
				return err
			}
		}
		if err := run(w, in, group); err != nil {
			return err
		}
	}
	return nil
}

// group returns the lanes of mask with the same member mask as the first of them.
func (w *warp) group(in *instr, mask uint32) uint32 {
	masks := row[uint32](w.regs, in.e)
	if allEqual(masks) {
		return mask
	}
	first := masks[bits.TrailingZeros32(mask)&31]
	for rest := mask; rest != 0; rest &= rest - 1 {
		if lane := bits.TrailingZeros32(rest) & 31; masks[lane] != first {
			mask &^= 1 << lane
		}
	}
	return mask
}

// named returns the lanes that the member masks of the executing lanes name.
func (w *warp) named(in *instr, executing uint32) (lanes uint32) {
	masks := row[uint32](w.regs, in.e)
	if allEqual(masks) {
		return masks[0]
	}
	for rest := executing; rest != 0; rest &= rest - 1 {
		lanes |= masks[bits.TrailingZeros32(rest)&31]
	}
	return lanes
}

// allEqual reports whether all lanes of a row are equal: whether it equals itself, shifted by a lane.
func allEqual(r *[warpSize]uint32) bool {
	return *(*[warpSize - 1]uint32)(unsafe.Pointer(r)) == *(*[warpSize - 1]uint32)(unsafe.Pointer(&r[1]))
}

// checkGroup reports a member mask that leaves out a lane of its group, or names a lane that has not exited
// and is not in the group.
func (w *warp) checkGroup(in *instr, group, executing uint32) error {
	masks := row[uint32](w.regs, in.e)
	named := masks[bits.TrailingZeros32(group)&31]
	missing, at, detail := named&w.live&^group, group, ""
	if stray := group &^ named; stray != 0 {
		lane := bits.TrailingZeros32(stray)
		at, detail = 1<<lane, fmt.Sprintf("the mask %#x leaves out lane %d, which executes it", named, lane)
	} else if other := missing & executing; other != 0 {
		lane := bits.TrailingZeros32(other)
		detail = fmt.Sprintf("the mask is %#x here and %#x in lane %d", named, masks[lane&31], lane)
	} else if missing != 0 {
		detail = fmt.Sprintf("the mask %#x names lanes that do not execute it: %#x", named, missing)
	} else {
		return nil
	}
	r := w.report(MaskMismatch, in, at)
	r.Detail = detail
	return w.block.launch.found(r)
}

// The modes of shfl.
const (
	shflUp = iota
	shflDown
	shflBfly
	shflIdx
)

// shfl follows the pseudocode of PTX ISA §9.7.9.6. A lane that reads from a lane which does not execute the
// shuffle gets that lane's current register value; with the sync check this is an error.
func shfl(w *warp, in *instr, mask uint32) error {
	if !w.block.launch.checkSync { // a lane's source does not depend on the groups
		return exchange(w, in, mask)
	}
	return w.byGroup(in, mask, exchange)
}

// exchange is shfl for the lanes that execute it.
func exchange(w *warp, in *instr, mask uint32) error {
	a, b, c := row[uint32](w.regs, in.a), row[uint32](w.regs, in.b), row[uint32](w.regs, in.c)
	out := (*[warpSize]uint32)(w.scratchRow())
	inRange := uint32(0)
	for i := range uint32(warpSize) {
		j, ok := shuffled(in.imm, i, b[i], c[i])
		inRange |= bit(ok) << i
		out[i] = a[j]
		if mask>>j&1 == 0 && mask>>i&1 != 0 && w.block.launch.checkSync {
			r := w.report(InactiveLane, in, 1<<i)
			r.Detail = fmt.Sprintf("lane %d reads lane %d, which does not take part", i, j)
			if err := w.block.launch.found(r); err != nil {
				return err
			}
		}
	}
	if in.d != noPred {
		if mask == w.live {
			*row[uint32](w.regs, in.d) = *out
		} else {
			blendWords(row[uint32](w.regs, in.d), out, mask)
		}
	}
	if in.d2 >= 0 {
		w.set(uint32(in.d2), mask, inRange)
	}
	return nil
}

// shuffled returns the source lane of lane i, and whether it is in range; if not, the source is i itself.
func shuffled(mode uint64, i, b, c uint32) (j uint32, ok bool) {
	bval, cval, segment := b&31, c&31, c>>8&31
	maxLane := i&segment | cval&^segment
	switch mode {
	case shflUp:
		j = i - bval
		ok = int32(j) >= int32(maxLane)
	case shflDown:
		j = i + bval
		ok = j <= maxLane
	case shflBfly:
		j = i ^ bval
		ok = j <= maxLane
	case shflIdx:
		j = i&segment | bval&^segment
		ok = j <= maxLane
	}
	if !ok {
		j = i
	}
	return j & 31, ok
}

// The modes of vote.
const (
	voteAll = iota
	voteAny
	voteUni
	voteBallot
)

func vote(w *warp, in *instr, mask uint32) error {
	return w.byGroup(in, mask, ballot)
}

// ballot is vote for the lanes that execute it.
func ballot(w *warp, in *instr, mask uint32) error {
	p := w.preds[in.a]
	if in.notC {
		p = ^p
	}
	p &= mask
	truth := false
	switch in.imm {
	case voteBallot:
		d := row[uint32](w.regs, in.d)
		for m := mask; m != 0; m &= m - 1 {
			d[bits.TrailingZeros32(m)&31] = p
		}
		return nil
	case voteAll:
		truth = p == mask
	case voteAny:
		truth = p != 0
	case voteUni:
		truth = p == mask || p == 0
	}
	if in.d != noPred {
		w.set(in.d, mask, fill(truth))
	}
	return nil
}

func fill(truth bool) uint32 {
	if truth {
		return allLanes
	}
	return 0
}

// match executes match.any, or match.all if in.imm is not 0.
func match(w *warp, in *instr, mask uint32) error { return w.byGroup(in, mask, matchGroup) }

func matchGroup(w *warp, in *instr, mask uint32) error {
	width := uint8(4)
	if in.boolOp != 0 {
		width = 8
	}
	var values [warpSize]uint64
	for m := mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m) & 31
		values[i] = w.lane(in.a, width, i)
	}
	if in.imm != 0 {
		first, all := values[bits.TrailingZeros32(mask)&31], true
		for m := mask; m != 0; m &= m - 1 {
			all = all && values[bits.TrailingZeros32(m)&31] == first
		}
		found := mask & fill(all)
		if in.d != noPred {
			d := row[uint32](w.regs, in.d)
			for m := mask; m != 0; m &= m - 1 {
				d[bits.TrailingZeros32(m)&31] = found
			}
		}
		if in.d2 >= 0 {
			w.set(uint32(in.d2), mask, fill(all))
		}
		return nil
	}
	if in.d == noPred {
		return nil
	}
	d := row[uint32](w.regs, in.d)
	for rest := mask; rest != 0; {
		first := values[bits.TrailingZeros32(rest)&31]
		var same uint32
		for m := rest; m != 0; m &= m - 1 {
			if i := bits.TrailingZeros32(m) & 31; values[i] == first {
				same |= 1 << i
			}
		}
		rest &^= same
		for m := same; m != 0; m &= m - 1 {
			d[bits.TrailingZeros32(m)&31] = same
		}
	}
	return nil
}

// The operations of redux.
const (
	reduxAdd = iota
	reduxMinU
	reduxMaxU
	reduxMinS
	reduxMaxS
	reduxAnd
	reduxOr
	reduxXor
)

func redux(w *warp, in *instr, mask uint32) error { return w.byGroup(in, mask, reduxGroup) }

func reduxGroup(w *warp, in *instr, mask uint32) error {
	a, d := row[uint32](w.regs, in.a), row[uint32](w.regs, in.d)
	v := a[bits.TrailingZeros32(mask)&31]
	for m := mask & (mask - 1); m != 0; m &= m - 1 {
		x := a[bits.TrailingZeros32(m)&31]
		switch in.imm {
		case reduxAdd:
			v += x
		case reduxMinU:
			v = min(v, x)
		case reduxMaxU:
			v = max(v, x)
		case reduxMinS:
			v = uint32(min(int32(v), int32(x)))
		case reduxMaxS:
			v = uint32(max(int32(v), int32(x)))
		case reduxAnd:
			v &= x
		case reduxOr:
			v |= x
		case reduxXor:
			v ^= x
		}
	}
	for m := mask; m != 0; m &= m - 1 {
		d[bits.TrailingZeros32(m)&31] = v
	}
	return nil
}

func elect(w *warp, in *instr, mask uint32) error { return w.byGroup(in, mask, electGroup) }

func electGroup(w *warp, in *instr, mask uint32) error {
	if in.d != noPred {
		d := row[uint32](w.regs, in.d)
		for m := mask; m != 0; m &= m - 1 {
			d[bits.TrailingZeros32(m)&31] = uint32(bits.TrailingZeros32(mask))
		}
	}
	if in.d2 >= 0 {
		w.set(uint32(in.d2), mask, mask&-mask)
	}
	return nil
}

func activemask(w *warp, in *instr, mask uint32) error {
	d := row[uint32](w.regs, in.d)
	for m := mask; m != 0; m &= m - 1 {
		d[bits.TrailingZeros32(m)&31] = mask
	}
	return nil
}

// warpBarrier executes bar.warp.sync.
func warpBarrier(w *warp, in *instr, mask uint32) error {
	return w.byGroup(in, mask, func(w *warp, _ *instr, group uint32) error {
		if c := w.block.launch.checks; c != nil {
			c.warpSync(w, group)
		}
		return nil
	})
}

// fence executes membar and fence. Memory is always in order here, so only the checkers need it.
func fence(w *warp, in *instr, mask uint32) error {
	if c := w.block.launch.checks; c != nil {
		c.fence(w, mask, scope(in.imm))
	}
	return nil
}

func trap(w *warp, in *instr, mask uint32) error {
	r := w.report(Trapped, in, mask)
	r.Detail = "the kernel has stopped itself"
	return w.block.launch.trapped(r)
}

func nothing(*warp, *instr, uint32) error { return nil }
