package llama

import (
	"fmt"
	"math"
)

// feedBatch is the number of tokens that go through the layers together. A row
// of weights is decoded once for all of them.
const feedBatch = 32

// Session is one sequence of tokens and its KV cache, which is dense and in
// binary32. A Session must not be used by two goroutines at once.
type Session struct {
	model   *Model
	workers *workers
	length  int         // tokens fed
	keys    [][]float32 // for each layer [length, KVHeads, HeadSize], after RoPE
	values  [][]float32 // for each layer [length, KVHeads, HeadSize]
	logits  []float32   // [Vocab]
}

// NewSession returns an empty sequence. Its cache grows as tokens are fed.
func (m *Model) NewSession() *Session {
	return &Session{
		model:   m,
		workers: newWorkers(),
		keys:    make([][]float32, m.cfg.Layers),
		values:  make([][]float32, m.cfg.Layers),
		logits:  make([]float32, m.cfg.Vocab),
	}
}

// Len returns the number of tokens fed so far.
func (s *Session) Len() int { return s.length }

// Feed runs tokens through the model, at the positions that follow those already
// fed, and returns the logits [Vocab] for the token after the last of them. They
// are valid until the next call.
//
// For each token, in order, it calls visit, unless that is nil, with the token's
// queries q [Layers, QueryHeads, HeadSize], keys k and values v
// [Layers, KVHeads, HeadSize]; q and k after RoPE, as a KV cache holds them. The
// slices are valid during the call only. An error from visit ends Feed and is
// returned; the session must not be used after an error.
func (s *Session) Feed(tokens []int, visit func(q, k, v []float32) error) ([]float32, error) {
	cfg := &s.model.cfg
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
	freqs := s.model.invFreq
	if cfg.Dynamic != nil {
		freqs = cfg.RopeOf(s.length + len(tokens)).InverseFrequencies()
	}
	for len(tokens) > 0 {
		batch := tokens[:min(feedBatch, len(tokens))]
		tokens = tokens[len(batch):]
		if err := s.feedBatch(batch, freqs, len(tokens) == 0, visit); err != nil {
			return nil, err
		}
	}
	return s.logits, nil
}

// activations are the intermediate results of n tokens.
type activations struct {
	n          int
	x          []float32 // [n, Dim], the residual stream
	normed     []float32 // [n, Dim]
	q          []float32 // [n, QueryHeads·HeadSize]
	k, v       []float32 // [n, KVHeads·HeadSize]
	attended   []float32 // [n, QueryHeads·HeadSize]
	projected  []float32 // [n, Dim]
	gate, up   []float32 // [n, HiddenDim]
	rotations  []rotation
	allQueries []float32 // [n, Layers, QueryHeads·HeadSize], for visit
}

func (s *Session) newActivations(n int, freqs []float32, keepQueries bool) *activations {
	cfg := &s.model.cfg
	qDim, kvDim := cfg.QueryHeads*cfg.HeadSize, cfg.KVHeads*cfg.HeadSize
	a := &activations{
		n:         n,
		x:         make([]float32, n*cfg.Dim),
		normed:    make([]float32, n*cfg.Dim),
		q:         make([]float32, n*qDim),
		k:         make([]float32, n*kvDim),
		v:         make([]float32, n*kvDim),
		attended:  make([]float32, n*qDim),
		projected: make([]float32, n*cfg.Dim),
		gate:      make([]float32, n*cfg.HiddenDim),
		up:        make([]float32, n*cfg.HiddenDim),
		rotations: make([]rotation, n),
	}
	for t := range a.rotations {
		a.rotations[t] = newRotation(freqs, cfg.Rope.Magnitude(), s.length+t)
	}
	if keepQueries {
		a.allQueries = make([]float32, n*cfg.Layers*qDim)
	}
	return a
}

func (s *Session) feedBatch(tokens []int, freqs []float32, last bool, visit func(q, k, v []float32) error) error {
	cfg := &s.model.cfg
	n := len(tokens)
	a := s.newActivations(n, freqs, visit != nil)
	for t, token := range tokens {
		x := a.x[t*cfg.Dim : (t+1)*cfg.Dim]
		copy(x, s.model.embed.row(token, s.workers.scratch(0, cfg.Dim)))
	}
	for l := range s.model.layers {
		s.attention(l, a)
		s.feedForward(l, a)
	}
	if last {
		x := a.x[(n-1)*cfg.Dim:]
		s.rmsNorm(x, x, s.model.norm)
		s.workers.multiply(s.logits, &s.model.head, x, nil, 1)
		if i := firstNotFinite(s.logits); i >= 0 {
			return fmt.Errorf("llama: position %d: the logit of token %d is not a finite number", s.length+n-1, i)
		}
	}
	s.length += n
	if visit == nil {
		return nil
	}
	return s.visit(a, visit)
}

