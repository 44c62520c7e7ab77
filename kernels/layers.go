package kernels

import (
	"errors"
	"fmt"
	"slices"

	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
)

// Prompt is a prompt that enters an engine's cache layer by layer, as [ref.Prompt] is.
type Prompt struct {
	e     *Engine
	id    kv.SeqID
	s     *sequence
	layer int // the next layer to enter
}

// BeginPrompt allocates the blocks of a sequence's first n tokens, as
// [ref.Engine.BeginPrompt] does.
func (e *Engine) BeginPrompt(id kv.SeqID, n int) (*Prompt, error) {
	if e.broken != nil {
		return nil, e.broken
	}
	if n < 1 {
		return nil, fmt.Errorf("kernels: prompt of sequence %d with %d tokens", id, n)
	}
	return e.beginPrompt(id, n, n)
}

// beginPrompt begins the prompt of a sequence that is expected to grow to the given number of tokens.
func (e *Engine) beginPrompt(id kv.SeqID, n, grows int) (*Prompt, error) {
	if e.seqs[id] != nil {
		return nil, fmt.Errorf("kernels: sequence %d is already in the cache", id)
	}
	if need, free := e.PrefillNeed(n), e.Free(); need > free {
		return nil, &kv.ErrNoBlocks{Need: need, Free: free}
	}
	row, err := e.takeRow(grows)
	if err != nil {
		return nil, err
	}
	if err := e.state.allocatePrompt(row, id, n); err != nil {
		return nil, e.fail(err)
	}
	e.enter(id, row, n)
	if err := e.writeHeld(e.seqs[id]); err != nil {
		return nil, e.fail(err)
	}
	return &Prompt{e: e, id: id, s: e.seqs[id]}, nil
}

// Layer enters the prompt's next layer, as [ref.Prompt.Layer] does.
func (p *Prompt) Layer(q, k, v []float32) error {
	if p.e.broken != nil {
		return p.e.broken
	}
	if err := p.e.cfg.CheckPrompt(p.id, p.layer, p.s.tokens, p.e.state.watched.Queries(p.s.tokens), q, k, v); err != nil {
		return err
	}
	if err := p.enter(p.layer, q, k, v); err != nil {
		return err
	}
	p.layer++
	return nil
}

// enter stores a layer and fills the column that the method observes.
func (p *Prompt) enter(layer int, q, k, v []float32) error {
	e, n := p.e, p.s.tokens
	on, err := e.uploadAll(q, k, v)
	if err != nil {
		return e.fail(err)
	}
	if err := e.state.storePrompt(p.s.row, layer, n, on.k, on.v); err != nil {
		return e.fail(err)
	}
	if err := e.state.promptNumbers(e.rulesFor(p.id).watched, p.s.row, layer, n, on); err != nil {
		return e.fail(err)
	}
	return nil
}

// End completes the prompt.
func (p *Prompt) End() error {
	return p.e.report(ref.Event{Stage: ref.StagePrefill, Seqs: []kv.SeqID{p.id}})
}

// Tokens is a decode step that enters layer by layer: one more token of each sequence of a batch, as
// [ref.Tokens] is.
type Tokens struct {
	e     *Engine
	ids   []kv.SeqID
	need  int // blocks
	batch batch
	layer int // the next layer to enter
}

// BeginTokens begins a decode step, as [ref.Engine.BeginTokens] does.
func (e *Engine) BeginTokens(ids []kv.SeqID) (*Tokens, error) {
	if e.broken != nil {
		return nil, e.broken
	}
	if len(ids) == 0 {
		return nil, errors.New("kernels: decode of no sequences")
	}
	need := 0
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			return nil, fmt.Errorf("kernels: decode: sequence %d is in the batch twice", id)
		}
		if e.seqs[id] == nil {
			return nil, fmt.Errorf("kernels: decode: sequence %d is not in the cache", id)
		}
		need += e.DecodeNeed(id)
	}
	if free := e.Free(); need > free {
		return nil, &kv.ErrNoBlocks{Need: need, Free: free}
	}
	return &Tokens{e: e, ids: ids, need: need}, nil
}

// start allocates the blocks for the batch's tokens in all layers, and counts the tokens.
func (t *Tokens) start() error {
	e := t.e
	longest := 0
	for _, id := range t.ids {
		longest = max(longest, slices.Max(e.seqs[id].lengths)+1)
	}
	if e.state.tableBlocks(longest) > e.state.maxBlocks { // a sequence has grown further than expected
		if err := e.state.reserve(e.state.rows, 2*longest); err != nil {
			return e.fail(err)
		}
	}
	var err error
	if t.batch, err = e.uploadBatch(t.ids, 0); err != nil {
		return e.fail(err)
	}
	if err := e.state.allocateTokens(t.batch, t.need); err != nil {
		return e.fail(err)
	}
	e.held += t.need
	for _, id := range t.ids {
		s := e.seqs[id]
		s.tokens++
		for i := range s.lengths {
			s.lengths[i]++
		}
	}
	return nil
}

