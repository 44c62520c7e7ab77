package kv

// SeqID names a sequence: the index of its request in the trace.
type SeqID int32

// NoSeq is the owner of a free block.
const NoSeq SeqID = -1

// Part says of which of K and V something is.
type Part uint8

// The parts.
const (
	Both   Part = iota // K and V of the same KVs
	Keys               // K alone
	Values             // V alone
)

func (p Part) String() string { return [...]string{"K and V", "K", "V", "part 3"}[p&3] }

// Segment is a run of a head's KVs in pages of one format.
type Segment struct {
	Table  []int32 // block table: logical block → physical block
	Len    int     // KVs held; the last block may be partly empty
	First  int     // logical index of the first KV, where Index is nil
	Offset int     // of the plain segment: slots of its first block that hold no KV any more, First mod B; else 0

	// What only segments of other formats have; zero in a plain one.
	Format Format
	Index  []int32 // logical indices, ascending, where they are not consecutive
}

// Slot returns the physical slot of the KV number i of a segment with blocks of
// blockSize KVs.
func (s *Segment) Slot(i, blockSize int) int {
	i += s.Offset
	return int(s.Table[i/blockSize])*blockSize + i%blockSize
}

// End returns the logical index behind the segment's last KV.
func (s *Segment) End() int {
	if n := len(s.Index); n > 0 {
		return int(s.Index[n-1]) + 1
	}
	return s.First + s.Len
}

// Head is the part of the cache that one KV head of one sequence fills. Its KVs have the
// logical indices 0 to KVs() − 1, and the plain segment binds K and V of the last of them.
// The keys before [Head.End] of Keys are read from the list Keys, and the values before that of
// Values from the list Values: of segments of one list that have a KV both, the later one
// is read. From End on, the plain segment is read; it keeps both K and V of a KV until neither is.
//
// A block of the plain segment has the KVs of which the logical index over B is one number.
// The block of the next KV stays though all its KVs have left.
type Head struct {
	Segment                // plain
	Keys, Values []Segment // quantized or merged: K or V alone
}

// List returns the segments that hold Keys or Values alone.
func (h *Head) List(p Part) []Segment {
	if p == Keys {
		return h.Keys
	}
	return h.Values
}

// End returns the logical index of the first of the Keys, or Values, that is read from the
// plain segment.
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

// Blocks returns how many blocks the head holds, in all its segments.
func (h *Head) Blocks() int {
	n := len(h.Table)
	for i := range h.Keys {
		n += len(h.Keys[i].Table)
	}
	for i := range h.Values {
		n += len(h.Values[i].Table)
	}
	return n
}

// KVs returns how many KVs the head holds, in all its segments.
func (h *Head) KVs() int { return h.First + h.Len }

// Sequence is one request's share of the cache.
type Sequence struct {
	ID     SeqID
	Prompt int    // tokens that entered as the prompt
	Len    int    // tokens that have entered: the next one has this position
	Heads  []Head // [L·H], layer-major
}

// Blocks returns how many blocks the sequence holds.
func (s *Sequence) Blocks() int {
	n := 0
	for i := range s.Heads {
		n += s.Heads[i].Blocks()
	}
	return n
}

// KVs returns how many KVs the sequence holds.
func (s *Sequence) KVs() int {
	n := 0
	for i := range s.Heads {
		n += s.Heads[i].KVs()
	}
	return n
}
