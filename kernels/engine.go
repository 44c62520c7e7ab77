package kernels

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// Engine runs the pipeline on a device. It has the methods of [ref.Engine] and reports the same events. Of
// the cache, the host only knows the context lengths, so that it can compute how many blocks an operation
// needs.
//
// An operation that is refused changes nothing: blocks or inputs are missing, a value does not fit the
// format, or a sequence is unknown. If the device fails during an operation, the cache is undefined, and
// every later operation returns an error until [Engine.Restore].
type Engine struct {
	cfg     ref.Config
	method  ref.Method
	own     map[kv.SeqID]rules // of sequences with their own options
	state   *state
	inputs  *ref.Inputs
	observe func(ref.Event)

	seqs map[kv.SeqID]*sequence
	used []bool // rows in use, from the state's firstRow on
	held int    // blocks in use

	broken error // why the cache is undefined, or nil
}

// sequence is what the host knows of a sequence in the cache.
type sequence struct {
	row     int
	prompt  int   // tokens of the prompt
	tokens  int   // all tokens
	lengths []int // [L·H] context lengths

	quantized [2]int // how many keys, and values, of each head are quantized, in layers that are not merged
	merged    int    // how many KVs of each head are merged, in merged layers
	retained  []int  // [pairs of heads, 2] how many of the merged keys, and values, are retained
}

// New returns an engine with an empty cache on a device, which the caller must close. open returns the
// tensors of a sequence when it is first prefilled. observe is called after every stage with the cache as
// read back from the device; if it is nil, nothing is read back.
func New(dev device.Device, cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event), opt Options) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	method, err := cfg.NewMethod()
	if err != nil {
		return nil, err
	}
	return newEngine(dev, cfg, method, open, observe, opt)
}

// newEngine is New with a method that need not be in the table of methods.
func newEngine(dev device.Device, cfg ref.Config, method ref.Method, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event), opt Options) (*Engine, error) {
	if err := supported(method, cfg.Shape); err != nil {
		return nil, err
	}
	s, err := newState(dev, cfg, method, 1, 1)
	if err != nil {
		return nil, err
	}
	s.fresh = opt.FreshBuffers
	if opt.PrefillBytes > 0 {
		s.mostWeights = opt.PrefillBytes
	}
	if opt.Context != nil {
		s.ctx = opt.Context
	}
	if err := s.replace(opt); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return &Engine{
		cfg:     cfg,
		method:  method,
		own:     map[kv.SeqID]rules{},
		state:   s,
		inputs:  ref.NewInputs(cfg, s.watched, open),
		observe: observe,
		seqs:    map[kv.SeqID]*sequence{},
		used:    make([]bool, s.rows-s.firstRow),
	}, nil
}

// Config returns the engine's configuration.
func (e *Engine) Config() ref.Config { return e.cfg }

// Close frees the engine's memory on the device and closes the tensors of every
// sequence that is still in the cache.
func (e *Engine) Close() error { return errors.Join(e.inputs.Close(), e.state.close()) }

// Place places the cache at the end of a larger one, so that kernels get larger block and row numbers. blocks
// is the number of blocks in front of it, a multiple of 32, and rows the number of rows in front of its
// sequences' rows; none of them is ever free. For the caller, blocks are still numbered from 0. It is for tests
// of what a small cache does not reach, such as offsets beyond 2 GiB; the memory in front is allocated but never
// accessed. The cache must be empty.
func (e *Engine) Place(blocks, rows int) error {
	s := e.state
	if blocks < 0 || blocks%32 != 0 || len(e.seqs) > 0 || blocks > math.MaxInt32/e.cfg.BlockSize-e.cfg.Blocks {
		return fmt.Errorf("kernels: a cache with %d sequences cannot be placed after %d blocks", len(e.seqs), blocks)
	}
	if rows < 0 || rows > math.MaxInt32/2 {
		return fmt.Errorf("kernels: a cache cannot be placed after %d rows", rows)
	}
	arrays := []*device.Ptr{&s.tables, &s.lengths, &s.owners, &s.free}
	for _, a := range s.slotArrays() {
		arrays = append(arrays, a.at)
	}
	for _, p := range arrays {
		if err := s.dev.Free(*p); err != nil {
			return e.fail(err)
		}
		*p = 0
	}
	s.rows += rows - s.firstRow
	s.first, s.firstRow = blocks, rows
	if err := errors.Join(s.allocate(), s.clearTables(), s.moveLists()); err != nil {
		return e.fail(err)
	}
	return nil
}

