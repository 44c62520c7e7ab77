package ref

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// Snapshot is a cache's content as flat arrays, as an engine that keeps it
// elsewhere reads it back. N is the number of blocks, B the slots of each.
type Snapshot struct {
	Keys, Values []byte    // [N·B, D] in the cache's format
	Metrics      []float32 // [N·B]
	Positions    []int32   // [N·B]
	Owners       []Owner   // [N]; of a free block only Seq, NoSeq, says anything
	Free         []uint32  // [⌈N/32⌉]: bit b%32 of word b/32 is set while block b is free
	Sequences    []*Sequence
}

// Cache returns a cache of that content, which it takes over. It is an error if an
// array does not have the configuration's size, a sequence does not have its number
// of heads or is there twice, or a block is free that does not exist. What the arrays
// say is taken as it is: the tables, lengths and owners of an engine with a bug may
// be nonsense, which [Cache.Holds] tells from what can be read.
func (s *Snapshot) Cache(cfg Config) (*Cache, error) {
	slots := cfg.Blocks * cfg.BlockSize
	row := cfg.Shape.HeadSize * cfg.DType.Size()
	words := ceilDiv(cfg.Blocks, 32)
	var errs []error
	for _, a := range []struct {
		name      string
		have, fit int
	}{
		{"keys", len(s.Keys), slots * row},
		{"values", len(s.Values), slots * row},
		{"metrics", len(s.Metrics), slots},
		{"positions", len(s.Positions), slots},
		{"owners", len(s.Owners), cfg.Blocks},
		{"free", len(s.Free), words},
	} {
		if a.have != a.fit {
			errs = append(errs, fmt.Errorf("ref: snapshot: %s of size %d, the configuration has %d", a.name, a.have, a.fit))
		}
	}
	c := &Cache{
		shape:     cfg.Shape,
		blockSize: cfg.BlockSize,
		dtype:     cfg.DType,
		keys:      s.Keys,
		values:    s.Values,
		Metrics:   s.Metrics,
		Positions: s.Positions,
		Owners:    s.Owners,
		seqs:      make(map[SeqID]*Sequence, len(s.Sequences)),
	}
	for i, seq := range s.Sequences {
		switch {
		case seq == nil:
			errs = append(errs, fmt.Errorf("ref: snapshot: sequences[%d] is none", i))
		case c.seqs[seq.ID] != nil:
			errs = append(errs, fmt.Errorf("ref: snapshot: sequence %d is there twice", seq.ID))
		case len(seq.Heads) != cfg.Shape.Layers*cfg.Shape.KVHeads:
			errs = append(errs, fmt.Errorf("ref: snapshot: sequence %d has %d heads, the configuration %d", seq.ID, len(seq.Heads), cfg.Shape.Layers*cfg.Shape.KVHeads))
		default:
			c.seqs[seq.ID] = seq
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if last := cfg.Blocks % 32; last != 0 {
		if beyond := s.Free[words-1] >> last; beyond != 0 {
			return nil, fmt.Errorf("ref: snapshot: block %d is free, there are %d", cfg.Blocks+bits.TrailingZeros32(beyond), cfg.Blocks)
		}
	}
	for b := range c.Owners {
		if c.Owners[b].Seq == NoSeq {
			c.Owners[b] = Owner{Seq: NoSeq}
		}
	}
	c.free.words = make([]uint64, ceilDiv(cfg.Blocks, 64))
	for i, w := range s.Free {
		c.free.words[i/2] |= uint64(w) << (i % 2 * 32)
		c.free.count += bits.OnesCount32(w)
	}
	return c, nil
}

// Snapshot returns a copy of the cache's content.
func (c *Cache) Snapshot() *Snapshot {
	s := &Snapshot{
		Keys:      slices.Clone(c.keys),
		Values:    slices.Clone(c.values),
		Metrics:   slices.Clone(c.Metrics),
		Positions: slices.Clone(c.Positions),
		Owners:    slices.Clone(c.Owners),
		Free:      make([]uint32, ceilDiv(c.Blocks(), 32)),
	}
	for i := range s.Free {
		s.Free[i] = uint32(c.free.words[i/2] >> (i % 2 * 32))
	}
	for _, id := range c.Sequences() {
		seq := *c.seqs[id]
		seq.Heads = slices.Clone(seq.Heads)
		for i := range seq.Heads {
			seq.Heads[i].Table = slices.Clone(seq.Heads[i].Table)
		}
		s.Sequences = append(s.Sequences, &seq)
	}
	return s
}

// IsFree reports whether a block is in the free list; false for one that does not
// exist.
func (c *Cache) IsFree(block int) bool {
	return block >= 0 && block < c.Blocks() && c.free.words[block/64]>>(block%64)&1 == 1
}

// Holds returns an error if a head's table and length cannot be read: if the table
// does not have a block for every KV, or names one that does not exist. In the
// engine's own cache that is never so; in a cache made of a [Snapshot] it may be.
func (c *Cache) Holds(h *Head) error {
	if h.Len < 0 || h.Len > len(h.Table)*c.blockSize {
		return fmt.Errorf("ref: a context length of %d in %d blocks of %d", h.Len, len(h.Table), c.blockSize)
	}
	for i, b := range h.Table {
		if b < 0 || int(b) >= c.Blocks() {
			return fmt.Errorf("ref: block table entry %d is %d, there are %d blocks", i, b, c.Blocks())
		}
	}
	return nil
}

// Restore makes the engine go on from a copy of the given cache, which must be of
// the engine's configuration. The tensors of its sequences are opened if they are
// not, and those of others closed.
func (e *Engine) Restore(c *Cache) error {
	restored, err := c.Snapshot().Cache(e.cfg)
	if err != nil {
		return err
	}
	for _, id := range restored.Sequences() {
		s := restored.Sequence(id)
		for i := range s.Heads {
			if err := restored.Holds(&s.Heads[i]); err != nil {
				return fmt.Errorf("ref: restore: sequence %d, head %d of L·H: %w", id, i, err)
			}
		}
	}
	e.cache = restored
	return e.inputs.Restore(restored.Sequences())
}

// Poison fills every slot that no head holds, in free blocks and behind the last KV
// of a head, with what is never right: NaN in K, V and metric, −1 as position.
func (e *Engine) Poison() error {
	c := e.cache
	held := make([]bool, len(c.Metrics))
	for _, s := range c.seqs {
		for i := range s.Heads {
			for logical := range s.Heads[i].Len {
				held[c.Slot(&s.Heads[i], logical)] = true
			}
		}
	}
	for slot, isHeld := range held {
		if isHeld {
			continue
		}
		for _, row := range [][]byte{c.Key(slot), c.Value(slot)} {
			for i := range row {
				row[i] = 0xff
			}
		}
		c.Metrics[slot] = math.Float32frombits(0xffffffff)
		c.Positions[slot] = -1
	}
	return nil
}
