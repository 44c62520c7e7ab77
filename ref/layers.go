package ref

import (
	"errors"
	"fmt"
	"slices"

	"kvcompress/internal/work"
	"kvcompress/kv"
)

// Prompt is a prompt that enters an engine's cache layer by layer.
type Prompt struct {
	e     *Engine
	s     *kv.Sequence
	layer int // the next layer to enter
}

// BeginPrompt allocates the blocks of a sequence's first n tokens. If too few are free it returns
// *kv.ErrNoBlocks and changes nothing. The caller then enters every layer in order and calls End, or gives up
// with [Engine.Release].
func (e *Engine) BeginPrompt(id kv.SeqID, n int) (*Prompt, error) {
	if n < 1 {
		return nil, fmt.Errorf("ref: prompt of sequence %d with %d tokens", id, n)
	}
	s, err := e.cache.Add(id, n)
	if err != nil {
		return nil, err
	}
	return &Prompt{e: e, s: s}, nil
}

// Layer enters the prompt's next layer. k and v are [n, H, D], after rotation; q is [W, H·G, D], the queries
// of the last W tokens, where W is [Observation.Queries] of n. A value that the cache's format cannot hold is
// a *ValueError.
func (p *Prompt) Layer(q, k, v []float32) error {
	if err := p.e.cfg.CheckPrompt(p.s.ID, p.layer, p.s.Len, p.e.observation.Queries(p.s.Len), q, k, v); err != nil {
		return err
	}
	p.enter(p.layer, q, k, v)
	p.layer++
	return nil
}

// enter stores a layer and fills the column that the method observes.
func (p *Prompt) enter(layer int, queries, keys, values []float32) {
	e, s, n := p.e, p.s, p.s.Len
	observation := e.rulesFor(s.ID).observation
	shape := e.cfg.Shape
	d, heads, group := shape.HeadSize, shape.KVHeads, shape.Group
	window := len(queries) / (heads * group * d)
	scores := make([][]float32, heads)
	work.Each(work.Workers(heads), heads, func(_, head int) {
		h := &s.Heads[layer*heads+head]
		for i := range n {
			row := (i*heads + head) * d
			e.cache.Store(e.cache.Slot(h, i), keys[row:][:d], values[row:][:d])
		}
		if !observation.ofPrompts() {
			return
		}
		k, v := rowsOf(keys, head, heads, d), []float32(nil)
		if observation.Scorer != nil {
			v = rowsOf(values, head, heads, d)
		}
		q := make([]float32, window*group*d)
		for w := range window {
			copy(q[w*group*d:][:group*d], queries[(w*heads+head)*group*d:])
		}
		scores[head] = make([]float32, n*e.cache.Columns()[observation.Column].Width)
		observation.Prompt(&PromptHead{layer, head, q, k, v, group, d}, scores[head])
	})
	if !observation.ofPrompts() {
		return
	}
	if observation.LayerMean {
		meanOfHeads(scores)
	}
	width := e.cache.Columns()[observation.Column].Width
	column := e.cache.Data[observation.Column]
	for head, scores := range scores {
		h := &s.Heads[layer*heads+head]
		for i := range n {
			copy(column[e.cache.Slot(h, i)*width:][:width], scores[i*width:])
		}
	}
}

// rowsOf returns one head of an array [n, heads, d] as [n, d].
func rowsOf(all []float32, head, heads, d int) []float32 {
	n := len(all) / (heads * d)
	rows := make([]float32, n*d)
	for i := range n {
		copy(rows[i*d:], all[(i*heads+head)*d:][:d])
	}
	return rows
}

// End completes the prompt.
func (p *Prompt) End() { p.e.report(StagePrefill, []kv.SeqID{p.s.ID}, nil) }

// Tokens is a decode step that enters layer by layer: one more token of each sequence of a batch.
type Tokens struct {
	e     *Engine
	batch []kv.SeqID
	layer int // the next layer to enter
}

// BeginTokens begins a decode step. It returns an error if a sequence is not in the cache or is in the batch
// twice, and *kv.ErrNoBlocks if too few blocks are free; then nothing has changed. The caller enters every
// layer in order and then calls End. If it does not, the batch's sequences can only be released, with
// [Engine.Release].
func (e *Engine) BeginTokens(batch []kv.SeqID) (*Tokens, error) {
	if len(batch) == 0 {
		return nil, errors.New("ref: decode of no sequences")
	}
	need := 0
	for i, id := range batch {
		if slices.Contains(batch[:i], id) {
			return nil, fmt.Errorf("ref: decode: sequence %d is in the batch twice", id)
		}
		if e.cache.Sequence(id) == nil {
			return nil, fmt.Errorf("ref: decode: sequence %d is not in the cache", id)
		}
		need += e.cache.DecodeNeed(id)
	}
	if free := e.cache.Free(); need > free {
		return nil, &kv.ErrNoBlocks{Need: need, Free: free}
	}
	return &Tokens{e: e, batch: batch}, nil
}

