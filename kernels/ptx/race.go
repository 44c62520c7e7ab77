package ptx

import "math/bits"

// races finds pairs of accesses to the same byte, at least one of them a write, that are not ordered by the
// memory consistency model of the PTX ISA (chapter 8):
//
//   - a thread's own accesses are in program order;
//   - a barrier of the block orders everything its threads did before it before
//     everything they do after it; bar.warp.sync does so for the lanes of its mask.
//     Shuffles, votes and matches order no memory. A thread that has exited counts as
//     waiting at every barrier;
//   - fences and atomics order as described in published.go, within a block and between
//     blocks; nothing else orders two blocks of a launch. Launches are ordered;
//   - two strong accesses whose scopes include each other's thread are not a race.
//
// Two lanes of one store that write equal values to one place are not a race either. A non-coherent load is
// not ordered with any write of its launch.
//
// An epoch belongs to one block: the machine runs one block after another or, in a cooperative launch, one
// turn of a block after another (racegrid.go). Epochs increase from launch to launch: stamps that an earlier
// launch has left in the shadow memory are older than launch, and are ignored.
type races struct {
	now     stamp // current epoch
	launch  stamp // start of the launch
	threads int   // threads per block
	blockTime

	starts   []blockStart // of the blocks of the launch, in order of execution
	slowed   uint64       // number of calls of slow
	deferred deferred     // of this block
	pool     racePool
	grid     *gridRaces // of a cooperative launch; else nil
	publications
}

// warpTime is the vector clock of a warp: up to when it is ordered after others.
type warpTime struct {
	sync stamp // the last barrier that all its lanes passed together
	// lanes[l][m], if lanes is not nil, is the time up to which lane l is ordered after lane m, by barriers
	// of some lanes of the warp.
	lanes *[warpSize][warpSize]stamp
	// others[v], if others is not nil, is the time up to which the warp is ordered after warp v, by barriers
	// of some warps of the block.
	others []stamp
}

// newRaces returns the race checker of a new device.
func newRaces() *races {
	return &races{now: oneEpoch, pool: racePool{limit: maxGranules}}
}

// tick begins a new epoch.
func (r *races) tick() {
	if r.now += oneEpoch; r.now >= lastEpoch {
		// The epoch overflows after some 10^10 barriers: drop all stamps and start again.
		r.pool.forget()
		r.publications.clear()
		r.now = oneEpoch
		r.launch = r.now
		r.starts = append(r.starts[:0], blockStart{r.now, r.number})
		r.begin(r.now)
		if r.grid != nil {
			r.grid.forget(r.now)
		}
	}
}

// beginLaunch starts a launch with blocks of the given number of threads.
func (r *races) beginLaunch(threads int) {
	r.pool.reset()
	r.publications.clear()
	r.tick()
	r.launch = r.now
	r.threads = threads
	r.deferred.beginLaunch()
	r.starts, r.grid = r.starts[:0], nil
	r.warps = make([]warpTime, (threads+warpSize-1)/warpSize)
}

// beginBlock starts the next block.
func (r *races) beginBlock(block uint64) {
	r.tick()
	r.number = block
	r.begin(r.now)
	r.starts = append(r.starts, blockStart{r.now, block})
	r.deferred.drop()
	r.publications.beginBlock()
}

// blockBarrier handles a barrier that all threads of the block have reached.
func (r *races) blockBarrier() {
	r.tick()
	r.deferred.drop()
	r.barrier = r.now
	for w := range r.warps {
		r.warps[w] = warpTime{sync: r.now}
	}
	r.publications.blockBarrier(r)
}

// partBarrier handles a barrier of some warps of the block: those in waited have waited and continue; those
// in arrived have only arrived (bar.arrive), with the clocks that they had then.
func (r *races) partBarrier(waited uint32, arrived []arrival) {
	r.tick()
	known := make([]stamp, len(r.warps))
	know := func(others []stamp) {
		for v, until := range others {
			known[v] = max(known[v], until)
		}
	}
	for w := range r.warps {
		if waited>>w&1 != 0 {
			know(r.warps[w].others)
			known[w] = r.now
		}
	}
	for _, a := range arrived {
		know(a.others)
		known[a.warp] = max(known[a.warp], a.until)
	}
	for w := range r.warps {
		if waited>>w&1 != 0 {
			r.warps[w] = warpTime{sync: r.now, others: known}
		}
	}
	r.publications.partBarrier(r, waited)
}

