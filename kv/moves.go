package kv

// Move copies one KV from slot Source to slot Destination.
type Move struct{ Destination, Source int32 }

// Moves compacts one head after an eviction: it appends to dst the moves, as physical slots, that pack the
// remaining KVs into the first blocks. With m the new context length, the destinations are the evicted
// logical indices below m, ascending; the sources are the remaining logical indices from m on, descending;
// they are paired in that order. evicted must ascend.
func Moves(dst []Move, h *Head, blockSize int, evicted []int32) []Move {
	m := h.Len - len(evicted)
	slot := func(logical int) int32 { return int32(h.Slot(logical, blockSize)) }
	source := h.Len - 1
	last := len(evicted) - 1
	for _, hole := range evicted {
		if int(hole) >= m {
			break
		}
		for last >= 0 && int(evicted[last]) == source { // evicted itself
			last--
			source--
		}
		dst = append(dst, Move{slot(int(hole)), slot(source)})
		source--
	}
	return dst
}

// Move carries out moves in order. A move copies key, value, position and columns.
func (c *Cache) Move(moves []Move) {
	for _, mv := range moves {
		to, from := int(mv.Destination), int(mv.Source)
		copy(c.Key(to), c.Key(from))
		copy(c.Value(to), c.Value(from))
		c.Positions[to] = c.Positions[from]
		for i, data := range c.Data {
			width := c.columns[i].Width
			copy(data[to*width:][:width], data[from*width:])
		}
	}
}
