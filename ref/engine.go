package ref

import (
	"errors"
	"fmt"

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
	inputs  *Inputs
	observe func(Event)

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
	return &Engine{cfg: cfg, cache: NewCache(cfg), inputs: NewInputs(cfg, open), observe: observe}, nil
}

// Config returns the engine's configuration.
func (e *Engine) Config() Config { return e.cfg }

// Cache returns the engine's cache, to be read.
func (e *Engine) Cache() *Cache { return e.cache }

// Close closes the tensors of every sequence that is still in the cache.
func (e *Engine) Close() error { return e.inputs.Close() }

// Prefill enters the first n tokens of a sequence: it allocates their blocks,
// stores K and V, and initializes the metrics. It returns *ErrNoBlocks, with
// nothing changed, if the blocks are not there.
func (e *Engine) Prefill(id SeqID, n int) error {
	if err := e.inputs.Begin(id, n); err != nil {
		return err
	}
	s, err := e.cache.add(id, n)
	if err != nil {
		return err
	}
	for layer := range e.cfg.Shape.Layers {
		if err := e.prefillLayer(s, layer, n); err != nil {
			return errors.Join(err, e.cache.Remove(id))
		}
	}
	e.report(Event{Stage: StagePrefill, Seqs: []SeqID{id}})
	return nil
}

func (e *Engine) prefillLayer(s *Sequence, layer, n int) error {
	shape := e.cfg.Shape
	d, heads, group := shape.HeadSize, shape.KVHeads, shape.Group
	queries, keys, values, err := e.inputs.Prompt(s.ID, layer, n)
	if err != nil {
		return err
	}
	window := len(queries) / (heads * group * d)
	parallel(workers(heads), heads, func(_, head int) {
		h := &s.Heads[layer*heads+head]
		k := make([]float32, n*d)
		for i := range n {
			row := (i*heads + head) * d
			copy(k[i*d:], keys[row:][:d])
			e.cache.store(e.cache.Slot(h, i), keys[row:][:d], values[row:][:d])
		}
		q := make([]float32, window*group*d)
		for w := range window {
			copy(q[w*group*d:][:group*d], queries[(w*heads+head)*group*d:])
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
	positions := make([]int, len(batch))
	for i, id := range batch {
		positions[i] = -1
		if s := e.cache.Sequence(id); s != nil {
			positions[i] = s.Len
		}
		need += e.cache.DecodeNeed(id)
	}
	if err := e.inputs.Next(batch, positions); err != nil {
		return err
	}
	if free := e.cache.Free(); need > free {
		return &ErrNoBlocks{need, free}
	}
	queries, keys, values, err := e.inputs.Tokens(batch, positions)
	if err != nil {
		return err
	}
	shape := e.cfg.Shape
	q, kv := len(batch)*shape.QueryHeads()*shape.HeadSize, len(batch)*shape.KVHeads*shape.HeadSize
	e.outputs = grow(e.outputs, shape.Layers*q)
	for layer := range shape.Layers {
		e.appendLayer(batch, layer, keys[layer*kv:][:kv], values[layer*kv:][:kv])
		e.attendLayer(batch, layer, queries[layer*q:][:q], e.outputs[layer*q:][:q])
	}
	for _, id := range batch {
		e.cache.Sequence(id).Len++
	}
	e.report(Event{Stage: StageDecode, Seqs: batch, Outputs: e.outputs})
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
	if err := e.cache.Remove(id); err != nil {
		return err
	}
	err := e.inputs.End(id)
	e.report(Event{Stage: StageRelease, Seqs: []SeqID{id}})
	return err
}

func (e *Engine) report(ev Event) {
	ev.Cache = e.cache
	e.observe(ev)
}
