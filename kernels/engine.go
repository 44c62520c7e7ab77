package kernels

import (
	"errors"
	"fmt"
	"slices"

	"kvcompress/kernels/device"
	"kvcompress/ref"
	"kvcompress/trace"
)

// Engine runs the pipeline on a device. It has the methods of [ref.Engine], and
// reports the same events. Of the cache the host keeps the context lengths alone,
// to know how many blocks an operation needs before it asks for it.
//
// An operation that is refused has changed nothing: where blocks or inputs are
// missing, a value does not fit, a sequence is not there. One that the device fails in
// leaves the cache undefined; every later operation returns an error then, until
// [Engine.Restore].
type Engine struct {
	cfg     ref.Config
	state   *state
	inputs  *ref.Inputs
	observe func(ref.Event)

	seqs map[ref.SeqID]*sequence
	used []bool // rows that a sequence has
	held int    // blocks

	broken error // why the cache is undefined; nil if it is not
}

// sequence is what the host knows of a sequence in the cache.
type sequence struct {
	row     int
	tokens  int   // that have entered
	lengths []int // [L·H] context lengths
}

// New returns an engine with an empty cache on a device, which stays the caller's.
// open gives the tensors of a sequence when it is first prefilled. observe is
// called after every stage with the cache as it was read back from the device; if
// it is nil, nothing is read back.
func New(dev device.Device, cfg ref.Config, open func(ref.SeqID) (trace.Tensors, error), observe func(ref.Event), opt Options) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s, err := newState(dev, cfg, 1, 1)
	if err != nil {
		return nil, err
	}
	if err := s.replace(opt); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return &Engine{
		cfg:     cfg,
		state:   s,
		inputs:  ref.NewInputs(cfg, open),
		observe: observe,
		seqs:    map[ref.SeqID]*sequence{},
		used:    make([]bool, s.rows),
	}, nil
}

// Config returns the engine's configuration.
func (e *Engine) Config() ref.Config { return e.cfg }

// Close frees the engine's memory on the device and closes the tensors of every
// sequence that is still in the cache.
func (e *Engine) Close() error { return errors.Join(e.inputs.Close(), e.state.close()) }

// fail notes that the device has failed in the middle of an operation.
func (e *Engine) fail(err error) error {
	e.broken = fmt.Errorf("kernels: the cache is undefined, as an operation before has failed: %w", err)
	return err
}

// Prefill enters the first n tokens of a sequence, as [ref.Engine.Prefill] does.
func (e *Engine) Prefill(id ref.SeqID, n int) error {
	if e.broken != nil {
		return e.broken
	}
	if err := e.inputs.Begin(id, n); err != nil {
		return err
	}
	if e.seqs[id] != nil {
		return fmt.Errorf("kernels: sequence %d is already in the cache", id)
	}
	if need, free := e.PrefillNeed(n), e.Free(); need > free {
		return &ref.ErrNoBlocks{Need: need, Free: free}
	}
	row, err := e.takeRow(e.inputs.Length(id))
	if err != nil {
		return err
	}
	if err := e.state.allocatePrompt(row, id, n); err != nil {
		return e.fail(err)
	}
	e.enter(id, row, n)
	for layer := range e.cfg.Shape.Layers {
		q, k, v, err := e.inputs.Prompt(id, layer, n)
		if err != nil {
			return errors.Join(err, e.leave(id))
		}
		if err := e.prefillLayer(row, layer, n, q, k, v); err != nil {
			return e.fail(err)
		}
	}
	return e.report(ref.Event{Stage: ref.StagePrefill, Seqs: []ref.SeqID{id}})
}

// enter notes that a sequence of n tokens has its blocks.
func (e *Engine) enter(id ref.SeqID, row, n int) {
	s := &sequence{row: row, tokens: n, lengths: slices.Repeat([]int{n}, e.state.heads())}
	e.seqs[id] = s
	e.used[row] = true
	e.held += e.blocks(s)
}

// leave frees a sequence's blocks and its row.
func (e *Engine) leave(id ref.SeqID) error {
	s := e.seqs[id]
	e.held -= e.blocks(s)
	e.used[s.row] = false
	delete(e.seqs, id)
	if err := e.state.release(s.row); err != nil {
		return e.fail(err)
	}
	return nil
}

