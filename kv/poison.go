package kv

import "math"

// Held says of each slot of a cache whether one of the sequences holds a KV in it, or has
// its block in a segment that is not plain.
// Blocks that do not exist, and KVs beyond a table, are passed over: the sequences may
// come from an engine with a bug.
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

// PoisonPosition is the position that a slot has while no head holds it: one that a KV could have, as
// what a slot held before it was freed could.
func PoisonPosition(slot int) int32 { return int32(slot % 64) }

// Poison fills every slot that no head holds, in free blocks and behind the last KV of
// a head, with what is never right: NaN in K, V and columns, and [PoisonPosition]. Of a page that is
// not plain it fills the bytes behind the last unit.
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
	for slot, held := range c.cfg.Held(seqs) {
		if held {
			continue
		}
		for _, row := range [][]byte{c.Key(slot), c.Value(slot)} {
			for i := range row {
				row[i] = 0xff
			}
		}
		for i, data := range c.Data {
			width := c.columns[i].Width
			for j := range data[slot*width:][:width] {
				data[slot*width+j] = math.Float32frombits(0xffffffff)
			}
		}
		c.Positions[slot] = PoisonPosition(slot)
	}
}

// poisonRest fills the bytes of a segment's pages that no unit is in.
func (c *Cache) poisonRest(g *Segment) {
	perPage, size := c.cfg.Capacity(g.Format)/g.Format.Unit(), c.cfg.UnitBytes(g.Format)
	units := g.Len / g.Format.Unit()
	for i, block := range g.Table {
		rest := c.Page(block)[max(0, min(perPage, units-i*perPage))*size:]
		for j := range rest {
			rest[j] = 0xff
		}
	}
}
