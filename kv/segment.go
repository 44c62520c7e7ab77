package kv

// SeqID is the number of a sequence: the index of its request in the trace.
type SeqID int32

// NoSeq is the owner of a free block.
const NoSeq SeqID = -1

// Part says whether something concerns K, V or both.
type Part uint8

// The parts.
const (
	Both   Part = iota // K and V of the same KVs
	Keys               // K alone
	Values             // V alone
)

func (p Part) String() string { return [...]string{"K and V", "K", "V", "part 3"}[p&3] }

// Segment is a set of a head's KVs in pages of one format.
type Segment struct {
	Table  []int32 // block table: logical block → physical block
	Len    int     // KVs held; the last block may be partly empty
	First  int     // logical index of the first KV, if Index is nil
	Offset int     // in a plain segment: leading slots of the first block whose KVs were removed, First mod B; else 0

	// The other fields are zero in a plain segment.
	Format Format
	Index  []int32 // logical indices, ascending; nil if they are consecutive
	Deep   bool    // of Merged: this head is the one in the deeper layer; Table names pages that belong to the other head
	Limit  float32 // of Merged and not Deep: a token merged later with a larger distance is retained
}

// Slot returns the physical slot of a segment's KV i, with blocks of blockSize slots.
func (s *Segment) Slot(i, blockSize int) int {
	i += s.Offset
	return int(s.Table[i/blockSize])*blockSize + i%blockSize
}

// End returns the logical index after the segment's last KV.
func (s *Segment) End() int {
	if n := len(s.Index); n > 0 {
		return int(s.Index[n-1]) + 1
	}
	return s.First + s.Len
}

// Head is one KV head's part of the cache in one sequence. Its KVs have the logical indices 0 to KVs() − 1.
// Keys before index [Head.End](Keys) are read from the list Keys, values before End(Values) from the list
// Values; if several segments of a list have the same KV, the last of them is read. Everything from End on is
// read from the plain segment, which keeps K and V of a KV as long as one of the two is read from there.
//
// Plain block j has the KVs with logical indices j·B to j·B + B − 1. The block of the next KV stays allocated
// even when all its KVs have been removed.
type Head struct {
	Segment                // plain
	Keys, Values []Segment // quantized, merged or retained: K or V alone
}

// List returns the segments that hold Keys or Values alone.
func (h *Head) List(p Part) []Segment {
	if p == Keys {
		return h.Keys
	}
	return h.Values
}

// End returns the logical index of the first key, or value, that is read from the plain segment.
func (h *Head) End(p Part) int {
	end := 0
	for i := range h.List(p) {
		end = max(end, h.List(p)[i].End())
	}
	return end
}

// Segments calls f for each segment of the head, in the order in which their pages
// are counted and freed: Keys, Values, plain.
func (h *Head) Segments(f func(*Segment)) {
	for i := range h.Keys {
		f(&h.Keys[i])
	}
	for i := range h.Values {
		f(&h.Values[i])
	}
	f(&h.Segment)
}

// Blocks returns how many blocks the head owns in all its segments. Merged pages belong to the shallower
// layer's head.
func (h *Head) Blocks() int {
	n := 0
	h.Segments(func(g *Segment) {
		if !g.Deep {
			n += len(g.Table)
		}
	})
	return n
}

// KVs returns how many KVs the head has in all its segments.
func (h *Head) KVs() int { return h.First + h.Len }

// Sequence is one request's part of the cache.
type Sequence struct {
	ID     SeqID
	Prompt int    // tokens that entered as the prompt
	Len    int    // tokens that have entered: the next one has this position
	Heads  []Head // [L·H], layer-major
}

// Blocks returns how many blocks the sequence owns.
func (s *Sequence) Blocks() int {
	n := 0
	for i := range s.Heads {
		n += s.Heads[i].Blocks()
	}
	return n
}

// KVs returns how many KVs the sequence has.
func (s *Sequence) KVs() int {
	n := 0
	for i := range s.Heads {
		n += s.Heads[i].KVs()
	}
	return n
}