// fail records that the device has failed during an operation.
func (e *Engine) fail(err error) error {
	e.broken = fmt.Errorf("kernels: the cache is undefined, because an earlier operation failed: %w", err)
	return err
}

// Prefill enters the first n tokens of a recorded sequence, as [ref.Engine.Prefill]
// does.
func (e *Engine) Prefill(id kv.SeqID, n int) error {
	if e.broken != nil {
		return e.broken
	}
	if err := e.inputs.Begin(id, n); err != nil {
		return err
	}
	p, err := e.beginPrompt(id, n, e.inputs.Length(id))
	if err != nil {
		return err
	}
	for layer := range e.cfg.Shape.Layers {
		q, k, v, err := e.inputs.Prompt(id, layer, n)
		if err != nil {
			return errors.Join(err, e.leave(id))
		}
		if err := p.enter(layer, q, k, v); err != nil {
			return err
		}
	}
	return p.End()
}

// enter records a sequence of n tokens whose blocks are allocated.
func (e *Engine) enter(id kv.SeqID, row, n int) {
	s := &sequence{row: row, prompt: n, tokens: n, lengths: slices.Repeat([]int{n}, e.state.heads())}
	s.retained = make([]int, 2*e.state.packing.pairs()*e.cfg.Shape.KVHeads)
	e.seqs[id] = s
	e.use(row, true)
	e.held += e.blocks(s)
}

// leave frees a sequence's blocks and its row.
func (e *Engine) leave(id kv.SeqID) error {
	s := e.seqs[id]
	e.held -= e.blocks(s)
	e.use(s.row, false)
	delete(e.seqs, id)
	release := e.state.release
	if e.state.packing != nil {
		release = func(int) error { return e.releasePacked(s) }
	}
	if err := release(s.row); err != nil {
		return e.fail(err)
	}
	return nil
}

// maxGridY is the largest number of thread blocks of a grid in y.
const maxGridY = 65535

// maxKVs is the largest number of KVs of a head: a grid has a thread block in y for each partition.
const maxKVs = maxGridY * ref.Partition

// takeRow returns an unused row, for a sequence that grows to the given number of tokens.
func (e *Engine) takeRow(tokens int) (int, error) {
	if tokens > maxKVs && e.cfg.Blocks > maxKVs/e.cfg.BlockSize {
		return 0, fmt.Errorf("kernels: a sequence of %d tokens: a head holds at most %d", tokens, maxKVs)
	}
	row := slices.Index(e.used, false)
	rows := len(e.used)
	if row < 0 {
		row, rows = rows, 2*rows
	}
	if err := e.state.reserve(e.state.firstRow+rows, tokens); err != nil {
		return 0, e.fail(err)
	}
	e.used = append(e.used, make([]bool, rows-len(e.used))...)
	return e.state.firstRow + row, nil
}

// use notes whether a sequence has the row.
func (e *Engine) use(row int, has bool) { e.used[row-e.state.firstRow] = has }

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

