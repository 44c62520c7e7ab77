package bench

import (
	"context"
	"encoding/json"
	"fmt"

	"kvcompress/bench/linear"
	"kvcompress/bench/live"
	"kvcompress/bench/shorten"
	"kvcompress/bench/task"
	"kvcompress/ref"
	"kvcompress/trace/llama"
)

// reading is a context as a model reads it: once with full attention, for all questions and
// most rows; and for the other rows shortened, or through the compressed cache.
type reading struct {
	model *Model
	seed  uint64
	task  *task.Task // the first with this context
	room  int        // tokens that a sequence of any question may come to

	full     *entered
	scores   map[dropping][]float64 // of the context's tokens
	short    map[shortened]*live.Prefill
	streamed map[string]*streamed // by the cache's options
	others   map[*linear.Model]*linear.Session
}

// dropping says by what tokens of a context are dropped before the prompt is read.
type dropping string

// The droppings.
const (
	bySurprise dropping = "surprise" // drop the tokens that the model itself finds most likely
	atRandom   dropping = "random"
)

// shortened is a context of which a number of tokens is left.
type shortened struct {
	by   dropping
	kept int
}

// streamed is a context that was fed through a cache.
type streamed struct {
	engine   *ref.Engine
	sequence *live.Sequence
}

func newReading(m *Model, seed uint64, t *task.Task) *reading {
	r := &reading{model: m, seed: seed, task: t, scores: map[dropping][]float64{}, short: map[shortened]*live.Prefill{}, streamed: map[string]*streamed{}, others: map[*linear.Model]*linear.Session{}}
	r.full = &entered{tokens: len(t.Context), read: func(ctx context.Context) (*live.Prefill, error) {
		return live.Read(ctx, m.Llama, ints(t.Context))
	}}
	return r
}

// ask returns a task of this context in a mode.
func (r *reading) ask(mode Mode, t *task.Task, blockBytes int) *question {
	q := &question{mode: mode, task: t, reading: r, shape: r.model.Heads.Shape, blockBytes: blockBytes}
	r.room = max(r.room, t.Len())
	q.entered = r.full
	switch {
	case mode == Agnostic:
		q.asked = ints(t.Question)
	case len(t.Question) > 0:
		q.entered = &entered{tokens: len(t.Context) + len(t.Question), read: func(ctx context.Context) (*live.Prefill, error) {
			context, err := r.full.prefill(ctx)
			if err != nil {
				return nil, err
			}
			return context.Extend(ctx, ints(t.Question))
		}}
	}
	return q
}

// shorter returns the question's prompt with a context of which a number of tokens is left.
func (q *question) shorter(s shortened) *entered {
	return &entered{tokens: q.entered.tokens - len(q.task.Context) + s.kept, read: func(ctx context.Context) (*live.Prefill, error) {
		context, err := q.reading.shorten(ctx, s)
		if err != nil || q.mode == Agnostic {
			return context, err
		}
		return context.Extend(ctx, ints(q.task.Question))
	}}
}

// shorten returns the context with the tokens of the highest scores alone, as the model reads
// it then.
func (r *reading) shorten(ctx context.Context, s shortened) (*live.Prefill, error) {
	if p := r.short[s]; p != nil {
		return p, nil
	}
	if r.scores[s.by] == nil {
		scores := shorten.Random(len(r.task.Context), r.seed)
		if s.by == bySurprise {
			var err error
			if scores, err = shorten.Surprise(ctx, r.model.Llama.NewSession(), r.task.Context); err != nil {
				return nil, err
			}
		}
		r.scores[s.by] = scores
	}
	t, err := shorten.Keep(r.task, r.scores[s.by], s.kept)
	if err != nil {
		return nil, err
	}
	p, err := live.Read(ctx, r.model.Llama, ints(t.Context))
	if err == nil {
		r.short[s] = p
	}
	return p, err
}

// stream returns a sequence whose context was fed through a cache of the configuration,
// token by token, as if it had been decoded: each token attended to what was held.
func (r *reading) stream(ctx context.Context, cfg ref.Config, stepper *llama.Stepper) (*live.Sequence, error) {
	cfg.Blocks = live.Room(&cfg, r.room)
	options, err := json.Marshal(cfg.Set)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s %v %s", cfg.Method, cfg.Compression, options)
	engine := func() (*ref.Engine, error) { return ref.NewEngine(cfg, nil, nil) }
	of := r.streamed[name]
	if of == nil {
		e, err := engine()
		if err != nil {
			return nil, err
		}
		s, err := live.Stream(ctx, live.Reference(e), sequence, r.model.Llama, ints(r.task.Context), stepper)
		if err != nil {
			return nil, err
		}
		of = &streamed{e, s}
		r.streamed[name] = of
	}
	e, err := engine()
	if err != nil {
		return nil, err
	}
	return of.sequence.In(live.Reference(e)), e.Restore(of.engine.Cache())
}
