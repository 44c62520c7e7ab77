// Package infllm runs a model of the Llama family with InfLLM's attention (Xiao et al., arXiv 2402.04617). The rule is
// that of its published code (thunlp/InfLLM@12b7079, inf_llm/attention), which longctx_bench ran.
//
// # Rule
//
// The prompt is read in chunks of [ref.InfLLMPlan.Chunk] tokens, and every later token is a chunk of its own. Before a
// chunk a layer's past is divided by [ref.InfLLMPlan.Divide]: first tokens, blocks, newest tokens. A query of the chunk
// attends, with one softmax, to
//
//   - the Local newest tokens up to its own, at their true distances;
//   - the far KVs, all at the distance Local − 1: the first tokens, the blocks that the chunk has looked up, and those
//     newest tokens that the chunk's last query no longer has among its Local newest.
//
// So an earlier query of a chunk attends to some KVs twice, once near and once far. The published code does, since the
// offset of its mask for the far KVs counts tokens of the call that are not read yet. A chunk of one token has none
// twice.
//
// If there are more blocks than are looked up, the chunk looks up those with the highest scores, the same ones for all
// heads of a layer. A block has a representative for each query head: the mean of the keys of its Representatives
// tokens that received the most attention from this head, over all queries that had them among their Local newest. With
// the mean q̄ of a head's queries over the chunk, turned to the distance Local − 1, a block's score is
//
//	Σ_heads q̄·representative
//
// Of equal scores and equal attention the earlier block and the earlier token comes first.
//
// # Arithmetic
//
// It is that of ref/NUMERICS.md, and so the same on any number of processors. Keys and values are rounded once to the
// cache's format, keys before their rotary embedding; representatives are rounded likewise. Keys are turned after they
// were read, each to its own position, and a far key stays at position 0, with the query at Local − 1. Far KVs come
// before the near ones, in ascending order of tokens. Means are sums in ascending order of tokens, divided by their
// number; scores are added in ascending order of heads.
package infllm

import (
	"context"
	"errors"
	"fmt"

	"kvcompress/internal/work"
	"kvcompress/ref"
	"kvcompress/trace/llama"
)

// Sequence is a sequence of tokens that a model reads. It must not be used by two goroutines at once.
type Sequence struct {
	stepper *llama.Stepper
	chunk   int
	layers  []*Attention
	length  int
}

// New returns an empty sequence. cfg has the options of InfLLM ([ref.Config.InfLLMReads]) and the format of the cache.
// The stepper is of the model; sequences may share it, but not run at the same time. It is an error if the model has
// sliding windows, or a rotary embedding that depends on the length of the sequence.
func New(cfg ref.Config, model *llama.Model, stepper *llama.Stepper) (*Sequence, error) {
	c := model.Config()
	cfg.Shape, cfg.Rope = c.Shape(), c.RopeWithin(c.MaxPositions)
	if cfg.Rope == nil {
		return nil, errors.New("infllm: the rotary embedding of the model depends on the length of the sequence")
	}
	if problems := cfg.Shape.Problems(); len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	s := &Sequence{stepper: stepper}
	for l := range cfg.Shape.Layers {
		if c.Window(l) > 0 {
			return nil, fmt.Errorf("infllm: layer %d of the model attends to a window of %d tokens", l, c.Window(l))
		}
		a, err := NewAttention(cfg, l)
		if err != nil {
			return nil, err
		}
		s.chunk = a.plan.Chunk
		s.layers = append(s.layers, a)
	}
	return s, nil
}

// Fork returns a copy of the sequence, which is independent from then on, except that it shares the stepper.
func (s *Sequence) Fork() *Sequence {
	f := *s
	f.layers = make([]*Attention, len(s.layers))
	for l, a := range s.layers {
		f.layers[l] = a.Fork()
	}
	return &f
}

// Len returns the number of tokens read so far.
func (s *Sequence) Len() int { return s.length }

// Read reads tokens of a prompt in chunks. The sequence must not be used after an error.
func (s *Sequence) Read(ctx context.Context, tokens []int) error {
	for len(tokens) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(s.chunk, len(tokens))
		if _, err := s.step(tokens[:n]); err != nil {
			return err
		}
		tokens = tokens[n:]
		work.Step(ctx)
	}
	return nil
}

// Feed reads the next token as a chunk of its own, and returns the logits [Vocab] for the token after it. They are valid
// until the next step of the stepper. The sequence must not be used after an error.
func (s *Sequence) Feed(token int) ([]float32, error) { return s.step([]int{token}) }

// step reads a chunk, and returns the logits [n, Vocab].
func (s *Sequence) step(tokens []int) ([]float32, error) {
	if most := s.stepper.MaxPositions(); s.length+len(tokens) > most {
		return nil, fmt.Errorf("infllm: %d tokens after %d are more than the %d positions of the model", len(tokens), s.length, most)
	}
	// At position 0 the stepper does not turn queries and keys.
	logits, err := s.stepper.Step(tokens, make([]int, len(tokens)), func(layer int, q, k, v, out []float32) error {
		return s.layers[layer].Append(q, k, v, out)
	})
	if err != nil {
		return nil, fmt.Errorf("infllm: tokens from %d on: %w", s.length, err)
	}
	s.length += len(tokens)
	return logits, nil
}
