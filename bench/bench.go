package bench

import (
	"context"
	"sync"

	"kvcompress/internal/work"
)

// Bench is a plan whose models are loaded and whose knobs are turned.
type Bench struct {
	Plan   Plan
	models map[string]*Model
	knobs  map[string]*knobs // by model
}

// New loads the plan's models and brings every row to every budget.
func New(ctx context.Context, p Plan) (*Bench, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	b := &Bench{Plan: p, models: map[string]*Model{}, knobs: map[string]*knobs{}}
	found := map[knobKey]Knob{}
	for _, name := range p.Models {
		m, err := LoadModel(ctx, name)
		if err != nil {
			return nil, err
		}
		if b.knobs[name], err = p.turnKnobs(ctx, m, found); err != nil {
			return nil, err
		}
		b.models[name] = m
	}
	return b, nil
}

// Knobs returns where the knobs of a model stand.
func (b *Bench) Knobs(model string) []Knob { return b.knobs[model].all }

// Runs returns how many generations a unit of each model has, by model.
func (b *Bench) Runs(unit int) int {
	name, _ := b.Plan.unit(unit)
	n := 0
	for _, k := range b.knobs[name].all {
		if k.Setting != nil {
			n++
		}
	}
	return n
}

// Run runs units, as many at a time as there are processors, and gives each result to
// keep, one at a time and in no certain order. progress is told of each generation, by any
// goroutine. The context ends it; units that are not finished are lost.
func (b *Bench) Run(ctx context.Context, units []int, keep func(*Result) error, progress func(runs int)) (err error) {
	defer work.Recover(&err)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan int)
	go func() {
		defer close(queue)
		for _, u := range units {
			select {
			case queue <- u:
			case <-ctx.Done():
				return
			}
		}
	}()
	var mu sync.Mutex
	var group work.Group
	for range work.Workers(len(units)) {
		group.Go(func() {
			for u := range queue {
				r, err := b.unit(ctx, u, progress)
				if err == nil {
					mu.Lock()
					err = keep(r)
					mu.Unlock()
				}
				if err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}