// maxKVs is how many KVs a head may hold: a grid has at most 65535 blocks in y, one
// for each partition.
const maxKVs = 65535 * ref.Partition

// takeRow returns a row that no sequence has, for one that grows to the given
// number of tokens.
func (e *Engine) takeRow(tokens int) (int, error) {
	if tokens > maxKVs && e.cfg.Blocks > maxKVs/e.cfg.BlockSize {
		return 0, fmt.Errorf("kernels: a sequence of %d tokens: a head holds at most %d", tokens, maxKVs)
	}
	row := slices.Index(e.used, false)
	rows := len(e.used)
	if row < 0 {
		row, rows = rows, 2*rows
	}
	if err := e.state.reserve(rows, tokens); err != nil {
		return 0, e.fail(err)
	}
	e.used = append(e.used, make([]bool, rows-len(e.used))...)
	return row, nil
}

func (e *Engine) prefillLayer(row, layer, n int, q, k, v []float32) error {
	window := min(e.cfg.Metric.Window, n)
	on, err := e.uploadAll(q, k, v)
	if err != nil {
		return err
	}
	if err := e.state.storePrompt(row, layer, n, on.k, on.v); err != nil {
		return err
	}
	return e.state.prefillMetrics(row, layer, n, window, on.q, on.k)
}

// tensors are inputs on the device.
type tensors struct{ q, k, v device.Ptr }

func (e *Engine) uploadAll(q, k, v []float32) (on tensors, err error) {
	if on.q, err = upload(e.state, "q", q); err != nil {
		return on, err
	}
	if on.k, err = upload(e.state, "k", k); err != nil {
		return on, err
	}
	on.v, err = upload(e.state, "v", v)
	return on, err
}

// Decode runs the next token of every sequence of the batch, as
// [ref.Engine.Decode] does.
func (e *Engine) Decode(ids []ref.SeqID) error {
	if e.broken != nil {
		return e.broken
	}
	need := 0
	positions := make([]int, len(ids))
	for i, id := range ids {
		positions[i] = -1
		if s := e.seqs[id]; s != nil {
			positions[i] = s.tokens
		}
		need += e.DecodeNeed(id)
	}
	if err := e.inputs.Next(ids, positions); err != nil {
		return err
	}
	if free := e.Free(); need > free {
		return &ref.ErrNoBlocks{Need: need, Free: free}
	}
	q, k, v, err := e.inputs.Tokens(ids, positions)
	if err != nil {
		return err
	}
	outputs, err := e.decode(ids, need, q, k, v)
	if err != nil {
		return e.fail(err)
	}
	return e.report(ref.Event{Stage: ref.StageDecode, Seqs: ids, Outputs: outputs})
}

// decode enters the next token of every sequence of a batch, which takes need
// blocks. It returns the attention outputs if there is an observer.
func (e *Engine) decode(ids []ref.SeqID, need int, q, k, v []float32) ([]float32, error) {
	on, err := e.uploadAll(q, k, v)
	if err != nil {
		return nil, err
	}
	b, err := e.uploadBatch(ids)
	if err != nil {
		return nil, err
	}
	out, err := e.state.buffer("outputs", 4*len(q))
	if err != nil {
		return nil, err
	}
	if err := e.state.allocateTokens(b, need); err != nil {
		return nil, err
	}
	e.held += need
	for _, id := range ids {
		s := e.seqs[id]
		s.tokens++
		for i := range s.lengths {
			s.lengths[i]++
		}
	}
	shape := e.cfg.Shape
	for layer := range shape.Layers {
		qs := device.Ptr(4 * layer * len(ids) * shape.QueryHeads() * shape.HeadSize)
		kvs := device.Ptr(4 * layer * len(ids) * shape.KVHeads * shape.HeadSize)
		if err := e.state.storeTokens(b, layer, on.k+kvs, on.v+kvs); err != nil {
			return nil, err
		}
		if err := e.state.attend(b, layer, e.longest(ids, layer), on.q+qs, out+qs); err != nil {
			return nil, err
		}
	}
	if e.observe == nil {
		return nil, nil
	}
	return download[float32](e.state, out, len(q))
}

