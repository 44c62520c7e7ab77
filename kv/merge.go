package kv

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"kvcompress/ref/merge"
)

// Merge appends n keys or values of a pair of heads, those from [Head.End] of the part on, to a merged segment of the
// format that both read, and takes the pages for it: they are the shallower layer's head's. The heads are number shallow
// and deep of L·H; the KVs must be in the plain segments of both, and equally many of each merged already. limit is
// kept with the segment. It returns *ErrNoBlocks, with nothing changed, if the pages are not
// there.
func (c *Cache) Merge(s *Sequence, shallow, deep int, part Part, f Format, by merge.Slerp, n int, limit float32) error {
	x, y := &s.Heads[deep], &s.Heads[shallow]
	end, d := x.End(part), c.cfg.Shape.HeadSize
	if part != Keys && part != Values || shallow == deep || f.Kind != Merged || f.Bits != 0 || n < 1 || y.End(part) != end || end < max(x.First, y.First) || n > min(x.KVs(), y.KVs())-end {
		return fmt.Errorf("kv: no %d of %v from %d on of heads %d and %d can be merged, of which the first has KVs %d to %d", n, part, end, shallow, deep, y.First, y.KVs())
	}
	if err := c.cfg.Check(f); err != nil {
		return err
	}
	deepRows, shallowRows := make([]float32, n*d), make([]float32, n*d)
	c.readPlain(deepRows, x, part, end)
	c.readPlain(shallowRows, y, part, end)
	m, err := by.Merge(deepRows, shallowRows, d)
	if err != nil {
		return fmt.Errorf("kv: sequence %d, heads %d and %d of L·H, %v from %d on: %w", s.ID, shallow, deep, part, end, err)
	}
	held := 0
	if list := y.List(part); len(list) > 0 {
		held = list[0].Len
	}
	if need := c.cfg.Pages(f, held+n) - c.cfg.Pages(f, held); need > c.free.count {
		return &ErrNoBlocks{need, c.free.count}
	}
	if held == 0 {
		*y.list(part) = append(*y.list(part), Segment{Format: f, First: end})
		*x.list(part) = append(*x.list(part), Segment{Format: f, First: end, Deep: true})
	}
	segment, other := &y.List(part)[0], &x.List(part)[0]
	c.grow(segment, s.ID, shallow, part, n)
	segment.Limit = limit
	other.Table, other.Len = slices.Clone(segment.Table), segment.Len
	row := c.cfg.RowBytes()
	for i := range n {
		unit := c.unit(segment, held+i)
		c.cfg.DType.Encode(unit[:row], m.Directions[i*d:][:d])
		binary.LittleEndian.PutUint32(unit[row:], math.Float32bits(m.Shallow[i]))
		binary.LittleEndian.PutUint32(unit[row+normBytes:], math.Float32bits(m.Deep[i]))
	}
	return nil
}

// readMerged reads the key or value of one of the layers from a unit of a merged page.
func (c *Cache) readMerged(dst []float32, unit []byte, deep bool) {
	row := c.cfg.RowBytes()
	c.cfg.DType.Decode(dst, unit[:row])
	norms := unit[row:]
	if deep {
		norms = norms[normBytes:]
	}
	norm := math.Float32frombits(binary.LittleEndian.Uint32(norms))
	for j, e := range dst {
		dst[j] = float32(e * norm)
	}
}

// Retain appends keys or values of a head, of ascending logical indices, as they are in its plain segment, to an exact
// segment behind its merged one, and takes the pages for it. It returns *ErrNoBlocks, with nothing
// changed, if the pages are not there.
func (c *Cache) Retain(s *Sequence, head int, part Part, kvs []int32) error {
	h, f := &s.Heads[head], Format{Kind: Exact}
	list := h.list(part)
	if len(*list) == 0 || len(kvs) == 0 {
		return fmt.Errorf("kv: %d of %v of a head with %d segments of them cannot be retained", len(kvs), part, len(*list))
	}
	last := int32(-1)
	held := 0
	if len(*list) > 1 {
		held = (*list)[1].Len
		last = (*list)[1].Index[held-1]
	}
	for _, i := range kvs {
		if i <= last || int(i) < h.First || int(i) >= h.KVs() {
			return fmt.Errorf("kv: KV %d cannot be retained of a head with KVs %d to %d, after %d", i, h.First, h.KVs(), last)
		}
		last = i
	}
	if need := c.cfg.Pages(f, held+len(kvs)) - c.cfg.Pages(f, held); need > c.free.count {
		return &ErrNoBlocks{need, c.free.count}
	}
	if held == 0 {
		*list = append(*list, Segment{Format: f})
	}
	g := &(*list)[1]
	c.grow(g, s.ID, head, part, len(kvs))
	rows := c.KeyRows
	if part == Values {
		rows = c.ValueRows
	}
	for k, i := range kvs {
		unit := c.unit(g, held+k)
		binary.LittleEndian.PutUint32(unit, uint32(i))
		copy(unit[indexBytes:], rows(c.Slot(h, int(i)), 1))
	}
	g.Index = append(g.Index, kvs...)
	return nil
}
