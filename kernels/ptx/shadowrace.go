package ptx

// A stamp describes an access in the shadow memory. Its fields, from the high bits:
//
//	epoch   34  when; see races
//	pc      16  the instruction; pcUnknown if the number does not fit
//	warp     5
//	lane     5
//	wide     1  strong also for threads of other blocks (.gpu and .sys)
//	strong   1  volatile, relaxed, acquire, release, or an atomic
//	kind     2  accessKind
//
// Stamps compare like their epochs. 0 is before all of them.
type stamp uint64

const (
	stampKind   stamp = 3
	stampStrong stamp = 1 << 2
	stampWide   stamp = 1 << 3

	stampLaneShift  = 4
	stampWarpShift  = 9
	stampPCShift    = 14
	stampEpochShift = 30

	stampThread stamp = 0x3ff << stampLaneShift
	stampWarp   stamp = 0x1f << stampWarpShift

	oneEpoch  stamp = 1 << stampEpochShift
	lastEpoch stamp = 1<<64 - 1<<stampEpochShift
	pcUnknown       = 1<<16 - 1
)

// power ranks accesses by what they race with: a weak one with any other access, a strong one only with those
// of threads outside its scope.
func (s stamp) power() int {
	switch {
	case s&stampStrong == 0:
		return 2
	case s&stampWide == 0:
		return 1
	}
	return 0
}

func (s stamp) kind() accessKind { return accessKind(s & stampKind) }
func (s stamp) warp() int        { return int(s >> stampWarpShift & 31) }
func (s stamp) lane() int        { return int(s >> stampLaneShift & 31) }
func (s stamp) pc() int          { return int(s >> stampPCShift & pcUnknown) }

// writes reports whether the access writes.
func (s stamp) writes() bool { return s&stampKind != stamp(accessLoad) }

// granule records accesses to some bytes that have always been accessed together: the last weak write, and
// since then the last strong write and up to two reads or atomics that are not ordered with each other. The
// two are as far apart as any such pair was: from two blocks if possible, else from two warps, else from two
// lanes. So an access that is unordered with one that was not kept is also unordered with one of the two, as
// long as order comes only from barriers of a block and of a whole warp.
type granule struct {
	write, strong stamp
	since         [2]stamp
}

// A racePage has the granules of racePageBytes of memory. They are as large as the accesses allow: a page
// starts with the size of its first access, and is split when a smaller one comes.
type racePage struct {
	shift    uint // a granule is 1<<shift bytes
	granules []granule
}

const (
	racePageShift = 10
	racePageBytes = 1 << racePageShift
	maxGranule    = 4 // shift of the largest granule, 16 bytes
)

// raceShadow has the granules of an allocation, or of a block's shared memory. It has pages only where the
// launch has accessed memory.
type raceShadow struct {
	chunks []*raceChunk
}

const raceChunkPages = 64

// raceChunk has pointers to the pages of raceChunkPages·racePageBytes of memory.
type raceChunk [raceChunkPages]*racePage

func newRaceShadow(size int64) *raceShadow {
	const chunk = raceChunkPages * racePageBytes
	return &raceShadow{chunks: make([]*raceChunk, (size+chunk-1)/chunk)}
}

// slot returns the address of the pointer to the page with an index.
func (s *raceShadow) slot(index uint64) **racePage {
	c := s.chunks[index/raceChunkPages]
	if c == nil {
		c = new(raceChunk)
		s.chunks[index/raceChunkPages] = c
	}
	return &c[index%raceChunkPages]
}

// racePool provides pages, and takes those of a launch back when the next one starts. Their old stamps are
// before everything in the new launch, so they need not be cleared.
type racePool struct {
	free  [maxGranule + 1][]*racePage // unused pages, by shift
	used  []**racePage                // places of pointers to pages in use
	held  int64                       // number of granules of all pages
	limit int64                       // largest allowed held
}

// maxGranules limits the shadow memory of a device to 4 GiB. A launch that needs more drops what it has
// recorded so far, so it may miss races.
const maxGranules = 4 << 30 / 32

// page returns the page at an index of a shadow, with granules of at most 1<<shift bytes.
func (p *racePool) page(s *raceShadow, index uint64, shift uint) *racePage {
	slot := s.slot(index)
	if page := *slot; page != nil && page.shift <= shift {
		return page
	}
	if p.held >= p.limit {
		p.forget()
	}
	fine := p.take(shift)
	if page := *slot; page == nil {
		p.used = append(p.used, slot)
	} else {
		for i := range fine.granules {
			fine.granules[i] = page.granules[i>>(page.shift-shift)]
		}
		clear(page.granules) // their stamps are of this launch
		p.give(page)
	}
	*slot = fine
	return fine
}

// take returns a page whose granules may have stamps of earlier launches.
func (p *racePool) take(shift uint) *racePage {
	if free := p.free[shift]; len(free) > 0 {
		p.free[shift] = free[:len(free)-1]
		return free[len(free)-1]
	}
	p.held += racePageBytes >> shift
	return &racePage{shift, make([]granule, racePageBytes>>shift)}
}

func (p *racePool) give(page *racePage) {
	p.free[page.shift] = append(p.free[page.shift], page)
}

// reset takes all pages back.
func (p *racePool) reset() {
	for _, u := range p.used {
		p.give(*u)
		*u = nil
	}
	clear(p.used) // so that freed allocations can be collected
	p.used = p.used[:0]
}

// forget drops all pages and their stamps.
func (p *racePool) forget() {
	p.reset()
	*p = racePool{used: p.used, limit: p.limit}
}
