package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"kvcompress/internal/ceil"
)

// Snapshot is a cache's content as flat arrays, as an engine with its own memory (a GPU) returns it. N is the
// number of blocks, B the slots per block.
type Snapshot struct {
	Keys, Values []byte      // [N·B, D] in the cache's format: the first and the second half of each block's page
	Positions    []int32     // [N·B]
	Data         [][]float32 // of each column, [N·B, Width]
	Owners       []Owner     // [N]; a free block has Seq = NoSeq, and its other fields mean nothing
	Free         []uint32    // [⌈N/32⌉]: bit b%32 of word b/32 is set while block b is free
	Sequences    []*Sequence
}

// Cache returns a cache with this content; it copies only the pages and keeps the other arrays. It is an
// error if an array does not have the configuration's size, if a sequence is duplicate or has the wrong
// number of heads, or if a block number in the free list is too large. Nothing else is checked: block tables,
// lengths and owners of an engine with a bug may be wrong, and [Cache.CheckHead] tells which heads can be
// read.
func (s *Snapshot) Cache(cfg Config, columns []Column) (*Cache, error) {
	slots := cfg.Blocks * cfg.BlockSize
	row := cfg.RowBytes()
	words := ceil.Div(cfg.Blocks, 32)
	var errs []error
	type size struct {
		name      string
		have, fit int
	}
	sizes := []size{
		{"keys", len(s.Keys), slots * row},
		{"values", len(s.Values), slots * row},
		{"positions", len(s.Positions), slots},
		{"owners", len(s.Owners), cfg.Blocks},
		{"free", len(s.Free), words},
		{"columns", len(s.Data), len(columns)},
	}
	for i := range min(len(s.Data), len(columns)) {
		sizes = append(sizes, size{columns[i].Name, len(s.Data[i]), slots * columns[i].Width})
	}
	for _, a := range sizes {
		if a.have != a.fit {
			errs = append(errs, fmt.Errorf("kv: snapshot: %s has size %d, want %d", a.name, a.have, a.fit))
		}
	}
	c := &Cache{
		cfg:       cfg,
		columns:   columns,
		Positions: s.Positions,
		Data:      s.Data,
		Owners:    s.Owners,
		seqs:      make(map[SeqID]*Sequence, len(s.Sequences)),
	}
	for i, seq := range s.Sequences {
		switch {
		case seq == nil:
			errs = append(errs, fmt.Errorf("kv: snapshot: sequences[%d] is nil", i))
		case c.seqs[seq.ID] != nil:
			errs = append(errs, fmt.Errorf("kv: snapshot: duplicate sequence %d", seq.ID))
		case len(seq.Heads) != cfg.Shape.Layers*cfg.Shape.KVHeads:
			errs = append(errs, fmt.Errorf("kv: snapshot: sequence %d has %d heads, want %d", seq.ID, len(seq.Heads), cfg.Shape.Layers*cfg.Shape.KVHeads))
		default:
			c.seqs[seq.ID] = seq
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	c.pages = make([]byte, cfg.Blocks*cfg.PageBytes())
	half := cfg.PageBytes() / 2
	for b := range cfg.Blocks {
		page := c.Page(int32(b))
		copy(page, s.Keys[b*half:][:half])
		copy(page[half:], s.Values[b*half:][:half])
	}
	if last := cfg.Blocks % 32; last != 0 {
		if beyond := s.Free[words-1] >> last; beyond != 0 {
			return nil, fmt.Errorf("kv: snapshot: block %d is in the free list, but there are only %d blocks", cfg.Blocks+bits.TrailingZeros32(beyond), cfg.Blocks)
		}
	}
	for b := range c.Owners {
		if c.Owners[b].Seq == NoSeq {
			c.Owners[b] = Owner{Seq: NoSeq}
		}
	}
	c.free.words = make([]uint64, ceil.Div(cfg.Blocks, 64))
	for i, w := range s.Free {
		c.free.words[i/2] |= uint64(w) << (i % 2 * 32)
		c.free.count += bits.OnesCount32(w)
	}
	return c, nil
}

// Indices returns the logical indices that are stored in the pages of an [Exact] segment; −1 where the page
// does not exist.
func (s *Snapshot) Indices(cfg *Config, g *Segment) []int32 {
	half, each, size := cfg.PageBytes()/2, cfg.Capacity(g.Format), cfg.UnitBytes(g.Format)
	all := make([]int32, g.Len)
	for k := range all {
		all[k] = -1
		if k/each >= len(g.Table) {
			continue
		}
		block, in, from := int(g.Table[k/each]), k%each*size, s.Keys
		if in >= half {
			in, from = in-half, s.Values
		}
		if block >= 0 && block < cfg.Blocks {
			all[k] = int32(binary.LittleEndian.Uint32(from[block*half+in:]))
		}
	}
	return all
}

// Snapshot returns a copy of the cache's content.
func (c *Cache) Snapshot() *Snapshot {
	half := c.cfg.PageBytes() / 2
	s := &Snapshot{
		Keys:      make([]byte, c.Blocks()*half),
		Values:    make([]byte, c.Blocks()*half),
		Positions: slices.Clone(c.Positions),
		Owners:    slices.Clone(c.Owners),
		Free:      make([]uint32, ceil.Div(c.Blocks(), 32)),
	}
	for b := range c.Blocks() {
		page := c.Page(int32(b))
		copy(s.Keys[b*half:][:half], page)
		copy(s.Values[b*half:], page[half:])
	}
	for _, data := range c.Data {
		s.Data = append(s.Data, slices.Clone(data))
	}
	for i := range s.Free {
		s.Free[i] = uint32(c.free.words[i/2] >> (i % 2 * 32))
	}
	for _, id := range c.Sequences() {
		seq := *c.seqs[id]
		seq.Heads = slices.Clone(seq.Heads)
		for i := range seq.Heads {
			h := &seq.Heads[i]
			h.Keys, h.Values = slices.Clone(h.Keys), slices.Clone(h.Values)
			h.Segments(func(g *Segment) {
				g.Table, g.Index = slices.Clone(g.Table), slices.Clone(g.Index)
			})
		}
		s.Sequences = append(s.Sequences, &seq)
	}
	return s
}

// IsFree reports whether a block is in the free list; false for one that does not
// exist.
func (c *Cache) IsFree(block int) bool {
	return block >= 0 && block < c.Blocks() && c.free.words[block/64]>>(block%64)&1 == 1
}

// CheckHead returns an error if a head cannot be read: if its lists are not as [Cache.Quantize] or
// [Cache.Merge] and [Cache.Retain] make them, or if a segment has an invalid format, too few blocks for its
// KVs, or a block that does not exist. This can happen only in a cache made from a [Snapshot].
func (c *Cache) CheckHead(h *Head) error {
	for _, p := range []Part{Keys, Values} {
		end := 0 // of the segments so far
		for i := range h.List(p) {
			if err := c.checkListed(h, p, i, end); err != nil {
				return fmt.Errorf("kv: segment %d of %v %w", i, p, err)
			}
			end = max(end, h.List(p)[i].End())
		}
		if end < h.First {
			return fmt.Errorf("kv: the plain segment begins with KV %d, but the other segments of %v end at %d", h.First, p, end)
		}
	}
	if h.First < 0 || h.Format != (Format{}) || h.Index != nil || h.Offset != h.First%c.cfg.BlockSize {
		return fmt.Errorf("kv: the plain segment has first KV %d, offset %d, format %v and %d indices", h.First, h.Offset, h.Format, len(h.Index))
	}
	var err error
	h.Segments(func(g *Segment) {
		if err == nil {
			err = c.checkTable(g)
		}
	})
	return err
}

// checkListed returns an error if segment i of a head's list is not one that a cache makes. end is where the
// segments before it end.
func (c *Cache) checkListed(h *Head, p Part, i, end int) error {
	list := h.List(p)
	g := &list[i]
	kind := g.Format.Kind
	switch {
	case kind == Plain:
		return errors.New("is plain")
	case kind == Exact && (i != 1 || list[0].Format.Kind != Merged), kind == Merged && i != 0, i > 0 && kind != Exact && list[i-1].Format.Kind == Exact:
		return fmt.Errorf("is %v: want one merged segment and at most one exact segment of retained KVs after it", kind)
	case g.Deep && kind != Merged:
		return fmt.Errorf("is marked as that of the deeper layer, but is %v", kind)
	case g.Offset != 0:
		return fmt.Errorf("has an offset of %d", g.Offset)
	case kind == Exact && (g.First != 0 || g.Len < 1 || len(g.Index) != g.Len):
		return fmt.Errorf("has %d KVs from KV %d on, but %d indices", g.Len, g.First, len(g.Index))
	case kind != Exact && (g.Index != nil || g.First != end):
		return fmt.Errorf("has %d indices and begins with KV %d, want none and KV %d", len(g.Index), g.First, end)
	}
	if err := c.cfg.Check(g.Format); err != nil {
		return fmt.Errorf("has a %w", err)
	}
	for j, logical := range g.Index {
		if logical < 0 || j > 0 && logical <= g.Index[j-1] || int(logical) >= end {
			return fmt.Errorf("has logical index %d as entry %d of its indices, which must ascend below %d", logical, j, end)
		}
	}
	if g.Len < 1 || g.Len%g.Format.Unit() != 0 || g.End() > h.KVs() {
		return fmt.Errorf("has %d KVs up to KV %d, and the head has %d", g.Len, g.End(), h.KVs())
	}
	return nil
}

// checkTable returns an error if a segment has too few blocks for its KVs, or one that does not exist.
func (c *Cache) checkTable(g *Segment) error {
	capacity := c.cfg.Capacity(g.Format)
	if g.Len < 0 || g.Offset < 0 || g.Offset > len(g.Table)*capacity-g.Len {
		return fmt.Errorf("kv: a context length of %d does not fit in %d blocks of %d", g.Len, len(g.Table), capacity)
	}
	for i, b := range g.Table {
		if b < 0 || int(b) >= c.Blocks() {
			return fmt.Errorf("kv: block table entry %d is %d, but there are only %d blocks", i, b, c.Blocks())
		}
	}
	return nil
}
