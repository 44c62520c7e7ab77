package ref

import (
	"fmt"
	"math/bits"
	"slices"

	"kvcompress/dtype"
	"kvcompress/trace"
)

// SeqID names a sequence: the index of its request in the trace.
type SeqID int32

// NoSeq is the owner of a free block.
const NoSeq SeqID = -1

// Owner says whose KVs a physical block holds.
type Owner struct {
	Seq     SeqID // NoSeq if the block is free
	Layer   int32
	Head    int32
	Logical int32 // the block's index in its head's block table
}

// Head is the part of the cache that one KV head of one sequence fills.
type Head struct {
	Table []int32 // block table: logical block → physical block
	Len   int     // context length: KVs held; the last block may be partly empty
}

// Slot returns the physical slot of the head's KV with the given logical index, in
// blocks of blockSize.
func (h *Head) Slot(logical, blockSize int) int {
	return int(h.Table[logical/blockSize])*blockSize + logical%blockSize
}

// Sequence is one request's share of the cache.
type Sequence struct {
	ID    SeqID
	Len   int    // tokens that have entered: the next one has this position
	Heads []Head // [L·H], layer-major
}

// Blocks returns how many blocks the sequence holds.
func (s *Sequence) Blocks() int {
	n := 0
	for i := range s.Heads {
		n += len(s.Heads[i].Table)
	}
	return n
}

// KVs returns how many KVs the sequence holds.
func (s *Sequence) KVs() int {
	n := 0
	for i := range s.Heads {
		n += s.Heads[i].Len
	}
	return n
}

// ErrNoBlocks reports that the cache has fewer free blocks than an operation
// needs. Nothing has changed when it is returned.
type ErrNoBlocks struct{ Need, Free int }

func (e *ErrNoBlocks) Error() string {
	return fmt.Sprintf("ref: %d blocks are needed and %d are free", e.Need, e.Free)
}

// Cache is the paged KV cache. Every block holds B slots of one head of one
// layer of one sequence; a slot holds K[D], V[D], a metric and a position.
type Cache struct {
	shape     trace.Shape
	blockSize int
	dtype     dtype.DType

	keys, values []byte    // [N·B, D] in dtype
	Metrics      []float32 // [N·B] attention received so far
	Positions    []int32   // [N·B] position of the token in its sequence
	Owners       []Owner   // [N]

	free freeList
	seqs map[SeqID]*Sequence
}

// NewCache returns an empty cache for a valid configuration.
func NewCache(cfg Config) *Cache {
	slots := cfg.Blocks * cfg.BlockSize
	rowBytes := cfg.Shape.HeadSize * cfg.DType.Size()
	c := &Cache{
		shape:     cfg.Shape,
		blockSize: cfg.BlockSize,
		dtype:     cfg.DType,
		keys:      make([]byte, slots*rowBytes),
		values:    make([]byte, slots*rowBytes),
		Metrics:   make([]float32, slots),
		Positions: make([]int32, slots),
		Owners:    make([]Owner, cfg.Blocks),
		free:      newFreeList(cfg.Blocks),
		seqs:      map[SeqID]*Sequence{},
	}
	for b := range c.Owners {
		c.Owners[b].Seq = NoSeq
	}
	return c
}

// Free returns the number of free blocks.
func (c *Cache) Free() int { return c.free.count }

// Blocks returns N, the number of physical blocks.
func (c *Cache) Blocks() int { return len(c.Owners) }

// Shape returns the model's attention shape.
func (c *Cache) Shape() trace.Shape { return c.shape }

// Sequence returns the sequence's state, nil if it is not in the cache. The
// caller reads it and does not write.
func (c *Cache) Sequence(id SeqID) *Sequence { return c.seqs[id] }

