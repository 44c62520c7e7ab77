package live

import (
	"context"
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/internal/work"
	"kvcompress/kv"
	"kvcompress/trace/llama"
)

// Step is the state of the cache after a token was computed.
type Step struct {
	Tokens int      `json:"tokens"` // of the sequence
	Usage  kv.Usage `json:"usage"`
}

// Bytes returns the bytes of the blocks held at a step, with positions, owners and the method's
// columns, and the bytes of the blocks of a cache without a method that holds every token.
func (s *Sequence) Bytes(step *Step) (held, dense int64) {
	cfg := s.engine.Config()
	heads := s.DenseHeads()
	blocks := heads * ceil.Div(step.Tokens, cfg.BlockSize)
	return int64(step.Usage.Allocated) * int64(cfg.BlockBytes()), int64(blocks) * int64(cfg.Config.BlockBytes(nil))
}

// DenseHeads returns the number of KV heads of the model, over all layers. A method may have
// more heads in its cache, one for each query head.
func (s *Sequence) DenseHeads() int { return s.engine.Config().Shape.Heads() / s.copies }

// Run asks a question and decodes the answer. It compresses the prompt, where the method asks
// for it, and feeds the question's tokens; if there are none it computes the prompt's last token
// once more (see [Sequence.Recompute]). Then it calls next with the logits for the next token,
// and feeds the token that next returns, until more is false.
//
// It returns a step for each token that was computed.
func (s *Sequence) Run(ctx context.Context, question []int, next func(logits []float32) (token int, more bool)) ([]Step, error) {
	var steps []Step
	held := func() { steps = append(steps, Step{s.length, s.engine.Usage()}) }
	var logits []float32
	var err error
	if len(question) == 0 {
		logits, err = s.Recompute()
		held()
	}
	for _, token := range question {
		if err = ctx.Err(); err == nil {
			logits, err = s.Feed(token)
		}
		if err != nil {
			return steps, err
		}
		work.Step(ctx)
		held()
	}
	for err == nil {
		token, more := next(logits)
		if !more {
			return steps, nil
		}
		if err = ctx.Err(); err != nil {
			break
		}
		work.Step(ctx)
		if logits, err = s.Feed(token); err == nil {
			held()
		}
	}
	return steps, err
}

// Ending is the reason why a generated text ends.
type Ending string

// The endings.
const (
	AtStop         Ending = "stop"      // at an end-of-text token
	AtLength       Ending = "length"    // at the requested number of tokens
	AtMaxPositions Ending = "positions" // all positions of the model are filled
)

// Generated is the result of [Sequence.Generate].
type Generated struct {
	Output []int
	Ending Ending
	Steps  []Step
}

// Generate asks a question, which may be empty, and decodes greedily. It ends after n tokens,
// after a token in stop, which is part of the output, or when the model has no more positions.
// onToken, unless nil, is called with each token.
func (s *Sequence) Generate(ctx context.Context, question []int, n int, stop []int, onToken func(int)) (*Generated, error) {
	g := &Generated{Ending: AtLength}
	var err error
	g.Steps, err = s.Run(ctx, question, func(logits []float32) (int, bool) {
		token := llama.Likeliest(logits)
		g.Output = append(g.Output, token)
		if onToken != nil {
			onToken(token)
		}
		switch {
		case slices.Contains(stop, token):
			g.Ending = AtStop
		case len(g.Output) < n && s.length == s.stepper.MaxPositions():
			g.Ending = AtMaxPositions
		case len(g.Output) < n:
			return token, true
		}
		return 0, false
	})
	return g, err
}
