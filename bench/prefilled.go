package bench

import (
	"context"
	"reflect"

	"kvcompress/bench/live"
	"kvcompress/kv"
	"kvcompress/ref"
)

// prefilled holds the KV caches of one prompt before any compression. Methods with the same
// columns and the same observation of the prompt start from the same cache, at every budget.
type prefilled struct {
	tokens  int // of the prompt
	read    func(context.Context) (*live.Prefill, error)
	prompt  *live.Prefill // nil until it is read
	engines []*ref.Engine
	configs []ref.Config // of the engines
}

// prefill has the model read the prompt, once.
func (e *prefilled) prefill(ctx context.Context) (*live.Prefill, error) {
	var err error
	if e.prompt == nil {
		e.prompt, err = e.read(ctx)
	}
	return e.prompt, err
}

const sequence = kv.SeqID(0)

// engine returns a new engine whose cache holds the prompt and has room for a sequence of
// room tokens.
func (e *prefilled) engine(ctx context.Context, cfg ref.Config, room int) (*ref.Engine, error) {
	cfg.Blocks = live.Room(&cfg, room)
	from, err := e.engineLike(ctx, cfg)
	if err != nil {
		return nil, err
	}
	engine, err := ref.NewEngine(cfg, nil, nil)
	if err != nil {
		return nil, err
	}
	return engine, engine.Restore(from.Cache())
}

// engineLike returns an engine whose cache holds the prompt as that of cfg does. It is one that
// is kept, possibly of another method or budget, or a new one.
func (e *prefilled) engineLike(ctx context.Context, cfg ref.Config) (*ref.Engine, error) {
	for i := range e.engines {
		if sameCache(&e.configs[i], &cfg) {
			return e.engines[i], nil
		}
	}
	engine, err := ref.NewEngine(cfg, nil, nil)
	if err != nil {
		return nil, err
	}
	prompt, err := e.prefill(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := live.Begin(live.Reference(engine), sequence, prompt, nil); err != nil {
		return nil, err
	}
	e.engines, e.configs = append(e.engines, engine), append(e.configs, cfg)
	return engine, nil
}

// sameCache reports whether the caches of two configurations are equal after a prompt.
func sameCache(a, b *ref.Config) bool {
	if !reflect.DeepEqual(a.Config, b.Config) {
		return false
	}
	x, errX := a.NewMethod()
	y, errY := b.NewMethod()
	return errX == nil && errY == nil &&
		reflect.DeepEqual(x.Columns(), y.Columns()) && reflect.DeepEqual(x.Observe(), y.Observe())
}

// compressed returns the number of KVs that each head holds after the prompt and one
// compression, by layer and KV head.
func (e *prefilled) compressed(ctx context.Context, cfg ref.Config, room int) ([]int, error) {
	engine, err := e.engine(ctx, cfg, room)
	if err != nil {
		return nil, err
	}
	if engine.Count(sequence) > 0 {
		if _, err := engine.Compress(sequence); err != nil {
			return nil, err
		}
	}
	var lengths []int
	for _, heads := range engine.HeadUsage().KVs {
		lengths = append(lengths, heads...)
	}
	return lengths, nil
}
