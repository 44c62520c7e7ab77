package ptx

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// The check of asynchronous copies, part of the race check. Between issue and wait, a copy may read its
// source and write its destination at any time.

// inFlight is the memory that the pending copies of a block read and write.
type inFlight struct {
	lanes    int      // number of pending copies, counted in lanes
	words    []uint64 // one bit for each 4 bytes of shared memory that a copy writes
	from, to uint64   // bounds of what the copies read in global memory
}

func (f *inFlight) clear() {
	if f.lanes > 0 {
		clear(f.words)
	}
	f.lanes, f.from, f.to = 0, math.MaxUint64, 0
}

// inWord calls f for the words that have bits of n bytes of shared memory at offset at, with those bits,
// until f returns false.
func (f *inFlight) inWord(at, n uint64, do func(word *uint64, bits uint64) bool) {
	for first, last := at/4, (at+n-1)/4; first <= last; {
		count := min(last-first+1, 64-first%64)
		if !do(&f.words[first/64], ones(int64(count))<<(first%64)) {
			return
		}
		first += count
	}
}

// overlaps reports whether a copy writes any of n bytes of shared memory at offset at.
func (f *inFlight) overlaps(at, n uint64) (found bool) {
	f.inWord(at, n, func(word *uint64, bits uint64) bool {
		found = *word&bits != 0
		return !found
	})
	return found
}

// mark sets or clears the bits of n bytes, a multiple of 4.
func (f *inFlight) mark(at, n uint64, on bool) {
	f.inWord(at, n, func(word *uint64, bits uint64) bool {
		if *word &^= bits; on {
			*word |= bits
		}
		return true
	})
}

// markLanes marks the destinations of the lanes of mask.
func (f *inFlight) markLanes(to *[warpSize]uint64, mask, size uint32, row, on bool) {
	if row {
		f.mark(to[0], warpSize*uint64(size), on)
		return
	}
	for ; mask != 0; mask &= mask - 1 {
		f.mark(to[bits.TrailingZeros32(mask)&31], uint64(size), on)
	}
}

// awaited checks an access while copies are in flight, and records the issue of a copy.
func (c *checks) awaited(a *access, mask uint32, al *allocation) error {
	f := &c.flight
	issue := a.in.copy != nil && a.copy == nil && a.kind != accessAtomic // of a bulk copy's barrier
	if issue && a.in.copy.bulk != nil && a.in.copy.bulk.group {
		issue = false // its pending copy is looked at
	}
	if err := c.awaitedStores(a.w.block, a, mask, al); err != nil {
		return err
	}
	if f.lanes > 0 {
		switch {
		case al == nil:
			if a.row && !f.overlaps(a.at(0), warpSize*uint64(a.size)) {
				break
			}
			rest := mask
			if a.same {
				rest &= -rest
			}
			for ; rest != 0; rest &= rest - 1 {
				if l := bits.TrailingZeros32(rest); f.overlaps(a.at(l), uint64(a.size)) {
					if other := c.copyOf(a.w.block, a, a.at(l), false); other != nil {
						if err := a.w.block.launch.found(c.notAwaited(a, l, al, other, "destination")); err != nil {
							return err
						}
					}
				}
			}
		case a.kind != accessLoad:
			if err := c.awaitedSource(a.w.block, f, a, mask, al); err != nil {
				return err
			}
		}
	}
	if al != nil {
		for _, b := range c.afloat {
			if err := c.awaitedStores(b, a, mask, al); err != nil {
				return err
			}
			if a.kind == accessLoad {
				continue
			}
			if err := c.awaitedSource(b, &b.checks.flight, a, mask, al); err != nil {
				return err
			}
		}
	}
	switch {
	case !issue:
	case al != nil:
		for rest := mask; rest != 0; rest &= rest - 1 {
			at := a.addr[bits.TrailingZeros32(rest)]
			f.from, f.to = min(f.from, at), max(f.to, at+uint64(a.size))
		}
	default:
		f.lanes += bits.OnesCount32(mask)
		f.markLanes(a.addr, mask, a.size, a.row, true)
	}
	return nil
}

