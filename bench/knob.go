package bench

import (
	"context"
	"errors"

	"kvcompress/kv"
	"kvcompress/ref"
)

// Knob is where a row's knob stands for a budget, in one mode and category.
type Knob struct {
	Row      string
	Budget   Budget
	Mode     Mode
	Category string
	Length   int // tokens of the context
	Digits   int // of a grid's passkey; else 0

	Setting *Setting          // nil if the row cannot be brought to the budget
	Missed  *UnreachableError // then why
}

// knobs are those of one model.
type knobs struct{ all []Knob }

// of returns the knobs of a question, that of [Full] first.
func (k *knobs) of(q *question) []Knob {
	var list []Knob
	for _, one := range k.all {
		if one.Mode == q.mode && one.Category == q.task.Category && one.Length == q.length && one.Digits == q.digits {
			list = append(list, one)
		}
	}
	return list
}

// calibration is added to the plan's seed: no unit has the contexts by which the blocks of
// rows are measured.
const calibration = 1 << 40

// knobKey is all that the setting of a row depends on.
type knobKey struct {
	row    string
	budget Budget
	shape  kv.Shape
	course course
	// context is the tokens that rows which shorten the context go by.
	context int
	model   string // "" where it does not matter
}

// turnKnobs finds the settings of all rows at all budgets for questions to a model.
//
// What is found for a row does not depend on the model where the row has but one choice
// and is not measured: found keeps it for models of the same shape.
func (p *Plan) turnKnobs(ctx context.Context, m *Model, questions []*question, found map[knobKey]Knob) (*knobs, error) {
	rows, err := FindRows(p.Methods)
	if err != nil {
		return nil, err
	}
	all := &knobs{}
	for _, q := range questions {
		g := &grid{base: p.base(m), heads: m.Heads, course: q.course(), context: len(q.task.Context), recall: p.inRecall(m), blockBytes: p.blockBytes(m)}
		g.lost = func(cfg ref.Config) ([]int, error) { return q.entered.compressed(ctx, cfg, q.reading.room) }
		for i := range rows {
			r := &rows[i]
			for _, budget := range p.Budgets {
				if r.Name == Full {
					budget = 1
				}
				at := knobKey{r.Name, budget, g.base.Shape, g.course, g.context, ""}
				if len(r.choose(g.heads)) > 1 {
					at.model = m.Name
				}
				k, ok := found[at]
				if !ok || r.measured {
					if k, err = g.knob(r, budget); err != nil {
						return nil, err
					}
					found[at] = k
				}
				k.Mode, k.Category, k.Length, k.Digits = q.mode, q.task.Category, q.length, q.digits
				all.all = append(all.all, k)
				if r.Name == Full {
					break
				}
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// knob turns a row's knob.
func (g *grid) knob(r *Row, budget Budget) (Knob, error) {
	k := Knob{Row: r.Name, Budget: budget}
	s, err := g.search(r, budget)
	var unsupported *ref.UnsupportedError
	switch {
	case errors.As(err, &k.Missed):
	case errors.As(err, &unsupported):
		k.Missed = &UnreachableError{Row: r.Name, Budget: budget, Why: unsupported.Error()}
	case err != nil:
		return k, err
	default:
		k.Setting = &s
	}
	return k, nil
}
