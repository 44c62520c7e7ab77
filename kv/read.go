package kv

import "kvcompress/ref/quant"

// Reader reads the keys or values of heads, whatever segments they lie in. A Reader is one
// goroutine's.
type Reader struct {
	Cache *Cache

	numbers []float32 // scales and minima
	bytes   []byte    // the same as they are stored, one after the other
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
	c, d, f := r.Cache, r.Cache.cfg.Shape.HeadSize, g.Format
	size := c.cfg.UnitBytes(f)
	perPage := c.cfg.PageBytes() / size
	unit, in := i/f.Unit(), i%f.Unit()
	for len(dst) > 0 {
		page := c.Page(g.Table[unit/perPage])[unit%perPage*size:]
		units := min(perPage-unit%perPage, ceilDiv(in+len(dst)/d, f.Unit()))
		n := min(units*f.Unit()-in, len(dst)/d)
		switch f.Kind {
		case PerChannel:
			r.channels(dst[:n*d], page, size, f, in)
		case PerToken:
			codes := d * f.Bits / 8
			numbers := r.decode(page[codes:], size, n, 2*d/f.Group)
			quant.ReadTokens(dst[:n*d], page, size, numbers, d, f.Group, f.Bits)
		case Merged:
			for k := range n {
				c.readMerged(dst[k*d:][:d], page[k*size:], g.Deep)
			}
		case Exact:
			for k := range n {
				c.cfg.DType.Decode(dst[k*d:][:d], page[k*size+indexBytes:][:c.cfg.RowBytes()])
			}
		}
		dst, unit, in = dst[n*d:], unit+units, 0
	}
}

// channels reads consecutive tokens of groups that lie one after the other in a page, from
// number in of the first one on.
func (r *Reader) channels(dst []float32, page []byte, size int, f Format, in int) {
	d := r.Cache.cfg.Shape.HeadSize
	codes := f.Group * f.Bits / 8 * d
	for len(dst) > 0 {
		n := min(f.Group-in, len(dst)/d)
		numbers := r.decode(page[codes:], 0, 1, 2*d)
		quant.ReadChannels(dst[:n*d], page[:codes], numbers[:d], numbers[d:], f.Bits, in)
		dst, in = dst[n*d:], 0
		page = page[size:]
	}
}

// decode reads n rows of each scales and minima; a row begins stride bytes after the one before.
func (r *Reader) decode(from []byte, stride, n, each int) []float32 {
	if cap(r.numbers) < n*each {
		r.numbers = make([]float32, n*each)
	}
	numbers := r.numbers[:n*each]
	format := r.Cache.cfg.DType
	bytes := each * format.Size()
	if n > 1 { // a few at a time take long
		r.bytes = r.bytes[:0]
		for i := range n {
			r.bytes = append(r.bytes, from[i*stride:][:bytes]...)
		}
		from = r.bytes
	}
	format.Decode(numbers, from[:n*bytes])
	return numbers
}
