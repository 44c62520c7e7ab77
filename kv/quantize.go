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
		return nil, fmt.Errorf("kv: no %d of %v from %d on of a head with KVs %d to %d can be quantized", n, part, end, h.First, h.KVs())
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

// grow makes room for n more KVs at the end of a segment that is not plain. The pages are there.
func (c *Cache) grow(g *Segment, id SeqID, head int, part Part, n int) {
	f := g.Format
	for c.cfg.Pages(f, g.Len+n) > len(g.Table) {
		g.Table = append(g.Table, c.take(Owner{
			id, int32(head / c.cfg.Shape.KVHeads), int32(head % c.cfg.Shape.KVHeads), int32(len(g.Table)), part,
		}))
	}
	g.Len += n
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
