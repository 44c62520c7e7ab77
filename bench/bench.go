package bench

import (
	"cmp"
	"context"
	"sync"

	"kvcompress/internal/work"
)

// Bench is a plan whose models are loaded and whose knobs are turned.
type Bench struct {
	Plan   Plan
	models map[string]*Model
	knobs  map[string]*knobs // by model; of texts, those of the first unit
	texts  *texts            // nil for the tasks of package task
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
		b.models[name] = m
	}
	if p.Texts != nil {
		if err := b.openTexts(); err != nil {
			return nil, err
		}
	}
	for i, name := range p.Models {
		questions, err := b.calibrating(i)
		if err != nil {
			return nil, err
		}
		if b.knobs[name], err = b.Plan.turnKnobs(ctx, b.models[name], questions, found); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// calibrating returns questions by which the knobs of the plan's model i are turned: of a
// context that no unit has, or of texts those of the model's first unit.
func (b *Bench) calibrating(i int) ([]*question, error) {
	if b.texts != nil {
		return b.questions(i)
	}
	var questions []*question
	for _, of := range b.Plan.shapes() {
		alike, err := b.Plan.questions(b.models[b.Plan.Models[i]], of)
		if err != nil {
			return nil, err
		}
		questions = append(questions, alike...)
	}
	return questions, nil
}

// Knobs returns where the knobs of a model stand.
func (b *Bench) Knobs(model string) []Knob { return b.knobs[model].all }

// Runs returns how many generations a unit has; of texts, as many as the first of its model.
func (b *Bench) Runs(unit int) int {
	u := b.Plan.unit(unit)
	n := 0
	for _, k := range b.knobs[u.model].all {
		if k.Setting != nil && (b.texts != nil || k.Length == u.options.Length && k.Digits == u.options.Digits) {
			n++
		}
	}
	return n
}

// Run runs units, as many at a time as there are processors, and gives each result to
// keep, one at a time and in no certain order. progress is told of each generation, one at a
// time too. When the context is done Run returns at once: units that are not finished are
// lost, and neither function is called again.
func (b *Bench) Run(ctx context.Context, units []int, keep func(*Result) error, progress func(runs int)) error {
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
	// now calls a function of the caller, unless Run has returned.
	now := func(call func() error) error {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return call()
	}
	for range work.Workers(len(units)) {
		group.Go(func() {
			for u := range queue {
				r, err := b.unit(ctx, u, func(runs int) {
					_ = now(func() error { progress(runs); return nil }) // the next step ends a unit that is too late
				})
				if err == nil {
					err = now(func() error { return keep(r) })
				}
				if err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	done := make(chan error, 1)
	go func() {
		var err error
		defer func() { done <- err }()
		defer work.Recover(&err)
		group.Wait()
	}()
	select {
	case err := <-done:
		return cmp.Or(err, context.Cause(ctx))
	case <-ctx.Done():
		mu.Lock() // what is being kept is kept
		defer mu.Unlock()
		return context.Cause(ctx)
	}
}
