package bench

import (
	"reflect"

	"kvcompress/bench/live"
	"kvcompress/kv"
	"kvcompress/ref"
)

// entered is a prompt in caches before any compression: one for each set of columns and
// each observation of the prompt, from which the caches of all methods and budgets begin
// that share them.
type entered struct {
	prompt *live.Prefill
	room   int // tokens that a sequence may come to
	caches []*ref.Engine
	all    []ref.Config
}

const sequence = kv.SeqID(0)

// engine returns an engine of a configuration with the prompt in its cache.
func (e *entered) engine(cfg ref.Config) (*ref.Engine, error) {
	cfg.Blocks = live.Room(&cfg, e.room)
	from, err := e.like(cfg)
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
func (e *entered) like(cfg ref.Config) (*ref.Engine, error) {
	for i := range e.caches {
		if sameCache(&e.all[i], &cfg) {
			return e.caches[i], nil
		}
	}
	engine, err := ref.NewEngine(cfg, nil, nil)
	if err != nil {
		return nil, err
	}
	if _, err := live.Begin(live.Reference(engine), sequence, e.prompt, nil); err != nil {
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
func (e *entered) compressed(cfg ref.Config) ([]int, error) {
	engine, err := e.engine(cfg)
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
