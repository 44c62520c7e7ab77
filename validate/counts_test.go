package validate

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// TestEdgesOfCounts: of consecutive pipelines of edgeOfCount, some launch several thread blocks for the heads of a batch whose
// lengths differ in every layer, some move keys in several rounds, some evict more than 2¹⁶ KVs of a head and keep as many, and
// some have a few KVs with smaller costs than all others of a long head.
func TestEdgesOfCounts(t *testing.T) {
	methods := withPlain.of(allMethods(t))
	var chunked, pieces, holes, parts int
	sizes := map[int]bool{} // of the heads of which a warp moves keys in several rounds
	n := testsize.Of(0, 8, 16)
	if n == 0 {
		t.Skip("it runs pipelines of long heads")
	}
	for i := range n {
		p, err := edgeOfCount(rand.New(rand.NewPCG(1, uint64(i))), i, methods)
		if err != nil || p == nil {
			t.Fatalf("pipeline %d: %v, %v", i, p, err)
		}
		if err := p.check(); err != nil {
			t.Errorf("%s: %v", p, err)
		}
		switch {
		case len(p.Inputs.Tokens)*p.Shape.Heads() > 1024:
			chunked++
			if n := uneven(t, p); n == 0 {
				t.Errorf("%s: in no decode step do the heads of each layer differ in length", p)
			}
		case p.Shape.HeadSize > 128:
			pieces++
			sizes[p.Shape.HeadSize] = true
			if lost := evicted(t, p); p.Shape.HeadSize%16 == 0 || lost == 0 {
				t.Errorf("%s: %d KVs evicted", p, lost)
			}
		case p.Inputs.Tokens[0] > 1<<17:
			holes++
			if lost := evicted(t, p); lost <= 2<<16 {
				t.Errorf("%s: %d KVs evicted", p, lost)
			}
		case p.Inputs.Tokens[0] > longHead:
			parts++
		}
	}
	if len(sizes) != pieces {
		t.Errorf("%d pipelines of pieces have %d head sizes", pieces, len(sizes))
	}
	if chunked < n/4 || pieces < n/4 || holes < n/6 || parts < n/6 {
		t.Errorf("%d of chunks, %d of pieces, %d of holes, %d of parts", chunked, pieces, holes, parts)
	}
	for i := range n {
		if p, err := edgeOfCount(rand.New(rand.NewPCG(1, uint64(i))), i, only(t, "knorm")); p != nil || err != nil {
			t.Errorf("a pipeline of another method: %v, %v", p, err)
		}
	}
}

// TestEdgesOfElements: each way in which decode steps read KVs occurs with each format that it has, and its pipeline can be run.
func TestEdgesOfElements(t *testing.T) {
	methods := allMethods(t)
	type kind struct{ rule, format int }
	have := map[kind]bool{}
	for i := range len(elementRules) * len(edgeFormats) {
		p, err := edgeOfElements(rand.New(rand.NewPCG(1, uint64(i))), i, methods)
		if err != nil || p == nil {
			t.Fatalf("pipeline %d: %v, %v", i, p, err)
		}
		if err := p.check(); err != nil {
			t.Errorf("%s: %v", p, err)
		}
		have[kind{i % len(elementRules), slices.Index(edgeFormats, p.Config.DType)}] = true
	}
	if want := 3*len(edgeFormats) + 3*pageFormats; len(have) != want {
		t.Errorf("%d of %d combinations", len(have), want)
	}
}

// observed runs a pipeline on two reference engines. seen is called with the events of one.
func observed(t *testing.T, p *Pipeline, seen func(e ref.Event)) {
	t.Helper()
	engine := func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error) {
		return Reference(cfg, open, func(e ref.Event) {
			seen(e)
			observe(e)
		})
	}
	if o, err := p.Run(context.Background(), engine, Tolerance{}); err != nil || o.Divergence != nil {
		t.Fatalf("%s: %v, %v", p, err, o.Divergence)
	}
}

// evicted returns how many KVs a pipeline evicts.
func evicted(t *testing.T, p *Pipeline) int {
	n := 0
	observed(t, p, func(e ref.Event) {
		if e.Stage != ref.StageDecide {
			return
		}
		for _, edit := range e.Plan.Edits {
			if edit.Op == ref.Drop {
				n += len(edit.KVs)
			}
		}
	})
	return n
}

// uneven returns the number of decode steps after which a block has just been given to some heads of each layer, and to others
// not.
func uneven(t *testing.T, p *Pipeline) int {
	steps := 0
	observed(t, p, func(e ref.Event) {
		if e.Stage != ref.StageDecode {
			return
		}
		both := true
		for layer := range p.Shape.Layers {
			given, heads := 0, 0
			for _, id := range e.Seqs {
				for _, h := range e.Cache.Sequence(id).Heads[layer*p.Shape.KVHeads:][:p.Shape.KVHeads] {
					heads++
					if h.Len%p.Config.BlockSize == 1 {
						given++
					}
				}
			}
			both = both && given > 0 && given < heads
		}
		if both {
			steps++
		}
	})
	return steps
}

// TestEdgeOfFreeBlocks: the second prompt takes blocks of both chunks of the free list.
func TestEdgeOfFreeBlocks(t *testing.T) {
	for seed := range uint64(testsize.Of(1, 2, 8)) {
		p, err := edgeOfFreeBlocks(rand.New(rand.NewPCG(1, seed)), allMethods(t))
		if err != nil || p == nil {
			t.Fatalf("%v, %v", p, err)
		}
		const chunk = 32 * 1024
		var first, second int
		observed(t, p, func(e ref.Event) {
			if e.Stage != ref.StagePrefill || e.Seqs[0] != 1 {
				return
			}
			for _, h := range e.Cache.Sequence(1).Heads {
				for _, b := range h.Table {
					if b < chunk {
						first++
					} else {
						second++
					}
				}
			}
		})
		if first < 32 || second < 32 {
			t.Errorf("%s: %d and %d blocks", p, first, second)
		}
	}
}

// TestEdgeOfFloor: heads lose the same number of KVs, though not the same KVs cost least, and keep more than 2¹⁶.
func TestEdgeOfFloor(t *testing.T) {
	if testing.Short() {
		t.Skip("it evicts from long heads")
	}
	p, err := edgeOfFloor(rand.New(rand.NewPCG(1, 2)), allMethods(t))
	if err != nil || p == nil {
		t.Fatalf("%v, %v", p, err)
	}
	if lost := evicted(t, p); lost < 60 {
		t.Errorf("%s: %d KVs evicted", p, lost)
	}
	observed(t, p, func(e ref.Event) {
		if e.Stage != ref.StageMove {
			return
		}
		heads := e.Cache.Sequence(0).Heads
		if a, b := heads[0].Len, heads[1].Len; a <= 1<<16 || a != b {
			t.Errorf("%s: heads of %d and %d KVs", p, a, b)
		}
	})
}