// attention adds to a.x what the heads of layer l read from the cache, after
// their new keys and values went into it.
func (s *Session) attention(l int, a *activations) {
	cfg, w := &s.model.cfg, &s.model.layers[l]
	qDim, kvDim := cfg.QueryHeads*cfg.HeadSize, cfg.KVHeads*cfg.HeadSize

	s.rmsNorm(a.normed, a.x, w.attnNorm)
	s.workers.multiply(a.q, &w.wq, a.normed, w.bq, a.n)
	s.workers.multiply(a.k, &w.wk, a.normed, w.bk, a.n)
	s.workers.multiply(a.v, &w.wv, a.normed, w.bv, a.n)
	if w.qNorm != nil {
		s.rmsNorm(a.q, a.q, w.qNorm)
		s.rmsNorm(a.k, a.k, w.kNorm)
	}
	for t := range a.n {
		a.rotations[t].apply(a.q[t*qDim:(t+1)*qDim], cfg.Rope)
		a.rotations[t].apply(a.k[t*kvDim:(t+1)*kvDim], cfg.Rope)
		if a.allQueries != nil {
			copy(a.allQueries[(t*cfg.Layers+l)*qDim:], a.q[t*qDim:(t+1)*qDim])
		}
	}
	s.keys[l] = append(s.keys[l], a.k...)
	s.values[l] = append(s.values[l], a.v...)

	cost := 2 * (s.length + a.n) * cfg.HeadSize
	s.workers.each(a.n*cfg.QueryHeads, cost, func(worker, i int) {
		s.attend(l, worker, s.length+i/cfg.QueryHeads, i%cfg.QueryHeads,
			a.q[i*cfg.HeadSize:(i+1)*cfg.HeadSize], a.attended[i*cfg.HeadSize:(i+1)*cfg.HeadSize])
	})
	s.workers.multiply(a.projected, &w.wo, a.attended, w.bo, a.n)
	add(a.x, a.projected)
}

// attend sets out = Σ softmax(q·k/√D) v over the keys at 0..position, or those of the
// layer's window, of the KV head that the query head shares.
func (s *Session) attend(l, worker, position, queryHead int, q, out []float32) {
	cfg := &s.model.cfg
	kvDim := cfg.KVHeads * cfg.HeadSize
	offset := queryHead / (cfg.QueryHeads / cfg.KVHeads) * cfg.HeadSize
	scale := float32(1 / math.Sqrt(float64(cfg.HeadSize)))

	first := 0
	if w := cfg.Window(l); w > 0 {
		first = max(0, position+1-w)
	}
	p := s.workers.scratch(worker, position+1-first)
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

// feedForward adds w2(silu(w1 x) · w3 x) to a.x, with biases where the model has some.
func (s *Session) feedForward(l int, a *activations) {
	w := &s.model.layers[l]
	s.rmsNorm(a.normed, a.x, w.ffnNorm)
	s.workers.multiply(a.gate, &w.gate, a.normed, w.gateBias, a.n)
	s.workers.multiply(a.up, &w.up, a.normed, w.upBias, a.n)
	for i, g := range a.gate {
		silu := g / (1 + float32(math.Exp(-float64(g))))
		a.gate[i] = silu * a.up[i]
	}
	s.workers.multiply(a.projected, &w.down, a.gate, w.downBias, a.n)
	add(a.x, a.projected)
}

// rmsNorm sets dst to each Dim elements of x over their root mean square, times
// weight. dst may be x.
func (s *Session) rmsNorm(dst, x, weight []float32) {
	dim := len(weight)
	for ; len(x) > 0; x, dst = x[dim:], dst[dim:] {
		mean := dot(x[:dim], x[:dim]) / float32(dim)
		scale := float32(1 / math.Sqrt(float64(mean+s.model.cfg.NormEps)))
		for i, w := range weight {
			dst[i] = x[i] * scale * w
		}
	}
}

// visit hands out the tensors of the tokens just fed.
func (s *Session) visit(a *activations, visit func(q, k, v []float32) error) error {
	cfg := &s.model.cfg
	qRow, kvDim := cfg.Layers*cfg.QueryHeads*cfg.HeadSize, cfg.KVHeads*cfg.HeadSize
	k := make([]float32, cfg.Layers*kvDim)
	v := make([]float32, cfg.Layers*kvDim)
	for t := range a.n {
		position := s.length - a.n + t
		for l := range cfg.Layers {
			copy(k[l*kvDim:], s.keys[l][position*kvDim:(position+1)*kvDim])
			copy(v[l*kvDim:], s.values[l][position*kvDim:(position+1)*kvDim])
		}
		if err := visit(a.allQueries[t*qRow:(t+1)*qRow], k, v); err != nil {
			return err
		}
	}
	return nil
}

func softmax(x []float32) {
	top := x[0]
	for _, v := range x {
		top = max(top, v)
	}
	var sum float32
	for i, v := range x {
		x[i] = float32(math.Exp(float64(v - top)))
		sum += x[i]
	}
	for i := range x {
		x[i] /= sum
	}
}

func add(dst, x []float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] += x[i]
	}
}