// arrival is the clock of a warp at its bar.arrive.
type arrival struct {
	warp   int
	until  stamp
	others []stamp
}

// arrive handles a warp's bar.arrive; its result is passed to the barrier's partBarrier.
func (r *races) arrive(warp int) arrival {
	r.tick()
	return arrival{warp, r.now, r.warps[warp].others}
}

// warpBarrier handles bar.warp.sync of the lanes in mask; the lanes in live have not exited.
func (r *races) warpBarrier(warp int, mask, live uint32) {
	r.tick()
	w := &r.warps[warp]
	if mask&live == live {
		w.sync = r.now
		w.lanes = nil
	} else {
		if w.lanes == nil {
			w.lanes = new([warpSize][warpSize]stamp)
		}
		var known [warpSize]stamp
		for rest := mask; rest != 0; rest &= rest - 1 {
			l := bits.TrailingZeros32(rest)
			for m, until := range w.lanes[l] {
				known[m] = max(known[m], until)
			}
			known[l] = r.now
		}
		for rest := mask; rest != 0; rest &= rest - 1 {
			w.lanes[bits.TrailingZeros32(rest)] = known
		}
	}
	r.publications.warpBarrier(r, warp, mask)
}

// before reports whether an access e of this launch, or of this block for shared memory, is ordered before
// the current access s.
func (r *races) before(e, s stamp) bool {
	if !r.own(e) && !r.active {
		return false // e is of another block
	}
	return r.beforeIn(e, s, r.blockOf(e))
}

// beforeIn is before for an access of the given block.
func (r *races) beforeIn(e, s stamp, block uint64) bool {
	if block == r.number {
		if e < r.barrier || (e^s)&stampThread == 0 {
			return true
		}
		w := &r.warps[s.warp()]
		switch {
		case (e^s)&stampWarp != 0:
			if w.others != nil && e < w.others[e.warp()] {
				return true
			}
		case e < w.sync:
			return true
		case w.lanes != nil && e < w.lanes[s.lane()][e.lane()]:
			return true
		}
	}
	return r.publications.before(e, s, block)
}

// conflict reports whether an earlier access e and the current one, s, are a race.
func (r *races) conflict(e, s, floor stamp) bool {
	if e < floor || !e.writes() && !s.writes() {
		return false
	}
	if e&s&stampStrong != 0 && (e&s&stampWide != 0 || r.own(e)) {
		return false
	}
	return !r.before(e, s)
}

// raceAccess is a warp's access, as the race check sees it.
type raceAccess struct {
	addr       *[warpSize]uint64 // of each lane; its shadow is at addr - base
	base       uint64
	mask, size uint32
	stamp      stamp  // of lane 0
	floor      stamp  // earlier stamps are ignored: launch, or block for shared memory
	values     stored // of a store
	same, row  bool   // as in access
	nc         bool   // a non-coherent load, which races with every write of the launch
	arrival    bool   // as in access
	grid       bool   // to global memory, in a cooperative launch
	other      uint64 // of a race in a cooperative launch: the block of the earlier access
	memory     []byte // destination of a store, if others may store the same value
}

// stored gives the values that a store writes.
type stored interface {
	stored(lane int) (lo, hi uint64)
}

// window is the part of the order that the fast path of check uses.
type window struct {
	floor, block, barrier, sync stamp
}

// orders reports whether e is certainly ordered before s; if not, before decides.
func (w *window) orders(e, s stamp) bool {
	if e < w.barrier {
		return e >= w.block || e < w.floor
	}
	return (e^s)&stampWarp == 0 && (e < w.sync || (e^s)&stampThread == 0)
}

