package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// Snapshot is a cache's content as flat arrays, as an engine that keeps it
// elsewhere reads it back. N is the number of blocks, B the slots of each.
type Snapshot struct {
	Keys, Values []byte      // [N·B, D] in the cache's format: of each block the first and the second half of its page
	Positions    []int32     // [N·B]
	Data         [][]float32 // of each column, [N·B, Width]
	Owners       []Owner     // [N]; of a free block only Seq, NoSeq, says anything
	Free         []uint32    // [⌈N/32⌉]: bit b%32 of word b/32 is set while block b is free
	Sequences    []*Sequence
}

// Cache returns a cache of that content, of which it takes over all but the pages. It is an error if an
// array does not have the configuration's size, a sequence does not have its number
// of heads or is there twice, or a block is free that does not exist. What the arrays
// say is taken as it is: the tables, lengths and owners of an engine with a bug may
// be nonsense, which [Cache.Holds] tells from what can be read.
func (s *Snapshot) Cache(cfg Config, columns []Column) (*Cache, error) {
	slots := cfg.Blocks * cfg.BlockSize
	row := cfg.RowBytes()
	words := ceilDiv(cfg.Blocks, 32)
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
			errs = append(errs, fmt.Errorf("kv: snapshot: %s of size %d, the configuration has %d", a.name, a.have, a.fit))
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
			errs = append(errs, fmt.Errorf("kv: snapshot: sequences[%d] is none", i))
		case c.seqs[seq.ID] != nil:
			errs = append(errs, fmt.Errorf("kv: snapshot: sequence %d is there twice", seq.ID))
		case len(seq.Heads) != cfg.Shape.Layers*cfg.Shape.KVHeads:
			errs = append(errs, fmt.Errorf("kv: snapshot: sequence %d has %d heads, the configuration %d", seq.ID, len(seq.Heads), cfg.Shape.Layers*cfg.Shape.KVHeads))
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
			return nil, fmt.Errorf("kv: snapshot: block %d is free, there are %d", cfg.Blocks+bits.TrailingZeros32(beyond), cfg.Blocks)
		}
	}
	for b := range c.Owners {
		if c.Owners[b].Seq == NoSeq {
			c.Owners[b] = Owner{Seq: NoSeq}
		}
	}
	c.free.words = make([]uint64, ceilDiv(cfg.Blocks, 64))
	for i, w := range s.Free {
		c.free.words[i/2] |= uint64(w) << (i % 2 * 32)
		c.free.count += bits.OnesCount32(w)
	}
	return c, nil
}

// Indices returns the logical indices of the KVs of an [Exact] segment, as its pages have them; −1 of one whose page
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
		Free:      make([]uint32, ceilDiv(c.Blocks(), 32)),
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

// Holds returns an error if a head cannot be read: if its lists are not as [Cache.Quantize], or [Cache.Merge] and
// [Cache.Retain], make them, or if a segment has a format that the cache cannot have, does not have a block for
// every KV, or names one that does not exist. In an engine's own cache that is never so; in a cache made of a [Snapshot] it
// may be.
func (c *Cache) Holds(h *Head) error {
	for _, p := range []Part{Keys, Values} {
		end := 0 // of the segments so far
		for i := range h.List(p) {
			if err := c.listed(h, p, i, end); err != nil {
				return fmt.Errorf("kv: segment %d of %v %w", i, p, err)
			}
			end = max(end, h.List(p)[i].End())
		}
		if end < h.First {
			return fmt.Errorf("kv: the plain segment begins with KV %d, and %v before end with %d", h.First, p, end)
		}
	}
	if h.First < 0 || h.Format != (Format{}) || h.Index != nil || h.Offset != h.First%c.cfg.BlockSize {
		return fmt.Errorf("kv: a plain segment with first KV %d, offset %d, format %v and %d indices", h.First, h.Offset, h.Format, len(h.Index))
	}
	var err error
	h.Segments(func(g *Segment) {
		if err == nil {
			err = c.tabled(g)
		}
	})
	return err
}

// listed returns an error if segment i of a head's list, which begins where the segments before it end, is none that a
// cache makes.
func (c *Cache) listed(h *Head, p Part, i, end int) error {
	list := h.List(p)
	g := &list[i]
	kind := g.Format.Kind
	switch {
	case kind == Plain:
		return errors.New("is plain")
	case kind == Exact && (i != 1 || list[0].Format.Kind != Merged), kind == Merged && i != 0, i > 0 && kind != Exact && list[i-1].Format.Kind == Exact:
		return fmt.Errorf("is %v: of merged pages there is one segment, and one of what is retained behind it", kind)
	case g.Deep && kind != Merged:
		return fmt.Errorf("is of a deeper layer, and %v", kind)
	case g.Offset != 0:
		return fmt.Errorf("has an offset of %d", g.Offset)
	case kind == Exact && (g.First != 0 || g.Len < 1 || len(g.Index) != g.Len):
		return fmt.Errorf("has %d KVs from %d on, and %d indices", g.Len, g.First, len(g.Index))
	case kind != Exact && (g.Index != nil || g.First != end):
		return fmt.Errorf("has %d indices, and begins with KV %d behind %d", len(g.Index), g.First, end)
	}
	if err := c.cfg.Check(g.Format); err != nil {
		return fmt.Errorf("has a %w", err)
	}
	for j, logical := range g.Index {
		if logical < 0 || j > 0 && logical <= g.Index[j-1] || int(logical) >= end {
			return fmt.Errorf("has %d as its index %d, of %d KVs", logical, j, end)
		}
	}
	if g.Len < 1 || g.Len%g.Format.Unit() != 0 || g.End() > h.KVs() {
		return fmt.Errorf("has %d KVs up to %d of %d", g.Len, g.End(), h.KVs())
	}
	return nil
}

// tabled returns an error if a segment does not have a block for every KV, or one that does not exist.
func (c *Cache) tabled(g *Segment) error {
	capacity := c.cfg.Capacity(g.Format)
	if g.Len < 0 || g.Offset < 0 || g.Offset > len(g.Table)*capacity-g.Len {
		return fmt.Errorf("kv: a context length of %d in %d blocks of %d", g.Len, len(g.Table), capacity)
	}
	for i, b := range g.Table {
		if b < 0 || int(b) >= c.Blocks() {
			return fmt.Errorf("kv: block table entry %d is %d, there are %d blocks", i, b, c.Blocks())
		}
	}
	return nil
}
