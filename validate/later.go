package validate

import (
	"kvcompress/kv"
	"kvcompress/ref"
)

// OpLater is an operation that pipelines alone have: it leaves a sequence as if Tokens more tokens
// had entered and been evicted again, before the KVs that it holds but behind its sinks. Positions
// then are large, and far apart, in heads that hold few KVs.
const OpLater = "later"

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
	sinks := dropper.Rank(ref.View{Cache: cache, Sequence: s}.Counts()).Sinks
	for h := range s.Heads {
		head := &s.Heads[h]
		for i := range head.Len {
			if slot := cache.Slot(head, i); int(cache.Positions[slot]) >= sinks {
				cache.Positions[slot] += int32(op.Tokens)
			}
		}
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
