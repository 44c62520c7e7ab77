package kv

import (
	"fmt"

	"kvcompress/ref/quant"
)

// Quantize appends n keys or values of a head of a sequence, those from [Head.End] of the part on, to a
// segment of the format, and takes the pages for it. The head is number head of L·H; the KVs must be in its plain
// segment and whole units of the format. It returns *ErrNoBlocks, with nothing changed, if the pages
// are not there.
func (c *Cache) Quantize(s *Sequence, head int, part Part, f Format, n int) error {
	h := &s.Heads[head]
	end := h.End(part)
	if part != Keys && part != Values || n < 1 || n%f.Unit() != 0 || end < h.First || n > h.KVs()-end {
		return fmt.Errorf("kv: no %d of %v from %d on of a head with KVs %d to %d can be quantized", n, part, end, h.First, h.KVs())
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

// extend makes room for n more KVs at the end of a list, whose last segment it opens if there is
// none of the format, and returns it. The pages are there. first is the logical index of the first of
// them.
func (c *Cache) extend(id SeqID, head int, list *[]Segment, part Part, f Format, first, n int) *Segment {
	if k := len(*list); k == 0 || (*list)[k-1].Format != f {
		*list = append(*list, Segment{Format: f, First: first})
	}
	g := &(*list)[len(*list)-1]
	for c.cfg.Pages(f, g.Len+n) > len(g.Table) {
		g.Table = append(g.Table, c.take(Owner{
			id, int32(head / c.cfg.Shape.KVHeads), int32(head % c.cfg.Shape.KVHeads), int32(len(g.Table)), part,
		}))
	}
	g.Len += n
	return g
}

// list is List, to be changed.
func (h *Head) list(p Part) *[]Segment {
	if p == Keys {
		return &h.Keys
	}
	return &h.Values
}

// Leave takes the KVs before [Head.End] of both parts out of a head's plain segment, and frees the
// blocks that held them alone, but for that of the next KV. It returns how many blocks
// came free.
func (c *Cache) Leave(h *Head) int {
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

// groups returns the arithmetic of a quantized format.
func (c *Config) groups(f Format) quant.Groups {
	return quant.Groups{Bits: f.Bits, Size: f.Group, Type: c.DType}
}

// array returns the shape of n KVs of a quantized format. Those of PerChannel are taken group by
// group, which is how they lie in pages.
func (c *Config) array(f Format, n int) quant.Array {
	if f.Kind == PerChannel {
		return quant.Keys(n/f.Group, f.Group, c.Shape.HeadSize)
	}
	return quant.Values(1, n, c.Shape.HeadSize)
}

// unit returns the bytes of the unit number i of a segment.
func (c *Cache) unit(g *Segment, i int) []byte {
	size := c.cfg.UnitBytes(g.Format)
	perPage := c.cfg.PageBytes() / size
	return c.Page(g.Table[i/perPage])[i%perPage*size:][:size:size]
}

// Units calls f for each unit of a segment of another format than the plain one: the number of its first KV in the segment, and
// its bytes.
func (c *Cache) Units(g *Segment, f func(first int, unit []byte)) {
	for first := 0; first < g.Len; first += g.Format.Unit() {
		f(first, c.unit(g, first/g.Format.Unit()))
	}
}
