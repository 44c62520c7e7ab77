// Package linear runs models with linear attention, whose layers keep a state of fixed size
// instead of keys and values of every token. The bundled linear model has no other layers; the
// hybrid model has one layer of full attention. ../models/training/model.py is the same model
// in PyTorch, with which both were trained.
//
// The arithmetic is binary32 in a stated order. Products are rounded before they are added, and
// exp and the sines are those of ref/NUMERICS.md, so that results are the same on every platform.
//
// [LoadFS] reads a model, and a [Session] runs it.
package linear

import (
	"fmt"
	"math"
	"slices"

	"kvcompress/dtype"
	"kvcompress/internal/clip"
	"kvcompress/ref/vec"
	"kvcompress/trace"
)

// Config describes a model.
type Config struct {
	Dim, HiddenDim, Vocab, MaxPositions int
	NormEps                             float32
	Full                                []bool // of each layer: whether its attention is full

	Heads, KeyDim, ValueDim int // of a layer of linear attention: a state is [KeyDim, ValueDim]
	Taps                    int // tokens that each of its convolutions covers

	QueryHeads, KVHeads, HeadSize int // of a layer of full attention
	RopeBase                      float64
}

// StateBytes returns the bytes of the states of all layers of linear attention, in binary32,
// including the Taps−1 latest projections that their convolutions need. They do not depend on
// the length of the sequence.
func (c *Config) StateBytes() int {
	numbers := c.Heads * (c.KeyDim*c.ValueDim + (c.Taps-1)*(2*c.KeyDim+c.ValueDim))
	return 4 * numbers * (len(c.Full) - c.FullLayers())
}

// FullLayers returns the number of layers with full attention. They keep keys and values of
// every token, in binary16.
func (c *Config) FullLayers() int {
	n := 0
	for _, full := range c.Full {
		if full {
			n++
		}
	}
	return n
}

// Model is a model with its weights. Sessions of a model may run concurrently.
type Model struct {
	cfg    Config
	embed  []float32 // [Vocab, Dim]
	layers []layer
	norm   []float32 // [Dim]
	head   []float32 // [Vocab, Dim]
}

// layer has the weights of a layer. Matrices are [outputs, inputs].
type layer struct {
	attnNorm, ffnNorm []float32
	gate, up, down    []float32

	wq, wk, wv, wo []float32

	// Of linear attention.
	write               []float32 // [Heads, Dim]
	decay               []float32 // [Heads], as factors
	convQ, convK, convV []float32 // [Taps, channels]: tap 0 is of the token itself
}

// Config returns the model's description.
func (m *Model) Config() Config { return m.cfg }

// Session is a sequence of tokens that a model reads.
type Session struct {
	model  *Model
	length int
	layers []past
	logits []float32
	exact  bool // keys and values of full attention are kept in binary32, for tests
}

// past is what a layer keeps of the tokens so far.
type past struct {
	state   []float32   // [Heads, KeyDim, ValueDim]
	q, k, v [][]float32 // the latest Taps−1 projections, the newest first
	keys    [][]float32 // of full attention, of each KV head [tokens, HeadSize]
	values  [][]float32 // of full attention, likewise
}

// NewSession returns a session that has read nothing.
func (m *Model) NewSession() *Session {
	c := &m.cfg
	s := &Session{model: m, layers: make([]past, len(c.Full)), logits: make([]float32, c.Vocab)}
	for l, full := range c.Full {
		p := &s.layers[l]
		if full {
			p.keys, p.values = make([][]float32, c.KVHeads), make([][]float32, c.KVHeads)
			continue
		}
		p.state = make([]float32, c.Heads*c.KeyDim*c.ValueDim)
		for range c.Taps - 1 {
			p.q = append(p.q, make([]float32, c.Heads*c.KeyDim))
			p.k = append(p.k, make([]float32, c.Heads*c.KeyDim))
			p.v = append(p.v, make([]float32, c.Heads*c.ValueDim))
		}
	}
	return s
}

// Fork returns a copy of the session, which is independent of it from then on.
func (s *Session) Fork() *Session {
	f := *s
	f.layers, f.logits = slices.Clone(s.layers), slices.Clone(s.logits)
	for l := range f.layers {
		p := &f.layers[l]
		p.state = slices.Clone(p.state)
		p.q, p.k, p.v = slices.Clone(p.q), slices.Clone(p.k), slices.Clone(p.v) // rows are never written to
		p.keys, p.values = clip.Rows(p.keys), clip.Rows(p.values)
	}
	return &f
}

// Len returns the number of tokens read so far.
func (s *Session) Len() int { return s.length }

// Logits returns the logits for the next token, [Vocab]. They are valid until the next call of
// Feed.
func (s *Session) Logits() []float32 { return s.logits }

// Feed reads the next token, and returns the logits after it.
func (s *Session) Feed(token int) ([]float32, error) {
	m, c := s.model, &s.model.cfg
	if token < 0 || token >= c.Vocab {
		return nil, fmt.Errorf("linear: token %d is not in the vocabulary of %d", token, c.Vocab)
	}
	if s.length == c.MaxPositions {
		return nil, fmt.Errorf("linear: all %d positions of the model are filled", c.MaxPositions)
	}
	x := slices.Clone(m.embed[token*c.Dim:][:c.Dim])
	for l := range m.layers {
		w, p := &m.layers[l], &s.layers[l]
		h := norm(x, w.attnNorm, c.NormEps)
		attend := s.linear
		if c.Full[l] {
			attend = s.full
		}
		add(x, multiply(w.wo, attend(w, p, h)))
		h = norm(x, w.ffnNorm, c.NormEps)
		gate, up := multiply(w.gate, h), multiply(w.up, h)
		for i, g := range gate {
			gate[i] = g * sigmoid(g) * up[i]
		}
		add(x, multiply(w.down, gate))
	}
	s.length++
	vec.Dots(s.logits, norm(x, m.norm, c.NormEps), m.head, c.Dim)
	return s.logits, nil
}

