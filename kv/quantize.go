package kv

import (
	"fmt"

	"kvcompress/ref/quant"
)

// Quantize quantizes the next n keys or values of a head, from index [Head.End] on, and appends them to a
// segment of the format. head is the head's number among the sequence's L·H. The KVs must be in its plain
// segment, and n a multiple of the format's unit. If there are too few free blocks it returns *ErrNoBlocks
// and changes nothing.
func (c *Cache) Quantize(s *Sequence, head int, part Part, f Format, n int) error {
	h := &s.Heads[head]
	end := h.End(part)
	if part != Keys && part != Values || n < 1 || n%f.Unit() != 0 || end < h.First || n > h.KVs()-end {
		return fmt.Errorf("kv: cannot quantize %d of %v from KV %d on: the head's plain segment has KVs %d up to %d", n, part, end, h.First, h.KVs())
	}
	if err := c.cfg.Check(f); err != nil {
		return err
	}
	x := make([]float32, n*c.cfg.Shape.HeadSize)
	c.readPlain(x, h, part, end)
	arithmetic := c.cfg.groups(f)
	shape := c.cfg.array(f, n)
	q, err := arithmetic.Quantize(shape, x)
	if err != nil {
		return fmt.Errorf("kv: sequence %d, head %d of L·H, %v from %d on: %w", s.ID, head, part, end, err)
	}
	codes, err := arithmetic.PackBytes(shape, q.Codes)
	if err != nil {
		return err
	}
	held := 0
	list := h.list(part)
	if len(*list) > 0 && (*list)[len(*list)-1].Format == f {
		held = (*list)[len(*list)-1].Len
	}
	if need := c.cfg.Pages(f, held+n) - c.cfg.Pages(f, held); need > c.free.count {
		return &ErrNoBlocks{need, c.free.count}
	}
	segment := c.extend(s.ID, head, list, part, f, end, n)
	lines, numbers := len(codes)/(n/f.Unit()), len(q.Scales)/(n/f.Unit())
	for u := range n / f.Unit() {
		unit := c.unit(segment, held/f.Unit()+u)
		copy(unit, codes[u*lines:][:lines])
		c.cfg.DType.Encode(unit[lines:][:len(unit[lines:])/2], q.Scales[u*numbers:][:numbers])
		c.cfg.DType.Encode(unit[lines+len(unit[lines:])/2:], q.Minima[u*numbers:][:numbers])
	}
	return nil
}

// extend makes room for n more KVs at the end of a list and returns its last segment. It starts a new
// segment, with first as the logical index of its first KV, if the last one has another format. The blocks
// must be free.
func (c *Cache) extend(id SeqID, head int, list *[]Segment, part Part, f Format, first, n int) *Segment {
	if k := len(*list); k == 0 || (*list)[k-1].Format != f {
		*list = append(*list, Segment{Format: f, First: first})
	}
	g := &(*list)[len(*list)-1]
	c.grow(g, id, head, part, n)
	return g
}

// grow makes room for n more KVs at the end of a segment that is not plain. The blocks must be free.
func (c *Cache) grow(g *Segment, id SeqID, head int, part Part, n int) {
	f := g.Format
	for c.cfg.Pages(f, g.Len+n) > len(g.Table) {
		g.Table = append(g.Table, c.take(Owner{
			id, int32(head / c.cfg.Shape.KVHeads), int32(head % c.cfg.Shape.KVHeads), int32(len(g.Table)), part,
		}))
	}
	g.Len += n
}

// list returns a pointer to the list, so that it can be changed.
func (h *Head) list(p Part) *[]Segment {
	if p == Keys {
		return &h.Keys
	}
	return &h.Values
}

// TrimPlain removes from a head's plain segment the KVs whose keys and values are both stored in other
// segments, and frees the blocks that only they used, except the block of the next KV. It returns how many
// blocks it freed.
func (c *Cache) TrimPlain(h *Head) int {
	n := min(h.End(Keys), h.End(Values)) - h.First
	if n <= 0 {
		return 0
	}
	blocks := (h.Offset + n) / c.cfg.BlockSize
	for _, b := range h.Table[:blocks] {
		c.release(b)
	}
	h.Table = h.Table[blocks:]
	h.First, h.Len, h.Offset = h.First+n, h.Len-n, (h.First+n)%c.cfg.BlockSize
	return blocks
}

// groups returns the quantizer of a format.
func (c *Config) groups(f Format) quant.Groups {
	return quant.Groups{Bits: f.Bits, Size: f.Group, Type: c.DType}
}

// array returns the shape of n KVs for the quantizer: PerChannel ones group by group, as they are in pages.
func (c *Config) array(f Format, n int) quant.Array {
	if f.Kind == PerChannel {
		return quant.Keys(n/f.Group, f.Group, c.Shape.HeadSize)
	}
	return quant.Values(1, n, c.Shape.HeadSize)
}

// unit returns the bytes of unit i of a segment.
func (c *Cache) unit(g *Segment, i int) []byte {
	size := c.cfg.UnitBytes(g.Format)
	perPage := c.cfg.PageBytes() / size
	return c.Page(g.Table[i/perPage])[i%perPage*size:][:size:size]
}

// Units calls f for each unit of a segment that is not plain, with the number of the unit's first KV in the
// segment and the unit's bytes.
func (c *Cache) Units(g *Segment, f func(first int, unit []byte)) {
	for first := 0; first < g.Len; first += g.Format.Unit() {
		f(first, c.unit(g, first/g.Format.Unit()))
	}
}
