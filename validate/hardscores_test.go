package validate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
)

// TestHardScores checks that an OpScores makes many costs equal and many one ulp apart, also if a cost is a
// score divided by the number of later queries.
func TestHardScores(t *testing.T) {
	for _, reduction := range []ref.Reduction{ref.Sum, ref.Avg} {
		same, near := 0, 0
		for seed := range uint64(20) {
			p := Pipeline{
				Shape:  kv.Shape{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 8},
				Config: ref.Default(),
				Inputs: Inputs{Seed: seed, Tokens: []int{70}, Scale: 1},
			}
			p.Config.Blocks, p.Config.Metric.Reduction = 100, reduction
			pair, err := NewPair(p.config(), p.open, nil, Reference, Tolerance{})
			if err != nil {
				t.Fatal(err)
			}
			if err := pair.Prefill(0, 64); err != nil {
				t.Fatal(err)
			}
			if err := p.score(pair, 0, 1); err != nil {
				t.Fatal(err)
			}
			s, cache := pair.reference.Cache().Sequence(0), pair.reference.Cache()
			var costs []uint32
			for i := range s.Heads[1].Len {
				slot := cache.Slot(&s.Heads[1], i)
				cost := cache.Data[0][slot]
				if after := s.Len - 1 - i; reduction == ref.Avg && after > 0 {
					cost /= float32(after)
				}
				costs = append(costs, math.Float32bits(cost))
			}
			slices.Sort(costs)
			for i := 1; i < len(costs); i++ {
				switch costs[i] - costs[i-1] {
				case 0:
					same++
				case 1:
					near++
				}
			}
			// The engine under test must have the same scores, or the decisions differ.
			if _, err := pair.Compress(0); err != nil {
				t.Fatal(err)
			}
			if err := pair.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if same < 400 || near < 20 {
			t.Errorf("%s: of 1260 costs %d are the same and %d an ulp apart", reduction, same, near)
		}
	}
}

// TestSparseScores: most scores of a long head are equal, and a few are larger, or smaller.
func TestSparseScores(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const n, usual = 1<<16 + 100, 3 * 0x1p-40
	for _, larger := range []bool{true, false} {
		others := 0
		for range n {
			v := sparseScore(r.Uint64(), n, larger, 3)
			if v != usual && (v > usual) != larger || v <= 0 || math.IsInf(float64(v), 0) {
				t.Fatal(v)
			}
			if v != usual {
				others++
			}
		}
		if others < 16 || others > 64 {
			t.Errorf("%d of %d", others, n)
		}
	}
}
