package trace

import (
	"math"

	"kvcompress/dtype"
	"kvcompress/internal/splitmix"
)

// synthetic computes the tensors of a request from a recipe. Each row is computed by itself from the
// request's id, the layer, the head and the token, in a time that does not depend on these.
type synthetic struct {
	meta   Meta
	r      Request
	key    uint64 // of the recipe, the same for all requests
	tokens uint64 // of the request
	plans  []plan // of the KV heads of layer
	layer  int    // layer of plans, or -1
	raw    []byte // buffer for round
}

func newSynthetic(meta Meta, r Request) Tensors {
	key := derive(splitmix.Mix(meta.Synth.Seed), 0)
	return &synthetic{
		meta:   meta,
		r:      r,
		key:    key,
		tokens: derive(key, hashString(r.ID)),
		layer:  -1,
	}
}

func (s *synthetic) Tokens() int { return s.r.CachedTokens() }

func (s *synthetic) Close() error { return nil }

func (s *synthetic) Read(dst []float32, t Tensor, layer, from, n int) error {
	shape := s.meta.Shape
	if err := checkRead(shape, s.Tokens(), len(dst), t, layer, from, n); err != nil {
		return Error{Request: s.r.ID}.about(err)
	}
	s.plan(layer)
	heads, d := t.Heads(shape), shape.HeadSize
	for h := range heads {
		kv := h
		if t == Q {
			kv = h / shape.Group
		}
		w := newRowMaker(s, t, layer, h, &s.plans[kv], derive(s.headKey(layer, kv), s.tokens))
		for i := range n {
			w.make(dst[(i*heads+h)*d:][:d], uint64(from+i))
		}
	}
	s.round(dst)
	return nil
}

func (s *synthetic) headKey(layer, kvHead int) uint64 {
	return derive(derive(s.key, uint64(layer)), uint64(kvHead))
}

// plan makes the plans of a layer, unless they are there already.
func (s *synthetic) plan(layer int) {
	if s.layer == layer {
		return
	}
	s.layer, s.plans = layer, s.plans[:0]
	for h := range s.meta.Shape.KVHeads {
		s.plans = append(s.plans, newPlan(s.meta.Synth.Head(layer, h), s.meta.Shape.HeadSize, s.headKey(layer, h)))
	}
}

// rowMaker computes rows of one head of one tensor of one request.
type rowMaker struct {
	*plan
	tensor Tensor
	text   uint64 // key that the query heads and their KV head share
	own    uint64 // key of this head's noise
	scale  float32
	heat   float64 // of a query head: factor of its logits
	lean   float64 // of a query head: increase of its sink's logit, in nats
}

func newRowMaker(s *synthetic, t Tensor, layer, head int, p *plan, text uint64) rowMaker {
	w := rowMaker{plan: p, tensor: t, text: text, heat: 1}
	w.own = derive(derive(text, uint64(t)), uint64(head))
	deviation := p.noise
	switch t {
	case V:
		deviation = p.value
	case Q:
		strength := derive(derive(s.headKey(layer, head/s.meta.Shape.Group), 5), uint64(head))
		w.heat = between(derive(strength, 0), 0.95, 1.1)
		w.lean = between(derive(strength, 1), -0.5, 0.5)
	}
	// A lane of noise is uniform from -2¹⁵ to 2¹⁵, which has a standard deviation of 2¹⁵/√3.
	w.scale = float32(float64(deviation*math.Sqrt(3)) / (1 << 15))
	return w
}

func (w *rowMaker) make(dst []float32, token uint64) {
	noise(dst, derive(w.own, token), w.scale)
	switch {
	case w.tensor == Q:
		w.addQuery(dst, token)
	case w.tensor == K:
		w.addKey(dst, token)
	}
}

func (w *rowMaker) addQuery(dst []float32, token uint64) {
	if w.kind.Sink {
		dst[0] += float32(float64(w.sink*w.heat) + float64(w.sinkNat*w.lean))
	}
	w.addTurns(dst, token, w.heat)
	// A needle is at least a whole block back.
	if since := token / topic * topic; w.kind.Retrieval && since >= 2*NeedleBlock {
		sought := derive(derive(w.own, 1<<32), token/topic)
		w.addSigns(dst, below(sought, since/NeedleBlock-1), w.heat)
	}
}

// addKey adds at most one part to a token: a sink or needle token has no other.
func (w *rowMaker) addKey(dst []float32, token uint64) {
	if w.kind.Sink && token < SinkTokens {
		dst[0] += float32(w.sink)
		return
	}
	if w.kind.Retrieval {
		block := token / NeedleBlock
		begin := w.needle(block)
		if token >= begin && token < begin+NeedleTokens {
			w.addSigns(dst, block, 1)
			return
		}
	}
	w.addTurns(dst, token, 1)
}

// needle returns the first token of a block's needle.
func (w *rowMaker) needle(block uint64) uint64 {
	first := block * NeedleBlock
	skip := uint64(0)
	if block == 0 {
		skip = SinkTokens
	}
	return first + skip + below(derive(derive(w.text, 1<<33), block), NeedleBlock-NeedleTokens+1-skip)
}

// addTurns adds the pairs, each rotated to the token's phase.
func (w *rowMaker) addTurns(dst []float32, token uint64, heat float64) {
	for i := range w.pairs {
		sin, cos := sincos(uint32(token) * w.step[i])
		amplitude := float64(w.turn[i] * heat)
		pair := dst[w.pairAt+2*i:][:2]
		pair[0] += float32(amplitude * cos)
		pair[1] += float32(amplitude * sin)
	}
}

// addSigns adds the pattern of a block's needle.
func (w *rowMaker) addSigns(dst []float32, block uint64, heat float64) {
	key := derive(derive(w.text, 1<<34), block)
	amplitude := math.Float32bits(float32(w.sign * heat))
	var signs uint64
	for i, x := range dst[w.signAt:] {
		if i%64 == 0 {
			signs = derive(key, uint64(i/64))
		}
		dst[w.signAt+i] = x + math.Float32frombits(amplitude|uint32(signs&1)<<31)
		signs >>= 1
	}
}

// noise fills dst, whose length is a multiple of four, with uniform noise from -scale·2¹⁵ to scale·2¹⁵.
func noise(dst []float32, key uint64, scale float32) {
	for i := 0; i+4 <= len(dst); i += 4 {
		key += splitmix.Golden
		x := splitmix.Mix(key)
		four := dst[i : i+4 : i+4]
		four[0] = float32(float32(int16(x)) * scale)
		four[1] = float32(float32(int16(x>>16)) * scale)
		four[2] = float32(float32(int16(x>>32)) * scale)
		four[3] = float32(float32(int16(x>>48)) * scale)
	}
}

// round rounds every value to the dtype of the trace.
func (s *synthetic) round(dst []float32) {
	format := s.meta.DType
	if format == dtype.F32 {
		return
	}
	const most = 4096 // values at a time, which fit in the processor's cache
	if s.raw == nil {
		s.raw = make([]byte, most*format.Size())
	}
	for len(dst) > 0 {
		some := dst[:min(most, len(dst))]
		raw := s.raw[:len(some)*format.Size()]
		format.Encode(raw, some)
		format.Decode(some, raw)
		dst = dst[len(some):]
	}
}
