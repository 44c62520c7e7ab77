package bench

import (
	"context"
	"errors"
	"fmt"
	"math"

	"kvcompress/bench/live"
	"kvcompress/bench/task"
	"kvcompress/kv"
	"kvcompress/trace/llama"
)

// Run is one generation: what was answered, and what it took.
type Run struct {
	Row      string  `json:"method"`
	Budget   Budget  `json:"budget"`
	Mode     Mode    `json:"mode"`
	Category string  `json:"category"`
	Score    float64 `json:"score"`  // part of the answer's tokens that are right
	Exact    bool    `json:"exact"`  // all are
	Chance   float64 `json:"chance"` // that a guess without the context is exact
	Answer   []int32 `json:"answer"` // the decoded tokens

	// Divergence is the mean of the Kullback-Leibler divergence, in nats, of the next-token
	// distribution from that of the full cache, D(full ‖ this), over the Compared decoded
	// tokens before which both had said the same.
	Divergence float64 `json:"divergence"`
	Compared   int     `json:"compared"`

	Bytes float64 `json:"bytes"` // of the blocks held, mean over the steps, as a part of the full cache's
	Peak  float64 `json:"peak"`  // the most at a step, as a part of the full cache's mean
	Steps int     `json:"steps"` // tokens that were computed
}

// Result is what came out of one unit.
type Result struct {
	Unit  int    `json:"unit"`
	Model string `json:"model"`
	Seed  uint64 `json:"seed"`
	Runs  []Run  `json:"runs"`
}

// question is a task in one mode: a prompt that was read, and what follows.
type question struct {
	mode    Mode
	task    *task.Task
	reading *reading // of the context
	entered *entered // the prompt with full attention
	asked   []int    // tokens that are fed after the compression
	shape   kv.Shape // of the model
	length  int      // of the context, as it was asked for
	digits  int      // of a grid's passkey

	blockBytes int         // of a cache that keeps every KV
	truth      [][]float32 // logits of the full cache before each decoded token
	answer     []int32     // of the full cache
	free       *freeAnswer // nil if the answer is scored token by token
}

// course returns what happens to a cache.
func (q *question) course() course {
	return course{prompt: q.entered.tokens, fed: len(q.asked) + len(q.task.Steps) - 1, again: len(q.asked) == 0}
}

// questions returns the tasks of a context in all categories and modes. The context is read
// when the first needs it.
func (p *Plan) questions(m *Model, of task.Options) ([]*question, error) {
	var list []*question
	var shared *reading
	for _, category := range p.Categories {
		of.Category = category
		t, err := of.Generate()
		if err != nil {
			return nil, err
		}
		if shared == nil {
			shared = newReading(m, of.Seed, t)
		}
		for _, mode := range p.Modes {
			q := shared.ask(mode, t, p.blockBytes(m))
			q.length, q.digits = of.Length, of.Digits
			list = append(list, q)
		}
	}
	return list, nil
}

func ints(tokens []int32) []int {
	out := make([]int, len(tokens))
	for i, t := range tokens {
		out[i] = int(t)
	}
	return out
}

// unit runs all of one unit. progress is called after each generation.
func (b *Bench) unit(ctx context.Context, index int, progress func(runs int)) (*Result, error) {
	u := b.Plan.unit(index)
	m := b.models[u.model]
	questions, err := b.questions(index)
	if err != nil {
		return nil, err
	}
	knobs, err := b.knobsOf(ctx, index, questions)
	if err != nil {
		return nil, err
	}
	result := &Result{Unit: index, Model: u.model, Seed: u.seed}
	stepper := m.Llama.NewStepper()
	for _, q := range questions {
		for _, k := range knobs.of(q) {
			if k.Setting == nil {
				continue
			}
			run, err := q.run(ctx, k, stepper)
			if err != nil {
				return nil, fmt.Errorf("bench: %s at %v, %s, %s, seed %d of %s: %w", k.Row, k.Budget, q.mode, q.task.Category, u.seed, u.model, err)
			}
			result.Runs = append(result.Runs, *run)
			progress(1)
		}
		if q.mode == Aware {
			q.entered.caches = nil // no other question has this prompt
		}
	}
	return result, nil
}

