// Package record runs a model over prompts and records the computed queries, keys and values as a trace.
//
// Start with [Record].
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
	ID        string // id of the request in the trace
	Tokens    []int  // at least one
	ArrivalNS int64
	MaxOutput int // largest number of tokens to generate; at least 1
}

// Options says how to generate text and what to write.
type Options struct {
	// The trace's name, model, dtype and source. Record sets the source's kind and the other fields of the
	// trace's Meta.
	Name, Model          string
	DType                dtype.DType
	Description, Licence string

	Sampling Sampling

	// Stop are the tokens that end a request when they are generated. They count as output tokens, but are
	// not fed back.
	Stop []int

	// OnToken, unless nil, is called after each token that is fed to the model.
	OnToken func()
	// OnRequest, unless nil, is called after each request, in order. If it returns an error, the recording
	// ends.
	OnRequest func(Result) error
}

// Result is what the model generated for a prompt.
type Result struct {
	Prompt Prompt
	Output []int
	End    End
}

// End is why a request ended.
type End int

// The ends of a request.
const (
	AtStop         End = iota // one of Options.Stop was generated
	AtMaxOutput               // Prompt.MaxOutput tokens were generated
	AtMaxPositions            // all of the model's positions are used
)

// String returns the reason in words.
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

// Record generates text for each prompt, and writes a trace of all requests into the directory dir. The
// prompts must be in order of arrival.
//
// A request with p prompt and o output tokens has p+o−1 rows, one for each token that was fed to the model:
// the last token is generated but never fed, so it has no query, key and value.
//
// The numbers in the trace depend only on the arguments. If Record fails, it leaves no trace.json, so dir is
// not a trace.
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

// longest returns the largest number of tokens that a request can feed.
func longest(prompts []Prompt) int {
	n := 0
	for _, p := range prompts {
		n = max(n, len(p.Tokens)+p.MaxOutput-1)
	}
	return n
}

// Check returns the errors that Record would return, some of them only after minutes of computing.
func Check(cfg llama.Config, prompts []Prompt, opts Options) error {
	if err := check(cfg, prompts, opts); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

func check(cfg llama.Config, prompts []Prompt, opts Options) error {
	if len(prompts) == 0 {
		return errors.New("there are no prompts")
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
			err = errors.New("the request arrives before time 0")
		case i > 0 && p.ArrivalNS < prompts[i-1].ArrivalNS:
			err = errors.New("the request arrives before the previous one")
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

// generate feeds the prompt and then the sampled tokens to the model, and calls visit with the tensors of
// each fed token.
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