// Layer appends K and V of the tokens in the next layer and attends with their queries,
// as [ref.Tokens.Layer] does.
func (t *Tokens) Layer(q, k, v, out []float32) error {
	e := t.e
	if e.broken != nil {
		return e.broken
	}
	positions := make([]int, len(t.ids))
	for i, id := range t.ids {
		positions[i] = e.seqs[id].tokens - min(t.layer, 1) // from the second layer on, tokens includes the new one
	}
	if err := e.cfg.CheckTokens(t.ids, positions, t.layer, q, k, v, out); err != nil {
		return err
	}
	if t.layer == 0 {
		if err := t.start(); err != nil {
			return err
		}
	}
	on, err := e.uploadAll(q, k, v)
	if err != nil {
		return e.fail(err)
	}
	outputs, err := e.state.buffer("outputs", 4*len(q))
	if err != nil {
		return e.fail(err)
	}
	if err := t.step(t.layer, on, outputs); err != nil {
		return err
	}
	values, err := download[float32](e.state, outputs, len(q))
	if err != nil {
		return e.fail(err)
	}
	copy(out, values)
	t.layer++
	return nil
}

// step runs one layer.
func (t *Tokens) step(layer int, on tensors, out device.Ptr) error {
	if err := t.e.state.storeTokens(t.batch, layer, on.k, on.v); err != nil {
		return t.e.fail(err)
	}
	if err := t.hideNew(layer); err != nil {
		return t.e.fail(err)
	}
	if err := t.e.state.attend(t.batch, layer, t.e.longest(t.ids, layer), on.q, out); err != nil {
		return t.e.fail(err)
	}
	return nil
}

// hideNew hides the batch's tokens in one layer from their own queries, if the method does so.
func (t *Tokens) hideNew(layer int) error {
	if _, ok := t.e.method.(ref.Masker); !ok {
		return nil
	}
	heads := t.e.cfg.Shape.KVHeads
	which, some := make([]int32, 0, len(t.ids)*heads), false
	for _, id := range t.ids {
		s := t.e.seqs[id]
		masker, ok := t.e.rulesFor(id).method.(ref.Masker)
		for _, n := range s.lengths[layer*heads:][:heads] {
			hides := int32(0)
			if ok && masker.HidesNew(s.prompt, n-1) {
				hides, some = 1, true
			}
			which = append(which, hides)
		}
	}
	if !some {
		return nil
	}
	return t.e.state.hideTokens(t.batch, layer, which)
}

// End completes the step.
func (t *Tokens) End() error { return t.end(nil) }

func (t *Tokens) end(outputs []float32) error {
	ev := ref.Event{Stage: ref.StageDecode, Seqs: t.ids}
	if outputs != nil {
		ev.Parts = []ref.Part{ref.OutputsPart(outputs, t.e.cfg.Shape, len(t.ids))}
	}
	return t.e.report(ev)
}

// Attend computes attention of queries at the position of a sequence's newest token, in one layer, as
// [ref.Engine.Attend] does. It stores nothing and does not update the observed column.
func (e *Engine) Attend(id kv.SeqID, layer int, q, out []float32) error {
	s, shape := e.seqs[id], e.cfg.Shape
	size := shape.QueryHeads() * shape.HeadSize
	switch {
	case e.broken != nil:
		return e.broken
	case s == nil:
		return fmt.Errorf("kernels: attend: sequence %d is not in the cache", id)
	case layer < 0 || layer >= shape.Layers:
		return fmt.Errorf("kernels: attend: layer %d of %d", layer, shape.Layers)
	case len(q) != size || len(out) != size:
		return fmt.Errorf("kernels: attend: %d numbers of queries and %d of output, want %d", len(q), len(out), size)
	}
	values, err := e.attend(id, layer, q)
	if err != nil {
		return e.fail(err)
	}
	copy(out, values)
	return nil
}

func (e *Engine) attend(id kv.SeqID, layer int, q []float32) ([]float32, error) {
	ids := []kv.SeqID{id}
	b, err := e.uploadBatch(ids, -1)
	if err != nil {
		return nil, err
	}
	queries, err := upload(e.state, "q", q)
	if err != nil {
		return nil, err
	}
	outputs, err := e.state.buffer("outputs", 4*len(q))
	if err != nil {
		return nil, err
	}
	if _, err := e.state.read(b, layer, e.longest(ids, layer), queries, outputs); err != nil {
		return nil, err
	}
	return download[float32](e.state, outputs, len(q))
}
