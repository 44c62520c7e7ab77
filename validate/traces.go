package validate

import (
	"context"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/trace"
)

// TraceResult is the result of replaying one trace.
type TraceResult struct {
	Trace     string `json:"trace"`
	Steps     int    `json:"steps"`
	Stages    int    `json:"stages"`
	Decisions int    `json:"decisions"`
	Tally
	Seconds    float64     `json:"seconds"`
	Divergence *Divergence `json:"divergence,omitempty"` // nil if everything agrees
}

// Mismatches returns how many values differ at the stage in which the replay ended with a divergence.
func (r *TraceResult) Mismatches() int {
	if r.Divergence == nil {
		return 0
	}
	return 1 + r.Divergence.More
}

// Run says what the reference is compared with.
type Run struct {
	Engine    NewEngine      // the engine under test; nil for none
	Tolerance Tolerance      // of that comparison
	Progress  func(rows int) // as in [sim.Hooks], called for each of the engines; may be nil
}

// Trace replays a trace through the scheduler, on the reference engine and the engine under test in lock-step
// (see [Pair]). It also repeats each of the reference's decisions with the method's specification, such as
// [ref.Walk], which sorts over all heads at once. Every value must agree; the replay ends at the first stage
// in which one differs.
func Trace(ctx context.Context, name string, t *trace.Trace, opt sim.Options, run Run) (TraceResult, error) {
	result := TraceResult{Trace: name}
	opt.Fill(t.Meta, t.Requests())
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	var pair *Pair
	_, err := sim.ReplayOn(ctx, t, opt, sim.Hooks{
		Progress: run.Progress,
		Step: func(*sim.Step) {
			if pair == nil || pair.Divergence() == nil {
				result.Steps++
			}
		},
		Event: func(e ref.Event) {
			result.Stages++
			if e.Stage != ref.StageDecide || result.Divergence != nil {
				return
			}
			result.Decisions++
			c := specified(&opt.Config, t.Requests()[e.Seqs[0]].Compression, e)
			result.Add(c.Tally)
			if d := c.divergence(); d != nil {
				d.Stage, d.Seqs, d.Step, d.Number = e.Stage, e.Seqs, result.Steps, -1
				result.Divergence = d
				stop()
			}
		},
	}, func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (sim.Engine, error) {
		if run.Engine == nil {
			return Reference(cfg, open, observe)
		}
		var err error
		if pair, err = NewPair(cfg, open, observe, run.Engine, run.Tolerance); err != nil {
			return nil, err
		}
		return pair, nil
	})
	if pair != nil {
		result.Add(pair.Tally())
		if d := pair.Divergence(); d != nil {
			result.Divergence = d
		}
	}
	if d := result.Divergence; d != nil {
		d.Trace = name
		if d.Step < 0 {
			d.Step = result.Steps
		}
		return result, nil
	}
	return result, err
}

// specified compares the reference's plan with the method's specification, under the request's own options if
// it has any.
func specified(cfg *ref.Config, own *trace.Compression, e ref.Event) *comparison {
	c := &comparison{cfg: cfg, sides: [2]string{"specification", "reference"}}
	with, err := cfg.With(own)
	if err != nil {
		c.differ("options", Nowhere, "some", err.Error())
		return c
	}
	method, err := with.NewMethod()
	if err != nil {
		c.differ("method", Nowhere, "one", err.Error())
		return c
	}
	s := e.Cache.Sequence(e.Seqs[0])
	plan := method.Spec(ref.View{Cache: e.Cache, Sequence: s})
	want := ref.Event{Stage: e.Stage, Seqs: e.Seqs, Parts: plan.Parts(len(s.Heads))}
	if c.sameParts(want, e) {
		c.eventParts(want, e, func(*ref.Part) bool { return true })
	}
	return c
}