// linear returns the output of the heads of a layer of linear attention, [Heads·ValueDim]:
//
//	S ← decay·S + write·k vᵀ        y = norm(Sᵀ q / KeyDim)
//
// with q, k and v after their convolutions, write the sigmoid of the token's projection, and
// norm the division by the root mean square.
func (s *Session) linear(w *layer, p *past, h []float32) []float32 {
	c := &s.model.cfg
	q := convolve(&p.q, w.convQ, multiply(w.wq, h))
	k := convolve(&p.k, w.convK, multiply(w.wk, h))
	v := convolve(&p.v, w.convV, multiply(w.wv, h))
	write := multiply(w.write, h)
	y := make([]float32, c.Heads*c.ValueDim)
	for head := range c.Heads {
		read, values := y[head*c.ValueDim:][:c.ValueDim], v[head*c.ValueDim:][:c.ValueDim]
		open, decay := sigmoid(write[head]), w.decay[head]
		for i := range c.KeyDim {
			state := p.state[(head*c.KeyDim+i)*c.ValueDim:][:c.ValueDim]
			key, query := k[head*c.KeyDim+i]*open, q[head*c.KeyDim+i]/float32(c.KeyDim)
			for j := range state {
				state[j] = float32(decay*state[j]) + float32(key*values[j])
				read[j] += float32(query * state[j])
			}
		}
		scale := inverseRootMeanSquare(read, c.NormEps)
		for j := range read {
			read[j] *= scale
		}
	}
	return y
}

// convolve returns the causal convolution of the token's projection x, for each channel
// Σ_i taps[i]·(the projection of i tokens ago), and adds x to before.
func convolve(before *[][]float32, taps, x []float32) []float32 {
	n := len(x)
	rows := slices.Insert(slices.Clone(*before), 0, x)
	out := make([]float32, n)
	for i, row := range rows {
		for j := range out {
			out[j] += float32(taps[i*n+j] * row[j])
		}
	}
	*before = rows[:len(rows)-1]
	return out
}

// full returns the output of the query heads of a layer of full attention,
// [QueryHeads·HeadSize].
func (s *Session) full(w *layer, p *past, h []float32) []float32 {
	c := &s.model.cfg
	d, group := c.HeadSize, c.QueryHeads/c.KVHeads
	q, k, v := multiply(w.wq, h), multiply(w.wk, h), multiply(w.wv, h)
	cos, sin := make([]float32, d/2), make([]float32, d/2)
	rope := trace.Rope{Base: c.RopeBase, RotarySize: d, Pairing: trace.Half}
	trace.Angles(cos, sin, rope.InverseFrequencies(), s.length)
	turn(q, cos, sin)
	turn(k, cos, sin)
	if !s.exact {
		half(k)
		half(v)
	}
	for head := range c.KVHeads {
		p.keys[head] = append(p.keys[head], k[head*d:][:d]...)
		p.values[head] = append(p.values[head], v[head*d:][:d]...)
	}
	y := make([]float32, c.QueryHeads*d)
	weights := make([]float32, s.length+1)
	scale := float32(1 / math.Sqrt(float64(d)))
	for head := range c.QueryHeads {
		keys, values := p.keys[head/group], p.values[head/group]
		vec.Dots(weights, q[head*d:][:d], keys, d)
		for i := range weights {
			weights[i] *= scale
		}
		vec.ExpSub(weights, weights, vec.Max(weights))
		sum := vec.Sum(weights)
		read := y[head*d:][:d]
		for i, weight := range weights {
			for j := range read {
				read[j] += float32(weight / sum * values[i*d+j])
			}
		}
	}
	return y
}

// turn applies rotary embeddings to heads [heads, 2·len(cos)]. Pair i is elements i and i + len(cos).
func turn(x, cos, sin []float32) {
	n := len(cos)
	for ; len(x) > 0; x = x[2*n:] {
		for i := range n {
			x[i], x[n+i] = trace.RotatePair(x[i], x[n+i], cos[i], sin[i])
		}
	}
}

// half rounds to binary16.
func half(x []float32) {
	for i, v := range x {
		x[i] = dtype.F16ToF32(dtype.F32ToF16(v))
	}
}

// multiply returns m·x of a matrix [rows, len(x)].
func multiply(m, x []float32) []float32 {
	y := make([]float32, len(m)/len(x))
	vec.Dots(y, x, m, len(x))
	return y
}

// norm returns x divided by its root mean square, times weight.
func norm(x, weight []float32, eps float32) []float32 {
	scale := inverseRootMeanSquare(x, eps)
	out := make([]float32, len(x))
	for i, w := range weight {
		out[i] = x[i] * scale * w
	}
	return out
}

func inverseRootMeanSquare(x []float32, eps float32) float32 {
	var sum float32
	for _, v := range x {
		sum += float32(v * v)
	}
	return float32(1 / math.Sqrt(float64(sum/float32(len(x))+eps)))
}

func add(dst, x []float32) {
	for i := range dst {
		dst[i] += x[i]
	}
}

// sigmoid returns 1/(1 + exp(−x)), computed with the exponential of −|x|.
func sigmoid(x float32) float32 {
	e := vec.Exp(-float32(math.Abs(float64(x))))
	if x < 0 {
		return e / (1 + e)
	}
	return 1 / (1 + e)
}