// Decode runs the next token of every recorded sequence of the batch, as
// [ref.Engine.Decode] does.
func (e *Engine) Decode(ids []kv.SeqID) error {
	if e.broken != nil {
		return e.broken
	}
	positions := make([]int, len(ids))
	for i, id := range ids {
		positions[i] = -1
		if s := e.seqs[id]; s != nil {
			positions[i] = s.tokens
		}
	}
	if err := e.inputs.Next(ids, positions); err != nil {
		return err
	}
	t, err := e.BeginTokens(ids)
	if err != nil {
		return err
	}
	q, k, v, err := e.inputs.Tokens(ids, positions)
	if err != nil {
		return err
	}
	outputs, err := e.decode(t, q, k, v)
	if err != nil {
		return err
	}
	return t.end(outputs)
}

// decode runs all layers with inputs that are uploaded together. It returns the attention outputs if there is
// an observer.
func (e *Engine) decode(t *Tokens, q, k, v []float32) ([]float32, error) {
	on, err := e.uploadAll(q, k, v)
	if err != nil {
		return nil, e.fail(err)
	}
	out, err := e.state.buffer("outputs", 4*len(q))
	if err != nil {
		return nil, e.fail(err)
	}
	if err := t.start(); err != nil {
		return nil, err
	}
	for layer := range e.cfg.Shape.Layers {
		of := func(p device.Ptr, all []float32) device.Ptr {
			return p + device.Ptr(4*layer*(len(all)/e.cfg.Shape.Layers))
		}
		if err := t.step(layer, tensors{of(on.q, q), of(on.k, k), of(on.v, v)}, of(out, q)); err != nil {
			return nil, err
		}
	}
	if e.observe == nil {
		return nil, nil
	}
	outputs, err := download[float32](e.state, out, len(q))
	if err != nil {
		return nil, e.fail(err)
	}
	return outputs, nil
}

// uploadBatch uploads a batch, with the positions of the next tokens or, with after = −1, of the newest.
func (e *Engine) uploadBatch(ids []kv.SeqID, after int) (b batch, err error) {
	rows, names, positions := make([]int32, len(ids)), make([]int32, len(ids)), make([]int32, len(ids))
	for i, id := range ids {
		s := e.seqs[id]
		rows[i], names[i], positions[i] = int32(s.row), int32(id), int32(s.tokens+after)
		b.longest = max(b.longest, s.tokens+1)
	}
	b.n = len(ids)
	if b.rows, err = upload(e.state, "batch rows", rows); err != nil {
		return b, err
	}
	if b.ids, err = upload(e.state, "batch ids", names); err != nil {
		return b, err
	}
	if b.positions, err = upload(e.state, "batch positions", positions); err != nil {
		return b, err
	}
	if err := e.uploadPacked(&b, ids); err != nil {
		return b, err
	}
	b.times, err = e.times(ids, positions, b.positions)
	return b, err
}

// uploadPacked writes to the device how many keys and values of each sequence's heads are in pages of their own.
func (e *Engine) uploadPacked(b *batch, ids []kv.SeqID) error {
	z := e.state.packing
	if z == nil {
		return nil
	}
	var quantized, merged []int32
	for _, id := range ids {
		s := e.seqs[id]
		quantized = append(quantized, int32(s.quantized[0]), int32(s.quantized[1]))
		merged = append(merged, int32(s.merged), int32(s.merged))
	}
	var err error
	if z.quantizer != nil {
		if b.quantized, err = upload(e.state, "quantized KVs", quantized); err != nil {
			return err
		}
	}
	if z.merger != nil {
		b.merged, err = upload(e.state, "merged KVs", merged)
	}
	return err
}

// longest returns the largest context length of a batch's heads in a layer.
func (e *Engine) longest(ids []kv.SeqID, layer int) int {
	heads := e.cfg.Shape.KVHeads
	n := 0
	for _, id := range ids {
		n = max(n, slices.Max(e.seqs[id].lengths[layer*heads:][:heads]))
	}
	return n
}

