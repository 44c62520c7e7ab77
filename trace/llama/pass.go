package llama

import (
	"fmt"
	"math"

	"kvcompress/ref/vec"
)

// pass is a forward pass through a model, without its attention.
type pass struct {
	model   *Model
	workers *workers
}

// frequencies returns the inverse RoPE frequencies for the tokens of one call to Feed or
// Step. length is the number of tokens of the sequence, these included.
func (m *Model) frequencies(length int) []float32 {
	if m.cfg.Dynamic == nil {
		return m.invFreq
	}
	return m.cfg.RopeOf(length).InverseFrequencies()
}

// activations are the intermediate results of n tokens.
type activations struct {
	n         int
	x         []float32 // [n, Dim], the residual stream
	normed    []float32 // [n, Dim]
	q         []float32 // [n, QueryHeads·HeadSize], after RoPE
	k, v      []float32 // [n, KVHeads·HeadSize], k after RoPE
	attended  []float32 // [n, QueryHeads·HeadSize]
	projected []float32 // [n, Dim]
	gate, up  []float32 // [n, HiddenDim]
	rotations []rotation
}

func (p *pass) activations(n int) *activations {
	cfg := &p.model.cfg
	qDim, kvDim := cfg.QueryHeads*cfg.HeadSize, cfg.KVHeads*cfg.HeadSize
	return &activations{
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
}

// begin sets row t to the embedding of a token, and its rotation to that of a position
// with inverse frequencies freqs.
func (p *pass) begin(a *activations, t, token, position int, freqs []float32) {
	dim := p.model.cfg.Dim
	a.rotations[t] = newRotation(freqs, p.model.cfg.Rope.Magnitude(), position)
	copy(a.x[t*dim:(t+1)*dim], p.model.embed.row(token, p.workers.scratch(0, dim)))
}

// project sets a.q, a.k and a.v to the queries, keys and values of layer l.
func (p *pass) project(l int, a *activations) {
	cfg, w := &p.model.cfg, &p.model.layers[l]
	qDim, kvDim := cfg.QueryHeads*cfg.HeadSize, cfg.KVHeads*cfg.HeadSize

	p.rmsNorm(a.normed, a.x, w.attnNorm)
	p.workers.multiply(a.q, &w.wq, a.normed, w.bq, a.n)
	p.workers.multiply(a.k, &w.wk, a.normed, w.bk, a.n)
	p.workers.multiply(a.v, &w.wv, a.normed, w.bv, a.n)
	if w.qNorm != nil {
		p.rmsNorm(a.q, a.q, w.qNorm)
		p.rmsNorm(a.k, a.k, w.kNorm)
	}
	for t := range a.n {
		a.rotations[t].apply(a.q[t*qDim:(t+1)*qDim], cfg.Rope)
		a.rotations[t].apply(a.k[t*kvDim:(t+1)*kvDim], cfg.Rope)
	}
}

// addAttended adds the projection of a.attended to a.x.
func (p *pass) addAttended(l int, a *activations) {
	w := &p.model.layers[l]
	p.workers.multiply(a.projected, &w.wo, a.attended, w.bo, a.n)
	add(a.x, a.projected)
}

// feedForward adds w2(silu(w1 x) · w3 x) to a.x, with biases where the model has some.
func (p *pass) feedForward(l int, a *activations) {
	w := &p.model.layers[l]
	p.rmsNorm(a.normed, a.x, w.ffnNorm)
	p.workers.multiply(a.gate, &w.gate, a.normed, w.gateBias, a.n)
	p.workers.multiply(a.up, &w.up, a.normed, w.upBias, a.n)
	for i, g := range a.gate {
		a.gate[i] = silu(g) * a.up[i]
	}
	p.workers.multiply(a.projected, &w.down, a.gate, w.downBias, a.n)
	add(a.x, a.projected)
}

// logits sets dst [n, Vocab] to the logits of n rows of the residual stream, which it
// overwrites.
func (p *pass) logits(dst, x []float32) error {
	cfg := &p.model.cfg
	p.rmsNorm(x, x, p.model.norm)
	p.workers.multiply(dst, &p.model.head, x, nil, len(x)/cfg.Dim)
	if i := firstNotFinite(dst); i >= 0 {
		return fmt.Errorf("the logit of token %d is not a finite number", i%cfg.Vocab)
	}
	return nil
}

// rmsNorm divides each group of len(weight) elements of x by its root mean square,
// multiplies it by weight, and writes the result to dst. dst may be x.
func (p *pass) rmsNorm(dst, x, weight []float32) {
	dim := len(weight)
	for ; len(x) > 0; x, dst = x[dim:], dst[dim:] {
		mean := dot(x[:dim], x[:dim]) / float32(dim)
		scale := float32(1 / math.Sqrt(float64(mean+p.model.cfg.NormEps)))
		for i, w := range weight {
			dst[i] = x[i] * scale * w
		}
	}
}

// silu returns x/(1 + exp(−x)), computed from exp(−|x|), which cannot overflow.
func silu(x float32) float32 {
	e := vec.Exp(-float32(math.Abs(float64(x))))
	if x < 0 {
		return x * e / (1 + e)
	}
	return x / (1 + e)
}

func softmax(x []float32) {
	top := x[0]
	for _, v := range x {
		top = max(top, v)
	}
	vec.ExpSub(x, x, top)
	var sum float32
	for _, v := range x {
		sum += v
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
