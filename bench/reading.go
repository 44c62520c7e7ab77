package bench

import (
	"context"
	"encoding/json"
	"fmt"

	"kvcompress/bench/infllm"
	"kvcompress/bench/linear"
	"kvcompress/bench/live"
	"kvcompress/bench/shorten"
	"kvcompress/bench/task"
	"kvcompress/ref"
	"kvcompress/trace/llama"
)

// reading caches what a model has computed for one context, so that questions and rows share it: the
// prefill with full attention, the prefills of the shortened context, the caches that the
// context was streamed through, the sessions of models with linear attention, and those of InfLLM.
type reading struct {
	model *Model
	seed  uint64
	task  *task.Task // the first with this context
	room  int        // most tokens of a sequence, over the questions

	full     *prefilled
	scores   map[dropRule][]float64 // of the context's tokens; the highest are kept
	short    map[shortened]*live.Prefill
	streamed map[string]*streamed // by method, compression and options
	linear   map[*linear.Model]*linear.Session
	lookedUp map[string]*infllm.Sequence // by options and tokens read
}

// dropRule is the rule by which tokens of a context are dropped before prefill.
type dropRule string

// The rules.
const (
	bySurprise dropRule = "surprise" // drop the tokens of the lowest surprisal under the model itself
	atRandom   dropRule = "random"
)

// shortened is the key of a shortened context.
type shortened struct {
	drop dropRule
	kept int // tokens
}

// streamed is a context that was fed through a cache token by token.
type streamed struct {
	engine   *ref.Engine
	sequence *live.Sequence
}

func newReading(m *Model, seed uint64, t *task.Task) *reading {
	r := &reading{model: m, seed: seed, task: t, scores: map[dropRule][]float64{}, short: map[shortened]*live.Prefill{}, streamed: map[string]*streamed{}, linear: map[*linear.Model]*linear.Session{}, lookedUp: map[string]*infllm.Sequence{}}
	r.full = &prefilled{tokens: len(t.Context), read: func(ctx context.Context) (*live.Prefill, error) {
		return live.Read(ctx, m.Llama, ints(t.Context))
	}}
	return r
}

// ask returns the question of a task with this context, in a mode.
func (r *reading) ask(mode Mode, t *task.Task, blockBytes int) *question {
	q := &question{mode: mode, task: t, reading: r, shape: r.model.Heads.Shape, blockBytes: blockBytes}
	r.room = max(r.room, t.Len())
	q.prefilled = r.full
	switch {
	case mode == Agnostic:
		q.asked = ints(t.Question)
	case len(t.Question) > 0:
		q.prefilled = &prefilled{tokens: len(t.Context) + len(t.Question), read: func(ctx context.Context) (*live.Prefill, error) {
			context, err := r.full.prefill(ctx)
			if err != nil {
				return nil, err
			}
			return context.Extend(ctx, ints(t.Question))
		}}
	}
	return q
}

// shorter returns the question's prompt with a shortened context.
func (q *question) shorter(s shortened) *prefilled {
	return &prefilled{tokens: q.prefilled.tokens - len(q.task.Context) + s.kept, read: func(ctx context.Context) (*live.Prefill, error) {
		context, err := q.reading.shorten(ctx, s)
		if err != nil || q.mode == Agnostic {
			return context, err
		}
		return context.Extend(ctx, ints(q.task.Question))
	}}
}

// shorten returns the prefill of the context reduced to the tokens of the highest scores.
func (r *reading) shorten(ctx context.Context, s shortened) (*live.Prefill, error) {
	if p := r.short[s]; p != nil {
		return p, nil
	}
	if r.scores[s.drop] == nil {
		scores := shorten.Random(len(r.task.Context), r.seed)
		if s.drop == bySurprise {
			var err error
			if scores, err = shorten.Surprise(ctx, r.model.Llama.NewSession(), r.task.Context); err != nil {
				return nil, err
			}
		}
		r.scores[s.drop] = scores
	}
	t, err := shorten.Keep(r.task, r.scores[s.drop], s.kept)
	if err != nil {
		return nil, err
	}
	p, err := live.Read(ctx, r.model.Llama, ints(t.Context))
	if err == nil {
		r.short[s] = p
	}
	return p, err
}

// stream returns a sequence whose context was fed through a cache of the configuration token by
// token: each token attended to the KVs that the cache held at that time. See [live.Stream].
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
	return of.sequence.WithEngine(live.Reference(e)), e.Restore(of.engine.Cache())
}
