package llama

import "fmt"

// Stepper runs decode steps of a model for a batch of sequences, one token of each. The
// caller computes attention, with a KV cache of its own. A Stepper must not be used by two
// goroutines at once.
type Stepper struct {
	pass   pass
	a      *activations
	logits []float32
}

// NewStepper returns a stepper. It holds no sequences.
func (m *Model) NewStepper() *Stepper { return &Stepper{pass: pass{m, newWorkers()}} }

// Attend is the attention of one layer for n tokens. It appends their keys and values
// k and v [n, KVHeads, HeadSize] to the cache, and writes the attention output of the
// queries q [n, QueryHeads, HeadSize] to out, which has the shape of q. q and k are after
// RoPE. The slices are valid during the call only.
type Attend func(layer int, q, k, v, out []float32) error

// Step runs the next token of each of n sequences, at the given positions, and returns
// the logits [n, Vocab] for the tokens after them. The logits are valid until the next call.
// attend is called once for each layer, in order; its error ends the step and is returned.
//
// If attend computes attention as a [Session] does, the logits equal the session's to the bit.
func (s *Stepper) Step(tokens, positions []int, attend Attend) ([]float32, error) {
	cfg := &s.pass.model.cfg
	n := len(tokens)
	if n == 0 || len(positions) != n {
		return nil, fmt.Errorf("llama: a step of %d tokens at %d positions", n, len(positions))
	}
	if s.a == nil || s.a.n != n {
		s.a, s.logits = s.pass.activations(n), make([]float32, n*cfg.Vocab)
	}
	for t, token := range tokens {
		if token < 0 || token >= cfg.Vocab {
			return nil, fmt.Errorf("llama: token %d of %d: %d is not in the vocabulary of %d", t, n, token, cfg.Vocab)
		}
		if p := positions[t]; p < 0 || p >= cfg.MaxPositions {
			return nil, fmt.Errorf("llama: position %d: the model has %d", p, cfg.MaxPositions)
		}
		s.pass.begin(s.a, t, token, positions[t], s.pass.model.frequencies(positions[t]+1))
	}
	for l := range s.pass.model.layers {
		s.pass.project(l, s.a)
		if err := attend(l, s.a.q, s.a.k, s.a.v, s.a.attended); err != nil {
			return nil, err
		}
		s.pass.addAttended(l, s.a)
		s.pass.feedForward(l, s.a)
	}
	if err := s.pass.logits(s.logits, s.a.x); err != nil {
		return nil, fmt.Errorf("llama: position %d: %w", positions[0], err)
	}
	return s.logits, nil
}

// MaxPositions returns the maximum number of tokens of a sequence.
func (s *Stepper) MaxPositions() int { return s.pass.model.cfg.MaxPositions }
