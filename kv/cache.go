package kv

import (
	"fmt"
	"slices"

	"kvcompress/internal/ceil"
)

// ErrNoBlocks reports that the cache has fewer free blocks than an operation
// needs. Nothing has changed when it is returned.
type ErrNoBlocks struct{ Need, Free int }

func (e *ErrNoBlocks) Error() string {
	return fmt.Sprintf("kv: %d blocks are needed and %d are free", e.Need, e.Free)
}

// Cache is the paged KV cache. A block in a plain segment has B slots of one head of one layer of one
// sequence; a slot holds K[D], V[D], a position and the method's columns. A block in any other segment uses
// its page only, in the segment's format.
type Cache struct {
	cfg     Config
	columns []Column

	pages     []byte      // [N, PageBytes]; a plain page is B keys and then B values, in the cache's dtype
	Positions []int32     // [N·B] position of the token in its sequence
	Data      [][]float32 // of each column, [N·B, Width]
	Owners    []Owner     // [N]

	free freeList
	seqs map[SeqID]*Sequence
}

// NewCache returns an empty cache of a valid configuration.
func NewCache(cfg Config, columns []Column) *Cache {
	slots := cfg.Blocks * cfg.BlockSize
	c := &Cache{
		cfg:       cfg,
		columns:   columns,
		pages:     make([]byte, cfg.Blocks*cfg.PageBytes()),
		Positions: make([]int32, slots),
		Owners:    make([]Owner, cfg.Blocks),
		free:      newFreeList(cfg.Blocks),
		seqs:      map[SeqID]*Sequence{},
	}
	for _, column := range columns {
		c.Data = append(c.Data, make([]float32, slots*column.Width))
	}
	for b := range c.Owners {
		c.Owners[b].Seq = NoSeq
	}
	return c
}

// Config returns the cache's size and format.
func (c *Cache) Config() Config { return c.cfg }

// Columns returns what the cache keeps of every KV besides K, V and position.
func (c *Cache) Columns() []Column { return c.columns }

// Column returns the data of the column with that name, [N·B, Width], or nil if there is none.
func (c *Cache) Column(name string) []float32 {
	for i := range c.columns {
		if c.columns[i].Name == name {
			return c.Data[i]
		}
	}
	return nil
}

// Free returns the number of free blocks.
func (c *Cache) Free() int { return c.free.count }

// Blocks returns N, the number of physical blocks.
func (c *Cache) Blocks() int { return len(c.Owners) }

// Shape returns the model's attention shape.
func (c *Cache) Shape() Shape { return c.cfg.Shape }

// Sequence returns the state of a sequence, which the caller must not change, or nil if it is not in the
// cache.
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
func (c *Cache) Key(slot int) []byte { return c.KeyRows(slot, 1) }

// Value returns the stored bytes of a slot's value, D elements of DType.
func (c *Cache) Value(slot int) []byte { return c.ValueRows(slot, 1) }

// KeyRows returns the stored bytes of the keys of n consecutive slots of a block, [n, D].
func (c *Cache) KeyRows(slot, n int) []byte { return c.rows(slot, n, 0) }

// ValueRows returns the stored bytes of the values of n consecutive slots of a block, [n, D].
func (c *Cache) ValueRows(slot, n int) []byte { return c.rows(slot, n, c.cfg.PageBytes()/2) }

func (c *Cache) rows(slot, n, half int) []byte {
	size, b := c.cfg.RowBytes(), c.cfg.BlockSize
	first := slot/b*c.cfg.PageBytes() + half + slot%b*size
	return c.pages[first:][: n*size : n*size]
}

// Page returns the bytes of a block's page.
func (c *Cache) Page(block int32) []byte {
	n := c.cfg.PageBytes()
	return c.pages[int(block)*n:][:n:n]
}

// Slot returns the physical slot of a head's KV with the given logical index, which must be in its plain
// segment.
func (c *Cache) Slot(h *Head, logical int) int {
	return h.Slot(logical-h.First, c.cfg.BlockSize)
}

