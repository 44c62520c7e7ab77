package kv

import (
	"bytes"
	"math"
)

// Held returns for each slot whether one of the sequences has a KV there, or has the slot's block in a
// segment that is not plain. It ignores blocks that do not exist and KVs beyond a block table, since the
// sequences may come from an engine with a bug.
func (c *Config) Held(seqs []*Sequence) []bool {
	held := make([]bool, c.Blocks*c.BlockSize)
	for _, s := range seqs {
		for i := range s.Heads {
			h := &s.Heads[i]
			for j, block := range h.Table {
				if block < 0 || int(block) >= c.Blocks {
					continue
				}
				for k := max(0, h.Offset-j*c.BlockSize); k < min(c.BlockSize, h.Offset+h.Len-j*c.BlockSize); k++ {
					held[int(block)*c.BlockSize+k] = true
				}
			}
			for _, p := range []Part{Keys, Values} {
				for _, g := range h.List(p) {
					for _, block := range g.Table {
						if block < 0 || int(block) >= c.Blocks {
							continue
						}
						for k := range c.BlockSize {
							held[int(block)*c.BlockSize+k] = true
						}
					}
				}
			}
		}
	}
	return held
}

// PoisonPosition returns the position of an unused slot: one that a KV could have, as what a slot held
// before it was freed could.
func PoisonPosition(slot int) int32 { return int32(slot % 64) }

// Poison fills unused memory with values that are always wrong, so that reading it shows: unused slots with
// NaN in K, V and columns and [PoisonPosition], and the unused ends of pages that are not plain with 0xff.
func (c *Cache) Poison() {
	seqs := make([]*Sequence, 0, len(c.seqs))
	for _, s := range c.seqs {
		seqs = append(seqs, s)
	}
	for _, s := range seqs {
		for i := range s.Heads {
			for _, p := range []Part{Keys, Values} {
				for j := range s.Heads[i].List(p) {
					c.poisonRest(&s.Heads[i].List(p)[j])
				}
			}
		}
	}
	rows := bytes.Repeat([]byte{0xff}, c.cfg.BlockSize*c.cfg.RowBytes())
	held := c.cfg.Held(seqs)
	for block := range c.Blocks() {
		slots := held[block*c.cfg.BlockSize:][:c.cfg.BlockSize]
		for first := 0; first < len(slots); first++ {
			n := 0 // consecutive slots that no head holds
			for first+n < len(slots) && !slots[first+n] {
				n++
			}
			if n > 0 {
				c.poisonSlots(block*c.cfg.BlockSize+first, n, rows)
				first += n
			}
		}
	}
}

// poisonSlots fills n consecutive slots of a block. rows has at least as many bytes of 0xff as their keys.
func (c *Cache) poisonSlots(slot, n int, rows []byte) {
	copy(c.KeyRows(slot, n), rows)
	copy(c.ValueRows(slot, n), rows)
	for i, data := range c.Data {
		width := c.columns[i].Width
		fill(data[slot*width:][:n*width], math.Float32frombits(0xffffffff))
	}
	for i := range n {
		c.Positions[slot+i] = PoisonPosition(slot + i)
	}
}

// fill sets all elements.
func fill[T any](s []T, value T) {
	if len(s) > 0 {
		s[0] = value
	}
	for n := 1; n < len(s); n *= 2 {
		copy(s[n:], s[:n])
	}
}

// poisonRest fills the bytes after the last unit in a segment's pages.
func (c *Cache) poisonRest(g *Segment) {
	perPage, size := c.cfg.Capacity(g.Format)/g.Format.Unit(), c.cfg.UnitBytes(g.Format)
	units := g.Len / g.Format.Unit()
	for i, block := range g.Table {
		rest := c.Page(block)[max(0, min(perPage, units-i*perPage))*size:]
		fill(rest, 0xff)
	}
}
