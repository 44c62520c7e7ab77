package live

import (
	"context"
	"fmt"
	"slices"

	"kvcompress/internal/work"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace/llama"
)

// Prefill is a prompt that a model has read with full attention: the queries, keys and
// values of each of its tokens, and what the model says next. It is computed once, and
// enters any number of caches.
type Prefill struct {
	Tokens []int
	Logits []float32 // [Vocab], for the token after the last

	shape   kv.Shape    // of the model
	q, k, v [][]float32 // of each layer, [n, heads, D]

	session *llama.Session // that has read it
}

// Read has a model read a prompt with full attention. A model some of whose layers attend
// to a window of tokens is an error: an engine's cache is read as a whole.
func Read(ctx context.Context, model *llama.Model, prompt []int) (*Prefill, error) {
	shape := model.Config().Shape()
	for l := range shape.Layers {
		if w := model.Config().Window(l); w > 0 {
			return nil, fmt.Errorf("live: layer %d attends to a window of %d tokens, which no engine's cache has", l, w)
		}
	}
	empty := &Prefill{
		shape:   shape,
		q:       make([][]float32, shape.Layers),
		k:       make([][]float32, shape.Layers),
		v:       make([][]float32, shape.Layers),
		session: model.NewSession(),
	}
	return empty.Extend(ctx, prompt)
}

// Extend has the model read on, and returns the longer prompt. p stays what it is.
func (p *Prefill) Extend(ctx context.Context, tokens []int) (*Prefill, error) {
	longer := &Prefill{
		Tokens:  slices.Concat(p.Tokens, tokens),
		shape:   p.shape,
		q:       clipped(p.q),
		k:       clipped(p.k),
		v:       clipped(p.v),
		session: p.session.Fork(),
	}
	logits, err := longer.session.Feed(tokens, func(q, k, v []float32) error {
		for l := range p.shape.Layers {
			longer.q[l] = appendLayer(longer.q[l], q, l, p.shape.Layers)
			longer.k[l] = appendLayer(longer.k[l], k, l, p.shape.Layers)
			longer.v[l] = appendLayer(longer.v[l], v, l, p.shape.Layers)
		}
		work.Step(ctx)
		return ctx.Err()
	})
	longer.Logits = slices.Clone(logits)
	return longer, err
}

// clipped returns the same rows, which are copied when they are appended to.
func clipped(layers [][]float32) [][]float32 {
	out := make([][]float32, len(layers))
	for l, rows := range layers {
		out[l] = slices.Clip(rows)
	}
	return out
}

// appendLayer appends layer l of [layers, n].
func appendLayer(to, all []float32, l, layers int) []float32 {
	n := len(all) / layers
	return append(to, all[l*n:][:n]...)
}

// rows returns what a layer of the prompt is in a cache of a configuration.
func (p *Prefill) rows(cfg *ref.Config, layer int) (q, k, v []float32) {
	row := p.shape.QueryHeads() * p.shape.HeadSize
	window := min(cfg.Window(), len(p.Tokens))
	q = p.q[layer][(len(p.Tokens)-window)*row:]
	copies := cfg.Shape.KVHeads / p.shape.KVHeads
	return q, repeat(p.k[layer], copies, p.shape.HeadSize), repeat(p.v[layer], copies, p.shape.HeadSize)
}

// repeat returns rows of d elements with each as often as copies says, in a row.
func repeat(rows []float32, copies, d int) []float32 {
	if copies == 1 {
		return rows
	}
	out := make([]float32, 0, copies*len(rows))
	for row := range slices.Chunk(rows, d) {
		for range copies {
			out = append(out, row...)
		}
	}
	return out
}

// check returns an error unless a cache of the configuration is one of the model's.
func (p *Prefill) check(cfg *ref.Config) error {
	if want := cfg.CacheShape(p.shape); cfg.Shape != want {
		return fmt.Errorf("live: a cache of %+v, and the model's is %+v", cfg.Shape, want)
	}
	return nil
}
