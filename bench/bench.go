package bench

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"kvcompress/bench/task"
	"kvcompress/internal/work"
)

// Bench is a plan with its models loaded and a setting found for each method and budget.
type Bench struct {
	Plan   Plan
	models map[string]*Model
	knobs  map[string]*knobs // by model; if the tasks are texts, for the model's first unit
	texts  *texts            // nil for the tasks of package task
}

// New checks the plan, loads its models and finds the setting that brings each row to each
// budget. The error says what is wrong with the plan, or which model cannot be read.
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
		if have := m.Llama.Config().Vocab; p.Texts == nil && have != task.VocabSize {
			return nil, fmt.Errorf("bench: %s has a vocabulary of %d tokens, and the recall tasks are of another one, of %d: want tasks of text (--tasks)", name, have, task.VocabSize)
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
		if b.knobs[name], err = b.Plan.findKnobs(ctx, b.models[name], questions, found); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// calibrating returns the questions for which the settings of the plan's model i are searched:
// about a context that no unit has, or if the tasks are texts, those of the model's first unit.
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

// Knobs returns the settings that were found for a model.
func (b *Bench) Knobs(model string) []Knob { return b.knobs[model].all }

// Runs returns how many generations a unit has. If the tasks are texts it is the number of
// the model's first unit, since each text has its own settings.
func (b *Bench) Runs(unit int) int {
	u := b.Plan.unit(unit)
	n := 0
	for _, k := range b.knobs[u.model].all {
		if k.Setting != nil && b.knobFits(&k, &u) {
			n++
		}
	}
	return n
}

// knobFits reports whether a setting was found for a unit's context length and digits. If the tasks
// are texts, settings are those of the model's first unit, and there is nothing to choose.
func (b *Bench) knobFits(k *Knob, u *unit) bool {
	return b.texts != nil || k.Length == u.options.Length && k.Digits == u.options.Digits
}

// Run runs the units with these numbers in parallel, one on each processor. It calls keep with
// each result, in no fixed order, and progress with the number of generations that have ended
// since the last call. Calls of the two never overlap. An error of keep ends the run. When the
// context is done Run returns at once: unfinished units are lost, and neither function is
// called again.
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
	// now calls keep or progress, unless Run has returned.
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
					_ = now(func() error { progress(runs); return nil }) // if Run has returned, the unit's next step ends it
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
		mu.Lock() // wait for a call of keep to end
		defer mu.Unlock()
		return context.Cause(ctx)
	}
}
