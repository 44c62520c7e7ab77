package ptx

import "math/bits"

// cp.async.mbarrier.arrive: an arrival at an mbarrier when the copies that the thread has issued before have
// been performed. Like the copies it comes as late as possible: when a thread tests the barrier, and its
// phase lacks only such arrivals. To the checkers it is an arrival by the thread that issued it.

// asyncArrival is such arrivals at one barrier, by the lanes of mask.
type asyncArrival struct {
	w      *warp
	in     *instr
	pc     int32
	mask   uint32
	bar    uint64 // in shared memory
	before uint64 // the copies issued before have smaller numbers
}

// issueArrivals issues cp.async.mbarrier.arrive by the lanes of a target.
func (w *warp) issueArrivals(in *instr, t *target) {
	for rest := t.mask; rest != 0; {
		a := asyncArrival{w: w, in: in, pc: w.pc, before: w.issues}
		a.bar = t.addr[bits.TrailingZeros32(rest)&31] - t.base
		for g := rest; g != 0; g &= g - 1 {
			if lane := bits.TrailingZeros32(g) & 31; t.addr[lane]-t.base == a.bar {
				a.mask |= 1 << lane
			}
		}
		rest &^= a.mask
		w.block.trailing = append(w.block.trailing, a)
	}
}

// issuedArrivals returns the number of issued arrivals at a barrier.
func (b *block) issuedArrivals(bar uint64) (n uint64) {
	for i := range b.trailing {
		if a := &b.trailing[i]; a.bar == bar {
			n += uint64(bits.OnesCount32(a.mask))
		}
	}
	return n
}

// performArrivals performs the first n arrivals at a barrier, with their copies.
func (b *block) performArrivals(bar, n uint64) error {
	kept := b.trailing[:0]
	for _, a := range b.trailing {
		if a.bar == bar {
			lanes := a.mask
			for uint64(bits.OnesCount32(lanes)) > n {
				lanes &^= 1 << (31 - bits.LeadingZeros32(lanes))
			}
			if n -= uint64(bits.OnesCount32(lanes)); lanes != 0 {
				if err := a.perform(lanes); err != nil {
					return err
				}
			}
			if a.mask &^= lanes; a.mask == 0 {
				continue
			}
		}
		kept = append(kept, a)
	}
	b.trailing = kept
	return nil
}

// perform performs the arrivals of some lanes, after the copies that they wait for.
func (a *asyncArrival) perform(lanes uint32) error {
	w := a.w
	pc := w.pc
	w.pc = a.pc
	defer func() { w.pc = pc }()
	err := w.performCopies(func(p *pendingCopy) uint32 {
		if p.number >= a.before {
			return 0
		}
		return p.mask & lanes
	})
	if err != nil {
		return err
	}
	checks := w.block.launch.checks
	if checks == nil {
		return nil
	}
	var addr [warpSize]uint64
	for i := range addr {
		addr[i] = a.bar
	}
	return checks.access(&access{
		w: w, in: a.in, space: spaceShared, kind: accessAtomic, sem: semRelease, arrival: true, size: 8, mask: lanes, addr: &addr,
	})
}
