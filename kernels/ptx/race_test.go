package ptx

import (
	"math/bits"
	"math/rand/v2"
	"testing"

	"kvcompress/internal/testsize"
)

// raceTwin is races without shortcuts: a vector clock for each thread of the launch, and every access to
// every byte.
type raceTwin struct {
	block   int
	threads [twinThreads]*twinThread
	bytes   map[uint64][]twinAccess
	places  map[uint64]*twinPlace
}

// The most threads of a launch in the tests.
const (
	twinWarps   = 3
	twinThreads = 4 * twinWarps * warpSize
)

// A vector is a vector clock: the last epoch known of each thread.
type vector [twinThreads]int32

func (v *vector) join(u *vector) {
	for t, c := range u {
		v[t] = max(v[t], c)
	}
}

type twinThread struct {
	id      int
	knows   vector
	fenced  [2]vector
	pending [2]vector
}

// A twinPlace holds what is published at an address: to all threads, and to the threads of each
// block.
type twinPlace struct {
	toAll   vector
	toBlock [4]vector
}

// to returns what is published to the threads of a block.
func (p *twinPlace) to(k, block int) *vector {
	if reach(k) == toAll {
		return &p.toAll
	}
	return &p.toBlock[block]
}

type twinAccess struct {
	thread       int
	clock        int32
	block        int
	kind         accessKind
	strong, wide bool
}

func newTwin() *raceTwin {
	return &raceTwin{bytes: map[uint64][]twinAccess{}, places: map[uint64]*twinPlace{}}
}

func (w *raceTwin) thread(warp, lane int) *twinThread {
	id := (w.block*twinWarps+warp)*warpSize + lane
	t := w.threads[id]
	if t == nil {
		t = &twinThread{id: id}
		t.knows[id] = 1
		w.threads[id] = t
	}
	return t
}

// meet is a barrier of some threads.
func (w *raceTwin) meet(threads []*twinThread, arrived ...*vector) {
	var all vector
	var fenced, pending [2]vector
	for _, a := range arrived {
		all.join(a)
	}
	for _, t := range threads {
		all.join(&t.knows)
		for k := range 2 {
			fenced[k].join(&t.fenced[k])
			pending[k].join(&t.pending[k])
		}
	}
	for _, t := range threads {
		t.knows, t.fenced, t.pending = all, fenced, pending
		t.knows[t.id]++
	}
}

func (w *raceTwin) ofWarps(mask uint32) (all []*twinThread) {
	for v := range twinWarps {
		if mask>>v&1 != 0 {
			for l := range warpSize {
				all = append(all, w.thread(v, l))
			}
		}
	}
	return all
}

func (w *raceTwin) acquire(t *twinThread, to reach) {
	for k := range int(to) + 1 {
		t.knows.join(&t.pending[k])
		t.pending[k] = vector{}
	}
}

func (w *raceTwin) fence(t *twinThread, to reach) {
	w.acquire(t, to)
	for k := range int(to) + 1 {
		t.fenced[k].join(&t.knows)
	}
	t.knows[t.id]++
}

func (w *raceTwin) access(a *raceAccess, sem semantics, to reach) bool {
	kind, warp := a.stamp.kind(), a.stamp.warp()
	strong := a.stamp&stampStrong != 0
	found := false
	for l := range warpSize {
		if a.mask>>l&1 == 0 {
			continue
		}
		t := w.thread(warp, l)
		me := twinAccess{t.id, t.knows[t.id], w.block, kind, strong, to == toAll}
		for b := a.addr[l]; b < a.addr[l]+uint64(a.size); b++ {
			for _, e := range w.bytes[b] {
				switch {
				case a.nc && e.kind != accessLoad:
					found = true
				case e.kind == accessLoad && kind == accessLoad, e.clock <= t.knows[e.thread]:
				case e.strong && strong && (e.block == w.block || e.wide && me.wide):
				default:
					found = true
				}
			}
			w.bytes[b] = append(w.bytes[b], me)
		}
	}
	if !strong {
		return found
	}
	for l := range warpSize {
		if a.mask>>l&1 == 0 {
			continue
		}
		t := w.thread(warp, l)
		p := w.places[a.addr[l]]
		if p == nil {
			p = new(twinPlace)
			w.places[a.addr[l]] = p
		}
		if kind != accessStore {
			for k := range int(to) + 1 {
				t.pending[k].join(p.to(k, w.block))
			}
		}
		switch {
		case sem >= semRelease:
			w.fence(t, to)
		case sem == semAcquire:
			w.acquire(t, to)
		}
		if kind != accessLoad {
			if kind == accessStore {
				p.toBlock = [4]vector{}
				if to == toAll {
					p.toAll = vector{}
				}
			}
			for k := range int(to) + 1 {
				p.to(k, w.block).join(&t.fenced[k])
			}
		}
	}
	return found
}

