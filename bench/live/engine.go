package live

import (
	"kvcompress/kernels"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
)

// Engine is a KV cache that a model is run through: [Reference] or [CUDA].
type Engine interface {
	sim.Cache

	// Config returns the engine's configuration.
	Config() ref.Config

	// Enter puts a prompt of n tokens into the cache. rows is called for each layer in order. It
	// returns q [W, H·G, D] of the last W tokens, which the method observes (W is
	// [ref.Config.Window], at most n), and k and v [n, H, D] of all tokens.
	Enter(id kv.SeqID, n int, rows func(layer int) (q, k, v []float32)) error

	// Append adds the next token of a sequence. It calls run with a function layer, which run
	// must call for each layer in order: it appends k and v [H, D] and attends with q [H·G, D],
	// as [ref.Tokens.Layer] does.
	Append(id kv.SeqID, run func(layer func(q, k, v, out []float32) error) error) error

	// Attend computes attention with queries of the newest token and appends nothing, as
	// [ref.Engine.Attend] does.
	Attend(id kv.SeqID, layer int, q, out []float32) error
}

// Reference drives the reference engine.
func Reference(e *ref.Engine) Engine { return reference{e} }

// CUDA drives the CUDA engine.
func CUDA(e *kernels.Engine) Engine { return cuda{e} }

type reference struct{ *ref.Engine }

func (e reference) Enter(id kv.SeqID, n int, rows func(layer int) (q, k, v []float32)) error {
	p, err := e.BeginPrompt(id, n)
	if err != nil {
		return err
	}
	if err := eachLayer(e.Config().Shape.Layers, rows, p.Layer); err != nil {
		return err
	}
	p.End()
	return nil
}

func (e reference) Append(id kv.SeqID, run func(func(q, k, v, out []float32) error) error) error {
	t, err := e.BeginTokens([]kv.SeqID{id})
	if err != nil {
		return err
	}
	if err := run(t.Layer); err != nil {
		return err
	}
	t.End()
	return nil
}

type cuda struct{ *kernels.Engine }

func (e cuda) Enter(id kv.SeqID, n int, rows func(layer int) (q, k, v []float32)) error {
	p, err := e.BeginPrompt(id, n)
	if err != nil {
		return err
	}
	if err := eachLayer(e.Config().Shape.Layers, rows, p.Layer); err != nil {
		return err
	}
	return p.End()
}

func (e cuda) Append(id kv.SeqID, run func(func(q, k, v, out []float32) error) error) error {
	t, err := e.BeginTokens([]kv.SeqID{id})
	if err != nil {
		return err
	}
	if err := run(t.Layer); err != nil {
		return err
	}
	return t.End()
}

// eachLayer calls enter with the rows of each layer.
func eachLayer(layers int, rows func(int) (q, k, v []float32), enter func(q, k, v []float32) error) error {
	for l := range layers {
		if err := enter(rows(l)); err != nil {
			return err
		}
	}
	return nil
}
