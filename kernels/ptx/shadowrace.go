package ptx

// A stamp is an access as the shadow memory remembers it. From its high bits:
//
//	epoch   34  when; see timeline
//	pc      16  which instruction; pcUnknown for one that does not fit
//	warp     5
//	lane     5
//	wide     1  strong, for threads of other blocks as well (.gpu and .sys)
//	strong   1  volatile, relaxed, acquire, release, or an atomic
//	kind     2  accessKind
//
// Stamps compare as their epochs do. 0 is before all of them.
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

// power orders accesses by what they are a race with: a weak one with any, a strong
// one with those of whom its scope leaves out the thread.
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

// granule remembers the accesses to some bytes that have always been accessed
// together: the last weak write, and what came since then: the last strong write,
// and up to two reads or atomics that have no order between them. The two are
// chosen as far apart as any were: of two blocks if any were of two blocks, else
// of two warps, else of two lanes. So whoever has no order with one of those left
// out has none with one of the two, as long as order comes from the barriers of a
// block and of a whole warp.
type granule struct {
	write, strong stamp
	since         [2]stamp
}

// A racePage is the granules of racePageBytes of memory. They are as large as its
// accesses allow: a page starts with the size of its first access, and is split
// when a smaller one comes.
type racePage struct {
	shift    uint // a granule is 1<<shift bytes
	granules []granule
}

const (
	racePageShift = 10
	racePageBytes = 1 << racePageShift
	maxGranule    = 4 // the shift of the largest, 16 bytes
)

// raceShadow is the granules of an allocation, or of a block's shared memory. It
// has pages only where the launch has been.
type raceShadow struct {
	chunks []*raceChunk
}

const raceChunkPages = 64

// raceChunk is the pages of as many times racePageBytes.
type raceChunk [raceChunkPages]*racePage

func newRaceShadow(size int64) *raceShadow {
	const chunk = raceChunkPages * racePageBytes
	return &raceShadow{chunks: make([]*raceChunk, (size+chunk-1)/chunk)}
}

// slot returns where the page at an index is kept.
func (s *raceShadow) slot(index uint64) **racePage {
	c := s.chunks[index/raceChunkPages]
	if c == nil {
		c = new(raceChunk)
		s.chunks[index/raceChunkPages] = c
	}
	return &c[index%raceChunkPages]
}

// racePool hands pages out, and takes back those of a launch when the next one
// starts: what they remember is then before everything, so that nothing is
// cleared.
type racePool struct {
	free  [maxGranule + 1][]*racePage // by shift
	used  []**racePage                // where they are
	held  int64                       // granules of all pages, free or used
	limit int64                       // of held
}

// maxGranules bounds the shadow memory of a device to 4 GiB. A launch that needs
// more forgets what it has done so far, and so may miss races.
const maxGranules = 4 << 30 / 32

// page returns the page at an index of a shadow, with granules of at most
// 1<<shift bytes.
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
		clear(page.granules) // they are of this launch
		p.give(page)
	}
	*slot = fine
	return fine
}

// take returns a page whose granules may remember earlier launches.
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

// reset takes every page back.
func (p *racePool) reset() {
	for _, u := range p.used {
		p.give(*u)
		*u = nil
	}
	clear(p.used) // let freed allocations go
	p.used = p.used[:0]
}

// forget drops every page, with what it remembers.
func (p *racePool) forget() {
	p.reset()
	*p = racePool{used: p.used, limit: p.limit}
}
