package validate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"kvcompress/dtype"
	"kvcompress/internal/splitmix"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/trace"
)

// Pipeline is a small test case: a run of operations on artificial inputs, with a shape and options at
// awkward edges. [RandomPipeline] makes one from a seed.
type Pipeline struct {
	Shape      kv.Shape    `json:"shape"`
	Config     ref.Config  `json:"config"`
	Rope       *trace.Rope `json:"rope,omitempty"` // rotary embedding of the inputs, as told to methods
	Inputs     Inputs      `json:"inputs"`
	Own        []Own       `json:"own,omitempty"` // sequences with options of their own
	Operations []Operation `json:"operations"`    // operations that do not apply are skipped

	// Before is how many blocks come before the cache's own, and BeforeRows how many sequences, in an engine that
	// is a [Placer]. The pipeline's own sequences are numbered from BeforeRows on.
	Before     int `json:"before,omitempty"`
	BeforeRows int `json:"before_rows,omitempty"`
}

// Placer is an engine whose cache can be placed behind a number of other blocks and of other sequences, which
// are never touched: [kernels.Engine.Place].
type Placer interface {
	Place(blocks, sequences int) error
}

// Own is a sequence with options of its own, in place of the configuration's.
type Own struct {
	Sequence    kv.SeqID          `json:"sequence"`
	Compression trace.Compression `json:"compression"`
}

// Inputs describes the values of a pipeline's Q, K and V, each a function of its indices.
type Inputs struct {
	Seed     uint64 `json:"seed"`
	Tokens   []int  `json:"tokens"`             // of each sequence
	Integers bool   `json:"integers,omitempty"` // integers −4 to 4, with exact and often equal sums; otherwise −Scale to Scale
	Edges    bool   `json:"edges,omitempty"`    // values at the edges of a cache's formats
	Mirror   bool   `json:"mirror,omitempty"`   // every other token is the negative of the one before it, so that sums become 0
	Rests    bool   `json:"rests,omitempty"`    // with Mirror, half of the values are subnormal and not negated, so that sums become such
	Alike    bool   `json:"alike,omitempty"`    // two layers in a row differ by 1/16 of what they have in common
	Spread   bool   `json:"spread,omitempty"`   // of all bits and of magnitudes down to 2⁻¹⁶·Scale, so that sums and differences are rounded
	Grid     bool   `json:"grid,omitempty"`     // halves from 0 to 3 times a constant, whose quotients lie halfway between two codes
	Ties     bool   `json:"ties,omitempty"`     // halfway between two numbers of the cache's format
	Near     bool   `json:"near,omitempty"`     // with Alike, layers differ by 2⁻²⁰ instead, so that a cosine differs from 1 by a few ulp
	Zeros    bool   `json:"zeros,omitempty"`    // a quarter of the vectors of K and V are 0
	Digits   bool   `json:"digits,omitempty"`   // costs of an OpScores are at the ends of the digits by which kernels search
	// Exponents makes differences of scores at which faults in the computation of e^x show: see exponents.
	Exponents bool `json:"exponents,omitempty"`
	// Deviations is the length of LagKV's segments, if their scores are to be such numbers: see readDeviations.
	Deviations int `json:"deviations,omitempty"`
	// Vectors are numbers of the vectors of K and V, in turn, token by token and again from the first one: see nearTies. With Angles,
	// their cosines are given: see cosines.
	Vectors []uint16 `json:"vectors,omitempty"`
	Angles  bool     `json:"angles,omitempty"`
	Scale   float32  `json:"scale,omitempty"`
}

// config returns the configuration for the engines.
func (p *Pipeline) config() ref.Config {
	cfg := p.Config
	cfg.Shape, cfg.Rope = p.Shape, p.Rope
	return cfg
}

// String returns the pipeline as a line of JSON, from which it can be run again.
func (p Pipeline) String() string {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Sprintf("pipeline: %v", err)
	}
	return string(text)
}

// maxPipelineBytes bounds the cache of a pipeline, and maxBeforeBytes the blocks before it.
const (
	maxPipelineBytes = 1 << 30
	maxBeforeBytes   = 40 << 30
)

