package ptx

import (
	"math/bits"
	"slices"
)

// publications implements the order established by fences, releases and acquires (PTX ISA, chapter 8: release
// and acquire patterns). A thread that executes a fence and later writes a location strongly publishes there
// everything ordered before the fence. A thread that reads the location strongly, and later executes a fence,
// orders all of that before what follows the fence. A write with .release is such a fence and write in one, a
// read with .acquire such a read and fence. A later atomic keeps what its location publishes; a strong store
// replaces it.
//
// Between the fence and the write, and between the read and the fence, there may be barriers, so they may be
// executed by different threads. The manual says this only of membar and fence.sc; here it also holds for
// fence.acq_rel.
//
// A common pattern is a reduction in which the last block to finish sums the results of all blocks. It has no
// race if in each block a barrier is followed by a fence and an atomic of one thread, and in the last block the
// atomic is followed by a fence and a barrier before the reads.
type publications struct {
	active bool                     // the launch has executed a fence or published something
	global map[uint64]*syncLocation // by address
	blockViews
}

// blockViews is what the threads of a block have fenced, read and acquired.
type blockViews struct {
	views    [][warpSize]threadView   // by warp
	apart    []bool                   // warps with a view for each thread
	all      threadView               // view shared by the threads of the other warps
	inShared map[uint64]*syncLocation // by offset in the block's shared memory
}

// reach is the scope of a fence or strong access: the block, or all blocks.
type reach int

const (
	toBlock reach = iota
	toAll
)

func reachOf(s scope) reach {
	if s >= scopeGPU {
		return toAll
	}
	return toBlock
}

// threadView is what a thread publishes with its next strong write, what it has read but not yet acquired by
// a fence, and what it has acquired.
type threadView struct {
	fenced, pending [toAll + 1]*view
	acquired        *view
}

// syncLocation is what is published at an address: to all blocks, and to the threads of one block.
type syncLocation struct {
	published [toAll + 1]*view
	arrived   [toAll + 1]*view // of an mbarrier: what the arrivals of the current phase will publish at its end
	block     uint64           // of published[toBlock]
	elsewhere map[uint64]*view // what is published to the threads of other blocks, by block
}

// enter makes published[toBlock] that of the running block. What was published to the threads of another block
// is kept in elsewhere if they may run again.
func (at *syncLocation) enter(r *races) {
	if at.block == r.number {
		return
	}
	if v := at.published[toBlock]; v != nil && r.grid != nil {
		if at.elsewhere == nil {
			at.elsewhere = map[uint64]*view{}
		}
		at.elsewhere[at.block] = v
	}
	at.block, at.published[toBlock] = r.number, at.elsewhere[r.number]
}

func (p *publications) clear() {
	*p = publications{blockViews: blockViews{views: p.views, apart: p.apart}}
}

// beginBlock resets the views of the previous block's threads.
func (p *publications) beginBlock() {
	p.all = threadView{}
	clear(p.apart)
	p.inShared = nil
}

// before reports whether the thread of s has acquired e, an access of a block.
func (p *publications) before(e, s stamp, block uint64) bool {
	if !p.active {
		return false
	}
	acquired := p.thread(s.warp(), s.lane()).acquired
	return acquired != nil && acquired.has(e, block)
}

// thread returns a thread's view, for reading.
func (p *publications) thread(warp, lane int) *threadView {
	if warp < len(p.apart) && p.apart[warp] {
		return &p.views[warp][lane]
	}
	return &p.all
}

// change returns the views of a warp's threads, for writing.
func (p *publications) change(warp int) *[warpSize]threadView {
	p.active = true
	for len(p.views) <= warp {
		p.views = append(p.views, [warpSize]threadView{})
		p.apart = append(p.apart, false)
	}
	if !p.apart[warp] {
		p.apart[warp] = true
		for l := range p.views[warp] {
			p.views[warp][l] = p.all
		}
	}
	return &p.views[warp]
}

// fence handles a fence by some lanes of a warp.
func (p *publications) fence(r *races, warp int, mask uint32, to reach) {
	r.tick()
	threads := p.change(warp)
	for rest := mask; rest != 0; rest &= rest - 1 {
		l := bits.TrailingZeros32(rest)
		p.fenceThread(r, &threads[l], warp, l, to)
	}
}

// fenceThread handles a fence by one thread.
func (p *publications) fenceThread(r *races, t *threadView, warp, lane int, to reach) {
	p.acquire(r, t, to)
	known := r.join(r.known(warp, lane), t.acquired)
	for k := toBlock; k <= to; k++ {
		t.fenced[k] = r.join(known, t.fenced[k])
	}
}

