package kv

// SeqID names a sequence: the index of its request in the trace.
type SeqID int32

// NoSeq is the owner of a free block.
const NoSeq SeqID = -1

// Segment is a run of a head's KVs in pages of one format.
type Segment struct {
	Table []int32 // block table: logical block → physical block
	Len   int     // KVs held; the last block may be partly empty

	// What only segments of other formats have; zero in a plain one.
	Format Format
	First  int     // logical index of the first KV, where Index is nil
	Index  []int32 // logical indices, ascending, where they are not consecutive
	Offset int     // slots of the first page that hold no KV any more
}

// Slot returns the physical slot of the KV number i of a segment with blocks of
// blockSize KVs.
func (s *Segment) Slot(i, blockSize int) int {
	i += s.Offset
	return int(s.Table[i/blockSize])*blockSize + i%blockSize
}

// Head is the part of the cache that one KV head of one sequence fills. Its keys are
// the list Keys and then the plain segment, its values the list Values and then the
// plain segment: a plain segment binds K and V of the same KVs.
type Head struct {
	Segment                // plain
	Keys, Values []Segment // quantized or merged: K or V alone
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

// KVs returns how many keys the head holds, in all its segments.
func (h *Head) KVs() int {
	n := h.Len
	for i := range h.Keys {
		n += h.Keys[i].Len
	}
	return n
}

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
