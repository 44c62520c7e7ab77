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
	p, err := c.Quantized(s, head, part, f, n)
	if err != nil {
		return err
	}
	return c.Put(s, p)
}

// Quantized returns what [Cache.Quantize] puts into pages, and changes nothing.
func (c *Cache) Quantized(s *Sequence, head int, part Part, f Format, n int) (*Packed, error) {
	h := &s.Heads[head]
	end := h.End(part)
	if part != Keys && part != Values || n < 1 || n%f.Unit() != 0 || end < h.First || n > h.KVs()-end {
		return nil, fmt.Errorf("kv: cannot quantize %d of %v from KV %d on: the head's plain segment has KVs %d up to %d", n, part, end, h.First, h.KVs())
	}
	if err := c.cfg.Check(f); err != nil {
		return nil, err
	}
	x := make([]float32, n*c.cfg.Shape.HeadSize)
	c.readPlain(x, h, part, end)
	p := &Packed{head: head, part: part, format: f, first: end, n: n, units: make([]byte, n/f.Unit()*c.cfg.UnitBytes(f))}
	if err := c.pack(p, x); err != nil {
		return nil, fmt.Errorf("kv: sequence %d, head %d of L·H, %v from %d on: %w", s.ID, head, part, end, err)
	}
	return p, nil
}

// pack writes the codes, scales and minima of rows [n, D] to the units of p.
func (c *Cache) pack(p *Packed, x []float32) error {
	arithmetic, shape := c.cfg.groups(p.format), c.cfg.array(p.format, p.n)
	q, err := arithmetic.Quantize(shape, x)
	if err != nil {
		return err
	}
	codes, err := arithmetic.PackBytes(shape, q.Codes)
	if err != nil {
		return err
	}
	units := p.n / p.format.Unit()
	size, line, groups := len(p.units)/units, len(codes)/units, len(q.Scales)/units
	numbers := groups * c.cfg.scaleBytes()
	for u := range units {
		unit := p.units[u*size:][:size]
		copy(unit, codes[u*line:][:line])
		c.cfg.DType.Encode(unit[line:][:numbers], q.Scales[u*groups:][:groups])
		c.cfg.DType.Encode(unit[line+numbers:][:numbers], q.Minima[u*groups:][:groups])
	}
	return nil
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
