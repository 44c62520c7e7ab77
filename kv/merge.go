package kv

import (
	"encoding/binary"
	"fmt"
	"math"

	"kvcompress/ref/merge"
	"kvcompress/ref/quant"
)

// Merge merges the next n keys or values of two heads, from index [Head.End] on, and appends them to a merged
// segment that both heads read. The pages belong to the head of the shallower layer. shallow and deep are the
// heads' numbers among the sequence's L·H. The KVs must be in the plain segments of both heads, and both
// heads must have merged equally many so far. limit is stored in the segment. If there are too few free
// blocks it returns *ErrNoBlocks and changes nothing.
func (c *Cache) Merge(s *Sequence, shallow, deep int, part Part, f Format, by merge.Slerp, n int, limit float32) error {
	p, err := c.Merged(s, shallow, deep, part, f, by, n, limit)
	if err != nil {
		return err
	}
	return c.Put(s, p)
}

// Merged returns what [Cache.Merge] puts into pages, and changes nothing.
func (c *Cache) Merged(s *Sequence, shallow, deep int, part Part, f Format, by merge.Slerp, n int, limit float32) (*Packed, error) {
	x, y := &s.Heads[deep], &s.Heads[shallow]
	end, d := x.End(part), c.cfg.Shape.HeadSize
	if part != Keys && part != Values || shallow == deep || f.Kind != Merged || n < 1 || y.End(part) != end || end < max(x.First, y.First) || n > min(x.KVs(), y.KVs())-end {
		return nil, fmt.Errorf("kv: cannot merge %d of %v from KV %d on in heads %d and %d: the plain segment of the first has KVs %d up to %d", n, part, end, shallow, deep, y.First, y.KVs())
	}
	if err := c.cfg.Check(f); err != nil {
		return nil, err
	}
	if list := y.List(part); len(list) > 0 && list[0].Format != f {
		return nil, fmt.Errorf("kv: %v of heads %d and %d are merged in another format", part, shallow, deep)
	}
	deepRows, shallowRows := make([]float32, n*d), make([]float32, n*d)
	c.readPlain(deepRows, x, part, end)
	c.readPlain(shallowRows, y, part, end)
	p := &Packed{head: shallow, part: part, format: f, first: end, n: n, units: make([]byte, n*c.cfg.UnitBytes(f)), deep: deep, limit: limit}
	m, err := by.Merge(deepRows, shallowRows, d)
	if err == nil {
		err = c.packDirections(p, m.Directions)
	}
	if err != nil {
		return nil, fmt.Errorf("kv: sequence %d, heads %d and %d of L·H, %v from %d on: %w", s.ID, shallow, deep, part, end, err)
	}
	size := len(p.units) / n
	for i := range n {
		norms := p.units[(i+1)*size-2*normBytes:]
		binary.LittleEndian.PutUint32(norms, math.Float32bits(m.Shallow[i]))
		binary.LittleEndian.PutUint32(norms[normBytes:], math.Float32bits(m.Deep[i]))
	}
	return p, nil
}

// packDirections encodes directions [n, D] into the units of p: in the cache's dtype or, if the format has bits,
// rounded to that dtype and then quantized in groups of channels.
func (c *Cache) packDirections(p *Packed, x []float32) error {
	stored := make([]byte, len(x)*c.cfg.DType.Size())
	c.cfg.DType.Encode(stored, x)
	if p.format.Bits > 0 {
		rounded := make([]float32, len(x))
		c.cfg.DType.Decode(rounded, stored)
		return c.pack(p, rounded)
	}
	size, row := len(p.units)/p.n, c.cfg.RowBytes()
	for i := range p.n {
		copy(p.units[i*size:], stored[i*row:][:row])
	}
	return nil
}

// merged reads n keys or values of one of the two layers from consecutive units of a merged page into dst,
// [n, D].
func (r *Reader) merged(dst []float32, page []byte, size, n int, f Format, deep bool) {
	cfg, d := &r.Cache.cfg, r.Cache.cfg.Shape.HeadSize
	if f.Bits > 0 {
		numbers := r.decode(page[d*f.Bits/8:], size, n, 2*d/f.Group)
		quant.ReadTokens(dst, page, size, numbers, d, f.Group, f.Bits)
	}
	at := size - 2*normBytes // offset of the norm in a unit
	if deep {
		at += normBytes
	}
	for k := range n {
		unit, row := page[k*size:][:size], dst[k*d:][:d]
		if f.Bits == 0 {
			cfg.DType.Decode(row, unit[:cfg.RowBytes()])
		}
		norm := math.Float32frombits(binary.LittleEndian.Uint32(unit[at:]))
		for j, e := range row {
			row[j] = float32(e * norm)
		}
	}
}

// Retain copies keys or values of a head, whose logical indices ascend, unchanged from its plain segment to
// an exact segment after its merged one. If there are too few free blocks it returns *ErrNoBlocks and changes
// nothing.
func (c *Cache) Retain(s *Sequence, head int, part Part, kvs []int32) error {
	h, f := &s.Heads[head], Format{Kind: Exact}
	list := h.list(part)
	if len(*list) == 0 || len(kvs) == 0 {
		return fmt.Errorf("kv: cannot retain %d of %v in a head with %d segments of %[2]v", len(kvs), part, len(*list))
	}
	last := int32(-1)
	held := 0
	if len(*list) > 1 {
		held = (*list)[1].Len
		last = (*list)[1].Index[held-1]
	}
	for _, i := range kvs {
		if i <= last || int(i) < h.First || int(i) >= h.KVs() {
			return fmt.Errorf("kv: cannot retain KV %d after KV %[4]d: the head's plain segment has KVs %[2]d up to %[3]d", i, h.First, h.KVs(), last)
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
