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
// So the pattern in which the last block sums what all blocks have written is ordered if each block has a
// barrier, then a fence and an atomic by one thread, and the last block has a fence and a barrier between its
// atomic and its reads.
type publications struct {
	active bool // the launch has executed a fence or published something
	warps  [][warpSize]threadView
	own    []bool     // warps with a view for each thread
	all    threadView // view shared by the threads of the other warps

	global   map[uint64]*place // by address
	inShared map[uint64]*place // by offset in the block's shared memory

	indexed *view // the view that index was made of
	index   map[stamp][]*view
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

// place is what is published at an address: to all blocks, and to the threads of one block.
type place struct {
	published [toAll + 1]*view
	block     stamp // of published[toBlock]
}

func (p *publications) clear() { *p = publications{warps: p.warps, own: p.own} }

// beginBlock resets the views of the previous block's threads.
func (p *publications) beginBlock() {
	p.all = threadView{}
	clear(p.own)
	p.inShared = nil
}

// before reports whether the thread of s has acquired e.
func (p *publications) before(r *races, e, s stamp) bool {
	if !p.active {
		return false
	}
	acquired := p.thread(s.warp(), s.lane()).acquired
	return acquired != nil && p.reaches(r, acquired, e)
}

// thread returns a thread's view, for reading.
func (p *publications) thread(warp, lane int) *threadView {
	if warp < len(p.own) && p.own[warp] {
		return &p.warps[warp][lane]
	}
	return &p.all
}

// change returns the views of a warp's threads, for writing.
func (p *publications) change(warp int) *[warpSize]threadView {
	p.active = true
	for len(p.warps) <= warp {
		p.warps = append(p.warps, [warpSize]threadView{})
		p.own = append(p.own, false)
	}
	if !p.own[warp] {
		p.own[warp] = true
		for l := range p.warps[warp] {
			p.warps[warp][l] = p.all
		}
	}
	return &p.warps[warp]
}

// nearViews is the number of views that reaches visits before it builds an index.
const nearViews = 32

// reaches reports whether a view, or one of its ancestors, includes an access.
func (p *publications) reaches(r *races, v *view, e stamp) bool {
	if p.indexed != v {
		var queue [nearViews]*view
		queue[0] = v
		n, complete := 1, true
		for i := 0; i < n; i++ {
			if queue[i].has(e) {
				return true
			}
			for _, up := range queue[i].parents {
				if n == nearViews {
					complete = false
					break
				}
				queue[n] = up
				n++
			}
		}
		if complete {
			return false
		}
		p.makeIndex(v)
	}
	first := r.startOf(e).at
	return slices.ContainsFunc(p.index[first], func(v *view) bool { return v.has(e) })
}

// makeIndex indexes v's ancestors by block.
func (p *publications) makeIndex(v *view) {
	p.indexed, p.index = v, map[stamp][]*view{}
	seen := map[*view]bool{v: true}
	for todo := []*view{v}; len(todo) > 0; {
		v := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if v.first != 0 {
			p.index[v.first] = append(p.index[v.first], v)
		}
		for _, up := range v.parents {
			if !seen[up] {
				seen[up] = true
				todo = append(todo, up)
			}
		}
	}
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
func (p *publications) strong(r *races, places *map[uint64]*place, a *raceAccess, sem semantics, to reach) {
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
		at := (*places)[addr]
		if at != nil && at.block != r.block {
			at.block, at.published[toBlock] = r.block, nil
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
			if *places == nil {
				*places = map[uint64]*place{}
			}
			at = &place{block: r.block}
			(*places)[addr] = at
		}
		for k := toBlock; k <= to; k++ {
			if kind == accessStore {
				at.published[k] = nil
			}
			at.published[k] = r.join(at.published[k], t.fenced[k])
		}
	}
}

// blockBarrier shares the views of all threads of the block.
func (p *publications) blockBarrier(r *races) {
	if !slices.Contains(p.own, true) {
		return
	}
	p.partBarrier(r, ^uint32(0))
	p.all = p.warps[slices.Index(p.own, true)][0]
	clear(p.own)
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
	if warp >= len(p.own) || !p.own[warp] {
		return
	}
	var g gathering
	threads := &p.warps[warp]
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