// Layer enters the next layer: it appends K and V of the tokens, attends with their queries, and updates the
// observed column. q and out are [sequences, H·G, D], k and v are [sequences, H, D], after rotation. A value
// that the cache's format cannot hold is a *ValueError.
func (t *Tokens) Layer(q, k, v, out []float32) error {
	positions := make([]int, len(t.batch))
	for i, id := range t.batch {
		positions[i] = t.e.cache.Sequence(id).Len
	}
	if err := t.e.cfg.CheckTokens(t.batch, positions, t.layer, q, k, v, out); err != nil {
		return err
	}
	t.step(t.layer, q, k, v, out)
	t.layer++
	return nil
}

func (t *Tokens) step(layer int, q, k, v, out []float32) {
	t.e.appendLayer(t.batch, layer, k, v)
	t.e.attendLayer(t.batch, layer, q, out)
}

// End completes the step: each sequence has one more token.
func (t *Tokens) End() { t.end(nil) }

func (t *Tokens) end(outputs []float32) {
	for _, id := range t.batch {
		t.e.cache.Sequence(id).Len++
	}
	t.e.report(StageDecode, t.batch, func(ev *Event) {
		if outputs != nil {
			ev.Parts = []Part{OutputsPart(outputs, t.e.cfg.Shape, len(t.batch))}
		}
	})
}

// appendLayer stores the K and V of the batch's next token in one layer, in
// (sequence, head) order; k and v are [sequences, H, D].
func (e *Engine) appendLayer(batch []kv.SeqID, layer int, k, v []float32) {
	d, heads := e.cfg.Shape.HeadSize, e.cfg.Shape.KVHeads
	for b, id := range batch {
		s, masker := e.cache.Sequence(id), e.rulesFor(id).masker
		for head := range heads {
			held := s.Heads[layer*heads+head].KVs()
			slot := e.cache.Append(s, layer, head, int32(s.Len))
			if masker != nil && masker.HidesNew(s.Prompt, held) {
				e.cache.Data[masker.Hidden()][slot] = 1
			}
			row := (b*heads + head) * d
			e.cache.Store(slot, k[row:][:d], v[row:][:d])
		}
	}
}

// attendLayer attends and observes for every head of every sequence of the batch; q and out are [sequences,
// H·G, D].
func (e *Engine) attendLayer(batch []kv.SeqID, layer int, q, out []float32) {
	shape := e.cfg.Shape
	heads, group := shape.KVHeads, shape.Group
	size := group * shape.HeadSize // of one KV head's queries, and of its output
	n := len(batch) * heads
	held := 0
	for _, id := range batch {
		s := e.cache.Sequence(id)
		for head := range heads {
			held += s.Heads[layer*heads+head].KVs()
		}
	}
	w := work.WorkersFor(n, 2*held*size) // queries with keys, probabilities with values
	if len(e.scratch) < w {
		e.scratch = make([]attention, w)
	}
	work.Each(w, n, func(worker, i int) {
		a := &e.scratch[worker]
		s := e.cache.Sequence(batch[i/heads])
		h := &s.Heads[layer*heads+i%heads]
		e.attendHead(a, h, s.Len, q[i*size:][:size], out[i*size:][:size])
		if o := e.rulesFor(s.ID).observation; o != nil && o.Decode {
			a.record(e.cache, h, o, s.Len, group)
		}
	})
}

// attendHead attends for the G queries of one head at position t; q and out are [G, D].
func (e *Engine) attendHead(a *attention, h *kv.Head, t int, q, out []float32) {
	a.represents = e.standIns.weights(e.cache)
	a.hidden = e.hiddenOf(a.hidden, h)
	a.rotary, a.turns = e.rotary, e.turnsOf(a.turns, h, t)
	a.attend(e.cache, h, q, out, e.cfg.Shape.Group)
}

// Attend computes attention of queries at the position of a sequence's newest token, in one layer; q and out
// are [H·G, D]. It stores nothing and does not update the observed column.
func (e *Engine) Attend(id kv.SeqID, layer int, q, out []float32) error {
	s, shape := e.cache.Sequence(id), e.cfg.Shape
	size := shape.QueryHeads() * shape.HeadSize
	switch {
	case s == nil:
		return fmt.Errorf("ref: attend: sequence %d is not in the cache", id)
	case layer < 0 || layer >= shape.Layers:
		return fmt.Errorf("ref: attend: layer %d of %d", layer, shape.Layers)
	case len(q) != size || len(out) != size:
		return fmt.Errorf("ref: attend: %d numbers of queries and %d of output, want %d", len(q), len(out), size)
	}
	var a attention
	size /= shape.KVHeads
	for head := range shape.KVHeads {
		e.attendHead(&a, &s.Heads[layer*shape.KVHeads+head], s.Len-1, q[head*size:][:size], out[head*size:][:size])
	}
	return nil
}
