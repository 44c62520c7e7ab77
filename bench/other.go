package bench

import (
	"context"
	"fmt"

	"kvcompress/bench/linear"
	"kvcompress/bench/models"
	"kvcompress/bench/task"
	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
)

// other is a model whose past, or most of it, is a state of a fixed size. It answers the same
// questions in place of the plan's model, and its bytes are held against that model's cache.
type other struct {
	model      *linear.Model
	size       int // KVs of a block
	blockBytes int // of the layers with full attention, a block of one KV head
}

// otherRow is the row of a bundled model. Nothing compresses it, so it has the same score at
// all budgets that it is within.
func otherRow(name, model, fixed string) Row {
	return Row{Name: name, Fixed: fixed, Knob: "none", format: dtype.F16, choose: fixedChoice, other: model}
}

func newOther(name string, size int) (*other, error) {
	m, err := models.LoadLinear(name)
	if err != nil {
		return nil, err
	}
	c := m.Config()
	cfg := ref.Default()
	cfg.BlockSize = size
	cfg.Shape = kv.Shape{Layers: max(1, c.FullLayers()), KVHeads: c.KVHeads, Group: c.QueryHeads / c.KVHeads, HeadSize: c.HeadSize}
	return &other{m, size, cfg.Config.BlockBytes(nil)}, nil
}

// bytes returns the bytes of a sequence of tokens tokens: its states, and the whole blocks of
// the layers with full attention.
func (o *other) bytes(tokens int) float64 {
	c := o.model.Config()
	blocks := c.FullLayers() * c.KVHeads * ((tokens + o.size - 1) / o.size)
	return float64(c.StateBytes() + blocks*o.blockBytes)
}

// other finds whether a model of another kind stays within a budget.
func (g *grid) other(r *Row, budget Budget, full float64) (Setting, error) {
	missed := &UnreachableError{Row: r.Name, Budget: budget}
	o, err := newOther(r.other, g.base.BlockSize)
	if err != nil {
		return Setting{}, err
	}
	tokens := g.course.prompt + g.course.fed
	switch most := o.model.Config().MaxPositions; {
	case !g.recall:
		missed.Why = "it is a model of its own, and knows the recall vocabulary alone"
		return Setting{}, missed
	case tokens > most:
		missed.Why = fmt.Sprintf("it is a model of its own, and has %d positions", most)
		return Setting{}, missed
	}
	first := g.course.prompt + 1
	if g.course.again {
		first--
	}
	sum := 0.0
	for n := first; n <= tokens; n++ {
		sum += o.bytes(n)
	}
	bytes := sum / float64(tokens+1-first)
	if bytes > full*budget.Part() {
		missed.Needs = bytes / full
		return Setting{}, missed
	}
	return Setting{Config: g.base, Text: "none", Bytes: bytes, other: o}, nil
}

// inRecall reports whether a plan's tasks are in the recall vocabulary.
func (p *Plan) inRecall(m *Model) bool {
	return p.Texts == nil && m.Llama.Config().Vocab == task.VocabSize
}

// held is what was held after a token was computed.
type held struct {
	tokens int // of the sequence
	bytes  float64
}

// run asks a question. The model reads the prompt, and what is asked after it, as it comes:
// there is nothing to compress, and nothing to compute once more.
func (o *other) run(ctx context.Context, q *question, next func([]float32) (int, bool)) ([]held, error) {
	s, err := q.reading.through(ctx, o.model)
	if err != nil {
		return nil, err
	}
	var steps []held
	feed := func(token int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := s.Feed(token); err != nil {
			return err
		}
		steps = append(steps, held{s.Len(), o.bytes(s.Len())})
		return nil
	}
	for _, token := range q.task.Question {
		if err := feed(int(token)); err != nil {
			return nil, err
		}
	}
	if len(q.asked) == 0 { // the question was in the prompt
		steps = []held{{s.Len(), o.bytes(s.Len())}}
	}
	for {
		token, more := next(s.Logits())
		if !more {
			return steps, nil
		}
		if err := feed(token); err != nil {
			return nil, err
		}
	}
}

// through returns a session of another model that has read the context.
func (r *reading) through(ctx context.Context, m *linear.Model) (*linear.Session, error) {
	s := r.others[m]
	if s == nil {
		s = m.NewSession()
		for _, token := range r.task.Context {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if _, err := s.Feed(int(token)); err != nil {
				return nil, err
			}
		}
		r.others[m] = s
	}
	return s.Fork(), nil
}