// PrefillNeed returns how many blocks a prompt of n tokens takes: ⌈n/B⌉ for
// each head.
func (c *Cache) PrefillNeed(n int) int {
	return c.cfg.Shape.Layers * c.cfg.Shape.KVHeads * ceil.Div(n, c.cfg.BlockSize)
}

// DecodeNeed returns how many blocks the sequence's next token takes: one for
// every head whose last block is full.
func (c *Cache) DecodeNeed(id SeqID) int {
	need := 0
	if s := c.seqs[id]; s != nil {
		for i := range s.Heads {
			if s.Heads[i].KVs()%c.cfg.BlockSize == 0 {
				need++
			}
		}
	}
	return need
}

// Add enters a new sequence of n tokens and allocates its blocks in (layer, head, logical block) order. It
// sets the positions of the slots to 0..n-1 and the columns to their initial values; the caller writes keys
// and values. If there are too few free blocks it returns *ErrNoBlocks and changes nothing.
func (c *Cache) Add(id SeqID, n int) (*Sequence, error) {
	if c.seqs[id] != nil {
		return nil, fmt.Errorf("kv: sequence %d is already in the cache", id)
	}
	if need := c.PrefillNeed(n); need > c.free.count {
		return nil, &ErrNoBlocks{need, c.free.count}
	}
	s := &Sequence{ID: id, Prompt: n, Len: n, Heads: make([]Head, c.cfg.Shape.Layers*c.cfg.Shape.KVHeads)}
	for i := range s.Heads {
		for s.Heads[i].Len < n {
			c.Append(s, i/c.cfg.Shape.KVHeads, i%c.cfg.Shape.KVHeads, int32(s.Heads[i].Len))
		}
	}
	c.seqs[id] = s
	return s, nil
}

// Append makes room for one KV at the end of a head and returns its slot, with the given position and initial
// columns. It takes a new block if the KV is the first of a block; the caller has checked that one is free.
func (c *Cache) Append(s *Sequence, layer, head int, position int32) int {
	h := &s.Heads[layer*c.cfg.Shape.KVHeads+head]
	if n := h.KVs(); n%c.cfg.BlockSize == 0 {
		h.Table = append(h.Table, c.take(Owner{s.ID, int32(layer), int32(head), int32(n / c.cfg.BlockSize), Both}))
	}
	h.Len++
	slot := c.Slot(h, h.KVs()-1)
	for i, data := range c.Data {
		width := c.columns[i].Width
		numbers := data[slot*width:][:width]
		for j := range numbers {
			numbers[j] = c.columns[i].Initial
		}
	}
	c.Positions[slot] = position
	return slot
}

// Truncate shortens a head to its first n KVs and frees the blocks that hold none of them. n must not be less
// than the plain segment's First.
func (c *Cache) Truncate(h *Head, n int) {
	n -= h.First
	keep := ceil.Div(h.Offset+n, c.cfg.BlockSize)
	for _, b := range h.Table[keep:] {
		c.release(b)
	}
	h.Table = h.Table[:keep]
	h.Len = n
}

// Remove removes a sequence, because it has finished or is preempted, and frees its blocks.
func (c *Cache) Remove(id SeqID) error {
	s := c.seqs[id]
	if s == nil {
		return fmt.Errorf("kv: sequence %d is not in the cache", id)
	}
	for i := range s.Heads {
		s.Heads[i].Segments(func(g *Segment) {
			if !g.Deep {
				for _, b := range g.Table {
					c.release(b)
				}
			}
			*g = Segment{}
		})
	}
	delete(c.seqs, id)
	return nil
}

// take gives the free block with the lowest number to an owner. There must be one.
func (c *Cache) take(o Owner) int32 {
	b := c.free.take()
	c.Owners[b] = o
	return int32(b)
}

func (c *Cache) release(b int32) {
	c.Owners[b] = Owner{Seq: NoSeq}
	c.free.put(int(b))
}
