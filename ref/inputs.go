package ref

import (
	"errors"
	"fmt"
	"slices"

	"kvcompress/kv"
	"kvcompress/trace"
)

// Inputs reads Q, K and V of recorded sequences, and returns an error for values that the cache's format
// cannot hold. Slices that it returns are valid until the next call.
type Inputs struct {
	cfg         Config
	observation *Observation // which queries of a prompt are read; nil: none
	open        func(kv.SeqID) (trace.Tensors, error)
	sources     map[kv.SeqID]*source

	q, k, v []float32
}

// NewInputs returns the inputs of an engine with a valid configuration. observation is the method's observation,
// or nil. open returns the tensors of a sequence when they are first needed.
func NewInputs(cfg Config, observation *Observation, open func(kv.SeqID) (trace.Tensors, error)) *Inputs {
	return &Inputs{cfg: cfg, observation: observation, open: open, sources: map[kv.SeqID]*source{}}
}

// Begin opens the tensors of a sequence, if they are not open, and returns an error if they do not allow a
// prefill of n tokens.
func (in *Inputs) Begin(id kv.SeqID, n int) error {
	if n < 1 {
		return fmt.Errorf("ref: prefill of sequence %d with %d tokens", id, n)
	}
	src, err := in.source(id)
	if err != nil {
		return err
	}
	if n > src.Tokens() {
		return fmt.Errorf("ref: prefill of sequence %d: %d tokens, its trace has %d", id, n, src.Tokens())
	}
	if err := in.cfg.prefillFits(n, in.observation.Queries(n)); err != nil {
		return fmt.Errorf("ref: prefill of sequence %d: %w", id, err)
	}
	return nil
}

// Length returns how many tokens a sequence has in its trace. Its tensors must be open.
func (in *Inputs) Length(id kv.SeqID) int { return in.sources[id].Tokens() }

// source returns the tensors of a sequence, opening them if necessary.
func (in *Inputs) source(id kv.SeqID) (*source, error) {
	if src := in.sources[id]; src != nil {
		return src, nil
	}
	if in.open == nil {
		return nil, fmt.Errorf("ref: no tensors for sequence %d: the engine is driven layer by layer", id)
	}
	tensors, err := in.open(id)
	if err != nil {
		return nil, err
	}
	src := &source{tensors, id, in.cfg.DType, in.cfg.largest, in.cfg.Shape}
	in.sources[id] = src
	return src, nil
}

// Restore opens the tensors of the given sequences, unless the engine is driven layer by layer, and closes
// all others.
func (in *Inputs) Restore(ids []kv.SeqID) error {
	var errs []error
	for id := range in.sources {
		if !slices.Contains(ids, id) {
			errs = append(errs, in.End(id))
		}
	}
	if in.open == nil {
		return errors.Join(errs...)
	}
	for _, id := range ids {
		_, err := in.source(id)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Prompt reads the first n tokens of a sequence in one layer: k and v are [n, H, D]; q is [W, H·G, D], the
// queries of the last W tokens, where W is [Observation.Queries] of n.
func (in *Inputs) Prompt(id kv.SeqID, layer, n int) (q, k, v []float32, err error) {
	shape, src := in.cfg.Shape, in.sources[id]
	window := in.observation.Queries(n)
	in.q = grow(in.q, window*shape.QueryHeads()*shape.HeadSize)
	in.k = grow(in.k, n*shape.KVHeads*shape.HeadSize)
	in.v = grow(in.v, n*shape.KVHeads*shape.HeadSize)
	if window > 0 {
		if err := src.Read(in.q, trace.Q, layer, n-window, window); err != nil {
			return nil, nil, nil, err
		}
	}
	if err := src.readKV(in.k, in.v, layer, 0, n); err != nil {
		return nil, nil, nil, err
	}
	return in.q, in.k, in.v, nil
}

// Next returns an error if the batch is empty or names a sequence twice, or if a sequence is not in the cache
// or has no token left. positions are those of the next tokens, −1 for a sequence that is not in the cache.
func (in *Inputs) Next(batch []kv.SeqID, positions []int) error {
	if len(batch) == 0 {
		return errors.New("ref: decode of no sequences")
	}
	for i, id := range batch {
		if slices.Contains(batch[:i], id) {
			return fmt.Errorf("ref: decode: sequence %d is in the batch twice", id)
		}
		if positions[i] < 0 {
			return fmt.Errorf("ref: decode: sequence %d is not in the cache", id)
		}
		if tokens := in.sources[id].Tokens(); positions[i] >= tokens {
			return fmt.Errorf("ref: decode: sequence %d: token %d is asked for, its trace has %d", id, positions[i], tokens)
		}
	}
	return nil
}

// Tokens reads one token of every sequence of a batch, in all layers at once, so that invalid input is found
// before anything changes: q is [L, sequences, H·G, D], k and v are [L, sequences, H, D].
func (in *Inputs) Tokens(batch []kv.SeqID, positions []int) (q, k, v []float32, err error) {
	shape := in.cfg.Shape
	qRow, kvRow := shape.QueryHeads()*shape.HeadSize, shape.KVHeads*shape.HeadSize
	in.q = grow(in.q, shape.Layers*len(batch)*qRow)
	in.k = grow(in.k, shape.Layers*len(batch)*kvRow)
	in.v = grow(in.v, shape.Layers*len(batch)*kvRow)
	for layer := range shape.Layers {
		for b, id := range batch {
			src, t, i := in.sources[id], positions[b], layer*len(batch)+b
			if err := src.Read(in.q[i*qRow:][:qRow], trace.Q, layer, t, 1); err != nil {
				return nil, nil, nil, err
			}
			if err := src.readKV(in.k[i*kvRow:][:kvRow], in.v[i*kvRow:][:kvRow], layer, t, 1); err != nil {
				return nil, nil, nil, err
			}
		}
	}
	return in.q, in.k, in.v, nil
}

// End closes the tensors of a sequence.
func (in *Inputs) End(id kv.SeqID) error {
	src := in.sources[id]
	if src == nil {
		return nil
	}
	delete(in.sources, id)
	return src.Close()
}

// Close closes the tensors of every sequence.
func (in *Inputs) Close() error {
	var errs []error
	for id := range in.sources {
		errs = append(errs, in.End(id))
	}
	return errors.Join(errs...)
}