// run asks the question through a cache of the reference engine.
func (q *question) run(ctx context.Context, k Knob, stepper *llama.Stepper) (*Run, error) {
	d := &decoding{question: q, reference: k.Row == Full}
	steps, err := q.decode(ctx, k.Setting, stepper, d.next)
	if err != nil {
		return nil, err
	}
	run := &Run{
		Row: k.Row, Budget: k.Budget, Mode: q.mode, Category: q.task.Category,
		Score: q.task.Score(d.answer), Exact: q.task.Exact(d.answer), Chance: q.task.ChanceExact, Answer: d.answer, Compared: d.compared, Steps: len(steps),
	}
	if q.free != nil {
		if run.Answer, run.Score, err = q.free.score(d.answer); err != nil {
			return nil, err
		}
		run.Exact = run.Score == 1
	}
	if d.reference {
		q.truth, q.answer = d.logits, d.answer
	} else if d.compared > 0 {
		run.Divergence = d.divergence / float64(d.compared)
	}
	dropped := 0 // from the prompt, which a full cache would hold
	if k.Setting.Kept > 0 {
		dropped = len(q.task.Context) - k.Setting.Kept
	}
	var sum, dense, peak float64
	size := k.Setting.Config.BlockSize
	for _, step := range steps {
		sum, peak = sum+step.bytes, max(peak, step.bytes)
		dense += float64(q.blockBytes * q.shape.Heads() * ((step.tokens + dropped + size - 1) / size))
	}
	run.Bytes, run.Peak = sum/dense, peak*float64(len(steps))/dense
	if math.IsNaN(run.Divergence) || math.IsInf(run.Divergence, 0) {
		return nil, errors.New("the divergence from the full cache is not finite")
	}
	return run, nil
}

// decode reads the prompt as a setting has it, asks, and decodes: see [live.Sequence.Run].
func (q *question) decode(ctx context.Context, s *Setting, stepper *llama.Stepper, next func([]float32) (int, bool)) ([]held, error) {
	if s.other != nil {
		return s.other.run(ctx, q, next)
	}
	began, err := q.begin(ctx, s, stepper)
	if err != nil {
		return nil, err
	}
	steps, err := began.Run(ctx, q.asked, next)
	all := make([]held, len(steps))
	for i, step := range steps {
		all[i] = held{step.Tokens, float64(s.Config.BlockBytes()) * float64(step.Usage.Allocated)}
	}
	return all, err
}

// begin returns a sequence whose prompt is in a cache of the reference engine, as the setting
// has it read.
func (q *question) begin(ctx context.Context, s *Setting, stepper *llama.Stepper) (*live.Sequence, error) {
	if s.Streamed {
		began, err := q.reading.stream(ctx, s.Config, stepper)
		if err != nil || q.mode == Agnostic {
			return began, err
		}
		for _, token := range q.task.Question {
			if _, err := began.Feed(int(token)); err != nil {
				return nil, err
			}
		}
		return began, nil
	}
	e := q.prompt(s)
	engine, err := e.engine(ctx, s.Config, q.reading.room)
	if err != nil {
		return nil, err
	}
	return live.Resume(live.Reference(engine), sequence, e.prompt, stepper), nil
}

// prompt returns the prompt that a setting has read with full attention.
func (q *question) prompt(s *Setting) *entered {
	if s.Kept > 0 {
		return q.shorter(shortened{s.by, s.Kept})
	}
	return q.entered
}

// decoding goes through the steps of a task.
type decoding struct {
	*question
	reference bool // of the full cache: its logits are kept

	step       int
	answer     []int32
	logits     [][]float32
	divergence float64
	compared   int
	apart      bool // it has said something else than the full cache
}

func (d *decoding) next(logits []float32) (int, bool) {
	step := d.task.Steps[d.step]
	d.step++
	more := d.step < len(d.task.Steps)
	if step.Given {
		return int(step.Token), more
	}
	token := llama.Likeliest(logits)
	at := len(d.answer)
	d.answer = append(d.answer, int32(token))
	switch {
	case d.reference:
		d.logits = append(d.logits, append([]float32(nil), logits...))
	case !d.apart && at < len(d.truth):
		d.divergence += divergence(d.truth[at], logits)
		d.compared++
		d.apart = d.question.answer[at] != int32(token) || d.free.ends(int32(token))
	}
	return token, more
}

// divergence returns D(p ‖ q) in nats of the softmax of logits p from that of logits q.
func divergence(p, q []float32) float64 {
	logP, logQ := logSum(p), logSum(q)
	sum := 0.0
	for i := range p {
		x, y := float64(p[i])-logP, float64(q[i])-logQ
		sum += float64(math.Exp(x) * (x - y))
	}
	return max(0, sum) // which rounding may take below
}

// logSum returns log Σ exp x.
func logSum(x []float32) float64 {
	top := float64(x[llama.Likeliest(x)])
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
}
