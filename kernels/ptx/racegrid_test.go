package ptx

import (
	"math/rand/v2"
	"testing"
)

// TestCuts compares unions of cuts with Go maps, for blocks with indices that are close
// together and far apart.
func TestCuts(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(3, seed))
		number := func() uint64 { return rng.Uint64() >> rng.IntN(64) }
		if seed%2 == 0 {
			number = func() uint64 { return rng.Uint64N(40) }
		}
		type set struct {
			cuts *cuts
			want map[uint64]stamp
		}
		sets := []set{{nil, map[uint64]stamp{}}}
		for range 60 {
			a, b := sets[rng.IntN(len(sets))], sets[rng.IntN(len(sets))]
			if rng.IntN(2) == 0 {
				block, until := number(), stamp(1+rng.IntN(5))
				b = set{only(block, &cut{below: until}), map[uint64]stamp{block: until}}
			}
			both := set{union(a.cuts, b.cuts), map[uint64]stamp{}}
			for _, s := range []set{a, b} {
				for block, until := range s.want {
					both.want[block] = max(both.want[block], until)
				}
			}
			sets = append(sets, both)
		}
		for _, s := range sets {
			for block, until := range s.want {
				if c := s.cuts.of(block); c == nil || c.below != until {
					t.Fatalf("seed %d: block %d: %v, want %d", seed, block, c, until)
				}
			}
			for range 50 {
				block := number()
				if c := s.cuts.of(block); c != nil && s.want[block] == 0 {
					t.Fatalf("seed %d: block %d has %v, and is not in the set", seed, block, c)
				}
			}
		}
	}
}

// TestNarrowPlaces lets two blocks, in turns, publish data to their own threads (CTA scope) by
// atomics on the same address. In its next turn, each block synchronizes with its own only.
func TestNarrowPlaces(t *testing.T) {
	r, s, none := newRaces(), newRaceShadow(1<<20), newRaceShadow(0)
	r.beginLaunch(2 * warpSize)
	r.beginTogether()
	access := func(addr uint64, warp int, kind accessKind, sem semantics) bool {
		a := &raceAccess{addr: &[warpSize]uint64{addr}, mask: 1, size: 4, floor: r.launch, grid: true}
		a.stamp = r.now | stamp(warp)<<stampWarpShift | stamp(kind)
		if sem != semWeak {
			a.stamp |= stampStrong | stampWide
		}
		lane, _ := r.check(s, a)
		if sem != semWeak {
			r.strong(r, &r.global, a, sem, toAll)
		}
		return lane >= 0
	}
	const place, data = 0, 1024
	for block := range uint64(2) {
		if block > 0 {
			r.leave(none)
		}
		r.beginBlock(block)
		access(data+4*block, 0, accessStore, semWeak)
		r.fence(r, 0, 1, toBlock)
		access(place, 0, accessAtomic, semRelaxed)
	}
	for _, block := range []uint64{0, 1} {
		r.leave(none)
		r.enter(block)
		access(place, 1, accessAtomic, semRelaxed)
		r.fence(r, 1, 1, toBlock)
		if access(data+4*block, 1, accessLoad, semWeak) {
			t.Errorf("block %d: a race with what was published to it", block)
		}
		if !access(data+4*(1-block), 1, accessLoad, semWeak) {
			t.Errorf("block %d: no race with what was published to the other block", block)
		}
	}
}

// TestGridForgets checks that a cooperative launch that runs out of memory for races, or
// out of epochs, makes no false alarm and finds races again afterwards.
func TestGridForgets(t *testing.T) {
	for _, c := range []struct {
		name   string
		forget func(r *races, s *raceShadow)
	}{
		{"memory", func(r *races, s *raceShadow) {
			for page := range uint64(100) {
				gridStore(r, s, 4096+page<<racePageShift, 0)
			}
		}},
		{"time", func(r *races, _ *raceShadow) { r.now = lastEpoch - oneEpoch; r.tick() }},
	} {
		r, s, none := newRaces(), newRaceShadow(1<<20), newRaceShadow(0)
		r.pool.limit = 50 * racePageBytes / 4
		r.beginLaunch(2 * warpSize)
		r.beginTogether()
		r.beginBlock(0)
		r.blockBarrier()
		gridStore(r, s, 0, 0)
		r.leave(none)
		r.beginBlock(1)
		c.forget(r, s)
		for i, want := range []bool{false, true} { // by warps 0 and 1
			if got := gridStore(r, s, 0, i); got != want {
				t.Errorf("%s: store %d afterwards: race %v, want %v", c.name, i, got, want)
			}
		}
		r.leave(none)
		if r.enter(0); !gridStore(r, s, 0, 0) {
			t.Errorf("%s: no race between blocks", c.name)
		}
		if r.grid.held > r.grid.limit+racePageBytes*historyBytes {
			t.Errorf("%s: %d bytes, over the limit of %d", c.name, r.grid.held, r.grid.limit)
		}
	}
}

// gridStore is a store by one thread.
func gridStore(r *races, s *raceShadow, addr uint64, warp int) bool {
	a := &raceAccess{addr: &[warpSize]uint64{addr}, mask: 1, size: 4, floor: r.launch, grid: true, stamp: r.now | stamp(accessStore) | stamp(warp)<<stampWarpShift}
	lane, _ := r.check(s, a)
	return lane >= 0
}
