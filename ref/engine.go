package ref

import (
	"errors"
	"fmt"
	"slices"

	"kvcompress/trace"
)

// Stage names a point of the pipeline at which the engine's state is defined to
// the bit, and at which engines are compared.
type Stage string

// The stages, in the order in which one sequence passes them.
const (
	StagePrefill Stage = "prefill" // a prompt is in the cache, with its first metrics
	StageDecode  Stage = "decode"  // a batch has one token more, attention outputs and metrics
	StageDecide  Stage = "decide"  // it is known which KVs of a sequence fall
	StageMove    Stage = "move"    // the survivors are packed and the blocks freed
	StageRelease Stage = "release" // a sequence has left
)

// Event is what an engine reports when a stage is done. It is valid only during
// the call.
type Event struct {
	Stage    Stage
	Seqs     []SeqID
	Cache    *Cache    // as the stage has left it, to be read
	Outputs  []float32 // StageDecode: [L, sequences, H·G, D]
	Decision *Decision // StageDecide
	Moves    []Move    // StageMove: of all heads, in (layer, head) order
}

// Engine runs the pipeline over the Q, K and V of recorded requests.
type Engine struct {
	cfg     Config
	cache   *Cache
	open    func(SeqID) (trace.Tensors, error)
	sources map[SeqID]*source
	observe func(Event)

	q, k, v []float32
	outputs []float32
	scratch []attention // one for each worker
}

// NewEngine returns an engine with an empty cache. open gives the tensors of a
// sequence when it is first prefilled; the engine closes them when the sequence
// is released. observe, which may be nil, is called after every stage.
func NewEngine(cfg Config, open func(SeqID) (trace.Tensors, error), observe func(Event)) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if observe == nil {
		observe = func(Event) {}
	}
	return &Engine{
		cfg:     cfg,
		cache:   NewCache(cfg),
		open:    open,
		sources: map[SeqID]*source{},
		observe: observe,
	}, nil
}

// Config returns the engine's configuration.
func (e *Engine) Config() Config { return e.cfg }

// Cache returns the engine's cache, to be read.
func (e *Engine) Cache() *Cache { return e.cache }

// Close closes the tensors of every sequence that is still in the cache.
func (e *Engine) Close() error {
	var errs []error
	for id, src := range e.sources {
		errs = append(errs, src.Close())
		delete(e.sources, id)
	}
	return errors.Join(errs...)
}

// Prefill enters the first n tokens of a sequence: it allocates their blocks,
// stores K and V, and initializes the metrics. It returns *ErrNoBlocks, with
// nothing changed, if the blocks are not there.
func (e *Engine) Prefill(id SeqID, n int) error {
	if n < 1 {
		return fmt.Errorf("ref: prefill of sequence %d with %d tokens", id, n)
	}
	src, err := e.source(id)
	if err != nil {
		return err
	}
	if n > src.Tokens() {
		return fmt.Errorf("ref: prefill of sequence %d: %d tokens, its trace has %d", id, n, src.Tokens())
	}
	if err := e.cfg.PrefillFits(n); err != nil {
		return fmt.Errorf("ref: prefill of sequence %d: %w", id, err)
	}
	s, err := e.cache.add(id, n)
	if err != nil {
		return err
	}
	for layer := range e.cfg.Shape.Layers {
		if err := e.prefillLayer(s, src, layer, n); err != nil {
			return errors.Join(err, e.cache.Remove(id))
		}
	}
	e.report(Event{Stage: StagePrefill, Seqs: []SeqID{id}})
	return nil
}

