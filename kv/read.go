package kv

import "kvcompress/ref/quant"

// Reader reads the keys or values of heads, whatever segments they lie in. A Reader is one
// goroutine's.
type Reader struct {
	Cache *Cache

	scales, minima []float32
}

// Read reads consecutive Keys, or Values, of a head in logical order, from index first on:
// dst is [n, D].
func (r *Reader) Read(dst []float32, h *Head, part Part, first int) {
	c, d := r.Cache, r.Cache.cfg.Shape.HeadSize
	list := h.List(part)
	end := h.End(part)
	if plain := max(0, end-first); plain*d < len(dst) {
		c.readPlain(dst[plain*d:], h, part, first+plain)
	}
	last := min(first+len(dst)/d, end)
	for i := range list {
		r.segment(dst, &list[i], first, last)
	}
}

// readPlain is Read of what lies in the plain segment.
func (c *Cache) readPlain(dst []float32, h *Head, part Part, first int) {
	d, size := c.cfg.Shape.HeadSize, c.cfg.BlockSize
	read := c.ReadKeys
	if part == Values {
		read = c.ReadValues
	}
	for len(dst) > 0 {
		n := min(size-first%size, len(dst)/d)
		read(dst[:n*d], c.Slot(h, first))
		dst, first = dst[n*d:], first+n
	}
}

// segment reads those KVs of a segment that have a logical index from first to last − 1. dst
// begins with first.
func (r *Reader) segment(dst []float32, g *Segment, first, last int) {
	d := r.Cache.cfg.Shape.HeadSize
	if g.Index != nil {
		for i, logical := range g.Index {
			if int(logical) >= first && int(logical) < last {
				r.rows(dst[(int(logical)-first)*d:][:d], g, i)
			}
		}
		return
	}
	from, to := max(first, g.First), min(last, g.First+g.Len)
	if from < to {
		r.rows(dst[(from-first)*d:][:(to-from)*d], g, from-g.First)
	}
}

// rows reads consecutive KVs of a segment, from its KV number i on.
func (r *Reader) rows(dst []float32, g *Segment, i int) {
	d, f := r.Cache.cfg.Shape.HeadSize, g.Format
	for len(dst) > 0 {
		unit := r.Cache.unit(g, i/f.Unit())
		n := min(f.Unit()-i%f.Unit(), len(dst)/d)
		switch f.Kind {
		case PerChannel:
			codes := r.numbers(unit, f.Group*f.Bits/8*d, d)
			quant.ReadChannels(dst[:n*d], codes, r.scales, r.minima, f.Bits, i%f.Group)
		case PerToken:
			codes := r.numbers(unit, d*f.Bits/8, d/f.Group)
			quant.ReadToken(dst[:d], codes, r.scales, r.minima, f.Bits)
		case Merged:
			row := r.Cache.cfg.RowBytes()
			r.Cache.cfg.DType.Decode(dst[:d], unit[:row])
			norm := readNorm(unit[row:], g.Deep)
			for j, e := range dst[:d] {
				dst[j] = float32(e * norm)
			}
		case Exact:
			r.Cache.cfg.DType.Decode(dst[:d], unit[indexBytes:])
		}
		dst, i = dst[n*d:], i+n
	}
}

// numbers decodes the n scales and minima of a unit behind so many bytes of codes, which
// it returns.
func (r *Reader) numbers(unit []byte, codes, n int) []byte {
	if cap(r.scales) < n {
		r.scales, r.minima = make([]float32, n), make([]float32, n)
	}
	r.scales, r.minima = r.scales[:n], r.minima[:n]
	format := r.Cache.cfg.DType
	half := n * format.Size()
	format.Decode(r.scales, unit[codes:][:half])
	format.Decode(r.minima, unit[codes+half:][:half])
	return unit[:codes]
}
