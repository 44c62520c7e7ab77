package live

import (
	"context"
	"slices"

	"kvcompress/internal/work"
	"kvcompress/kv"
	"kvcompress/trace/llama"
)

// Step is what the cache held after a token was computed.
type Step struct {
	Tokens int      `json:"tokens"` // of the sequence
	Usage  kv.Usage `json:"usage"`
}

// Bytes returns the bytes of the blocks held: whole ones, with positions, owners and the
// method's columns; and those of a cache without a method that holds every token.
func (s *Sequence) Bytes(step *Step) (held, dense int64) {
	cfg := s.engine.Config()
	heads := s.DenseHeads()
	blocks := heads * ((step.Tokens + cfg.BlockSize - 1) / cfg.BlockSize)
	return int64(step.Usage.Allocated) * int64(cfg.BlockBytes()), int64(blocks) * int64(cfg.Config.BlockBytes(nil))
}

// DenseHeads returns the KV heads of the model, in all layers, as a cache without a method
// has them.
func (s *Sequence) DenseHeads() int { return s.engine.Config().Shape.Heads() / s.copies }

// Run asks a question and decodes the answer. The question's tokens are fed after the
// prompt was compressed, if the method asks for it; without one the prompt's last token is
// computed once more (see [Sequence.Again]). Then next is given the logits after the
// latest token, and says which token to feed, until it says that there is none.
//
// It returns what the cache held after each token that was computed.
func (s *Sequence) Run(ctx context.Context, question []int, next func(logits []float32) (token int, more bool)) ([]Step, error) {
	var steps []Step
	held := func() { steps = append(steps, Step{s.length, s.engine.Usage()}) }
	var logits []float32
	var err error
	if len(question) == 0 {
		logits, err = s.Again()
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

// Ending is why a generated text ends.
type Ending string

// The endings.
const (
	AtStop         Ending = "stop"      // with a token that ends a text
	AtLength       Ending = "length"    // with as many tokens as were asked for
	AtMaxPositions Ending = "positions" // all positions of the model are filled
)

// Generated is a text that was continued.
type Generated struct {
	Output []int
	Ending Ending
	Steps  []Step
}

// Generate asks a question, if it is not empty, and decodes greedily: at most n tokens, as
// many as the model has positions for, or to one of the tokens in stop, which is part of
// the output. onToken, unless nil, is told each token.
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