// acquire is the half of a fence that orders what was read from locations before what follows.
func (p *publications) acquire(r *races, t *threadView, to reach) {
	for k := toBlock; k <= to; k++ {
		t.acquired = r.join(t.acquired, t.pending[k])
		t.pending[k] = nil
	}
}

// strong handles a warp's strong access to locations of global or shared memory: what it publishes, and what
// it reads of published orders. It runs after the access was checked for races.
func (p *publications) strong(r *races, locations *map[uint64]*syncLocation, a *raceAccess, sem semantics, to reach) {
	kind, warp := a.stamp.kind(), a.stamp.warp()
	acquires := kind != accessStore && sem >= semAcquire
	releases := kind != accessLoad && sem >= semRelease
	if !p.active && !releases {
		return // nothing was published before or is now
	}
	if releases {
		r.tick()
	}
	threads := p.change(warp)
	for rest := a.mask; rest != 0; rest &= rest - 1 {
		l := bits.TrailingZeros32(rest)
		t, addr := &threads[l], a.addr[l]
		at := (*locations)[addr]
		if at != nil {
			at.enter(r)
		}
		if at != nil && kind != accessStore {
			for k := toBlock; k <= to; k++ {
				t.pending[k] = r.join(t.pending[k], at.published[k])
			}
		}
		switch {
		case releases:
			p.fenceThread(r, t, warp, l, to)
		case acquires:
			p.acquire(r, t, to)
		}
		if kind == accessLoad || at == nil && t.fenced == [toAll + 1]*view{} {
			continue
		}
		if at == nil {
			if *locations == nil {
				*locations = map[uint64]*syncLocation{}
			}
			at = &syncLocation{block: r.number}
			(*locations)[addr] = at
		}
		for k := toBlock; k <= to; k++ {
			if kind == accessStore {
				at.published[k], at.elsewhere = nil, nil
			}
			if a.arrival {
				at.arrived[k] = r.join(at.arrived[k], t.fenced[k])
			} else {
				at.published[k] = r.join(at.published[k], t.fenced[k])
			}
		}
	}
}

// endPhase publishes what the arrivals of a phase of an mbarrier have released.
func (p *publications) endPhase(r *races, offset uint64) {
	at := p.inShared[offset]
	if at == nil {
		return
	}
	for k, v := range at.arrived {
		at.published[k], at.arrived[k] = r.join(at.published[k], v), nil
	}
}

// blockBarrier shares the views of all threads of the block.
func (p *publications) blockBarrier(r *races) {
	if !slices.Contains(p.apart, true) {
		return
	}
	p.partBarrier(r, ^uint32(0))
	p.all = p.views[slices.Index(p.apart, true)][0]
	clear(p.apart)
}

// partBarrier does the same for the threads of some warps.
func (p *publications) partBarrier(r *races, warps uint32) {
	if !p.active {
		return
	}
	var g gathering
	for w := range r.warps {
		if warps>>w&1 != 0 {
			for l := range warpSize {
				g.add(p.thread(w, l))
			}
		}
	}
	together := g.joined(r)
	for k := range together.fenced {
		together.fenced[k] = r.compact(together.fenced[k])
	}
	for w := range r.warps {
		if warps>>w&1 != 0 {
			threads := p.change(w)
			for l := range threads {
				threads[l] = together
			}
		}
	}
}

// warpBarrier does the same for some lanes of a warp.
func (p *publications) warpBarrier(r *races, warp int, mask uint32) {
	if warp >= len(p.apart) || !p.apart[warp] {
		return
	}
	var g gathering
	threads := &p.views[warp]
	for rest := mask; rest != 0; rest &= rest - 1 {
		g.add(&threads[bits.TrailingZeros32(rest)])
	}
	together := g.joined(r)
	for rest := mask; rest != 0; rest &= rest - 1 {
		threads[bits.TrailingZeros32(rest)] = together
	}
}

// gathering collects the views of threads that reach a barrier.
type gathering struct {
	fenced, pending [toAll + 1][]*view
	acquired        []*view
}

func (g *gathering) add(t *threadView) {
	for k := range t.fenced {
		g.fenced[k] = another(g.fenced[k], t.fenced[k])
		g.pending[k] = another(g.pending[k], t.pending[k])
	}
	g.acquired = another(g.acquired, t.acquired)
}

// another appends a view to others, unless it is nil or already among them.
func another(views []*view, v *view) []*view {
	if v == nil || slices.Contains(views, v) {
		return views
	}
	return append(views, v)
}

func (g *gathering) joined(r *races) (t threadView) {
	for k := range t.fenced {
		t.fenced[k] = r.join(g.fenced[k]...)
		t.pending[k] = r.join(g.pending[k]...)
	}
	t.acquired = r.join(g.acquired...)
	return t
}