// check returns an error if the pipeline cannot be run. It may come from an untrusted file.
func (p Pipeline) check() error {
	cfg := p.config()
	if err := errors.Join(p.Shape.Check(), cfg.Validate()); err != nil {
		return err
	}
	if cfg.Blocks > maxPipelineBytes/cfg.BlockBytes() {
		return fmt.Errorf("blocks %d: a cache of more than %d MiB", cfg.Blocks, maxPipelineBytes>>20)
	}
	if p.Before < 0 || p.Before%32 != 0 || p.Before > maxBeforeBytes/cfg.BlockBytes() {
		return fmt.Errorf("before %d: not a multiple of 32 blocks of up to %d GiB", p.Before, maxBeforeBytes>>30)
	}
	if p.BeforeRows < 0 || p.BeforeRows > farBytes/4/(p.Shape.Layers*p.Shape.KVHeads)+1 {
		return fmt.Errorf("before_rows %d: more lengths than %d GiB", p.BeforeRows, farBytes>>30)
	}
	if s := p.Inputs.Scale; !(s >= 0 && s <= trace.MaxMagnitude) {
		return fmt.Errorf("inputs: scale %v is not from 0 to 2⁵⁶", s)
	}
	if n := p.Inputs.Deviations; n < 0 {
		return fmt.Errorf("inputs: deviations %d: want a length", n)
	}
	for i, n := range p.Inputs.Tokens {
		if n < 0 || n > trace.MaxTokens {
			return fmt.Errorf("inputs: sequence %d has %d tokens", i, n)
		}
	}
	for i, own := range p.Own {
		if _, err := cfg.With(&own.Compression); err != nil {
			return fmt.Errorf("own[%d]: %w", i, err)
		}
		if own.Sequence < 0 || int(own.Sequence) >= len(p.Inputs.Tokens) {
			return fmt.Errorf("own[%d]: sequence %d, and there are inputs for %d", i, own.Sequence, len(p.Inputs.Tokens))
		}
	}
	for i, op := range p.Operations {
		made := op.Kind == OpScores || (op.Kind == OpLater || op.Kind == OpGrow) && op.Tokens >= 0 && op.Tokens <= trace.MaxTokens
		if err := op.check(); err != nil && !(made && len(op.Sequences) == 1) {
			return fmt.Errorf("operations[%d]: %w", i, err)
		}
		for _, id := range op.Sequences {
			if id < 0 || int(id) >= len(p.Inputs.Tokens) {
				return fmt.Errorf("operations[%d]: sequence %d, and there are inputs for %d", i, id, len(p.Inputs.Tokens))
			}
		}
	}
	return nil
}

// Outcome is the result of a pipeline.
type Outcome struct {
	Operations int // number of operations carried out
	Tally
	Divergence *Divergence
}

// Run runs the pipeline on the reference and the engine under test, in lock-step. Before each operation, it
// poisons the unused slots of both. An operation that both refuse, for lack of blocks or because a value does
// not fit the cache's format, must change nothing.
func (p Pipeline) Run(ctx context.Context, test NewEngine, tolerance Tolerance) (_ Outcome, err error) {
	var o Outcome
	pair, err := NewPair(p.config(), p.open, nil, test, tolerance)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()

	if placer, ok := pair.test.(Placer); ok && (p.Before > 0 || p.BeforeRows > 0) {
		if err := placer.Place(p.Before, p.BeforeRows); err != nil {
			return o, err
		}
	}
	tokens := map[kv.SeqID]int{} // tokens of the sequences in the cache
	for n, op := range p.Operations {
		if err := ctx.Err(); err != nil {
			return o, err
		}
		op, ok := p.fitting(op, tokens)
		if !ok {
			continue
		}
		if err := pair.Poison(); err != nil {
			return o, err
		}
		numbered := p.numbered(op)
		if op.Kind == OpScores {
			if err := p.score(pair, op.Sequences[0], n); err != nil {
				return o, err
			}
			o.Operations++
			continue
		}
		if op.Kind == OpLater || op.Kind == OpGrow {
			do := p.later
			if op.Kind == OpGrow {
				do = p.grow
			}
			did, err := do(pair, numbered)
			if err != nil {
				return o, err
			}
			if did {
				tokens[op.Sequences[0]] += op.Tokens
				o.Operations++
			}
			continue
		}
		if op.Kind == OpPrefill {
			if err := p.configure(pair, op.Sequences[0]); err != nil {
				return o, err
			}
		}
		_, err := pair.Do(numbered)
		if stopped(err) {
			return o, err // the engines may have come differently far
		}
		pair.interview()
		o.Operations++
		o.Tally = pair.Tally()
		if o.Divergence = pair.Divergence(); o.Divergence != nil {
			o.Divergence.Step = -1
			return o, nil
		}
		var full *kv.ErrNoBlocks
		var value *ref.ValueError
		switch {
		case errors.As(err, &full) || errors.As(err, &value):
			continue
		case err != nil:
			return o, err
		}
		enter(op, tokens)
	}
	return o, nil
}

// configure gives a sequence its own options before its prefill.
func (p Pipeline) configure(e sim.Cache, id kv.SeqID) error {
	for _, own := range p.Own {
		if own.Sequence == id {
			return e.Configure(p.number(id), &own.Compression)
		}
	}
	return nil
}

// number returns the number under which the engines know a sequence.
func (p *Pipeline) number(id kv.SeqID) kv.SeqID { return id + kv.SeqID(p.BeforeRows) }

// numbered returns an operation with these numbers.
func (p *Pipeline) numbered(op Operation) Operation {
	op.Sequences = slices.Clone(op.Sequences)
	for i, id := range op.Sequences {
		op.Sequences[i] = p.number(id)
	}
	return op
}

