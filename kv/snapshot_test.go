package kv

import (
	"kvcompress/dtype"
	"reflect"
	"strings"
	"testing"
)

var columns = []Column{{Name: "metrics", Value: "metric", Width: 1}, {Name: "scores", Value: "score", Width: 3}}

// TestSnapshot brings a cache's content out and in again.
func TestSnapshot(t *testing.T) {
	cfg := Config{Shape: Shape{Layers: 2, KVHeads: 3, Group: 1, HeadSize: 8}, BlockSize: 4, Blocks: 71, DType: dtype.F16}
	c := NewCache(cfg, columns)
	for id, n := range map[SeqID]int{3: 9, 0: 1, 7: 16} {
		if _, err := c.Add(id, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Remove(0); err != nil {
		t.Fatal(err)
	}
	for i := range c.pages {
		c.pages[i] = byte(i / 3)
	}
	for _, data := range c.Data {
		for i := range data {
			data[i] = float32(i)
		}
	}
	s := c.Snapshot()
	for b := range s.Owners {
		if s.Owners[b].Seq == NoSeq {
			s.Owners[b] = Owner{-1, -1, -1, -1, 0}
		}
	}
	again, err := s.Cache(cfg, columns)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again.Snapshot(), c.Snapshot()) {
		t.Error("the content is another")
	}
	if again.Free() != c.Free() || again.Usage() != c.Usage() {
		t.Errorf("%d free blocks, want %d", again.Free(), c.Free())
	}
	for b := -1; b <= c.Blocks(); b++ {
		free := b >= 0 && b < c.Blocks() && c.Owners[b].Seq == NoSeq
		if again.IsFree(b) != free {
			t.Errorf("block %d: free %v, want %v", b, again.IsFree(b), free)
		}
	}
	// The copy is one: what it does next is what the cache does, and not to it.
	before := c.Snapshot()
	if _, err := again.Add(1, 5); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before, c.Snapshot()) {
		t.Error("the copy's change is seen in the cache")
	}
	if _, err := c.Add(1, 5); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again.Sequence(1), c.Sequence(1)) {
		t.Errorf("the copy gives out other blocks: %v, want %v", again.Sequence(1), c.Sequence(1))
	}
}

// TestSnapshotRefuses makes snapshots that do not fit their configuration.
func TestSnapshotRefuses(t *testing.T) {
	cfg := Config{Shape: Shape{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 8}, BlockSize: 4, Blocks: 33, DType: dtype.F16}
	for want, change := range map[string]func(*Snapshot){
		"keys has size":                func(s *Snapshot) { s.Keys = s.Keys[1:] },
		"values has size 0":            func(s *Snapshot) { s.Values = nil },
		"metrics has size":             func(s *Snapshot) { s.Data[0] = append(s.Data[0], 0) },
		"scores has size":              func(s *Snapshot) { s.Data[1] = s.Data[1][1:] },
		"columns has size 1":           func(s *Snapshot) { s.Data = s.Data[:1] },
		"positions has size":           func(s *Snapshot) { s.Positions = nil },
		"owners has size":              func(s *Snapshot) { s.Owners = s.Owners[1:] },
		"free has size":                func(s *Snapshot) { s.Free = s.Free[1:] },
		"block 35 is in the free list": func(s *Snapshot) { s.Free[1] |= 1 << 3 },
		"[0] is nil":                   func(s *Snapshot) { s.Sequences = []*Sequence{nil} },
		"duplicate sequence 1": func(s *Snapshot) {
			s.Sequences = []*Sequence{{ID: 1, Heads: make([]Head, 2)}, {ID: 1, Heads: make([]Head, 2)}}
		},
		"has 1 heads, want 2": func(s *Snapshot) { s.Sequences = []*Sequence{{Heads: make([]Head, 1)}} },
	} {
		s := NewCache(cfg, columns).Snapshot()
		change(s)
		if _, err := s.Cache(cfg, columns); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	c := NewCache(cfg, columns)
	for _, g := range []Segment{{Len: -1}, {Len: 1}, {Table: []int32{0}, Len: 5}, {Table: []int32{0}, Len: 4, Offset: 1}, {Table: []int32{33}}, {Table: []int32{-1}, Len: 1}} {
		for _, h := range []Head{{Segment: g}, {Keys: []Segment{g}}, {Values: []Segment{g}}} {
			if c.CheckHead(&h) == nil {
				t.Errorf("%+v is taken for readable", h)
			}
		}
	}
	if err := c.CheckHead(&Head{Segment: Segment{Table: []int32{32}, Len: 4}}); err != nil {
		t.Error(err)
	}
}

// TestHoldsLists makes lists of segments that no cache makes.
func TestHoldsLists(t *testing.T) {
	cfg := Config{Shape: Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 32}, BlockSize: 16, Blocks: 9, DType: dtype.F16}
	c := NewCache(cfg, nil)
	var (
		channels = Segment{Format: Format{Kind: PerChannel, Bits: 4, Group: 8}, Table: []int32{0}, Len: 16}
		tokens   = Segment{Format: Format{Kind: PerToken, Bits: 4, Group: 8}, Table: []int32{1}, Len: 16}
		merged   = Segment{Format: Format{Kind: Merged}, Table: []int32{2}, Len: 16}
		exact    = Segment{Format: Format{Kind: Exact}, Table: []int32{3}, Len: 2, Index: []int32{0, 15}}
	)
	head := func(list ...Segment) *Head {
		return &Head{Segment: Segment{Table: []int32{4}, Len: 2, First: 16}, Keys: list, Values: []Segment{tokens}}
	}
	with := func(g Segment, change func(*Segment)) Segment {
		change(&g)
		return g
	}
	for _, h := range []*Head{head(channels), head(tokens), head(merged), head(merged, exact)} {
		if err := c.CheckHead(h); err != nil {
			t.Error(err)
		}
	}
	for name, h := range map[string]*Head{
		"retained without merged":    head(exact),
		"retained of quantized":      head(channels, exact),
		"merged twice":               head(merged, merged),
		"merged behind quantized":    head(channels, with(merged, func(g *Segment) { g.First = 16 })),
		"retained twice":             head(merged, exact, exact),
		"retained beyond merged":     head(merged, with(exact, func(g *Segment) { g.Index = []int32{0, 16} })),
		"retained of none":           head(merged, with(exact, func(g *Segment) { g.Index, g.Len = nil, 0 })),
		"fewer indices":              head(merged, with(exact, func(g *Segment) { g.Index = g.Index[:1] })),
		"half a group":               head(with(channels, func(g *Segment) { g.Len = 20 })),
		"quantized from 8 on":        head(with(channels, func(g *Segment) { g.First = 8 })),
		"the same KVs twice":         head(channels, channels),
		"empty":                      head(merged, with(tokens, func(g *Segment) { g.First, g.Len = 16, 0 })),
		"quantized KVs with indices": head(with(tokens, func(g *Segment) { g.Index = make([]int32, 16) })),
		"deeper layer's, and exact":  head(merged, with(exact, func(g *Segment) { g.Deep = true })),
		"more than there are":        head(with(tokens, func(g *Segment) { g.Len = 24 })),
		"a format that cannot be":    head(with(tokens, func(g *Segment) { g.Format.Bits = 9 })),
		"fewer than have left plain": head(with(channels, func(g *Segment) { g.Len = 8 })),
	} {
		if err := c.CheckHead(h); err == nil {
			t.Errorf("%s: taken for readable", name)
		}
	}
}