// Compress has the method plan a compression of one sequence, and carries it out, as
// [ref.Engine.Compress] does.
func (e *Engine) Compress(id kv.SeqID) (ref.Compressed, error) {
	if e.broken != nil {
		return ref.Compressed{}, e.broken
	}
	s := e.seqs[id]
	if s == nil {
		return ref.Compressed{}, fmt.Errorf("kernels: compress: sequence %d is not in the cache", id)
	}
	method := e.rulesFor(id).method
	if ref.KeepsAll(method) {
		return e.repack(id, s, method)
	}
	c := changeOf(method, e.counts(s))
	if err := e.state.check(&c); err != nil {
		return ref.Compressed{}, err
	}
	done, err := e.compress(id, s, &c)
	if err != nil {
		return ref.Compressed{}, e.fail(err)
	}
	return done, nil
}

func (e *Engine) compress(id kv.SeqID, s *sequence, c *change) (ref.Compressed, error) {
	d, err := e.state.decide(s.row, id, s.tokens, s.lengths, *c)
	if err != nil {
		return ref.Compressed{}, err
	}
	if c.hiding != nil {
		d.asked = c.asked
	}
	if e.observe != nil {
		plan, err := e.state.readPlan(d, c)
		if err != nil {
			return ref.Compressed{}, err
		}
		if err := e.report(ref.Event{Stage: ref.StageDecide, Seqs: []kv.SeqID{id}, Plan: &plan, Parts: plan.Parts(len(s.lengths))}); err != nil {
			return ref.Compressed{}, err
		}
	}
	if err := d.whole(c.Unit); err != nil {
		return ref.Compressed{}, err
	}
	done := ref.Compressed{Asked: d.asked}
	var m moves
	if c.hides() {
		done.Hidden = d.evicts() + len(d.heads)*c.hiding.Also
		err = e.state.hide(s.row, d, c.hiding)
	} else {
		m, err = e.pack(s, d, c, &done)
	}
	if err != nil {
		return ref.Compressed{}, err
	}
	if e.observe == nil {
		return done, nil
	}
	moves, err := e.state.readMoves(m)
	if err != nil {
		return ref.Compressed{}, err
	}
	return done, e.report(ref.Event{Stage: ref.StageMove, Seqs: []kv.SeqID{id}, Parts: []ref.Part{ref.MovesPart(moves)}})
}

// pack folds the KVs of a decision if the method folds, and moves the remaining KVs.
func (e *Engine) pack(s *sequence, d decision, c *change, done *ref.Compressed) (moves, error) {
	if c.folding != nil {
		if err := e.state.fold(s.row, d, c.folding); err != nil {
			return moves{}, err
		}
	}
	m, err := e.state.schedule(s.row, d)
	if err != nil {
		return m, err
	}
	if err := e.state.move(m); err != nil {
		return m, err
	}
	if err := e.state.truncate(s.row, d); err != nil {
		return m, err
	}
	done.Freed, done.Moved = d.freed(), m.n
	e.held -= e.blocks(s)
	for i, lost := range d.heads {
		s.lengths[i] -= lost.kvs
		done.Evicted += lost.kvs
	}
	e.held += e.blocks(s)
	return m, nil
}

// counts returns the sequence's lengths.
func (e *Engine) counts(s *sequence) ref.Counts {
	c := ref.Counts{Prompt: s.prompt, Tokens: s.tokens, Heads: s.lengths}
	if s.quantized != [2]int{} || s.merged > 0 {
		for _, h := range e.heads(s) {
			c.Keys, c.Values = append(c.Keys, h.End(kv.Keys)), append(c.Values, h.End(kv.Values))
		}
	}
	return c
}

// Release frees all blocks of a sequence.
func (e *Engine) Release(id kv.SeqID) error {
	if e.broken != nil {
		return e.broken
	}
	if e.seqs[id] == nil {
		return fmt.Errorf("kernels: sequence %d is not in the cache", id)
	}
	if err := e.leave(id); err != nil {
		return err
	}
	delete(e.own, id)
	return errors.Join(e.inputs.End(id), e.report(ref.Event{Stage: ref.StageRelease, Seqs: []kv.SeqID{id}}))
}

// report reads the cache back after a stage and passes it to the observer.
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
