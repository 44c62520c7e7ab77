// Package live runs a model of the Llama family through a compressed KV cache, layer by
// layer, so that the compression affects every later token.
//
// A prompt is read once with full attention ([Read]) and put into the cache of any engine and
// method ([Begin]). From then on the model attends to what the cache holds. Before each token
// the method may compress, as in a server with a compression interval of 1; then the token's
// keys and values are appended.
//
// The reference and the CUDA engine give the same logits, to the bit.
package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/internal/work"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace/llama"
)

// Sequence is a sequence of a model's tokens in an engine's cache.
type Sequence struct {
	engine  Engine
	id      kv.SeqID
	stepper *llama.Stepper
	copies  int // KV heads of the cache for each KV head of the model: more than 1 if the method has one for each query head
	d       int // head size

	newest int // the last token
	length int // tokens

	// Done is the sum of the compressions so far; Hidden is that of the latest.
	Done ref.Compressed
	// Compressions is their number.
	Compressions int
}

// Begin puts a prompt into an engine's cache, and compresses nothing. The stepper must be of the
// model that read the prompt. Sequences may share a stepper, but not run at the same time.
func Begin(e Engine, id kv.SeqID, p *Prefill, stepper *llama.Stepper) (*Sequence, error) {
	cfg := e.Config()
	if err := p.check(&cfg); err != nil {
		return nil, err
	}
	if err := e.Enter(id, len(p.Tokens), func(layer int) (q, k, v []float32) { return p.rows(&cfg, layer) }); err != nil {
		return nil, err
	}
	return Resume(e, id, p, stepper), nil
}

// Stream has a model read a prompt through an engine's cache token by token, as if it were
// decoded: the method compresses before every token, and the token attends to what the cache
// holds. For StreamingLLM that is a windowed prefill. It is an error if the method observes the
// prompt's attention, or compresses only once, after the prompt.
func Stream(ctx context.Context, e Engine, id kv.SeqID, model *llama.Model, prompt []int, stepper *llama.Stepper) (*Sequence, error) {
	cfg := e.Config()
	name := cmp.Or(cfg.Method, ref.KVCompress)
	if cfg.Window() > 0 {
		return nil, fmt.Errorf("live: %s watches the attention of a prompt that is read at once, and this one is read token by token: want a method that watches nothing, such as streaming-llm", name)
	}
	if compressesOnce(&cfg, len(prompt)) {
		return nil, fmt.Errorf("live: %s compresses once, after the prompt: want a method that compresses whenever a head holds too much, such as streaming-llm", name)
	}
	if len(prompt) == 0 {
		return nil, errors.New("live: the prompt is empty")
	}
	first, err := Read(ctx, model, prompt[:1])
	if err != nil {
		return nil, err
	}
	s, err := Begin(e, id, first, stepper)
	for _, token := range prompt[1:] {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			_, err = s.Feed(token)
		}
		if err != nil {
			return nil, err
		}
		work.Step(ctx)
	}
	return s, err
}

// compressesOnce reports whether a method never compresses after the first generated token.
func compressesOnce(cfg *ref.Config, tokens int) bool {
	method, err := cfg.NewMethod()
	if err != nil {
		return false // cannot happen: the engine has made the method
	}
	patient, ok := method.(ref.Patient)
	return ok && patient.Quiet(ref.Counts{Prompt: 1, Tokens: tokens + 1, Heads: slices.Repeat([]int{tokens + 1}, cfg.Shape.Heads())}) == math.MaxInt
}

// WithEngine returns a copy of the sequence that uses another engine. The engine must have the
// same configuration and a copy of the cache.
func (s *Sequence) WithEngine(e Engine) *Sequence {
	other := *s
	other.engine = e
	return &other
}

// Resume returns a sequence for a prompt that is in the engine's cache already.
func Resume(e Engine, id kv.SeqID, p *Prefill, stepper *llama.Stepper) *Sequence {
	return &Sequence{
		engine:  e,
		id:      id,
		stepper: stepper,
		copies:  e.Config().Shape.KVHeads / p.shape.KVHeads,
		d:       p.shape.HeadSize,
		newest:  p.Tokens[len(p.Tokens)-1],
		length:  len(p.Tokens),
	}
}

// Len returns the tokens of the sequence so far.
func (s *Sequence) Len() int { return s.length }

// compress compresses the cache if the method asks for it.
func (s *Sequence) compress() error {
	if s.engine.Count(s.id) == 0 {
		return nil
	}
	done, err := s.engine.Compress(s.id)
	if err != nil {
		return fmt.Errorf("live: compress after %d tokens: %w", s.length, err)
	}
	s.Compressions++
	s.Done.Asked += done.Asked
	s.Done.Freed += done.Freed
	s.Done.Evicted += done.Evicted
	s.Done.Hidden = done.Hidden
	s.Done.Moved += done.Moved
	return nil
}

// Feed compresses, where the method asks for it, and feeds the next token. It returns the
// logits [Vocab] for the token after it, which are valid until the stepper's next step.
func (s *Sequence) Feed(token int) ([]float32, error) {
	if err := s.compress(); err != nil {
		return nil, err
	}
	var logits []float32
	err := s.engine.Append(s.id, func(layer func(q, k, v, out []float32) error) error {
		var err error
		logits, err = s.stepper.Step([]int{token}, []int{s.length}, func(_ int, q, k, v, out []float32) error {
			return layer(q, repeat(k, s.copies, s.d), repeat(v, s.copies, s.d), out)
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("live: token %d: %w", s.length, err)
	}
	s.newest = token
	s.length++
	return logits, nil
}

// Recompute compresses, where the method asks for it, and computes the newest token once more:
// its queries attend to the compressed cache, which includes its own KV. Nothing is appended or
// observed. Without it the first token after a prompt would come from full attention. It returns
// logits as Feed does.
func (s *Sequence) Recompute() ([]float32, error) {
	if err := s.compress(); err != nil {
		return nil, err
	}
	logits, err := s.stepper.Step([]int{s.newest}, []int{s.length - 1}, func(layer int, q, _, _, out []float32) error {
		return s.engine.Attend(s.id, layer, q, out)
	})
	if err != nil {
		return nil, fmt.Errorf("live: token %d: %w", s.length-1, err)
	}
	return logits, nil
}

// Blocks returns how many blocks the sequence holds.
func (s *Sequence) Blocks() int { return s.engine.Held(s.id) }

// Room returns a number of blocks that is enough for one sequence of this many tokens with any
// method: twice what its KVs take, since an edit may need blocks before it frees any.
func Room(cfg *ref.Config, tokens int) int {
	return 2 * cfg.Shape.Heads() * ceil.Div(tokens, cfg.BlockSize)
}