// settled is orders for the most common cases: accesses before the last barrier, and the thread's own.
func (w *window) settled(e, s stamp) bool {
	if e < w.barrier {
		return e >= w.block || e < w.floor
	}
	return (e^s)&stampThread == 0
}

// check checks an access and records it. It returns the first lane that races and the earlier access, or -1.
func (r *races) check(s *raceShadow, a *raceAccess) (lane int, with stamp) {
	if a.grid {
		return r.checkGrid(s, a)
	}
	win := window{a.floor, r.block, r.barrier, r.warps[a.stamp.warp()].sync}
	shift := uint(bits.TrailingZeros32(a.size))
	if a.row {
		return r.checkRow(s, a, &win, shift)
	}
	slowed, two := r.slowed, a.mask&(a.mask-1)
	weak := a.stamp&stampStrong == 0
	loads, writes := weak && !a.nc && a.stamp.kind() == accessLoad, weak && a.stamp.kind() == accessStore
	page, index := (*racePage)(nil), ^uint64(0)
	for rest := a.mask; rest != 0; rest &= rest - 1 {
		if rest == two&(two-1) && a.same && slowed == r.slowed && a.stamp.kind() == accessLoad {
			// All lanes read one place; recording two of them is enough.
			break
		}
		l := bits.TrailingZeros32(rest) & 31
		off := a.addr[l] - a.base
		if off>>racePageShift != index {
			index = off >> racePageShift
			page = r.pool.page(s, index, shift)
		}
		first := off & (racePageBytes - 1) >> page.shift
		if page.shift == shift { // the same as touch, for the most common cases
			g, st := &page.granules[first], a.stamp|stamp(l)<<stampLaneShift
			switch {
			case writes && win.settled(g.write, st) && win.settled(g.strong, st) && win.settled(g.since[0], st) && win.settled(g.since[1], st):
				*g = granule{write: st}
				continue
			case loads && win.settled(g.write, st) && win.settled(g.since[0], st) && g.strong < win.floor:
				g.since[0] = st
				continue
			}
		}
		if lane, with := r.touch(page.granules[first:first+1<<(shift-page.shift)], l, shift-page.shift, a, &win); with != 0 {
			return lane, with
		}
	}
	return -1, 0
}

// checkRow is check for lanes with contiguous addresses.
func (r *races) checkRow(s *raceShadow, a *raceAccess, win *window, shift uint) (lane int, with stamp) {
	off := a.addr[0] - a.base
	for l := 0; l < warpSize; {
		page := r.pool.page(s, off>>racePageShift, shift)
		in := off & (racePageBytes - 1)
		n := min((racePageBytes-in)>>shift, uint64(warpSize-l))
		lane, with := r.touch(page.granules[in>>page.shift:(in+n<<shift)>>page.shift], l, shift-page.shift, a, win)
		if with != 0 {
			return lane, with
		}
		off += n << shift
		l += int(n)
	}
	return -1, 0
}

