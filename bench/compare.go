package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kvcompress/bench/live"
	"kvcompress/ref"
)

// Sampled is a generation that was repeated on another engine and gave the same logits, or
// that the other engine does not support.
type Sampled struct {
	Row      string `json:"method"`
	Budget   Budget `json:"budget"`
	Mode     Mode   `json:"mode"`
	Category string `json:"category"`
	Steps    int    `json:"steps"`
	Logits   int    `json:"logits"`        // compared
	Skipped  string `json:"why,omitempty"` // why the other engine does not support it; then nothing was compared
}

// Sample repeats n generations of the first unit on the engine that open makes, each with
// another method at the smallest budget that the method reaches, and compares every logit with
// the reference engine's. A difference is an error.
func (b *Bench) Sample(ctx context.Context, n int, open func(ref.Config) (live.Engine, func() error, error)) ([]Sampled, error) {
	u := b.Plan.unit(0)
	m := b.models[u.model]
	questions, err := b.questions(0)
	if err != nil {
		return nil, err
	}
	// One knob for each method, at its smallest budget; mode and category differ from method to method.
	var chosen []Knob
	for _, k := range b.knobs[u.model].all {
		if !b.knobFits(&k, &u) {
			continue
		}
		i := slices.IndexFunc(chosen, func(c Knob) bool { return c.Row == k.Row })
		switch {
		case k.Setting == nil || k.Row == Full || k.Setting.Streamed || k.Setting.decoder != nil: // to stream a prompt through the PTX machine takes minutes
		case i < 0:
			chosen = append(chosen, k)
		case chosen[i].Budget < k.Budget || chosen[i].Budget == k.Budget && len(chosen)%2 == 0:
			chosen[i] = k
		}
	}
	var sampled []Sampled
	for i := range min(n, len(chosen)) {
		k := chosen[i*len(chosen)/min(n, len(chosen))]
		at := slices.IndexFunc(questions, func(q *question) bool { return q.mode == k.Mode && q.task.Category == k.Category })
		s, err := questions[at].sample(ctx, m, k, open)
		if err != nil {
			return sampled, fmt.Errorf("bench: %s at %v, %s, %s: %w", k.Row, k.Budget, k.Mode, k.Category, err)
		}
		sampled = append(sampled, *s)
	}
	return sampled, nil
}

// sample runs a question on the reference engine and on the engine that open makes, and
// compares their logits.
func (q *question) sample(ctx context.Context, m *Model, k Knob, open func(ref.Config) (live.Engine, func() error, error)) (*Sampled, error) {
	s := &Sampled{Row: k.Row, Budget: k.Budget, Mode: k.Mode, Category: k.Category}
	cfg := k.Setting.Config
	cfg.Blocks = live.Room(&cfg, q.reading.room)
	prompt, err := q.prompt(k.Setting).prefill(ctx)
	if err != nil {
		return nil, err
	}
	reference, err := ref.NewEngine(cfg, nil, nil)
	if err != nil {
		return nil, err
	}
	want, err := q.logits(ctx, live.Reference(reference), prompt, m)
	if err != nil {
		return nil, err
	}
	other, closeOther, err := open(cfg)
	var unsupported *ref.UnsupportedError
	if errors.As(err, &unsupported) {
		s.Skipped = unsupported.Error()
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	got, err := q.logits(ctx, other, prompt, m)
	if err = errors.Join(err, closeOther()); err != nil {
		return nil, err
	}
	s.Steps, s.Logits = len(want), len(want)*m.Llama.Config().Vocab
	if len(got) != len(want) {
		return nil, fmt.Errorf("%d steps on the reference engine and %d on the other", len(want), len(got))
	}
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			return nil, fmt.Errorf("the logits of step %d differ between the engines", i)
		}
	}
	return s, nil
}

// logits returns the logits from which each token of the answer is decoded.
func (q *question) logits(ctx context.Context, e live.Engine, prompt *live.Prefill, m *Model) ([][]float32, error) {
	s, err := live.Begin(e, sequence, prompt, m.Llama.NewStepper())
	if err != nil {
		return nil, err
	}
	var all [][]float32
	d := &decoding{question: q, reference: true}
	_, err = s.Run(ctx, q.asked, func(logits []float32) (int, bool) {
		all = append(all, slices.Clone(logits))
		return d.next(logits)
	})
	return all, err
}
