package bench

import (
	"context"
	"reflect"

	"kvcompress/bench/live"
	"kvcompress/kv"
	"kvcompress/ref"
)

// entered is a prompt in caches before any compression: one for each set of columns and
// each observation of the prompt, from which the caches of all methods and budgets begin
// that share them.
type entered struct {
	tokens int // of the prompt
	read   func(context.Context) (*live.Prefill, error)
	prompt *live.Prefill // once it is read
	caches []*ref.Engine
	all    []ref.Config
}

// prefill returns the prompt as the model has read it.
func (e *entered) prefill(ctx context.Context) (*live.Prefill, error) {
	var err error
	if e.prompt == nil {
		e.prompt, err = e.read(ctx)
	}
	return e.prompt, err
}

const sequence = kv.SeqID(0)

// engine returns an engine of a configuration with the prompt in its cache, which has room
// for a sequence of a number of tokens.
func (e *entered) engine(ctx context.Context, cfg ref.Config, room int) (*ref.Engine, error) {
	cfg.Blocks = live.Room(&cfg, room)
	from, err := e.like(ctx, cfg)
	if err != nil {
		return nil, err
	}
	engine, err := ref.NewEngine(cfg, nil, nil)
	if err != nil {
		return nil, err
	}
	return engine, engine.Restore(from.Cache())
}

// like returns the engine that the prompt entered first of those whose caches are then
// equal to one of the configuration.
func (e *entered) like(ctx context.Context, cfg ref.Config) (*ref.Engine, error) {
	for i := range e.caches {
		if sameCache(&e.all[i], &cfg) {
			return e.caches[i], nil
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
	e.caches, e.all = append(e.caches, engine), append(e.all, cfg)
	return engine, nil
}

// sameCache reports whether a prompt leaves the same in the caches of two configurations.
func sameCache(a, b *ref.Config) bool {
	if !reflect.DeepEqual(a.Config, b.Config) {
		return false
	}
	x, errX := a.NewMethod()
	y, errY := b.NewMethod()
	return errX == nil && errY == nil &&
		reflect.DeepEqual(x.Columns(), y.Columns()) && reflect.DeepEqual(x.Observe(), y.Observe())
}

// compressed returns how many KVs each head holds after one compression of the prompt.
func (e *entered) compressed(ctx context.Context, cfg ref.Config, room int) ([]int, error) {
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
