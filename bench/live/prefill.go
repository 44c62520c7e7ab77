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

// Prefill is the result of reading a prompt with full attention: the queries, keys and values
// of its tokens in every layer, and the logits for the next token. It is computed once and put
// into any number of caches.
type Prefill struct {
	Tokens []int
	Logits []float32 // [Vocab], for the token after the last

	shape   kv.Shape    // of the model
	q, k, v [][]float32 // of each layer, [n, heads, D]

	session *llama.Session // that has read it
}

// Read has a model read a prompt with full attention. A model with sliding-window layers is an
// error, since the engines attend to the whole cache.
func Read(ctx context.Context, model *llama.Model, prompt []int) (*Prefill, error) {
	shape := model.Config().Shape()
	for l := range shape.Layers {
		if w := model.Config().Window(l); w > 0 {
			return nil, fmt.Errorf("live: layer %d attends to a window of %d tokens, which no engine supports", l, w)
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

// Extend has the model read further tokens and returns the longer prompt. p does not change.
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

// clipped returns the same rows without spare capacity, so that appending copies them.
func clipped(layers [][]float32) [][]float32 {
	out := make([][]float32, len(layers))
	for l, rows := range layers {
		out[l] = slices.Clip(rows)
	}
	return out
}

// appendLayer appends layer l of all, [layers, n], to a slice.
func appendLayer(to, all []float32, l, layers int) []float32 {
	n := len(all) / layers
	return append(to, all[l*n:][:n]...)
}

// rows returns what [Engine.Enter] needs of a layer: the queries that the method observes, and
// keys and values, repeated where the cache has a KV head for each query head.
func (p *Prefill) rows(cfg *ref.Config, layer int) (q, k, v []float32) {
	row := p.shape.QueryHeads() * p.shape.HeadSize
	window := min(cfg.Window(), len(p.Tokens))
	q = p.q[layer][(len(p.Tokens)-window)*row:]
	copies := cfg.Shape.KVHeads / p.shape.KVHeads
	return q, repeat(p.k[layer], copies, p.shape.HeadSize), repeat(p.v[layer], copies, p.shape.HeadSize)
}

// repeat returns rows of d elements, each row copies times in succession.
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

// check returns an error unless the cache's shape is the one that the method has for the model.
func (p *Prefill) check(cfg *ref.Config) error {
	if want := cfg.CacheShape(p.shape); cfg.Shape != want {
		return fmt.Errorf("live: the cache has shape %+v: this model and method need %+v", cfg.Shape, want)
	}
	return nil
}
