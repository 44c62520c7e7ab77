package bench

import (
	"context"
	"errors"
	"fmt"
	"math"

	"kvcompress/bench/live"
	"kvcompress/bench/task"
	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/trace/llama"
)

// Run is the result of one generation.
type Run struct {
	Row      string  `json:"method"`
	Budget   Budget  `json:"budget"`
	Mode     Mode    `json:"mode"`
	Category string  `json:"category"`
	Score    float64 `json:"score"`  // fraction of the answer's tokens that are right; of a text, its metric
	Exact    bool    `json:"exact"`  // Score is 1
	Chance   float64 `json:"chance"` // probability that a guess without the context is exact
	Answer   []int32 `json:"answer"` // the decoded tokens

	// Divergence is the Kullback-Leibler divergence of the next-token distribution from that of
	// the full cache, D(full ‖ this) in nats: the mean over the Compared decoded tokens up to
	// and including the first that differs from the full cache's.
	Divergence float64 `json:"divergence"`
	Compared   int     `json:"compared"`

	Bytes float64 `json:"bytes"` // bytes of the blocks held, mean over the steps, as a fraction of the full cache's
	Peak  float64 `json:"peak"`  // maximum over the steps, as a fraction of the full cache's mean
	Host  float64 `json:"host"`  // bytes in the host's memory, mean over the steps, as a fraction of the full cache's
	Steps int     `json:"steps"` // tokens computed after the prompt, a recomputed one included
}

// Result is the result of one unit.
type Result struct {
	Unit  int    `json:"unit"`
	Model string `json:"model"`
	Seed  uint64 `json:"seed"`
	Runs  []Run  `json:"runs"`
}

// question is a task in one mode: a prompt and the tokens that follow it.
type question struct {
	mode      Mode
	task      *task.Task
	reading   *reading   // of the context
	prefilled *prefilled // the prompt, read with full attention
	asked     []int      // tokens of the question that are fed after the compression
	shape     kv.Shape   // of the model
	length    int        // of the context, in the plan
	digits    int        // of a grid's passkey

	blockBytes int         // of a cache that keeps every KV
	truth      [][]float32 // the full cache's logits for each decoded token
	answer     []int32     // the full cache's answer
	free       *freeAnswer // nil if the answer is scored token by token
}

// request returns the lengths of the prompt and of what is fed after it.
func (q *question) request() request {
	return request{prompt: q.prefilled.tokens, fed: len(q.asked) + len(q.task.Steps) - 1, recompute: len(q.asked) == 0}
}

// questions returns the questions about a context in all categories and modes. The model reads
// the context when the first question is asked.
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

// unit runs all generations of a unit. progress is called after each.
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
			q.prefilled.engines = nil // free them: no other question has this prompt
		}
	}
	return result, nil
}

// run asks the question through a cache of the reference engine and scores the answer.
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
	dropped := 0 // tokens dropped before prefill, which the full cache would hold
	if k.Setting.Kept > 0 {
		dropped = len(q.task.Context) - k.Setting.Kept
	}
	var sum, host, dense, peak float64
	size := k.Setting.Config.BlockSize
	for _, step := range steps {
		sum, host, peak = sum+step.bytes, host+step.host, max(peak, step.bytes)
		dense += float64(q.blockBytes * q.shape.Heads() * ceil.Div(step.tokens+dropped, size))
	}
	run.Bytes, run.Peak, run.Host = sum/dense, peak*float64(len(steps))/dense, host/dense
	if math.IsNaN(run.Divergence) || math.IsInf(run.Divergence, 0) {
		return nil, errors.New("the divergence from the full cache is not finite")
	}
	return run, nil
}

// stepUsage is the memory in use after a token was computed.
type stepUsage struct {
	tokens int     // of the sequence
	bytes  float64 // on the card
	host   float64 // bytes in the host's memory
}

// decoder decodes answers without an engine's cache.
type decoder interface {
	// decode reads the prompt, feeds the question, calls next with the logits for each next token of the
	// answer, and feeds the token that it returns, until more is false. It returns the memory in use
	// after each step, as question.decode does.
	decode(ctx context.Context, q *question, stepper *llama.Stepper, next func(logits []float32) (token int, more bool)) ([]stepUsage, error)
}

// sequenceOfTokens is a sequence of tokens that a model reads.
type sequenceOfTokens interface {
	Feed(token int) ([]float32, error)
	Len() int
}

// decodeOn feeds tokens to a sequence, and then decodes the answer. It returns a step without bytes for each
// token that was fed.
func decodeOn(ctx context.Context, s sequenceOfTokens, tokens []int, next func([]float32) (int, bool)) ([]stepUsage, error) {
	var steps []stepUsage
	var logits []float32
	for {
		for _, token := range tokens {
			err := ctx.Err()
			if err == nil {
				logits, err = s.Feed(token)
			}
			if err != nil {
				return nil, err
			}
			steps = append(steps, stepUsage{tokens: s.Len()})
		}
		token, more := next(logits)
		if !more {
			return steps, nil
		}
		tokens = []int{token}
	}
}

// decode puts the prompt into a cache of the setting, feeds the question and decodes the answer:
// see [live.Sequence.Run]. It returns the memory in use after each step.
func (q *question) decode(ctx context.Context, s *Setting, stepper *llama.Stepper, next func([]float32) (int, bool)) ([]stepUsage, error) {
	if s.decoder != nil {
		return s.decoder.decode(ctx, q, stepper, next)
	}
	began, err := q.begin(ctx, s, stepper)
	if err != nil {
		return nil, err
	}
	steps, err := began.Run(ctx, q.asked, next)
	all := make([]stepUsage, len(steps))
	for i, step := range steps {
		all[i] = stepUsage{tokens: step.Tokens, bytes: float64(s.Config.BlockBytes()) * float64(step.Usage.Allocated)}
	}
	return all, err
}

// begin returns a sequence whose prompt is in a cache of the reference engine: streamed through
// it, or read with full attention.
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

// prompt returns the prompt of a setting that is read with full attention, shortened if the
// setting says so.
func (q *question) prompt(s *Setting) *prefilled {
	if s.Kept > 0 {
		return q.shorter(shortened{s.drop, s.Kept})
	}
	return q.prefilled
}

// decoding is the state of decoding an answer.
type decoding struct {
	*question
	reference bool // this is the full cache: keep its logits

	step       int
	answer     []int32
	logits     [][]float32
	divergence float64
	compared   int
	diverged   bool // a decoded token differs from the full cache's, or ends the text
}

// next takes the logits for the next token. It returns the token to feed, and whether more
// follow.
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
	case !d.diverged && at < len(d.truth):
		d.divergence += divergence(d.truth[at], logits)
		d.compared++
		d.diverged = d.question.answer[at] != int32(token) || d.free.ends(int32(token))
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
	return max(0, sum) // rounding may give a small negative number
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