// Sequences returns the ids of the sequences in the cache, ascending.
func (c *Cache) Sequences() []SeqID {
	ids := make([]SeqID, 0, len(c.seqs))
	for id := range c.seqs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Key returns the stored bytes of a slot's key, D elements of DType.
func (c *Cache) Key(slot int) []byte { return c.row(c.keys, slot, 1) }

// Value returns the stored bytes of a slot's value, D elements of DType.
func (c *Cache) Value(slot int) []byte { return c.row(c.values, slot, 1) }

func (c *Cache) row(rows []byte, slot, n int) []byte {
	size := c.shape.HeadSize * c.dtype.Size()
	return rows[slot*size : (slot+n)*size]
}

// Slot returns the physical slot of a head's KV with the given logical index.
func (c *Cache) Slot(h *Head, logical int) int {
	return h.Slot(logical, c.blockSize)
}

// PrefillNeed returns how many blocks a prompt of n tokens takes: ⌈n/B⌉ for
// each head.
func (c *Cache) PrefillNeed(n int) int {
	return c.shape.Layers * c.shape.KVHeads * ceilDiv(n, c.blockSize)
}

// DecodeNeed returns how many blocks the sequence's next token takes: one for
// every head whose last block is full.
func (c *Cache) DecodeNeed(id SeqID) int {
	need := 0
	if s := c.seqs[id]; s != nil {
		for i := range s.Heads {
			if s.Heads[i].Len%c.blockSize == 0 {
				need++
			}
		}
	}
	return need
}

// add enters a new sequence of n tokens and gives its heads their blocks, in
// (layer, head, logical block) order. The slots have positions 0..n-1 and
// metric 0; keys and values are the caller's to write.
func (c *Cache) add(id SeqID, n int) (*Sequence, error) {
	if c.seqs[id] != nil {
		return nil, fmt.Errorf("ref: sequence %d is already in the cache", id)
	}
	if need := c.PrefillNeed(n); need > c.free.count {
		return nil, &ErrNoBlocks{need, c.free.count}
	}
	s := &Sequence{ID: id, Len: n, Heads: make([]Head, c.shape.Layers*c.shape.KVHeads)}
	for i := range s.Heads {
		for s.Heads[i].Len < n {
			c.append(s, i/c.shape.KVHeads, i%c.shape.KVHeads, int32(s.Heads[i].Len))
		}
	}
	c.seqs[id] = s
	return s, nil
}

// append makes room for one KV at the end of a head, taking a block if the last
// one is full, and returns its slot, with the given position and metric 0. The
// caller has seen to it that a block is free.
func (c *Cache) append(s *Sequence, layer, head int, position int32) int {
	h := &s.Heads[layer*c.shape.KVHeads+head]
	if h.Len == len(h.Table)*c.blockSize {
		b := c.free.take()
		c.Owners[b] = Owner{s.ID, int32(layer), int32(head), int32(len(h.Table))}
		h.Table = append(h.Table, int32(b))
	}
	h.Len++
	slot := c.Slot(h, h.Len-1)
	c.Metrics[slot] = 0
	c.Positions[slot] = position
	return slot
}

// store rounds one key and value to the cache's format and puts them in a slot.
func (c *Cache) store(slot int, k, v []float32) {
	c.dtype.Encode(c.Key(slot), k)
	c.dtype.Encode(c.Value(slot), v)
}

// truncate shortens a head to its first n KVs and frees the blocks that held
// none of them.
func (c *Cache) truncate(h *Head, n int) {
	keep := ceilDiv(n, c.blockSize)
	for _, b := range h.Table[keep:] {
		c.release(b)
	}
	h.Table = h.Table[:keep]
	h.Len = n
}

// Remove frees all blocks of a sequence: it has finished or is preempted.
func (c *Cache) Remove(id SeqID) error {
	s := c.seqs[id]
	if s == nil {
		return fmt.Errorf("ref: sequence %d is not in the cache", id)
	}
	for i := range s.Heads {
		c.truncate(&s.Heads[i], 0)
	}
	delete(c.seqs, id)
	return nil
}

func (c *Cache) release(b int32) {
	c.Owners[b] = Owner{Seq: NoSeq}
	c.free.put(int(b))
}

// freeList gives out the lowest-numbered free block: a bit for each block, and
// the lowest word that can have one set.
type freeList struct {
	words []uint64
	first int // no word before it has a bit set
	count int
}

func newFreeList(n int) freeList {
	f := freeList{words: make([]uint64, ceilDiv(n, 64))}
	for b := range n {
		f.put(b)
	}
	return f
}

func (f *freeList) put(b int) {
	f.words[b/64] |= 1 << (b % 64)
	f.first = min(f.first, b/64)
	f.count++
}

// take returns the lowest free block; there must be one.
func (f *freeList) take() int {
	for f.words[f.first] == 0 {
		f.first++
	}
	b := f.first*64 + bits.TrailingZeros64(f.words[f.first])
	f.words[f.first] &^= 1 << (b % 64)
	f.count--
	return b
}
