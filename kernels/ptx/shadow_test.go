package ptx

import (
	"math/bits"
	"math/rand/v2"
	"runtime"
	"testing"
)

// TestInitMap compares an initMap with an array of bytes.
func TestInitMap(t *testing.T) {
	const size = 5*initPageBytes + 100
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(1, seed))
		maps := [2]*initMap{newInitMap(size), newInitMap(size)}
		var twins [2][size]bool
		for range 400 {
			i := rng.IntN(2)
			m, twin := maps[i], &twins[i]
			off := rng.Int64N(size)
			n := rng.Int64N(min(size-off, []int64{9, 300, size}[rng.IntN(3)]) + 1)
			if rng.IntN(4) == 0 { // whole pages
				off &^= initPageBytes - 1
				n = min(size-off, (n+initPageBytes-1)&^(initPageBytes-1))
			}
			switch rng.IntN(6) {
			case 0, 1:
				m.written(off, n)
				for b := off; b < off+n; b++ {
					twin[b] = true
				}
			case 2:
				m.forgotten(off, n)
				clear(twin[off : off+n])
			case 3:
				to := rng.Int64N(size - n + 1)
				m.copied(to, maps[1-i], off, n)
				copy(twin[to:to+n], twins[1-i][off:off+n])
			case 4:
				if rng.IntN(20) == 0 {
					m.reset()
					clear(twin[:])
				}
			default:
				addr, base, mask, width := randomLanes(rng, size)
				row, same := pattern(addr, mask, width)
				if rng.IntN(2) == 0 {
					m.stored(addr, base, mask, width, row)
					for l := range addr {
						if mask>>l&1 != 0 {
							for b := addr[l] - base; b < addr[l]-base+uint64(width); b++ {
								twin[b] = true
							}
						}
					}
					break
				}
				want := -1
				for l := warpSize - 1; l >= 0; l-- {
					if mask>>l&1 != 0 && firstUnset(twin[:], int64(addr[l]-base), int64(width)) >= 0 {
						want = l
					}
				}
				if got := m.loaded(addr, base, mask, width, row, same); got != want {
					t.Fatalf("seed %d: lane %d is said to read what is not written, want %d", seed, got, want)
				}
			}
			if got, want := m.unwritten(off, n), firstUnset(twin[:], off, n); got != want {
				t.Fatalf("seed %d: byte %d of %d from %d, want %d", seed, got, n, off, want)
			}
		}
		for i, m := range maps {
			if got, want := m.unwritten(0, size), firstUnset(twins[i][:], 0, size); got != want {
				t.Fatalf("seed %d: at the end byte %d, want %d", seed, got, want)
			}
			for p, page := range m.pages {
				if all := firstUnset(twins[i][:], int64(p)<<initPageShift, min(initPageBytes, size-int64(p)<<initPageShift)) < 0; all != (page == m.whole) && p < 5 {
					t.Fatalf("seed %d: page %d is whole: %v", seed, p, all)
				}
			}
		}
	}
}

// TestLargeShadow checks that untouched memory needs little shadow memory.
func TestLargeShadow(t *testing.T) {
	const size = 5 << 30
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, s, r := newInitMap(size), newRaceShadow(size), newRaces()
	r.beginLaunch(64)
	r.beginBlock(0)
	m.written(0, size-4)
	if at := m.unwritten(0, size); at != size-4 {
		t.Errorf("byte %d is not written, want %d", at, int64(size-4))
	}
	if oneStore(r, s, 0, 0) || oneStore(r, s, size-4, 0) || !oneStore(r, s, size-4, 1) {
		t.Error("wrong races at the ends")
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("%d bytes for the shadow of %d", used, int64(size))
	}
}

func firstUnset(twin []bool, off, n int64) int64 {
	for b := off; b < off+n; b++ {
		if !twin[b] {
			return b
		}
	}
	return -1
}

// randomLanes returns the addresses of a warp's access of size bytes: contiguous, with a stride, all equal,
// or random.
func randomLanes(rng *rand.Rand, size uint64) (addr *[warpSize]uint64, base uint64, mask, width uint32) {
	addr, base, mask = new([warpSize]uint64), 1<<20, ^uint32(0)
	if rng.IntN(3) == 0 {
		mask = rng.Uint32() | 1<<rng.IntN(32)
	}
	width = 1 << rng.IntN(5)
	items := size / uint64(width)
	start, stride := rng.Uint64N(items), uint64(rng.IntN(4))
	if rng.IntN(4) == 0 {
		stride = items - 1 // backwards
	}
	scattered := rng.IntN(4) == 0
	for l := range addr {
		item := (start + uint64(l)*stride) % items
		if scattered {
			item = rng.Uint64N(items)
		}
		addr[l] = base + item*uint64(width)
	}
	return addr, base, mask, width
}

// pattern returns row and same for an access.
func pattern(addr *[warpSize]uint64, mask, size uint32) (row, same bool) {
	row, same = mask == ^uint32(0), true
	first := addr[bits.TrailingZeros32(mask)]
	for l := range addr {
		row = row && addr[l] == addr[0]+uint64(l)*uint64(size)
		same = same && (mask>>l&1 == 0 || addr[l] == first)
	}
	return row, same
}

func BenchmarkInitMap(b *testing.B) {
	var addr [warpSize]uint64
	for l := range addr {
		addr[l] = uint64(l) * 4
	}
	part := newInitMap(1 << 20)
	part.written(0, 128)
	whole := newInitMap(1 << 20)
	whole.written(0, 1<<20)
	b.Run("load/whole", func(b *testing.B) {
		for b.Loop() {
			whole.loaded(&addr, 0, ^uint32(0), 4, true, false)
		}
	})
	b.Run("load/part", func(b *testing.B) {
		for b.Loop() {
			part.loaded(&addr, 0, ^uint32(0), 4, true, false)
		}
	})
	b.Run("store/part", func(b *testing.B) {
		for b.Loop() {
			part.stored(&addr, 0, ^uint32(0), 4, true)
		}
	})
}