// awaitedSource checks a write to global memory while copies of a block are in flight.
func (c *checks) awaitedSource(b *block, f *inFlight, a *access, mask uint32, al *allocation) error {
	for rest := mask; rest != 0; rest &= rest - 1 {
		l := bits.TrailingZeros32(rest)
		if at := a.at(l); at+uint64(a.size) > f.from && at < f.to {
			if other := c.copyOf(b, a, at, true); other != nil {
				if err := a.w.block.launch.found(c.notAwaited(a, l, al, other, "source")); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// copyOf returns the thread of a block that issued the copy which reads (source) or writes at an address, or
// nil.
func (c *checks) copyOf(b *block, a *access, at uint64, source bool) *Access {
	for i := range b.bulk {
		if c := &b.bulk[i]; c.overlaps(at, uint64(a.size), source) && (a.copy == nil || a.in != c.in) {
			other := c.w.accessOf(c.in, int(c.lane))
			return &other
		}
	}
	issues := a.in.copy != nil && a.copy == nil
	overlap := func(p uint64, n uint32) bool { return p < at+uint64(a.size) && at < p+uint64(n) }
	for i := range b.warps {
		w := &b.warps[i]
		for _, p := range w.pending {
			if issues && w == a.w && slices.Contains(w.issued, p) {
				continue // it is this access itself
			}
			for rest := p.mask; rest != 0; rest &= rest - 1 {
				l := bits.TrailingZeros32(rest)
				if source && overlap(p.from[l], p.read(l)) || !source && overlap(p.to[l], p.in.copy.to.size) {
					other := w.accessOf(p.in, l)
					return &other
				}
			}
		}
	}
	return nil
}

// notAwaited returns the report about an access to the source or destination, end, of a pending copy.
func (c *checks) notAwaited(a *access, lane int, al *allocation, other *Access, end string) error {
	r := c.report(NotAwaited, a, lane, al)
	r.Other = other
	r.Detail = fmt.Sprintf("%s, the %s of an asynchronous copy that its thread has not waited for", r.bytesOf(), end)
	return r
}

// arrived records that lanes have waited for a copy, before it is performed.
func (c *checks) arrived(w *warp, p *pendingCopy, lanes uint32) error {
	size := p.in.copy.to.size
	if c.races != nil {
		c.flight.lanes -= bits.OnesCount32(lanes)
		c.flight.markLanes(&p.to, lanes, size, p.rows && lanes == allLanes, false)
		if c.flight.lanes == 0 {
			c.flight.clear()
		}
	}
	a := &w.access
	*a = access{
		w: w, in: p.in, space: spaceShared, kind: accessStore, size: size,
		mask: lanes, addr: &p.to, copy: p, row: p.rows && lanes == allLanes,
	}
	if err := c.memory(a, lanes, nil, c.shared); err != nil {
		return err
	}
	if c.on.Uninit {
		c.copyMarks(p, lanes, a.row)
	}
	return nil
}

// copyMarks copies the marks of written bytes.
func (c *checks) copyMarks(p *pendingCopy, lanes uint32, row bool) {
	size := p.in.copy.to.size
	to := c.shared.init
	if p.mem == nil { // only zeros are written
		to.stored(&p.to, 0, lanes, size, row)
		return
	}
	al := c.device.mem.find(p.from[bits.TrailingZeros32(lanes)])
	from := al.shadow.init
	if !p.short && from.loaded(&p.from, al.base, lanes, size, row, false) < 0 {
		to.stored(&p.to, 0, lanes, size, row)
		return
	}
	for rest := lanes; rest != 0; rest &= rest - 1 {
		l := bits.TrailingZeros32(rest)
		n := int64(p.read(l))
		to.copied(int64(p.to[l]), from, int64(p.from[l]-al.base), n)
		to.written(int64(p.to[l])+n, int64(size)-n)
	}
}