// raceScript is what a random launch may contain.
type raceScript struct {
	name           string
	strong         bool // atomics, and volatile loads and stores
	narrow         bool // some of them with block scope
	fences         bool // fences, releases and acquires
	parts          bool // barriers of some warps of a block, or lanes of a warp
	alone          bool // blocks of one thread
	turns          bool // the launch is cooperative
	blocks, places int
}

// run makes a random launch on both models, up to the first race, and returns what each reported.
func (sc raceScript) run(seed uint64) (got, want bool, steps int) {
	rng := rand.New(rand.NewPCG(7, seed))
	const warps = twinWarps
	r, twin := newRaces(), newTwin()
	for range seed % 3 { // earlier launches leave stamps in the shadow memory
		r.beginLaunch(warps * warpSize)
		r.beginBlock(0)
		var addr [warpSize]uint64
		r.check(newRaceShadow(1024), &raceAccess{addr: &addr, mask: 1, size: 4, stamp: r.now | stamp(accessStore), floor: r.launch})
	}
	shadow, inShared := newRaceShadow(4096), newRaceShadow(0)
	r.beginLaunch(warps * warpSize)
	turns, order := sc.blocks, 2 // order: how often there is what orders blocks
	if sc.turns {
		r.beginTogether()
		turns, order = 3*turns, 6
	}
	begun := make([]bool, sc.blocks)
	arrivals, twinArrivals := make([][]arrival, sc.blocks), make([][]*vector, sc.blocks)
	for turn := range turns {
		block := turn
		if sc.turns {
			if turn > 0 {
				r.leave(inShared)
			}
			block = rng.IntN(sc.blocks)
		}
		if begun[block] {
			r.enter(uint64(block))
		} else {
			r.beginBlock(uint64(block))
			begun[block] = true
		}
		twin.block = block
		arrived, twinArrived := arrivals[block], twinArrivals[block]
		for range rng.IntN(1 + rng.IntN(30)) {
			steps++
			warp := rng.IntN(warps)
			mask := uint32(1) << rng.IntN(4)
			if rng.IntN(3) == 0 {
				mask = 1 + rng.Uint32N(15)
			}
			if sc.alone {
				warp, mask = 0, 1
			}
			switch n := rng.IntN(20); {
			case n < 2:
				r.blockBarrier()
				twin.meet(twin.ofWarps(1<<warps - 1))
			case n < 4:
				r.warpBarrier(warp, ^uint32(0), ^uint32(0))
				twin.meet(twin.ofWarps(1 << warp))
			case n < 6 && sc.parts:
				r.warpBarrier(warp, mask, ^uint32(0))
				var threads []*twinThread
				for m := mask; m != 0; m &= m - 1 {
					threads = append(threads, twin.thread(warp, bits.TrailingZeros32(m)))
				}
				twin.meet(threads)
			case n < 7 && sc.parts:
				arrived = append(arrived, r.arrive(warp))
				all := new(vector)
				for _, t := range twin.ofWarps(1 << warp) {
					all[t.id] = t.knows[t.id]
					t.knows[t.id]++
				}
				// The clock of the whole warp is included.
				for _, t := range twin.ofWarps(1<<warps - 1) {
					least := int32(1 << 30)
					for _, u := range twin.ofWarps(1 << warp) {
						least = min(least, u.knows[t.id])
					}
					all[t.id] = max(all[t.id], least)
				}
				twinArrived = append(twinArrived, all)
			case n < 8 && sc.parts:
				waited := 1 + rng.Uint32N(7)
				r.partBarrier(waited, arrived)
				twin.meet(twin.ofWarps(waited), twinArrived...)
				arrived, twinArrived = nil, nil
			case n < 11 && sc.fences:
				to := reach(rng.IntN(2))
				r.fence(r, warp, mask, to)
				for m := mask; m != 0; m &= m - 1 {
					twin.fence(twin.thread(warp, bits.TrailingZeros32(m)), to)
				}
			default:
				var addr [warpSize]uint64
				size := uint32(1) << rng.IntN(5)
				if rng.IntN(2) == 0 {
					size = 4
				}
				for l := range addr {
					addr[l] = uint64(rng.IntN(sc.places))*16&^uint64(size-1) + uint64(rng.IntN(2))*uint64(size)
				}
				switch rng.IntN(24) {
				case 0: // a row
					if sc.alone {
						break
					}
					start := addr[0] &^ 15
					for l := range addr {
						addr[l] = start + uint64(l)*uint64(size)
					}
					mask = ^uint32(0)
				case 1: // one place
					for l := range addr {
						addr[l] = addr[0]
					}
				}
				a := &raceAccess{addr: &addr, mask: mask, size: size, floor: r.launch, grid: sc.turns}
				kind, sem, to := accessKind(rng.IntN(2)), semWeak, toAll
				if sc.strong && rng.IntN(order) > 0 {
					kind, sem = accessKind(rng.IntN(3)), semRelaxed
					// A strong and a weak access to one place are usually a race.
					for l := range addr {
						addr[l] = 2048 + 4*uint64(rng.IntN(2))
					}
					a.size = 4
					if sc.narrow {
						to = reach(min(rng.IntN(order*order), 1))
					}
					if sc.fences && rng.IntN(6) < order {
						sem = [3]semantics{semAcquire, semRelease}[kind]
						if kind == accessAtomic {
							sem = semAcquire + semantics(rng.IntN(3))
						}
					}
				}
				a.stamp = r.now | stamp(warp)<<stampWarpShift | stamp(kind)
				if sem != semWeak {
					a.stamp |= stampStrong
					if to == toAll {
						a.stamp |= stampWide
					}
				}
				a.nc = kind == accessLoad && sem == semWeak && rng.IntN(8) == 0
				a.row, a.same = pattern(&addr, mask, a.size)
				want = twin.access(a, sem, to)
				lane, _ := r.check(shadow, a)
				got = lane >= 0
				if got || want {
					return got, want, steps
				}
				if sem != semWeak {
					r.strong(r, &r.global, a, sem, to)
				}
			}
		}
		arrivals[block], twinArrivals[block] = arrived, twinArrived
	}
	return false, false, steps
}

