package validate

import (
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/internal/splitmix"
	"kvcompress/kv"
	"kvcompress/ref"
)

// Operations of pipelines that have the effect of many decode steps.
const (
	// OpLater changes a sequence as if Tokens more tokens had entered and been evicted, between two of the
	// tokens that it holds, after its sinks. Heads then hold few KVs with large positions that are far apart.
	OpLater = "later"
	// OpGrow appends Tokens KVs to each head of a sequence, at the next positions: copies of the newest half
	// of the KVs that it holds, so that many have equal costs.
	OpGrow = "grow"
)

// later applies an OpLater to the reference, and restores the engine under test from it. It returns false,
// and does nothing, if the method does not evict.
func (p *Pipeline) later(pair *Pair, op Operation) (bool, error) {
	id := op.Sequences[0]
	cache := pair.reference.Cache()
	s := cache.Sequence(id)
	method, err := p.methodOf(pair, id)
	if err != nil {
		return false, err
	}
	dropper, ok := method.(ref.Dropper)
	if !ok || ref.KeepsAll(method) {
		return false, nil
	}
	from := dropper.Rank(ref.View{Cache: cache, Sequence: s}.Counts()).Sinks
	from += int(splitmix.Next(p.Inputs.Seed^uint64(s.Len)) % uint64(max(1, s.Len-from)))
	for h := range s.Heads {
		head := &s.Heads[h]
		for i := range head.Len {
			if slot := cache.Slot(head, i); int(cache.Positions[slot]) >= from {
				cache.Positions[slot] += int32(op.Tokens)
			}
		}
	}
	s.Len += op.Tokens
	return true, pair.test.Restore(cache)
}

// grow applies an OpGrow to the reference, and restores the engine under test from it. It returns false, and
// does nothing, if a head is empty, there are too few free blocks, or the method keeps all KVs.
func (p *Pipeline) grow(pair *Pair, op Operation) (bool, error) {
	id := op.Sequences[0]
	cache := pair.reference.Cache()
	s := cache.Sequence(id)
	method, err := p.methodOf(pair, id)
	if err != nil || ref.KeepsAll(method) {
		return false, err
	}
	need := ceil.Div(op.Tokens, p.Config.BlockSize) * p.Shape.Heads()
	empty := slices.ContainsFunc(s.Heads, func(h kv.Head) bool { return h.Len == 0 })
	if empty || need > cache.Free() {
		return false, nil
	}
	for h := range s.Heads {
		head := &s.Heads[h]
		held := head.Len
		for i := range op.Tokens {
			to := cache.Append(s, h/p.Shape.KVHeads, h%p.Shape.KVHeads, int32(s.Len+i))
			from := cache.Slot(head, held/2+i%(held-held/2))
			copy(cache.Key(to), cache.Key(from))
			copy(cache.Value(to), cache.Value(from))
			for k, column := range cache.Columns() {
				copy(cache.Data[k][to*column.Width:][:column.Width], cache.Data[k][from*column.Width:])
			}
		}
	}
	if s.Prompt == s.Len {
		s.Prompt += op.Tokens
	}
	s.Len += op.Tokens
	return true, pair.test.Restore(cache)
}

// methodOf returns the method of a sequence, with its own options.
func (p *Pipeline) methodOf(pair *Pair, id kv.SeqID) (ref.Method, error) {
	cfg := p.config()
	with, err := cfg.With(pair.own[id])
	if err != nil {
		return nil, err
	}
	return with.NewMethod()
}