// uploadBatch brings a batch to the device, before its tokens are counted.
func (e *Engine) uploadBatch(ids []ref.SeqID) (b batch, err error) {
	rows, names, positions := make([]int32, len(ids)), make([]int32, len(ids)), make([]int32, len(ids))
	for i, id := range ids {
		s := e.seqs[id]
		rows[i], names[i], positions[i] = int32(s.row), int32(id), int32(s.tokens)
	}
	b.n = len(ids)
	if b.rows, err = upload(e.state, "batch rows", rows); err != nil {
		return b, err
	}
	if b.ids, err = upload(e.state, "batch ids", names); err != nil {
		return b, err
	}
	b.positions, err = upload(e.state, "batch positions", positions)
	return b, err
}

// longest returns the largest context length of a batch's heads in a layer.
func (e *Engine) longest(ids []ref.SeqID, layer int) int {
	heads := e.cfg.Shape.KVHeads
	n := 0
	for _, id := range ids {
		n = max(n, slices.Max(e.seqs[id].lengths[layer*heads:][:heads]))
	}
	return n
}

// Compress runs the three stages of compression on one sequence, as
// [ref.Engine.Compress] does.
func (e *Engine) Compress(id ref.SeqID) (ref.Compressed, error) {
	if e.broken != nil {
		return ref.Compressed{}, e.broken
	}
	s := e.seqs[id]
	if s == nil {
		return ref.Compressed{}, fmt.Errorf("kernels: compress: sequence %d is not in the cache", id)
	}
	done, err := e.compress(id, s)
	if err != nil {
		return ref.Compressed{}, e.fail(err)
	}
	return done, nil
}

func (e *Engine) compress(id ref.SeqID, s *sequence) (ref.Compressed, error) {
	d, err := e.state.decide(s.row, id, s.tokens, s.lengths, e.quotas(s))
	if err != nil {
		return ref.Compressed{}, err
	}
	if err := d.possible(s.lengths); err != nil {
		return ref.Compressed{}, err
	}
	if e.observe != nil {
		decision, err := e.state.readDecision(d)
		if err != nil {
			return ref.Compressed{}, err
		}
		if err := e.report(ref.Event{Stage: ref.StageDecide, Seqs: []ref.SeqID{id}, Decision: &decision}); err != nil {
			return ref.Compressed{}, err
		}
	}
	m, err := e.state.schedule(s.row, d)
	if err != nil {
		return ref.Compressed{}, err
	}
	if err := e.state.move(m); err != nil {
		return ref.Compressed{}, err
	}
	if err := e.state.truncate(s.row, d); err != nil {
		return ref.Compressed{}, err
	}
	done := ref.Compressed{Asked: d.asked, Freed: d.freed(), Moved: m.n}
	e.held -= e.blocks(s)
	for i, lost := range d.heads {
		s.lengths[i] -= lost.kvs
		done.Evicted += lost.kvs
	}
	e.held += e.blocks(s)
	if e.observe == nil {
		return done, nil
	}
	moves, err := e.state.readMoves(m)
	if err != nil {
		return ref.Compressed{}, err
	}
	return done, e.report(ref.Event{Stage: ref.StageMove, Seqs: []ref.SeqID{id}, Moves: moves})
}

// quotas returns what compressing the sequence now asks for.
func (e *Engine) quotas(s *sequence) []ref.Quota {
	kvs := 0
	for _, n := range s.lengths {
		kvs += n
	}
	return e.cfg.Quotas(e.cfg.Count(s.tokens, kvs, e.blocks(s)))
}

// Release frees everything that a sequence holds.
func (e *Engine) Release(id ref.SeqID) error {
	if e.broken != nil {
		return e.broken
	}
	if e.seqs[id] == nil {
		return fmt.Errorf("kernels: sequence %d is not in the cache", id)
	}
	if err := e.leave(id); err != nil {
		return err
	}
	return errors.Join(e.inputs.End(id), e.report(ref.Event{Stage: ref.StageRelease, Seqs: []ref.SeqID{id}}))
}

// report tells the observer what the device's memory holds after a stage.
func (e *Engine) report(ev ref.Event) error {
	if e.observe == nil {
		return nil
	}
	cache, err := e.Cache()
	if err != nil {
		return e.fail(err)
	}
	ev.Cache = cache
	e.observe(ev)
	return nil
}
