package ref

import (
	"errors"
	"fmt"

	"kvcompress/dtype"
	"kvcompress/kv"
)

// checkQuantizer returns an error if the configuration's cache cannot hold the method's pages, or if the
// method also has columns or an observation. The error says what would work.
func checkQuantizer(cfg *kv.Config, m Quantizer) error {
	if len(m.Columns()) > 0 || m.Observe() != nil {
		return errors.New("it has columns or observes attention, for which quantized pages have no room")
	}
	keys, values := m.Formats()
	for _, x := range []struct {
		of     string
		format kv.Format
	}{{"keys", keys}, {"values", values}} {
		if err := cfg.Check(x.format); err != nil {
			return fmt.Errorf("%s: %w", x.of, err)
		}
	}
	return nil
}

// PlanQuantizer returns the plan of a Quantizer: for each head what is to be quantized and is not yet. It
// reads only lengths of the sequence, so an engine without a View can call it.
func PlanQuantizer(cfg *kv.Config, s *kv.Sequence, m Quantizer) Plan {
	var p Plan
	var to [3]int
	to[kv.Keys], to[kv.Values] = m.Quantizes(s.Len)
	for i := range s.Heads {
		if !quantizes(m, i/cfg.Shape.KVHeads) {
			continue
		}
		h := &s.Heads[i]
		for _, part := range []kv.Part{kv.Keys, kv.Values} {
			from := h.End(part)
			if from >= to[part] {
				continue
			}
			e := Edit{Op: Quantize, Part: part, Head: i, KVs: make([]int32, to[part]-from)}
			for k := range e.KVs {
				e.KVs[k] = int32(from + k)
			}
			p.Asked += len(e.KVs)
			p.Edits = append(p.Edits, e)
		}
	}
	p.Needs, p.Takes = needs(QuantizerBlocks(cfg, s.Heads, m, &p))
	return p
}

// QuantizerBlocks returns the blocks that each head takes in a Quantizer's plan, and those that it then
// frees: [L·H].
func QuantizerBlocks(cfg *kv.Config, heads []kv.Head, m Quantizer, p *Plan) (taken, freed []int) {
	taken, freed = make([]int, len(heads)), make([]int, len(heads))
	var formats [3]kv.Format
	formats[kv.Keys], formats[kv.Values] = m.Formats()
	for i, more := range p.packed(len(heads)) {
		if !quantizes(m, i/cfg.Shape.KVHeads) {
			continue
		}
		for _, part := range []kv.Part{kv.Keys, kv.Values} {
			from := heads[i].End(part)
			taken[i] += cfg.Pages(formats[part], from+more[part]) - cfg.Pages(formats[part], from)
		}
		freed[i] = leaves(&heads[i], more, cfg.BlockSize)
	}
	return taken, freed
}

// quantizes reports whether a Quantizer quantizes the KVs of a layer: of all layers but those that it merges.
func quantizes(m Quantizer, layer int) bool {
	merger, ok := m.(Merger)
	if !ok {
		return true
	}
	merged, _ := merger.Merging().Merges(layer)
	return !merged
}

// quantizerAsks returns what a Quantizer asks for. A layer has heads KV heads.
func quantizerAsks(c Counts, m Quantizer, heads int) int {
	keys, values := m.Quantizes(c.Tokens)
	n := 0
	for i := range c.Heads {
		if !quantizes(m, i/heads) {
			continue
		}
		heldKeys, heldValues := 0, 0
		if c.Keys != nil {
			heldKeys, heldValues = c.Keys[i], c.Values[i]
		}
		n += max(0, keys-heldKeys) + max(0, values-heldValues)
	}
	return n
}

// quantize carries out the Quantize edits of a plan. The blocks are known to be free; packed holds what each edit
// puts into pages. It returns how many blocks it takes.
func (e *Engine) quantize(s *kv.Sequence, q Quantizer, p *Plan, packed []*kv.Packed) (int, error) {
	taken, freed := QuantizerBlocks(&e.cfg.Config, s.Heads, q, p)
	next, total := 0, 0
	fits, err := Rounds(taken, freed, e.cache.Free(), func(first, last int) error {
		for ; next < len(p.Edits) && p.Edits[next].Head < last; next++ {
			if p.Edits[next].Op != Quantize {
				continue
			}
			if err := e.cache.Put(s, packed[next]); err != nil {
				return fmt.Errorf("ref: compress: %w", err)
			}
		}
		for i := first; i < last; i++ {
			e.cache.TrimPlain(&s.Heads[i])
			total += taken[i]
		}
		return nil
	})
	if err == nil && !fits {
		err = fmt.Errorf("ref: compress: %d blocks are free, and a plan that needs %d takes more", e.cache.Free(), p.Needs)
	}
	return total, err
}

// largest returns the largest key or value that a cache of the configuration holds. With 1 bit, the scale of
// a group is its whole range, which must be a finite number of the cache's type.
func (c *Config) largest() float32 {
	if c.DType != dtype.F16 || c.Method == "" {
		return c.DType.Max()
	}
	m, err := c.NewMethod()
	if err != nil {
		return c.DType.Max()
	}
	if q, ok := m.(Quantizer); ok {
		if keys, values := q.Formats(); keys.Bits == 1 || values.Bits == 1 {
			return c.DType.Max() / 2
		}
	}
	return c.DType.Max()
}
