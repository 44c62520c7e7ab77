package llama

import (
	"fmt"
	"math"
	"slices"
)

// feedBatch is the number of tokens in a forward pass. A row of weights is decoded
// once for all of them.
const feedBatch = 32

// Session is one sequence of tokens and its KV cache, which is dense and in
// binary32. A Session must not be used by two goroutines at once.
type Session struct {
	pass   pass
	length int         // tokens fed
	keys   [][]float32 // for each layer [length, KVHeads, HeadSize], after RoPE
	values [][]float32 // for each layer [length, KVHeads, HeadSize]
	logits []float32   // [Vocab]
}

// NewSession returns an empty sequence. Its cache grows as tokens are fed.
func (m *Model) NewSession() *Session {
	return &Session{
		pass:   pass{m, newWorkers()},
		keys:   make([][]float32, m.cfg.Layers),
		values: make([][]float32, m.cfg.Layers),
		logits: make([]float32, m.cfg.Vocab),
	}
}

// Fork returns an independent session that continues from the same tokens.
func (s *Session) Fork() *Session {
	f := s.pass.model.NewSession()
	f.length = s.length
	for l := range s.keys { // clipped, so that appending to either copies
		s.keys[l], s.values[l] = slices.Clip(s.keys[l]), slices.Clip(s.values[l])
		f.keys[l], f.values[l] = s.keys[l], s.values[l]
	}
	return f
}

// Len returns the number of tokens fed so far.
func (s *Session) Len() int { return s.length }

// Feed runs tokens through the model, at the positions that follow those already
// fed, and returns the logits [Vocab] for the token after the last of them. The
// logits are valid until the next call.
//
// For each token, in order, it calls visit, unless that is nil, with the token's
// queries q [Layers, QueryHeads, HeadSize], keys k and values v
// [Layers, KVHeads, HeadSize]; q and k after RoPE, as a KV cache holds them. The
// slices are valid during the call only. An error from visit ends Feed and is
// returned; the session must not be used after an error.
func (s *Session) Feed(tokens []int, visit func(q, k, v []float32) error) ([]float32, error) {
	cfg := &s.pass.model.cfg
	if len(tokens) == 0 {
		return nil, fmt.Errorf("llama: no token to feed")
	}
	if room := cfg.MaxPositions - s.length; len(tokens) > room {
		return nil, fmt.Errorf("llama: %d tokens do not fit: %d of the model's %d positions are free", len(tokens), room, cfg.MaxPositions)
	}
	for i, t := range tokens {
		if t < 0 || t >= cfg.Vocab {
			return nil, fmt.Errorf("llama: token %d of %d: %d is not in the vocabulary of %d", i, len(tokens), t, cfg.Vocab)
		}
	}
	freqs := s.pass.model.frequencies(s.length + len(tokens))
	for len(tokens) > 0 {
		batch := tokens[:min(feedBatch, len(tokens))]
		tokens = tokens[len(batch):]
		if err := s.feedBatch(batch, freqs, len(tokens) == 0, visit); err != nil {
			return nil, err
		}
	}
	return s.logits, nil
}

func (s *Session) feedBatch(tokens []int, freqs []float32, last bool, visit func(q, k, v []float32) error) error {
	cfg := &s.pass.model.cfg
	n := len(tokens)
	a := s.pass.activations(n)
	for t, token := range tokens {
		s.pass.begin(a, t, token, s.length+t, freqs)
	}
	var queries []float32 // [n, Layers, QueryHeads·HeadSize]
	if visit != nil {
		queries = make([]float32, n*cfg.Layers*cfg.QueryHeads*cfg.HeadSize)
	}
	for l := range s.pass.model.layers {
		s.pass.project(l, a)
		s.attention(l, a)
		keepQueries(queries, l, cfg.Layers, a)
		s.pass.addAttended(l, a)
		s.pass.feedForward(l, a)
	}
	if last {
		if err := s.pass.logits(s.logits, a.x[(n-1)*cfg.Dim:]); err != nil {
			return fmt.Errorf("llama: position %d: %w", s.length+n-1, err)
		}
	}
	s.length += n
	if visit == nil {
		return nil
	}
	return s.visit(n, queries, visit)
}

// keepQueries copies the queries of layer l to all, which is [n, layers, QueryHeads·HeadSize].
// If all is nil, it does nothing.
func keepQueries(all []float32, l, layers int, a *activations) {
	if all == nil {
		return
	}
	row := len(a.q) / a.n
	for t := range a.n {
		copy(all[(t*layers+l)*row:], a.q[t*row:(t+1)*row])
	}
}

// attention appends the new keys and values of layer l to the cache and sets a.attended to
// the attention output.
func (s *Session) attention(l int, a *activations) {
	cfg := &s.pass.model.cfg
	s.keys[l] = append(s.keys[l], a.k...)
	s.values[l] = append(s.values[l], a.v...)

	cost := 2 * (s.length + a.n) * cfg.HeadSize
	s.pass.workers.each(a.n*cfg.QueryHeads, cost, func(worker, i int) {
		s.attend(l, worker, s.length+i/cfg.QueryHeads, i%cfg.QueryHeads,
			a.q[i*cfg.HeadSize:(i+1)*cfg.HeadSize], a.attended[i*cfg.HeadSize:(i+1)*cfg.HeadSize])
	})
}

// attend sets out = Σ softmax(q·k/√D) v over the keys at positions 0 to position, or those
// in the layer's window, of the query head's KV head.
func (s *Session) attend(l, worker, position, queryHead int, q, out []float32) {
	cfg := &s.pass.model.cfg
	kvDim := cfg.KVHeads * cfg.HeadSize
	offset := queryHead / (cfg.QueryHeads / cfg.KVHeads) * cfg.HeadSize
	scale := float32(1 / math.Sqrt(float64(cfg.HeadSize)))

	first := 0
	if w := cfg.Window(l); w > 0 {
		first = max(0, position+1-w)
	}
	p := s.pass.workers.scratch(worker, position+1-first)
	for i := range p {
		k := s.keys[l][(first+i)*kvDim+offset:]
		p[i] = dot(q, k[:cfg.HeadSize]) * scale
	}
	softmax(p)
	clear(out)
	for i := range p {
		addScaled(out, s.values[l][(first+i)*kvDim+offset:], p[i])
	}
}

// visit calls the given function with the tensors of each of the n tokens just fed.
func (s *Session) visit(n int, queries []float32, visit func(q, k, v []float32) error) error {
	cfg := &s.pass.model.cfg
	qRow, kvDim := cfg.Layers*cfg.QueryHeads*cfg.HeadSize, cfg.KVHeads*cfg.HeadSize
	k := make([]float32, cfg.Layers*kvDim)
	v := make([]float32, cfg.Layers*kvDim)
	for t := range n {
		position := s.length - n + t
		for l := range cfg.Layers {
			copy(k[l*kvDim:], s.keys[l][position*kvDim:(position+1)*kvDim])
			copy(v[l*kvDim:], s.values[l][position*kvDim:(position+1)*kvDim])
		}
		if err := visit(queries[t*qRow:(t+1)*qRow], k, v); err != nil {
			return err
		}
	}
	return nil
}

// Likeliest returns the token with the largest logit; of equal ones, the first.
func Likeliest(logits []float32) int {
	best := 0
	for i, x := range logits {
		if x > logits[best] {
			best = i
		}
	}
	return best
}
