package sim

import (
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
)

// CoursesWith performs the same random operations on two ledgers, one of which compresses by level
// or along courses. It compares the results of compressions, the lengths of heads and all sums.
func CoursesWith(t *testing.T, spread Spread) {
	known, compressed := 0, 0
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 13))
		cfg, _, _, _, _ := randomServing(seed)
		var schedule Schedule
		compressOften(cfg, &schedule, seed)
		cfg.Shape = kv.Shape{Layers: 1 + rng.IntN(4), KVHeads: 1 + rng.IntN(8), Group: 1, HeadSize: 8}
		cfg.Blocks = 1 << 20
		plain, err := NewLedger(cfg, spread)
		if err != nil {
			t.Fatal(err)
		}
		quick, err := NewLedger(cfg, spread)
		if err != nil {
			t.Fatal(err)
		}
		both := func(what string, do func(*Ledger) error) {
			if a, b := do(plain), do(quick); a != nil || b != nil {
				t.Fatalf("seed %d: %s: %v, %v", seed, what, a, b)
			}
		}
		both("counting", func(l *Ledger) error { return l.CountLike(Countings()[seed%3]) })
		prompts := []int{1 + rng.IntN(200), 1 + rng.IntN(200)}
		here := map[kv.SeqID]bool{}
		for op := range 400 {
			id := kv.SeqID(rng.IntN(8))
			switch what := rng.IntN(8); {
			case !here[id]:
				n := prompts[rng.IntN(2)]
				both("prefill", func(l *Ledger) error { return l.Prefill(id, n) })
				here[id] = true
			case what == 0:
				both("release", func(l *Ledger) error { return l.Release(id) })
				delete(here, id)
			case what == 1:
				n := 1 + rng.IntN(40)
				both("decode", func(l *Ledger) error { return l.DecodeAll(n) })
			case what == 2:
				both("decode of one", func(l *Ledger) error { return l.Decode([]kv.SeqID{id}) })
			case what < 5:
				both("decode", func(l *Ledger) error { return l.DecodeAll(1) })
			default:
				for id := range here {
					count, held := plain.Count(id), plain.Held(id)
					if quick.Count(id) != count {
						t.Fatalf("seed %d, %d: it is asked for %d, not %d", seed, op, quick.Count(id), count)
					}
					var want ref.Compressed
					most := count * held // allows compressWithin to compress the sequence, or not
					if op%5 == 0 {
						most = held - 1
					}
					a := quick.seqs.of(id)
					if a.settled.level > 0 || a.stage != nil {
						known++
					}
					gotHeld, got, err := quick.compressWithin(id, a, most)
					if count == 0 || held > most {
						if got != nil || err != nil || gotHeld != min(count, 1)*held {
							t.Fatalf("seed %d, %d: %d blocks, %+v, %v where %d are asked of %d and %d are most", seed, op, gotHeld, got, err, count, held, most)
						}
						continue
					}
					if want, err = plain.Compress(id); err != nil {
						t.Fatal(err)
					}
					if err != nil || gotHeld != held || *got != want {
						t.Fatalf("seed %d, %d: of %d blocks %+v, %v, want %+v of %d", seed, op, gotHeld, got, err, want, held)
					}
					compressed++
				}
			}
			if plain.Usage() != quick.Usage() || plain.phases != quick.phases || plain.NeedAll(3) != quick.NeedAll(3) || plain.Repeats() != quick.Repeats() {
				t.Fatalf("seed %d, %d: %+v, want %+v", seed, op, quick.Usage(), plain.Usage())
			}
			for id := range here {
				if got, want := quick.Lengths(nil, id), plain.Lengths(nil, id); !slices.Equal(got, want) || quick.DecodeNeed(id) != plain.DecodeNeed(id) {
					t.Fatalf("seed %d, %d: sequence %d: %v, want %v", seed, op, id, got, want)
				}
			}
			if err := quick.audit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d compressions, of sequences of which something was known in %d cases", compressed, known)
	if known == 0 || compressed == 0 {
		t.Error("the operations test nothing")
	}
}

func TestCourses(t *testing.T) {
	weights := make([]int32, 32)
	for i := range weights {
		weights[i] = int32(weightOne * (1 + i*7%32) / 32)
	}
	CoursesWith(t, Even())
	CoursesWith(t, &shares{[]float64{0.5}, [][]int32{weights}})
}

// TestCoursesForget checks that the memory of cached compressions stays bounded if no two
// sequences have equal states.
func TestCoursesForget(t *testing.T) {
	cfg, _, _ := llama8B()
	cfg.Compression = ref.Compression{Rate: 0.25}
	c := newCourses(&cfg, Even())
	runs := make([]run, 100)
	for i := range 100_000 {
		runs[0].gone = i
		for range 2 {
			c.stageOf(i, i, runs)
		}
		if c.bytes > maxCourseBytes {
			t.Fatalf("%d bytes after %d states", c.bytes, i)
		}
	}
	if c.stageOf(99_999, 99_999, runs) == nil {
		t.Error("the last state is not known")
	}
}
