package kv

import (
	"encoding/binary"
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/ref/quant"
	"kvcompress/ref/vec"
)

// Reader reads keys or values of heads from segments of any format. It must not be used by several goroutines
// at once.
type Reader struct {
	Cache *Cache

	numbers []float32 // scales and minima
	bytes   []byte    // the same, as stored, gathered
}

// Read reads consecutive keys or values of a head in logical order, from index first on, into dst, [n, D].
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

// readPlain reads keys or values from the plain segment.
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

// segment reads the KVs of a segment with logical indices from first to last − 1. dst[0] is that of first.
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

// rows reads consecutive KVs of a segment, from the segment's KV i on.
func (r *Reader) rows(dst []float32, g *Segment, i int) {
	c, d, f := r.Cache, r.Cache.cfg.Shape.HeadSize, g.Format
	size := c.cfg.UnitBytes(f)
	perPage := c.cfg.PageBytes() / size
	unit, in := i/f.Unit(), i%f.Unit()
	for len(dst) > 0 {
		page := c.Page(g.Table[unit/perPage])[unit%perPage*size:]
		units := min(perPage-unit%perPage, ceil.Div(in+len(dst)/d, f.Unit()))
		n := min(units*f.Unit()-in, len(dst)/d)
		switch f.Kind {
		case PerChannel:
			r.channels(dst[:n*d], page, size, f, in)
		case PerToken:
			codes := d * f.Bits / 8
			numbers := r.decode(page[codes:], size, n, 2*d/f.Group)
			quant.ReadTokens(dst[:n*d], page, size, numbers, d, f.Group, f.Bits)
		case Merged:
			r.merged(dst[:n*d], page, size, n, f, g.Deep)
		case Exact:
			for k := range n {
				c.cfg.DType.Decode(dst[k*d:][:d], page[k*size+indexBytes:][:c.cfg.RowBytes()])
			}
		}
		dst, unit, in = dst[n*d:], unit+units, 0
	}
}

// channels reads consecutive tokens from consecutive groups of a page, from token in of the first group on.
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

// decode reads n rows with each scales and minima per row. Rows are stride bytes apart.
func (r *Reader) decode(from []byte, stride, n, each int) []float32 {
	if cap(r.numbers) < n*each {
		r.numbers = make([]float32, n*each)
	}
	numbers := r.numbers[:n*each]
	format := r.Cache.cfg.DType
	bytes := each * format.Size()
	if n > 1 { // decoding them a few at a time is slow
		from = r.rowsOf(from, stride, n, bytes)
	}
	format.Decode(numbers, from[:n*bytes])
	return numbers
}

// rowsOf gathers n rows of the given size, which are stride bytes apart in from.
func (r *Reader) rowsOf(from []byte, stride, n, bytes int) []byte {
	r.bytes = slices.Grow(r.bytes[:0], n*bytes)[:n*bytes]
	to := r.bytes
	for len(to) > 0 {
		row := from[:bytes]
		if bytes%8 == 0 { // copy is slow for a few bytes
			for k := 0; k < bytes; k += 8 {
				binary.LittleEndian.PutUint64(to[k:], binary.LittleEndian.Uint64(row[k:]))
			}
		} else {
			copy(to, row)
		}
		if to = to[bytes:]; len(to) > 0 {
			from = from[stride:]
		}
	}
	return r.bytes
}

// Prefetch has the processor load what Read would read of n KVs from index first on into its cache: see
// [vec.Prefetch].
func (r *Reader) Prefetch(h *Head, part Part, first, n int) {
	c, d := r.Cache, r.Cache.cfg.Shape.HeadSize
	list := h.List(part)
	for i := range list {
		g := &list[i]
		from, to := max(first, g.First), min(first+n, g.First+g.Len)
		if g.Index != nil || from >= to {
			continue
		}
		f, size, row := g.Format, c.cfg.UnitBytes(g.Format), 0
		if f.Kind == PerChannel {
			row = d
		}
		perPage := c.cfg.PageBytes() / size
		for k := from - g.First; k < to-g.First; {
			unit, in := k/f.Unit(), k%f.Unit()
			page := c.Page(g.Table[unit/perPage])[unit%perPage*size:]
			if row == 0 { // whole units, to the end of the page
				units := min(perPage-unit%perPage, to-g.First-k)
				vec.Prefetch(page[:units*size])
				k += units
				continue
			}
			end := min(f.Unit(), in+to-g.First-k)
			vec.Prefetch(page[in*f.Bits/8*row : (end*f.Bits+7)/8*row])
			if in == 0 {
				vec.Prefetch(page[f.Unit()*f.Bits/8*row : size])
			}
			k += end - in
		}
	}
}