// TestRaceTwin compares races with its twin on random launches. With only barriers of whole blocks and warps
// they always agree. With the rest, races may miss some that the twin finds, but it reports none that the
// twin does not.
func TestRaceTwin(t *testing.T) {
	for _, sc := range []raceScript{
		{name: "one block", blocks: 1, places: 4},
		{name: "blocks", blocks: 4, places: 100},
		{name: "atomics", strong: true, blocks: 4, places: 100},
		{name: "scopes", strong: true, narrow: true, blocks: 2, places: 100},
		{name: "parts", parts: true, blocks: 3, places: 60},
		{name: "fences", strong: true, narrow: true, fences: true, blocks: 4, places: 40},
		{name: "all", strong: true, narrow: true, fences: true, parts: true, blocks: 4, places: 40},
		{name: "turns", strong: true, turns: true, blocks: 4, places: 100},
		{name: "turns of threads", strong: true, narrow: true, fences: true, alone: true, turns: true, blocks: 4, places: 100},
		{name: "turns with fences", strong: true, narrow: true, fences: true, turns: true, blocks: 4, places: 100},
		{name: "turns with all", strong: true, narrow: true, fences: true, parts: true, turns: true, blocks: 4, places: 100},
	} {
		t.Run(sc.name, func(t *testing.T) {
			runs := testsize.Of[uint64](15, 60, 120)
			races, missed, steps := 0, 0, 0
			for seed := range runs {
				got, want, n := sc.run(seed)
				steps += n
				switch {
				case got && !want:
					t.Fatalf("seed %d: a false alarm after %d steps", seed, n)
				case want && !got:
					missed++
				}
				if want {
					races++
				}
			}
			t.Logf("%d launches, %d steps, %d races, %d missed", runs, steps, races, missed)
			if races == 0 || races == int(runs) {
				t.Errorf("%d races in %d launches show nothing", races, runs)
			}
			if plain := sc.turns && sc.alone || !sc.parts && !sc.fences && !sc.narrow; missed > 0 && plain || missed > races/10 {
				t.Errorf("%d of %d races were missed", missed, races)
			}
		})
	}
}

func FuzzRaces(f *testing.F) {
	f.Add(uint64(1), true, true, true, true, false, uint8(40))
	f.Add(uint64(2), false, false, false, false, false, uint8(3))
	f.Add(uint64(3), true, true, true, false, true, uint8(40))
	f.Fuzz(func(t *testing.T, seed uint64, strong, narrow, fences, parts, turns bool, places uint8) {
		sc := raceScript{strong: strong, narrow: narrow, fences: fences, parts: parts, turns: turns, blocks: 4, places: 1 + int(places)}
		got, want, steps := sc.run(seed)
		if exact := !narrow && !fences && !parts; got && !want || exact && want && !got {
			t.Errorf("after %d steps: race %v, want %v", steps, got, want)
		}
	})
}

// oneStore is a store by one thread.
func oneStore(r *races, s *raceShadow, addr uint64, warp int) bool {
	addrs := [warpSize]uint64{addr}
	lane, _ := r.check(s, &raceAccess{addr: &addrs, mask: 1, size: 4, floor: r.launch, stamp: r.now | stamp(accessStore) | stamp(warp)<<stampWarpShift})
	return lane >= 0
}

