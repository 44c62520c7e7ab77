// Package record runs a model over prompts and writes the queries, keys and
// values that it computes as a trace.
package record

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kvcompress/dtype"
	"kvcompress/trace"
	"kvcompress/trace/llama"
)

// Prompt is a request to be recorded.
type Prompt struct {
	ID        string // the request's in the trace
	Tokens    []int  // at least one
	ArrivalNS int64
	MaxOutput int // tokens to generate at most; at least 1
}

// Options says how to generate and what to write.
type Options struct {
	// The trace's name, model, number format and source. The kind of the source and
	// everything else of the trace's Meta follow from the recording.
	Name, Model          string
	DType                dtype.DType
	Description, Licence string

	Sampling Sampling

	// Stop are the tokens that end a request when they are generated. They count as
	// output, but as the last token of a request they are never fed back.
	Stop []int

	// OnToken, unless nil, is called after each token that was fed.
	OnToken func()
	// OnRequest, unless nil, is called after each request, in order. An error ends
	// the recording.
	OnRequest func(Result) error
}

// Result is what a model made of a prompt.
type Result struct {
	Prompt Prompt
	Output []int
	End    End
}

// End is why a request ended.
type End int

// The ends of a request.
const (
	AtStop         End = iota // a token that ends a text was generated
	AtMaxOutput               // Prompt.MaxOutput tokens were generated
	AtMaxPositions            // all positions of the model are filled
)

// String says it in words.
func (e End) String() string {
	switch e {
	case AtStop:
		return "the text ended"
	case AtMaxOutput:
		return "the limit of output tokens was reached"
	case AtMaxPositions:
		return "all positions of the model are filled"
	}
	return fmt.Sprintf("End(%d)", int(e))
}

// Record generates text for each prompt, which must be in order of arrival, and
// writes a trace of them all into the directory dir.
//
// A request with p prompt and o output tokens has the p+o−1 rows of the tokens
// that were fed to the model: the last token is generated, and its own query, key
// and value are never computed.
//
// The numbers of a trace depend on the arguments only. When
// Record fails it leaves no trace.json, so that dir is no trace.
func Record(ctx context.Context, dir string, model *llama.Model, prompts []Prompt, opts Options) (err error) {
	if err := Check(model.Config(), prompts, opts); err != nil {
		return err
	}
	w, err := trace.Create(dir, trace.Meta{
		FormatVersion: trace.FormatVersion,
		Name:          opts.Name,
		Model:         opts.Model,
		Shape:         model.Config().Shape(),
		DType:         opts.DType,
		Rope:          model.Config().RopeWithin(longest(prompts)),
		Source:        trace.Source{Kind: trace.Recorded, Description: opts.Description, Licence: opts.Licence},
	})
	if err != nil {
		return err
	}
	defer w.Abort()
	for i, p := range prompts {
		result, err := recordRequest(ctx, w, model, p, opts, opts.Sampling.sampler(i))
		if err != nil {
			return err
		}
		if opts.OnRequest == nil {
			continue
		}
		if err := opts.OnRequest(result); err != nil {
			return err
		}
	}
	return w.Close()
}

// longest returns how many tokens the longest request can come to feed.
func longest(prompts []Prompt) int {
	n := 0
	for _, p := range prompts {
		n = max(n, len(p.Tokens)+p.MaxOutput-1)
	}
	return n
}

// Check finds what Record would refuse: what would otherwise only show after
// minutes of computing.
func Check(cfg llama.Config, prompts []Prompt, opts Options) error {
	if err := check(cfg, prompts, opts); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

func check(cfg llama.Config, prompts []Prompt, opts Options) error {
	if len(prompts) == 0 {
		return errors.New("no prompt")
	}
	if err := opts.Sampling.Check(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, p := range prompts {
		var err error
		switch {
		case seen[p.ID]:
			err = errors.New("another request has the same id")
		case len(p.Tokens) == 0:
			err = errors.New("the prompt has no tokens")
		case len(p.Tokens) > cfg.MaxPositions:
			err = fmt.Errorf("the prompt has %d tokens, the model has %d positions", len(p.Tokens), cfg.MaxPositions)
		case p.MaxOutput < 1:
			err = fmt.Errorf("%d output tokens: at least 1 must be generated", p.MaxOutput)
		case p.ArrivalNS < 0:
			err = errors.New("it arrives before time 0")
		case i > 0 && p.ArrivalNS < prompts[i-1].ArrivalNS:
			err = errors.New("it arrives before the request ahead of it")
		default:
			err = checkTokens(p.Tokens, cfg.Vocab)
		}
		if err != nil {
			return fmt.Errorf("request %s: %w", p.ID, err)
		}
		seen[p.ID] = true
	}
	return nil
}

func checkTokens(tokens []int, vocab int) error {
	for i, t := range tokens {
		if t < 0 || t >= vocab {
			return fmt.Errorf("token %d of the prompt: %d is not in the model's vocabulary of %d", i, t, vocab)
		}
	}
	return nil
}

func recordRequest(ctx context.Context, w *trace.Writer, model *llama.Model, p Prompt, opts Options, sample sampler) (Result, error) {
	rw, err := w.Begin(p.ID)
	if err != nil {
		return Result{}, err
	}
	defer rw.Abort()
	result, err := generate(ctx, model, p, opts, sample, rw.Append)
	if err != nil {
		return result, err
	}
	return result, rw.Finish(trace.Request{
		ID:           p.ID,
		ArrivalNS:    p.ArrivalNS,
		PromptTokens: len(p.Tokens),
		OutputTokens: len(result.Output),
	})
}

// generate feeds the prompt and then what is sampled, and hands each fed token's
// tensors to visit.
func generate(ctx context.Context, model *llama.Model, p Prompt, opts Options, sample sampler, visit func(q, k, v []float32) error) (Result, error) {
	session := model.NewSession()
	result := Result{Prompt: p}
	perToken := func(q, k, v []float32) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := visit(q, k, v); err != nil {
			return err
		}
		if opts.OnToken != nil {
			opts.OnToken()
		}
		return nil
	}
	next := p.Tokens
	for {
		logits, err := session.Feed(next, perToken)
		if err != nil {
			return result, err
		}
		token := sample(logits)
		result.Output = append(result.Output, token)
		switch {
		case slices.Contains(opts.Stop, token):
			result.End = AtStop
			return result, nil
		case len(result.Output) == p.MaxOutput:
			result.End = AtMaxOutput
			return result, nil
		case session.Len() == model.Config().MaxPositions:
			result.End = AtMaxPositions
			return result, nil
		}
		next = []int{token}
	}
}