func (e *Engine) prefillLayer(s *Sequence, src *source, layer, n int) error {
	shape := e.cfg.Shape
	d, heads, group := shape.HeadSize, shape.KVHeads, shape.Group
	window := min(e.cfg.Metric.Window, n)
	e.q = grow(e.q, window*heads*group*d)
	e.k = grow(e.k, n*heads*d)
	e.v = grow(e.v, n*heads*d)
	if err := src.Read(e.q, trace.Q, layer, n-window, window); err != nil {
		return err
	}
	if err := src.readKV(e.k, e.v, layer, 0, n); err != nil {
		return err
	}
	parallel(workers(heads), heads, func(_, head int) {
		h := &s.Heads[layer*heads+head]
		k := make([]float32, n*d)
		for i := range n {
			row := (i*heads + head) * d
			copy(k[i*d:], e.k[row:][:d])
			e.cache.store(e.cache.Slot(h, i), e.k[row:][:d], e.v[row:][:d])
		}
		q := make([]float32, window*group*d)
		for w := range window {
			copy(q[w*group*d:][:group*d], e.q[(w*heads+head)*group*d:])
		}
		metrics := make([]float32, n)
		e.cfg.Metric.PrefillMetrics(metrics, q, k, group, d)
		for i, m := range metrics {
			e.cache.Metrics[e.cache.Slot(h, i)] = m
		}
	})
	return nil
}

// Decode runs the next token of every sequence of the batch: append, attend,
// record. It returns *ErrNoBlocks, with nothing changed, if the blocks are not
// there.
func (e *Engine) Decode(batch []SeqID) error {
	need := 0
	for i, id := range batch {
		if slices.Contains(batch[:i], id) {
			return fmt.Errorf("ref: decode: sequence %d is in the batch twice", id)
		}
		s := e.cache.Sequence(id)
		if s == nil {
			return fmt.Errorf("ref: decode: sequence %d is not in the cache", id)
		}
		if tokens := e.sources[id].Tokens(); s.Len >= tokens {
			return fmt.Errorf("ref: decode: sequence %d: token %d is asked for, its trace has %d", id, s.Len, tokens)
		}
		need += e.cache.DecodeNeed(id)
	}
	if free := e.cache.Free(); need > free {
		return &ErrNoBlocks{need, free}
	}
	if err := e.readTokens(batch); err != nil {
		return err
	}
	shape := e.cfg.Shape
	q, kv := len(batch)*shape.QueryHeads()*shape.HeadSize, len(batch)*shape.KVHeads*shape.HeadSize
	e.outputs = grow(e.outputs, shape.Layers*q)
	for layer := range shape.Layers {
		e.appendLayer(batch, layer, e.k[layer*kv:][:kv], e.v[layer*kv:][:kv])
		e.attendLayer(batch, layer, e.q[layer*q:][:q], e.outputs[layer*q:][:q])
	}
	for _, id := range batch {
		e.cache.Sequence(id).Len++
	}
	e.report(Event{Stage: StageDecode, Seqs: batch, Outputs: e.outputs})
	return nil
}

