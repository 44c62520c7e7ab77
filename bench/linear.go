package bench

import (
	"context"
	"fmt"

	"kvcompress/bench/linear"
	"kvcompress/bench/models"
	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace/llama"
)

// linearModel is a bundled model with linear attention: its past, or most of it, is a state of fixed
// size. It answers the questions in place of the plan's model, and its bytes are compared with
// those of that model's full cache.
type linearModel struct {
	model      *linear.Model
	size       int // KVs of a block
	blockBytes int // a block of one KV head, in the layers with full attention
}

// linearRow is the row of a bundled model with linear attention. Nothing is compressed, so it
// has the same score at every budget that it fits.
func linearRow(name, model, fixed string) Row {
	return Row{Name: name, Fixed: fixed, Knob: "none", format: dtype.F16, choose: fixedChoice, linear: model}
}

func newLinearModel(name string, size int) (*linearModel, error) {
	m, err := models.LoadLinear(name)
	if err != nil {
		return nil, err
	}
	c := m.Config()
	cfg := ref.Default()
	cfg.BlockSize = size
	cfg.Shape = kv.Shape{Layers: max(1, c.FullLayers()), KVHeads: c.KVHeads, Group: c.QueryHeads / c.KVHeads, HeadSize: c.HeadSize}
	return &linearModel{m, size, cfg.Config.BlockBytes(nil)}, nil
}

// bytes returns the bytes that a sequence holds after a number of tokens: the states, and
// whole blocks for the layers with full attention.
func (o *linearModel) bytes(tokens int) float64 {
	c := o.model.Config()
	blocks := c.FullLayers() * c.KVHeads * ceil.Div(tokens, o.size)
	return float64(c.StateBytes() + blocks*o.blockBytes)
}

// linear returns the setting of a model with linear attention if its mean bytes over the request
// are within the budget.
func (ks *knobSearch) linear(r *Row, budget Budget, full float64) (Setting, error) {
	missed := &UnreachableError{Row: r.Name, Budget: budget}
	o, err := newLinearModel(r.linear, ks.base.BlockSize)
	if err != nil {
		return Setting{}, err
	}
	tokens := ks.request.prompt + ks.request.fed
	switch most := o.model.Config().MaxPositions; {
	case !ks.recall:
		missed.Why = "it is another model, trained on the recall vocabulary only"
		return Setting{}, missed
	case tokens > most:
		missed.Why = fmt.Sprintf("it is another model, with %d positions", most)
		return Setting{}, missed
	}
	bytes := ks.request.mean(o.bytes)
	if bytes > full*budget.Part() {
		missed.Needs = bytes / full
		return Setting{}, missed
	}
	return Setting{Config: ks.base, Text: "none", Bytes: bytes, decoder: o}, nil
}

// decode implements [decoder]. The question is read token by token in both modes: without compression it
// makes no difference whether it is part of the prompt.
func (o *linearModel) decode(ctx context.Context, q *question, _ *llama.Stepper, next func([]float32) (int, bool)) ([]stepUsage, error) {
	s, err := q.reading.linearSession(ctx, o.model)
	if err != nil {
		return nil, err
	}
	steps, err := decodeOn(ctx, s, ints(q.task.Question), next)
	if len(q.asked) == 0 && len(steps) > 0 { // of a question in the prompt the last token is a step
		steps = steps[len(q.task.Question)-1:]
	}
	for i := range steps {
		steps[i].bytes = o.bytes(steps[i].tokens)
	}
	return steps, err
}

// linearSession returns a session of a model with linear attention that has read the context. The
// context is read once.
func (r *reading) linearSession(ctx context.Context, m *linear.Model) (*linear.Session, error) {
	s := r.linear[m]
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
		r.linear[m] = s
	}
	return s.Fork(), nil
}
