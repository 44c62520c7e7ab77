package ptx

import (
	"cmp"
	"math/bits"
	"slices"
)

// Races in a cooperative launch, where blocks take turns.

// gridRaces is the state of the race check of a cooperative launch: the clocks and views of the blocks that
// wait for their turn, and the accesses to global memory. Blocks of a cooperative launch usually synchronize,
// so accesses of every block are recorded. In other launches two accesses are enough, of different blocks or
// warps if possible.
type gridRaces struct {
	waiting map[uint64]*blockRaces // by the block's linear index
	pages   map[historyKey]*historyPage
	last    *historyPage // the page requested last; its key is lastKey
	lastKey historyKey
	held    int64 // approximate bytes of all pages
	limit   int64 // all accesses are dropped when held reaches it
}

// blockRaces is the state of the race check of a block that waits for its turn.
type blockRaces struct {
	blockTime
	blockViews
	loaded, written extent64 // of deferred
}

// history has the accesses to some bytes that have always been accessed together: the last weak write, and
// the later accesses that no newer one replaces. Per block, kind and strength it has at most two, of different
// warps if possible, as a granule has.
type history struct {
	write         event
	writes, reads []event // by block, ascending; an atomic is a write
}

// event is an access by a block.
type event struct {
	at    stamp
	block uint64
}

// historyKey identifies a page of racePageBytes of memory.
type historyKey struct {
	memory *raceShadow
	index  uint64
}

// historyPage has the histories of a page, each of 1<<shift bytes.
type historyPage struct {
	shift     uint
	histories []history
}

const (
	historyBytes = 64
	eventBytes   = 16
)

// beginTogether sets the state for a cooperative launch, in which blocks take turns. The launch has begun.
func (r *races) beginTogether() {
	r.grid = &gridRaces{
		waiting: map[uint64]*blockRaces{}, pages: map[historyKey]*historyPage{}, limit: r.pool.limit * 32,
	}
}

// leave ends the running block's turn. shared is the block's shared memory.
func (r *races) leave(shared *raceShadow) {
	r.catchUp(shared)
	r.grid.waiting[r.number] = &blockRaces{r.blockTime, r.blockViews, r.deferred.loaded, r.deferred.written}
	r.warps, r.blockViews = make([]warpTime, len(r.warps)), blockViews{}
}

// enter starts another turn of a block.
func (r *races) enter(block uint64) {
	r.tick()
	s := r.grid.waiting[block]
	delete(r.grid.waiting, block)
	r.blockTime, r.blockViews = s.blockTime, s.blockViews
	r.deferred.forget()
	r.deferred.loaded, r.deferred.written = s.loaded, s.written
}

// forget drops all stamps of the launch after an overflow of the epoch.
func (g *gridRaces) forget(now stamp) {
	for _, s := range g.waiting {
		s.blockViews = blockViews{}
		s.blockTime.begin(now)
	}
	g.drop()
}

// drop drops all accesses.
func (g *gridRaces) drop() {
	clear(g.pages)
	g.last, g.held = nil, 0
}

// page returns the page of a key. Its histories are of at most 1<<shift bytes; a coarser page is split.
func (g *gridRaces) page(key historyKey, shift uint) *historyPage {
	if g.last != nil && g.lastKey == key && g.last.shift <= shift {
		return g.last
	}
	p := g.pages[key]
	if p == nil || p.shift > shift {
		if g.held >= g.limit {
			g.drop()
			p = nil
		}
		fine := &historyPage{shift, make([]history, racePageBytes>>shift)}
		g.held += historyBytes * racePageBytes >> shift
		if p != nil {
			for i := range fine.histories {
				from := &p.histories[i>>(p.shift-shift)]
				fine.histories[i] = history{from.write, slices.Clone(from.writes), slices.Clone(from.reads)}
				g.held += eventBytes * int64(len(from.writes)+len(from.reads))
			}
		}
		g.pages[key], p = fine, fine
	}
	g.last, g.lastKey = p, key
	return p
}

