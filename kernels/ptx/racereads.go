package ptx

import "math/bits"

// Loads from shared memory that are put off. Most of them are of bytes that nothing
// writes between two barriers of the block: what they read was written before the first,
// and is written again after the second. Such a load is only noted, and dropped at the
// next barrier of all threads. Where one of the bytes around is written before that, or
// anything else happens that orders threads, those noted are looked at first, in their
// order, as if each were now.

// maxReads is how many loads may be noted at a time.
const maxReads = 1 << 13

// sharedReads is the loads from shared memory since the last barrier of the block that
// were put off, and where they and all writes since then were.
type sharedReads struct {
	off     bool // nothing is put off: for tests
	list    []read
	addr    [][warpSize]uint32 // of those that have more than one address
	read    extent64
	written extent64

	lanes [warpSize]uint64 // the addresses of the load that is looked at
}

// read is a load that was put off.
type read struct {
	stamp      stamp
	mask, size uint32
	same, row  bool
	at         uint32 // its address, or the index of its addresses
}

// extent64 is the range from lo to before hi; none where hi is 0.
type extent64 struct{ lo, hi uint64 }

func (x extent64) overlaps(y extent64) bool { return x.lo < y.hi && y.lo < x.hi }

// add makes the range reach over another.
func (x *extent64) add(y extent64) {
	if x.hi == 0 {
		*x = y
		return
	}
	x.lo, x.hi = min(x.lo, y.lo), max(x.hi, y.hi)
}

// dropReads forgets the loads that were put off: those to come are in order with them.
func (r *races) dropReads() {
	s := &r.reads
	s.list, s.addr, s.read, s.written = s.list[:0], s.addr[:0], extent64{}, extent64{}
}

// putOff notes a weak load of bytes in a range of shared memory, and reports whether that
// is enough for now.
func (r *races) putOff(a *raceAccess, where extent64) bool {
	s := &r.reads
	if s.off || s.written.overlaps(where) || len(s.list) == maxReads {
		return false
	}
	l := read{stamp: a.stamp, mask: a.mask, size: a.size, same: a.same, row: a.row}
	switch {
	case a.row:
		l.at = uint32(a.addr[0] - a.base)
	case a.same:
		l.at = uint32(a.addr[bits.TrailingZeros32(a.mask)&31] - a.base)
	default:
		l.at = uint32(len(s.addr))
		if len(s.addr) == cap(s.addr) {
			s.addr = append(s.addr, [warpSize]uint32{})
		}
		s.addr = s.addr[:l.at+1]
		to := &s.addr[l.at]
		for i := range to {
			to[i] = uint32(a.addr[i] - a.base)
		}
	}
	s.list = append(s.list, l)
	s.read.add(where)
	return true
}

// catchUp looks at the loads that were put off. None of them is a race: nothing has
// written there since the barrier.
func (r *races) catchUp(shadow *raceShadow) {
	s := &r.reads
	if len(s.list) == 0 {
		return
	}
	for i := range s.list {
		l := &s.list[i]
		switch {
		case l.row:
			s.lanes[0] = uint64(l.at)
		case l.same:
			for k := range s.lanes {
				s.lanes[k] = uint64(l.at)
			}
		default:
			for k, at := range s.addr[l.at] {
				s.lanes[k] = uint64(at)
			}
		}
		r.check(shadow, &raceAccess{addr: &s.lanes, mask: l.mask, size: l.size, stamp: l.stamp, floor: r.block, same: l.same, row: l.row})
	}
	s.list, s.addr, s.read = s.list[:0], s.addr[:0], extent64{}
}

// later reports whether an access to shared memory was put off. If not, those before it
// have been looked at where that matters.
func (r *races) later(shadow *raceShadow, a *raceAccess, where extent64) bool {
	s := &r.reads
	weak := a.stamp&stampStrong == 0
	if weak && a.stamp.kind() == accessLoad {
		if r.putOff(a, where) {
			return true
		}
		r.catchUp(shadow)
		return false
	}
	if !weak || s.read.overlaps(where) {
		r.catchUp(shadow)
	}
	if a.stamp.kind() != accessLoad {
		s.written.add(where)
	}
	return false
}
