package bench

import (
	"context"
	"errors"

	"kvcompress/kv"
	"kvcompress/ref"
)

// Knob is the setting of a row for a budget, in one mode and category. Either Setting or Missed
// is nil.
type Knob struct {
	Row      string
	Budget   Budget
	Mode     Mode
	Category string
	Length   int // tokens of the context
	Digits   int // of a grid's passkey; else 0

	Setting *Setting
	Missed  *UnreachableError // the row cannot be brought to the budget
}

// knobs are the settings for one model.
type knobs struct{ all []Knob }

// of returns the settings for a question, that of [Full] first.
func (k *knobs) of(q *question) []Knob {
	var list []Knob
	for _, one := range k.all {
		if one.Mode == q.mode && one.Category == q.task.Category && one.Length == q.length && one.Digits == q.digits {
			list = append(list, one)
		}
	}
	return list
}

// calibration is added to the plan's seed for the contexts by which settings are searched, so
// that no unit has the same context.
const calibration = 1 << 40

// knobKey is everything that the setting of a row depends on.
type knobKey struct {
	row     string
	budget  Budget
	shape   kv.Shape
	request request
	context int    // tokens of the context, for rows that shorten it
	model   string // "" where it does not matter
}

// findKnobs finds the settings of all rows at all budgets for questions to a model.
//
// found keeps settings for other models of the same shape. Those of a measured row are never
// reused, and those of a row with several choices only for the same model.
func (p *Plan) findKnobs(ctx context.Context, m *Model, questions []*question, found map[knobKey]Knob) (*knobs, error) {
	rows, err := FindRows(p.Methods)
	if err != nil {
		return nil, err
	}
	all := &knobs{}
	for _, q := range questions {
		ks := &knobSearch{base: p.base(m), heads: m.Heads, request: q.request(), context: len(q.task.Context), recall: p.Texts == nil, blockBytes: p.blockBytes(m)}
		ks.headLengths = func(cfg ref.Config) ([]int, error) { return q.prefilled.compressed(ctx, cfg, q.reading.room) }
		for i := range rows {
			r := &rows[i]
			for _, budget := range p.Budgets {
				if r.Name == Full {
					budget = 1
				}
				at := knobKey{r.Name, budget, ks.base.Shape, ks.request, ks.context, ""}
				if len(r.choose(ks)) > 1 {
					at.model = m.Name
				}
				k, ok := found[at]
				if !ok || r.measured {
					if k, err = ks.knob(r, budget); err != nil {
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

// knob finds the setting of a row for a budget.
func (ks *knobSearch) knob(r *Row, budget Budget) (Knob, error) {
	k := Knob{Row: r.Name, Budget: budget}
	s, err := ks.search(r, budget)
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