// touch checks the accesses of lanes, from lane l on, to granules; each lane accesses 1<<per of them. For
// common cases it inlines what slow does.
func (r *races) touch(granules []granule, l int, per uint, a *raceAccess, win *window) (lane int, with stamp) {
	const how = stampStrong | stampWide | stampKind
	const atomic = stampStrong | stampWide | stamp(accessAtomic)
	switch {
	case a.stamp&(stampStrong|stampKind) == stamp(accessLoad):
		nc := a.nc
		for i := range granules {
			g := &granules[i]
			st := a.stamp | stamp(l+i>>per)<<stampLaneShift
			e, f := g.since[0], g.since[1]
			if g.write < win.floor && g.strong < win.floor { // no writes here
				if e < win.floor || e >= win.block && (e^st)&stampThread == 0 {
					g.since[0] = st
				} else {
					g.remember(st, win)
				}
				continue
			}
			if !win.orders(g.write, st) || nc && max(g.write, g.strong) >= win.floor || g.strong >= win.floor && (!win.orders(g.strong, st) ||
				e.writes() && !win.orders(e, st) || f.writes() && !win.orders(f, st)) {
				if with = r.slow(g, st, l+i>>per, a); with != 0 {
					return l + i>>per, with
				}
				continue
			}
			g.remember(st, win)
		}
	case a.stamp&(stampStrong|stampKind) == stamp(accessStore):
		for i := range granules {
			g := &granules[i]
			st := a.stamp | stamp(l+i>>per)<<stampLaneShift
			if win.orders(g.write, st) && win.orders(g.strong, st) && win.orders(g.since[0], st) && win.orders(g.since[1], st) {
				*g = granule{write: st}
			} else if with = r.slow(g, st, l+i>>per, a); with != 0 {
				return l + i>>per, with
			}
		}
	case a.stamp&how == atomic:
		other := func(e stamp) bool { return e >= win.floor && e&how != atomic }
		for i := range granules {
			g := &granules[i]
			st := a.stamp | stamp(l+i>>per)<<stampLaneShift
			if win.orders(g.write, st) && !other(g.strong) && !other(g.since[0]) && !other(g.since[1]) {
				g.strong = st
				g.remember(st, win)
			} else if with = r.slow(g, st, l+i>>per, a); with != 0 {
				return l + i>>per, with
			}
		}
	default:
		for i := range granules {
			if with = r.slow(&granules[i], a.stamp|stamp(l+i>>per)<<stampLaneShift, l+i>>per, a); with != 0 {
				return l + i>>per, with
			}
		}
	}
	return -1, 0
}

// remember records an access as one of the two since the last write.
func (g *granule) remember(s stamp, win *window) {
	e, f := g.since[0], g.since[1]
	if win.orders(e, s) {
		g.since[0] = s
	} else if e < win.block || win.orders(f, s) || f >= win.block && (f^e)&stampWarp == 0 {
		g.since[1] = s
	}
}

// slow checks one lane's access to one granule, and records it. It returns the earlier access of a race, or
// 0.
func (r *races) slow(g *granule, s stamp, lane int, a *raceAccess) stamp {
	r.slowed++
	for _, e := range [...]stamp{g.write, g.strong, g.since[0], g.since[1]} {
		if a.nc && e >= a.floor && e.writes() || r.conflict(e, s, a.floor) && !a.sameValue(e, s, lane) {
			return e
		}
	}
	if s&stampStrong == 0 && s.kind() == accessStore {
		*g = granule{write: s}
		return 0
	}
	if s.writes() && r.replaces(s, g.strong, a.floor) {
		g.strong = s
	}
	switch e, f := g.since[0], g.since[1]; {
	case r.replaces(s, e, a.floor):
		g.since[0] = s
	case r.replaces(s, f, a.floor):
		g.since[1] = s
	case r.distance(e, s) > r.distance(e, f):
		g.since[1] = s
	case r.distance(f, s) > r.distance(e, f):
		g.since[0] = s
	}
	return 0
}

// replaces reports whether every later access that races with e also races with s, so that s may be recorded
// instead of e.
func (r *races) replaces(s, e, floor stamp) bool {
	return e < floor || s.power() >= e.power() && (s.writes() || !e.writes()) && r.before(e, s)
}

// sameValue reports whether two lanes of one store write the same value to one place.
func (a *raceAccess) sameValue(e, s stamp, lane int) bool {
	const other = stampLaneShift
	if e&^(31<<other) != s&^(31<<other) {
		return a.memory != nil && s.kind() == accessStore && e.kind() == accessStore && a.sameStored(lane)
	}
	if s.kind() != accessStore || a.values == nil {
		return false
	}
	m := e.lane()
	if a.mask>>m&1 == 0 || a.addr[m] != a.addr[lane] {
		return false
	}
	lo, hi := a.values.stored(lane)
	lo2, hi2 := a.values.stored(m)
	return lo == lo2 && hi == hi2
}

// distance returns how far apart the threads of two accesses are: 0 in one warp, 1 in two warps of a block, 2
// in two blocks.
func (r *races) distance(e, f stamp) int {
	if r.blockOf(e) != r.blockOf(f) {
		return 2
	}
	if (e^f)&stampWarp != 0 {
		return 1
	}
	return 0
}