// fitting returns the part of an operation that applies, and whether there is any: a prefill needs a sequence
// that is not in the cache, a decode sequences that are and have tokens left, everything else a sequence that
// is in the cache.
func (p Pipeline) fitting(op Operation, tokens map[kv.SeqID]int) (Operation, bool) {
	switch op.Kind {
	case OpPrefill:
		_, in := tokens[op.Sequences[0]]
		return op, !in && op.Tokens <= p.Inputs.Tokens[op.Sequences[0]]
	case OpDecode:
		var batch []kv.SeqID
		for _, id := range op.Sequences {
			if n, in := tokens[id]; in && n < p.Inputs.Tokens[id] {
				batch = append(batch, id)
			}
		}
		op.Sequences = batch
		return op, len(batch) > 0
	case OpLater, OpGrow:
		n, in := tokens[op.Sequences[0]]
		return op, in && n+op.Tokens <= p.Inputs.Tokens[op.Sequences[0]]
	default:
		_, in := tokens[op.Sequences[0]]
		return op, in
	}
}

// enter updates the sequences' token counts after an operation.
func enter(op Operation, tokens map[kv.SeqID]int) {
	switch op.Kind {
	case OpPrefill:
		tokens[op.Sequences[0]] = op.Tokens
	case OpDecode:
		for _, id := range op.Sequences {
			tokens[id]++
		}
	case OpRelease:
		delete(tokens, op.Sequences[0])
	}
}

// open returns the inputs of the sequence that the engines know under a number.
func (p Pipeline) open(number kv.SeqID) (trace.Tensors, error) {
	return &madeUp{p.Shape, p.Inputs, p.Config.DType, p.Config.KVScale, number - kv.SeqID(p.BeforeRows)}, nil
}

// madeUp are the artificial inputs of one sequence.
type madeUp struct {
	shape  kv.Shape
	inputs Inputs
	format dtype.DType // the cache's
	scale  *kv.Scale   // the cache's
	id     kv.SeqID
}

func (m *madeUp) Tokens() int { return m.inputs.Tokens[m.id] }

func (m *madeUp) Close() error { return nil }

func (m *madeUp) Read(dst []float32, t trace.Tensor, layer, from, n int) error {
	row := t.Heads(m.shape) * m.shape.HeadSize
	times := float32(1) // edge values must lie at an edge after division by the scale
	if edges := m.inputs.Edges || m.inputs.Ties; edges && t == trace.K {
		times, _ = m.scale.Of(layer)
	} else if edges && t == trace.V {
		_, times = m.scale.Of(layer)
	}
	apart := float32(1.0 / 16)
	if m.inputs.Near {
		apart = 0x1p-20
	}
	for i := range n {
		key, token, sign := m.inputs.Seed, from+i, float32(1)
		if m.inputs.Mirror {
			token, sign = token&^1, float32(1-2*(token&1))
		}
		of := func(layer int) uint64 {
			key := key
			for _, x := range []uint64{uint64(m.id), uint64(t), uint64(layer), uint64(token)} {
				key = splitmix.Next(key ^ x)
			}
			return key
		}
		own, common := of(layer), of(layer|1)
		if m.inputs.Zeros && t != trace.Q && own>>62 == 0 {
			clear(dst[i*row:][:row])
			continue
		}
		if m.inputs.Exponents {
			m.readExponents(dst[i*row:][:row], own, t, token)
			continue
		}
		if m.inputs.Deviations > 0 {
			m.readDeviations(dst[i*row:][:row], layer, t, token)
			continue
		}
		if m.readVectors(dst[i*row:][:row], layer, t, token) {
			continue
		}
		for j := range row {
			x := m.value(splitmix.Next(own ^ uint64(j)))
			if m.inputs.Alike && own != common {
				x = m.value(splitmix.Next(common^uint64(j))) + x*apart
			}
			if m.inputs.Rests && math.Abs(float64(x)) < 0x1p-126 {
				dst[i*row+j] = x
				continue
			}
			dst[i*row+j] = sign * times * x
		}
	}
	return nil
}

// value makes a value of the random bits of x.
func (m *madeUp) value(x uint64) float32 {
	in := &m.inputs
	switch {
	case in.Rests && x>>7&1 == 0:
		return math.Float32frombits(uint32(x>>32) & 0x807fffff)
	case in.Ties:
		return tie(x, m.format)
	case in.Integers:
		return float32(int(x>>32%9) - 4)
	case in.Edges:
		return edge(x)
	case in.Grid:
		return float32(x>>32%7) / 2 * math.Float32frombits(uint32(in.Seed)&0x7fffff|127<<23) // times 1 to 2
	case x&0x3f == 0:
		return float32(math.Copysign(0, -1))
	case in.Spread:
		smaller := bits.TrailingZeros64(x>>6 | 1<<16)
		return math.Float32frombits(uint32(x>>32)&0x807fffff|uint32(127-smaller)<<23) * in.Scale
	default:
		return float32(int64(x)>>40) / (1 << 23) * in.Scale
	}
}
