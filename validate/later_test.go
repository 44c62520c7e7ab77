package validate

import (
	"math/rand/v2"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
)

// evictingPair returns two reference engines with a sequence of 20 tokens, and their pipeline.
// Each head has evicted some KVs.
func evictingPair(t *testing.T) (*Pipeline, *Pair) {
	t.Helper()
	p := &Pipeline{
		Shape:  kv.Shape{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 8},
		Config: ref.Default(),
		Inputs: Inputs{Seed: 3, Tokens: []int{1 << 17}, Scale: 1},
	}
	p.Config.Blocks, p.Config.Compression.MaxCacheTokens, p.Config.Compression.Sinks = 300, 12, 2
	pair, err := NewPair(p.config(), p.open, nil, Reference, Tolerance{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pair.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := pair.Prefill(0, 20); err != nil {
		t.Fatal(err)
	}
	if _, err := pair.Compress(0); err != nil {
		t.Fatal(err)
	}
	return p, pair
}

// goOn decodes and compresses.
func goOn(t *testing.T, pair *Pair) {
	t.Helper()
	for range 3 {
		if err := pair.Decode([]kv.SeqID{0}); err != nil {
			t.Fatal(err)
		}
		if _, err := pair.Compress(0); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLater: the sequence is as many tokens further, its sinks are where they were and its newest
// KV is the last, and both engines go on from there.
func TestLater(t *testing.T) {
	p, pair := evictingPair(t)
	const by = 1 << 16
	did, err := p.later(pair, Operation{OpLater, []kv.SeqID{0}, by})
	if err != nil || !did {
		t.Fatal(did, err)
	}
	cache := pair.reference.Cache()
	s := cache.Sequence(0)
	if s.Len != 20+by {
		t.Errorf("%d tokens, want %d", s.Len, 20+by)
	}
	for h := range s.Heads {
		last := int32(-1)
		for i := range s.Heads[h].Len {
			position := cache.Positions[cache.Slot(&s.Heads[h], i)]
			if position <= last || i < 2 && position != int32(i) {
				t.Errorf("head %d: KV %d at position %d, behind %d", h, i, position, last)
			}
			last = position
		}
		if last != 20+by-1 {
			t.Errorf("head %d: the newest KV is at position %d", h, last)
		}
	}
	goOn(t, pair)
}

// TestGrow: each head has as many KVs more, the newest ones again and again, and both engines go
// on from there. Where there are too few blocks, nothing changes.
func TestGrow(t *testing.T) {
	p, pair := evictingPair(t)
	const more = 1000
	if did, err := p.grow(pair, Operation{OpGrow, []kv.SeqID{0}, 1 << 16}); err != nil || did {
		t.Fatalf("grown without blocks: %t, %v", did, err)
	}
	cache := pair.reference.Cache()
	s := cache.Sequence(0)
	held := []int{s.Heads[0].Len, s.Heads[1].Len}
	did, err := p.grow(pair, Operation{OpGrow, []kv.SeqID{0}, more})
	if err != nil || !did {
		t.Fatal(did, err)
	}
	for h := range s.Heads {
		head := &s.Heads[h]
		if head.Len != held[h]+more {
			t.Errorf("head %d has %d KVs, want %d", h, head.Len, held[h]+more)
		}
		for i := range more {
			slot, from := cache.Slot(head, held[h]+i), cache.Slot(head, held[h]/2+i%(held[h]-held[h]/2))
			if cache.Positions[slot] != int32(20+i) || string(cache.Key(slot)) != string(cache.Key(from)) || cache.Data[0][slot] != cache.Data[0][from] {
				t.Fatalf("head %d, KV %d more: position %d, or it is none of those before", h, i, cache.Positions[slot])
			}
		}
	}
	goOn(t, pair)
}

// TestLargeNumbers: the pipelines of five times as many numbers as there are methods have each format with each method
// that has it, and can be run; those of long heads are of every method without pages of its own.
func TestLargeNumbers(t *testing.T) {
	methods := allMethods(t)
	have, later := map[[2]string]bool{}, 0
	for i := range 5 * len(methods) {
		p, err := edgeOfNumbers(rand.New(rand.NewPCG(1, uint64(i))), i, methods)
		if err != nil {
			t.Fatal(err)
		}
		if p == nil {
			continue
		}
		if err := p.check(); err != nil {
			t.Errorf("%s: %v", p, err)
		}
		have[[2]string{p.method(), p.Config.DType.String()}] = true
		for _, op := range p.Operations {
			if op.Kind == OpLater {
				later++
			}
		}
	}
	if len(have) < 3*len(methods) || later < 3*len(methods) {
		t.Errorf("%d methods and formats, %d operations later, of %d methods", len(have), later, len(methods))
	}
	for i := range methods {
		p, err := edgeOfGrowth(rand.New(rand.NewPCG(1, uint64(i))), i, methods)
		if err != nil {
			t.Fatal(err)
		}
		if p == nil {
			continue
		}
		if err := p.check(); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
}
