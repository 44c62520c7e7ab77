package kv

import (
	"encoding/binary"
	"fmt"
	"math"

	"kvcompress/ref/merge"
	"kvcompress/ref/quant"
)

// Merge appends n keys or values of a pair of heads, those from [Head.End] of the part on, to a merged segment of the
// format that both read, and takes the pages for it: they are the shallower layer's head's. The heads are number shallow
// and deep of L·H; the KVs must be in the plain segments of both, and equally many of each merged already. limit is
// kept with the segment. It returns *ErrNoBlocks, with nothing changed, if the pages are not
// there.
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
		return nil, fmt.Errorf("kv: no %d of %v from %d on of heads %d and %d can be merged, of which the first has KVs %d to %d", n, part, end, shallow, deep, y.First, y.KVs())
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

// packDirections writes directions [n, D] to the units of p: in the cache's type, and where the format has bits, then in
// quantized groups of channels.
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

// merged reads n keys or values of one of the layers from consecutive units of a merged page: [n, D].
func (r *Reader) merged(dst []float32, page []byte, size, n int, f Format, deep bool) {
	cfg, d := &r.Cache.cfg, r.Cache.cfg.Shape.HeadSize
	if f.Bits > 0 {
		numbers := r.decode(page[d*f.Bits/8:], size, n, 2*d/f.Group)
		quant.ReadTokens(dst, page, size, numbers, d, f.Group, f.Bits)
	}
	at := size - 2*normBytes // of a unit, where its norms are
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
