package ptx

import (
	"fmt"
	"math/bits"
)

// Instructions by which the lanes of a warp exchange values (PTX ISA §9.7.9.6,
// §9.7.13.9 and following).

// members returns the lanes in a .sync instruction's member mask. It reports a mask that differs between
// lanes, lacks a lane that executes the instruction, or contains a lane that has not exited and does not
// execute it.
func (w *warp) members(in *instr, maskRow uint32, mask uint32) (uint32, error) {
	masks := row[uint32](w.regs, maskRow)
	named := masks[bits.TrailingZeros32(mask)&31]
	if !w.block.launch.checkSync {
		return named, nil
	}
	for m := mask; m != 0; m &= m - 1 {
		lane := bits.TrailingZeros32(m) & 31
		switch {
		case masks[lane] != named:
			r := w.report(MaskMismatch, in, 1<<lane)
			r.Detail = fmt.Sprintf("the mask is %#x here and %#x in lane %d", masks[lane], named, bits.TrailingZeros32(mask))
			return named, w.block.launch.found(r)
		case named>>lane&1 == 0:
			r := w.report(MaskMismatch, in, 1<<lane)
			r.Detail = fmt.Sprintf("the mask %#x leaves out lane %d, which executes it", named, lane)
			return named, w.block.launch.found(r)
		}
	}
	if missing := named & w.live &^ mask; missing != 0 {
		r := w.report(MaskMismatch, in, mask)
		r.Detail = fmt.Sprintf("the mask %#x names lanes that do not execute it: %#x", named, missing)
		return named, w.block.launch.found(r)
	}
	return named, nil
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
	if _, err := w.members(in, in.e, mask); err != nil {
		return err
	}
	return exchange(w, in, mask)
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
	if _, err := w.members(in, in.e, mask); err != nil {
		return err
	}
	return ballot(w, in, mask)
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
func match(w *warp, in *instr, mask uint32) error {
	if _, err := w.members(in, in.e, mask); err != nil {
		return err
	}
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

func redux(w *warp, in *instr, mask uint32) error {
	if _, err := w.members(in, in.e, mask); err != nil {
		return err
	}
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

func activemask(w *warp, in *instr, mask uint32) error {
	d := row[uint32](w.regs, in.d)
	for m := mask; m != 0; m &= m - 1 {
		d[bits.TrailingZeros32(m)&31] = mask
	}
	return nil
}

// warpBarrier executes bar.warp.sync.
func warpBarrier(w *warp, in *instr, mask uint32) error {
	named, err := w.members(in, in.e, mask)
	if err != nil {
		return err
	}
	if c := w.block.launch.checks; c != nil {
		c.warpSync(w, named&mask)
	}
	return nil
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