// TestRacesForget checks that dropping stamps, when the epoch or the memory runs out, gives no false reports,
// and that races are found again afterwards.
func TestRacesForget(t *testing.T) {
	for _, c := range []struct {
		name   string
		forget func(r *races, s *raceShadow)
	}{
		{"time", func(r *races, s *raceShadow) { r.now = lastEpoch - oneEpoch; r.warpBarrier(0, 1, ^uint32(0)) }},
		{"memory", func(r *races, s *raceShadow) {
			for page := range uint64(100) {
				oneStore(r, s, 4096+page<<racePageShift, 0)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, s := newRaces(), newRaceShadow(1<<20)
			r.pool.limit = 50 * racePageBytes / 4
			r.beginLaunch(64)
			r.beginBlock(0)
			if oneStore(r, s, 0, 0) {
				t.Fatal("a race at once")
			}
			c.forget(r, s)
			for i, want := range []bool{false, false, true} { // by warps 1, 1 and 0
				if got := oneStore(r, s, 0, 1-i/2); got != want {
					t.Errorf("store %d afterwards: race %v, want %v", i, got, want)
				}
			}
			if r.pool.held > r.pool.limit {
				t.Errorf("%d granules, over the limit of %d", r.pool.held, r.pool.limit)
			}
			r.blockBarrier()
			if oneStore(r, s, 0, 1) {
				t.Error("a race over a barrier")
			}
			if r.beginBlock(1); !oneStore(r, s, 0, 1) {
				t.Error("no race between blocks")
			}
		})
	}
}

// TestLastOfMany checks that order through many views is found.
func TestLastOfMany(t *testing.T) {
	const blocks = 320
	for _, fenced := range []bool{true, false} {
		r, s := newRaces(), newRaceShadow(1<<20)
		r.beginLaunch(32)
		ticket := [warpSize]uint64{1 << 19}
		for b := range uint64(blocks) {
			r.beginBlock(b)
			if oneStore(r, s, 4*b, 0) {
				t.Fatal("a race of stores")
			}
			if fenced || b != 5 {
				r.fence(r, 0, 1, toAll)
			}
			a := &raceAccess{addr: &ticket, mask: 1, size: 4, floor: r.launch, stamp: r.now | stamp(accessAtomic) | stampStrong | stampWide}
			if lane, _ := r.check(s, a); lane >= 0 {
				t.Fatal("a race of atomics")
			}
			r.strong(r, &r.global, a, semRelaxed, toAll)
			r.fence(r, 0, 1, toAll)
		}
		for b := range uint64(blocks) {
			if got, want := oneStore(r, s, 4*b, 0), b == 5 && !fenced; got != want {
				t.Errorf("with all fences %v: block %d: race %v, want %v", fenced, b, got, want)
			}
		}
	}
}

func BenchmarkRaces(b *testing.B) {
	lanes := func(stride uint64) *[warpSize]uint64 {
		var addr [warpSize]uint64
		for l := range addr {
			addr[l] = uint64(l) * stride
		}
		return &addr
	}
	for _, c := range []struct {
		name   string
		kind   accessKind
		strong bool
		size   uint32
		stride uint64
		warps  int // that take turns
	}{
		{"load row", accessLoad, false, 4, 4, 1},
		{"load row, two warps", accessLoad, false, 4, 4, 2},
		{"load one", accessLoad, false, 4, 0, 2},
		{"load halves", accessLoad, false, 2, 2, 2},
		{"load vectors", accessLoad, false, 16, 16, 2},
		{"load far apart", accessLoad, false, 4, 2048, 2},
		{"store row", accessStore, false, 4, 4, 1},
		{"atomic row", accessAtomic, true, 4, 4, 2},
		{"atomic one", accessAtomic, true, 4, 0, 2},
	} {
		b.Run(c.name, func(b *testing.B) {
			r, s, addr := newRaces(), newRaceShadow(1<<20), lanes(c.stride)
			r.beginLaunch(64)
			r.beginBlock(0)
			warp := 0
			row, same := pattern(addr, ^uint32(0), c.size)
			for b.Loop() {
				a := raceAccess{addr: addr, mask: ^uint32(0), size: c.size, floor: r.launch, stamp: r.now | stamp(c.kind) | stamp(warp)<<stampWarpShift}
				a.row, a.same = row, same
				if c.strong {
					a.stamp |= stampStrong | stampWide
				}
				if lane, _ := r.check(s, &a); lane >= 0 {
					b.Fatal("a race")
				}
				if warp++; warp == c.warps {
					warp = 0
				}
			}
		})
	}
}