// readTokens reads the next token of every sequence of the batch, in all layers
// at once, so that bad input is met before anything has changed: e.q becomes
// [L, sequences, H·G, D], e.k and e.v [L, sequences, H, D].
func (e *Engine) readTokens(batch []SeqID) error {
	shape := e.cfg.Shape
	qRow, kvRow := shape.QueryHeads()*shape.HeadSize, shape.KVHeads*shape.HeadSize
	e.q = grow(e.q, shape.Layers*len(batch)*qRow)
	e.k = grow(e.k, shape.Layers*len(batch)*kvRow)
	e.v = grow(e.v, shape.Layers*len(batch)*kvRow)
	for layer := range shape.Layers {
		for b, id := range batch {
			src, t, i := e.sources[id], e.cache.Sequence(id).Len, layer*len(batch)+b
			if err := src.Read(e.q[i*qRow:][:qRow], trace.Q, layer, t, 1); err != nil {
				return err
			}
			if err := src.readKV(e.k[i*kvRow:][:kvRow], e.v[i*kvRow:][:kvRow], layer, t, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// appendLayer stores the K and V of the batch's next token in one layer, in
// (sequence, head) order; k and v are [sequences, H, D].
func (e *Engine) appendLayer(batch []SeqID, layer int, k, v []float32) {
	d, heads := e.cfg.Shape.HeadSize, e.cfg.Shape.KVHeads
	for b, id := range batch {
		s := e.cache.Sequence(id)
		for head := range heads {
			slot := e.cache.append(s, layer, head, int32(s.Len))
			row := (b*heads + head) * d
			e.cache.store(slot, k[row:][:d], v[row:][:d])
		}
	}
}

// attendLayer attends and records metrics for every head of every sequence of
// the batch; q and out are [sequences, H·G, D].
func (e *Engine) attendLayer(batch []SeqID, layer int, q, out []float32) {
	shape := e.cfg.Shape
	heads, group := shape.KVHeads, shape.Group
	size := group * shape.HeadSize // of one KV head's queries, and of its output
	n := len(batch) * heads
	w := workers(n)
	if len(e.scratch) < w {
		e.scratch = make([]attention, w)
	}
	parallel(w, n, func(worker, i int) {
		a := &e.scratch[worker]
		s := e.cache.Sequence(batch[i/heads])
		h := &s.Heads[layer*heads+i%heads]
		a.attend(e.cache, h, q[i*size:][:size], out[i*size:][:size], group)
		a.record(e.cache, h, &e.cfg.Metric, s.Len, group)
	})
}

// Blocks returns N, the number of physical blocks.
func (e *Engine) Blocks() int { return e.cache.Blocks() }

// Free returns the number of free blocks.
func (e *Engine) Free() int { return e.cache.Free() }

// PrefillNeed returns how many blocks a prefill of n tokens takes.
func (e *Engine) PrefillNeed(n int) int { return e.cache.PrefillNeed(n) }

// DecodeNeed returns how many blocks the next token of a sequence takes.
func (e *Engine) DecodeNeed(id SeqID) int { return e.cache.DecodeNeed(id) }

// Held returns how many blocks a sequence holds.
func (e *Engine) Held(id SeqID) int {
	if s := e.cache.Sequence(id); s != nil {
		return s.Blocks()
	}
	return 0
}

// Usage returns how the cache is filled.
func (e *Engine) Usage() Usage { return e.cache.Usage() }

// HeadUsage returns what each head holds.
func (e *Engine) HeadUsage() HeadUsage { return e.cache.HeadUsage() }

// Count returns how many blocks compressing the sequence now would ask for: what
// stage 1 counts, as far as it can be spread over the heads.
func (e *Engine) Count(id SeqID) int {
	s := e.cache.Sequence(id)
	if s == nil {
		return 0
	}
	return asked(e.cfg.Quotas(e.cfg.Count(s.Len, s.KVs(), s.Blocks())))
}

// Compressed is what one compression of a sequence did.
type Compressed struct {
	Asked, Freed int // blocks
	Evicted      int // KVs
	Moved        int // KVs
}

// Compress runs the three stages of compression on one sequence.
func (e *Engine) Compress(id SeqID) (Compressed, error) {
	s := e.cache.Sequence(id)
	if s == nil {
		return Compressed{}, fmt.Errorf("ref: compress: sequence %d is not in the cache", id)
	}
	d := Decide(e.cfg.Problem(e.cache, s))
	e.report(Event{Stage: StageDecide, Seqs: []SeqID{id}, Decision: &d})

	var moves []Move
	for i := range s.Heads {
		moves = Moves(moves, &s.Heads[i], e.cfg.BlockSize, d.Heads[i].KVs)
	}
	e.cache.move(moves)
	for i := range s.Heads {
		h := &s.Heads[i]
		e.cache.truncate(h, h.Len-len(d.Heads[i].KVs))
	}
	e.report(Event{Stage: StageMove, Seqs: []SeqID{id}, Moves: moves})
	return Compressed{d.Asked, d.Evicted, d.KVs(), len(moves)}, nil
}

// Release frees everything that a sequence holds: it has finished, or is
// preempted and will be prefilled anew.
func (e *Engine) Release(id SeqID) error {
	err := e.cache.Remove(id)
	if err != nil {
		return err
	}
	if src := e.sources[id]; src != nil {
		delete(e.sources, id)
		err = src.Close()
	}
	e.report(Event{Stage: StageRelease, Seqs: []SeqID{id}})
	return err
}

func (e *Engine) report(ev Event) {
	ev.Cache = e.cache
	e.observe(ev)
}

// source returns the open tensors of a sequence.
func (e *Engine) source(id SeqID) (*source, error) {
	if src := e.sources[id]; src != nil {
		return src, nil
	}
	tensors, err := e.open(id)
	if err != nil {
		return nil, err
	}
	src := &source{tensors, id, e.cfg.DType, e.cfg.Shape}
	e.sources[id] = src
	return src, nil
}