// histories returns the histories of the bytes that a lane accesses.
func (r *races) histories(s *raceShadow, a *raceAccess, lane int) []history {
	off, shift := a.addr[lane]-a.base, uint(bits.TrailingZeros32(a.size))
	p := r.grid.page(historyKey{s, off >> racePageShift}, shift)
	first := off & (racePageBytes - 1) >> p.shift
	return p.histories[first : first+1<<(shift-p.shift)]
}

// checkGrid is check for an access to global memory in a cooperative launch.
func (r *races) checkGrid(s *raceShadow, a *raceAccess) (lane int, with stamp) {
	writes, lanes := a.stamp.writes(), a.mask
	if a.same && !writes && r.sameOrder(a.stamp.warp()) {
		// All lanes read the same address; recording two of them is enough.
		two := lanes & (lanes - 1)
		lanes = lanes&-lanes | two&-two
	}
	for rest := lanes; rest != 0; rest &= rest - 1 {
		l := bits.TrailingZeros32(rest) & 31
		st := a.stamp | stamp(l)<<stampLaneShift
		histories := r.histories(s, a, l)
		for i := range histories {
			h := &histories[i]
			if r.races(h.write, st, l, a) {
				a.other = h.write.block
				return l, h.write.at
			}
			lists := [2][]event{h.writes, h.reads}
			if !writes {
				lists[1] = nil
			}
			for _, list := range lists {
				for _, e := range list {
					if r.races(e, st, l, a) {
						a.other = e.block
						return l, e.at
					}
				}
			}
			r.remember(h, st)
		}
	}
	return -1, 0
}

// sameOrder reports whether all lanes of a warp are ordered after the same accesses of other threads.
func (r *races) sameOrder(warp int) bool {
	return r.warps[warp].lanes == nil && (warp >= len(r.apart) || !r.apart[warp])
}

// races reports whether an earlier access e and a lane's access s form a race. At least one is a write.
func (r *races) races(e event, s stamp, lane int, a *raceAccess) bool {
	switch {
	case e.at < a.floor:
		return false
	case a.nc:
		return true
	case e.at&s&stampStrong != 0 && (e.at&s&stampWide != 0 || e.block == r.number):
		return false
	}
	return !r.beforeIn(e.at, s, e.block) && !a.sameValue(e.at, s, lane)
}

// remember records an access in a history. Each earlier access is ordered before it, is strong like it, or
// its race with it has been reported.
func (r *races) remember(h *history, s stamp) {
	switch {
	case s&stampStrong == 0 && s.kind() == accessStore:
		h.write, h.writes, h.reads = event{s, r.number}, h.writes[:0], h.reads[:0]
	case s.writes():
		h.writes = r.add(h.writes, s)
	default:
		h.reads = r.add(h.reads, s)
	}
}

// add adds an access of the running block to a list of its kind. It removes accesses of the block if any
// later race with them is also a race with s. At most two accesses of the strength of s remain.
func (r *races) add(list []event, s stamp) []event {
	first, _ := slices.BinarySearchFunc(list, r.number, func(e event, block uint64) int { return cmp.Compare(e.block, block) })
	last := first
	var alike [2]int // indices of accesses with the strength of s
	n := 0
	for at := first; at < len(list) && list[at].block == r.number; at++ {
		e := list[at].at
		if s.power() >= e.power() && r.beforeIn(e, s, r.number) {
			continue
		}
		if e.power() == s.power() {
			alike[n&1] = last
			n++
		}
		list[last].at = e
		last++
	}
	past := last
	for past < len(list) && list[past].block == r.number {
		past++
	}
	apart := func(e, f stamp) bool { return (e^f)&stampWarp != 0 }
	switch {
	case n < 2 && past > last: // there is room
		list[last].at = s
		last++
	case n < 2:
		r.grid.held += eventBytes
		return slices.Insert(list, last, event{s, r.number})
	case !apart(list[alike[0]].at, list[alike[1]].at) && apart(list[alike[0]].at, s):
		list[alike[1]].at = s
	}
	return slices.Delete(list, last, past)
}
