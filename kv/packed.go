package kv

import (
	"fmt"
	"slices"
)

// Packed has keys or values of a head, or of a pair of heads, encoded as units of a format, but not yet in pages.
// [Cache.Quantized] and [Cache.Merged] make it, and [Cache.Put] puts it into pages.
type Packed struct {
	head     int // whose pages they go to: of L·H
	part     Part
	format   Format
	first, n int    // logical index of the first KV; how many
	units    []byte // one after the other

	// Of merged ones:
	deep  int // the deeper layer's head
	limit float32
}

// Put appends keys or values to the segment of their format, and allocates its pages. If there are too few free
// blocks it returns *ErrNoBlocks and changes nothing.
func (c *Cache) Put(s *Sequence, p *Packed) error {
	h := &s.Heads[p.head]
	if end := h.End(p.part); end != p.first {
		return fmt.Errorf("kv: %d of %v from %d on, of a head of which those up to %d are packed", p.n, p.part, p.first, end)
	}
	held, f := 0, p.format
	last := lastPacked(h.List(p.part))
	if last != nil && last.Format == f {
		held = last.Len
	}
	if need := c.cfg.Pages(f, held+p.n) - c.cfg.Pages(f, held); need > c.free.count {
		return &ErrNoBlocks{need, c.free.count}
	}
	if held == 0 {
		*h.list(p.part) = append(*h.list(p.part), Segment{Format: f, First: p.first, Limit: p.limit})
		last = lastPacked(h.List(p.part))
	}
	c.grow(last, s.ID, p.head, p.part, p.n)
	size := c.cfg.UnitBytes(f)
	for i := range p.n / f.Unit() {
		copy(c.unit(last, held/f.Unit()+i), p.units[i*size:][:size])
	}
	if f.Kind != Merged {
		return nil
	}
	last.Limit = p.limit
	list := s.Heads[p.deep].list(p.part)
	if held == 0 {
		*list = append(*list, Segment{Format: f, First: p.first, Deep: true})
	}
	(*list)[0].Table, (*list)[0].Len = slices.Clone(last.Table), last.Len
	return nil
}

// lastPacked returns the last segment of a list that [Cache.Put] made; nil if there is none. A segment of retained
// tokens may follow it.
func lastPacked(list []Segment) *Segment {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Format.Kind != Exact {
			return &list[i]
		}
	}
	return nil
}
