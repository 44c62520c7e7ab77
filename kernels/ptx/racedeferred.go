package ptx

import "math/bits"

// Deferred checks of accesses to shared memory. Most loads read bytes that no thread writes between two
// barriers of the block: they were written before the first, and are written again after the second. Most
// atomics access bytes that nothing else accesses in between. Such an access is only noted, and its note is
// dropped at the next barrier of all threads. If one of the noted bytes is written or read before that, or
// something else orders threads, the noted accesses are checked first, in their order, as if each happened
// now.

// maxNoted is the number of accesses that may be noted at a time.
const maxNoted = 1 << 13

// deferred has the deferred accesses to shared memory since the last barrier of the block, and the ranges of
// noted loads and atomics and of accesses that were not deferred.
type deferred struct {
	off     bool // defer nothing: for tests
	idle    bool // defer nothing for the rest of the launch, since it does not pay
	list    []noted
	addr    [][warpSize]uint32 // of accesses with more than one address
	read    extent64
	atomic  extent64
	loaded  extent64
	written extent64

	dropped, caughtUp int // numbers of accesses in the launch

	lanes [warpSize]uint64 // the addresses of the access being checked
}

// noted is a deferred access.
type noted struct {
	stamp      stamp
	mask, size uint32
	same, row  bool
	at         uint32 // its address, or the index of its addresses in addr
}

// extent64 is the range from lo to before hi; empty if hi is 0.
type extent64 struct{ lo, hi uint64 }

func (x extent64) overlaps(y extent64) bool { return x.lo < y.hi && y.lo < x.hi }

// add extends the range to include another.
func (x *extent64) add(y extent64) {
	switch {
	case y.hi == 0:
	case x.hi == 0:
		*x = y
	default:
		x.lo, x.hi = min(x.lo, y.lo), max(x.hi, y.hi)
	}
}

// drop drops the deferred accesses: they are ordered before everything that follows.
func (s *deferred) drop() {
	s.dropped += len(s.list)
	s.forget()
}

func (s *deferred) forget() {
	s.list, s.addr = s.list[:0], s.addr[:0]
	s.read, s.atomic, s.loaded, s.written = extent64{}, extent64{}, extent64{}, extent64{}
}

// beginLaunch starts a launch.
func (s *deferred) beginLaunch() {
	s.forget()
	s.idle, s.dropped, s.caughtUp = false, 0, 0
}

// note notes an access.
func (s *deferred) note(a *raceAccess) {
	l := noted{stamp: a.stamp, mask: a.mask, size: a.size, same: a.same, row: a.row}
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
}

// catchUp checks and records the deferred accesses. None of them is a race: since the barrier nothing has
// written these bytes except atomics, which nothing has read.
func (r *races) catchUp(shadow *raceShadow) {
	s := &r.deferred
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
	loaded, written := s.loaded, s.written
	loaded.add(s.read)
	written.add(s.atomic)
	if s.caughtUp += len(s.list); s.caughtUp > s.dropped+maxNoted {
		s.idle = true
	}
	s.forget()
	s.loaded, s.written = loaded, written
}

// later reports whether an access to a range of shared memory was deferred. If not, earlier deferred accesses
// that matter to it have been checked.
func (r *races) later(shadow *raceShadow, a *raceAccess, sem semantics, where extent64) bool {
	s := &r.deferred
	weak, kind := a.stamp&stampStrong == 0, a.stamp.kind()
	free := !s.off && !s.idle && len(s.list) < maxNoted && !s.written.overlaps(where)
	switch {
	case weak && kind == accessLoad && free && !s.atomic.overlaps(where):
		s.note(a)
		s.read.add(where)
		return true
	case kind == accessAtomic && sem == semRelaxed && free && !s.read.overlaps(where) && !s.loaded.overlaps(where):
		s.note(a)
		s.atomic.add(where)
		return true
	case kind != accessStore || !weak || s.read.overlaps(where) || s.atomic.overlaps(where):
		r.catchUp(shadow)
	}
	if kind == accessLoad {
		s.loaded.add(where)
	} else {
		s.written.add(where)
	}
	return false
}
