package validate

import (
	"slices"

	"kvcompress/internal/splitmix"
	"kvcompress/kv"
	"kvcompress/ref"
)

// Operations that pipelines alone have, and that make at once what takes many tokens.
const (
	// OpLater leaves a sequence as if Tokens more tokens had entered and been evicted again, between two
	// of those that it holds, behind its sinks. Positions then are large, and far apart, in heads that
	// hold few KVs.
	OpLater = "later"
	// OpGrow adds Tokens KVs to each head of a sequence: the newest half of those that it holds, again and
	// again, at the positions that follow. Many cost the same then.
	OpGrow = "grow"
)

// later carries out an OpLater on the reference, and gives the engine under test its state. It
// returns whether it did: not where the method does not evict.
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

// grow carries out an OpGrow on the reference, and gives the engine under test its state. It returns
// whether it did: not where a head holds nothing or there are too few blocks, or the method has pages of its own.
func (p *Pipeline) grow(pair *Pair, op Operation) (bool, error) {
	id := op.Sequences[0]
	cache := pair.reference.Cache()
	s := cache.Sequence(id)
	method, err := p.methodOf(pair, id)
	if err != nil || ref.KeepsAll(method) {
		return false, err
	}
	need := (op.Tokens + p.Config.BlockSize - 1) / p.Config.BlockSize * p.Shape.Heads()
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
