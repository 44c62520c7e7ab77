package ref

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"kvcompress/internal/work"
	"kvcompress/kv"
	"kvcompress/trace"
)

// Engine holds the cache of a configuration and compresses it with the method. Recorded requests drive it by
// [Engine.Prefill] and [Engine.Decode]. A running model drives it layer by layer, by [Engine.BeginPrompt] and
// [Engine.BeginTokens].
type Engine struct {
	cfg      Config
	rules                       // of sequences without their own options
	own      map[kv.SeqID]rules // of sequences with their own options
	rotary   *rotary            // nil if keys are read at their own positions
	standIns StandIns
	cache    *kv.Cache
	inputs   *Inputs
	observe  func(Event) // may be nil

	outputs []float32
	scratch []attention // one for each worker
}

// NewEngine returns an engine with an empty cache. open returns the tensors of a sequence when it is first
// prefilled; the engine closes them when the sequence is released. open may be nil for an engine that is only
// driven layer by layer. observe is called after every stage; it may be nil.
func NewEngine(cfg Config, open func(kv.SeqID) (trace.Tensors, error), observe func(Event)) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	method, err := cfg.NewMethod()
	if err != nil {
		return nil, err
	}
	return NewEngineOf(cfg, method, open, observe)
}

// NewEngineOf is [NewEngine] with a method that need not be in the table of methods. It uses the
// configuration's cache and Rope, and ignores the rest.
func NewEngineOf(cfg Config, method Method, open func(kv.SeqID) (trace.Tensors, error), observe func(Event)) (*Engine, error) {
	if err := errors.Join(cfg.Problems(method.Columns())...); err != nil {
		return nil, err
	}
	if q, ok := method.(Quantizer); ok {
		if err := checkQuantizer(&cfg.Config, q); err != nil {
			return nil, fmt.Errorf("method %s: %w", method.Name(), err)
		}
	}
	if m, ok := method.(Merger); ok {
		if err := checkMerger(&cfg.Config, m); err != nil {
			return nil, fmt.Errorf("method %s: %w", method.Name(), err)
		}
	}
	r := rulesOf(method)
	var turns *rotary
	if m, ok := method.(Rerotator); ok && m.ByCachePosition() {
		turns = newRotary(cfg.Rope)
	}
	return &Engine{
		cfg:      cfg,
		rules:    r,
		own:      map[kv.SeqID]rules{},
		rotary:   turns,
		standIns: standInsOf(method),
		cache:    kv.NewCache(cfg.Config, method.Columns()),
		inputs:   NewInputs(cfg, r.observation, open),
		observe:  observe,
	}, nil
}

// Config returns the engine's configuration.
func (e *Engine) Config() Config { return e.cfg }

// Cache returns the engine's cache, for reading only.
func (e *Engine) Cache() *kv.Cache { return e.cache }

// Close closes the tensors of every sequence that is still in the cache.
func (e *Engine) Close() error { return e.inputs.Close() }

// Prefill stores the first n tokens of a recorded sequence: it allocates their blocks, writes K and V, and
// fills the observed column. If there are too few free blocks it returns *kv.ErrNoBlocks and changes nothing.
func (e *Engine) Prefill(id kv.SeqID, n int) (err error) {
	defer work.Recover(&err)
	if err := e.inputs.Begin(id, n); err != nil {
		return err
	}
	p, err := e.BeginPrompt(id, n)
	if err != nil {
		return err
	}
	for layer := range e.cfg.Shape.Layers {
		q, k, v, err := e.inputs.Prompt(id, layer, n)
		if err != nil {
			return errors.Join(err, e.cache.Remove(id))
		}
		p.enter(layer, q, k, v)
	}
	p.End()
	return nil
}

// Decode runs one decode step for every recorded sequence of the batch: append, attend, observe. If there are
// too few free blocks it returns *kv.ErrNoBlocks and changes nothing.
func (e *Engine) Decode(batch []kv.SeqID) (err error) {
	defer work.Recover(&err)
	positions := make([]int, len(batch))
	for i, id := range batch {
		positions[i] = -1
		if s := e.cache.Sequence(id); s != nil {
			positions[i] = s.Len
		}
	}
	if err := e.inputs.Next(batch, positions); err != nil {
		return err
	}
	t, err := e.BeginTokens(batch)
	if err != nil {
		return err
	}
	q, k, v, err := e.inputs.Tokens(batch, positions)
	if err != nil {
		return err
	}
	layers := e.cfg.Shape.Layers
	e.outputs = grow(e.outputs, len(q))
	for layer := range layers {
		of := func(all []float32) []float32 { n := len(all) / layers; return all[layer*n:][:n] }
		t.step(layer, of(q), of(k), of(v), of(e.outputs))
	}
	t.end(e.outputs)
	return nil
}

// Blocks returns N, the number of physical blocks.
func (e *Engine) Blocks() int { return e.cache.Blocks() }

// Free returns the number of free blocks.
func (e *Engine) Free() int { return e.cache.Free() }

// PrefillNeed returns how many blocks a prefill of n tokens takes.
func (e *Engine) PrefillNeed(n int) int { return e.cache.PrefillNeed(n) }

// DecodeNeed returns how many blocks the next token of a sequence takes.
func (e *Engine) DecodeNeed(id kv.SeqID) int { return e.cache.DecodeNeed(id) }

// Held returns how many blocks a sequence holds.
func (e *Engine) Held(id kv.SeqID) int {
	if s := e.cache.Sequence(id); s != nil {
		return s.Blocks()
	}
	return 0
}

// Usage returns how full the cache is.
func (e *Engine) Usage() kv.Usage { return e.cache.Usage() }

// HeadUsage returns what each head holds.
func (e *Engine) HeadUsage() kv.HeadUsage { return e.cache.HeadUsage() }

// Count returns what a compression of the sequence would ask for now, in the method's unit (blocks or KVs); 0
// if there is nothing to compress.
func (e *Engine) Count(id kv.SeqID) int {
	s := e.cache.Sequence(id)
	if s == nil {
		return 0
	}
	return e.rulesFor(id).method.Asks(View{e.cache, s}.Counts())
}

// Compressed is what one compression of a sequence did.
type Compressed struct {
	Asked     int // in the method's unit: blocks or KVs
	Taken     int // blocks
	Freed     int // blocks
	Evicted   int // KVs, evicted or folded into a stand-in
	Hidden    int // KVs that are hidden until the next compression
	Quantized int // keys plus values
	Merged    int // keys plus values
	Moved     int // KVs
}

// Compress lets the method plan a compression of one sequence, and carries out the plan. If the plan needs
// more blocks than are free (see [Plan.Need]), it returns *kv.ErrNoBlocks. If keys or values of a restored cache
// cannot be quantized or merged, it returns an error. In both cases nothing changes.
func (e *Engine) Compress(id kv.SeqID) (_ Compressed, err error) {
	defer work.Recover(&err)
	s := e.cache.Sequence(id)
	if s == nil {
		return Compressed{}, fmt.Errorf("ref: compress: sequence %d is not in the cache", id)
	}
	method := e.rulesFor(id).method
	if m, ok := method.(Merger); ok { // check free blocks before merging, where lengths determine how many it needs
		if plan, known := plannedMerge(&e.cfg.Config, s, m); known {
			if err := e.fits(&plan); err != nil {
				return Compressed{}, err
			}
		}
	}
	plan := method.Plan(View{e.cache, s})
	if err := e.fits(&plan); err != nil {
		return Compressed{}, err
	}
	packed, err := e.packed(s, method, &plan)
	if err != nil {
		return Compressed{}, err
	}
	done := Compressed{Asked: plan.Asked, Freed: plan.Freed(s.Heads, e.cfg.BlockSize), Evicted: plan.KVs(), Hidden: plan.Hidden(), Quantized: plan.Quantized(), Merged: plan.Merged()}
	e.report(StageDecide, []kv.SeqID{id}, func(ev *Event) { ev.Plan, ev.Parts = &plan, plan.Parts(len(s.Heads)) })

	for i := range plan.Edits {
		if edit := &plan.Edits[i]; edit.Op == StandIn {
			e.standIns.fold(e.cache, &s.Heads[edit.Head], edit)
		}
	}
	taken, err := e.pack(s, method, &plan, packed)
	if err != nil {
		return done, err
	}
	done.Taken = taken
	gone := plan.Gone(len(s.Heads))
	var moves []kv.Move
	for i := range gone {
		moves = kv.Moves(moves, &s.Heads[i], e.cfg.BlockSize, gone[i])
	}
	e.cache.Move(moves)
	for i := range gone {
		h := &s.Heads[i]
		e.cache.Truncate(h, h.KVs()-len(gone[i]))
	}
	for _, edit := range plan.Edits {
		if edit.Op == Mask {
			e.hide(&s.Heads[edit.Head], edit.KVs)
		}
	}
	done.Moved = len(moves)
	e.report(StageMove, []kv.SeqID{id}, func(ev *Event) { ev.Parts = []Part{MovesPart(moves)} })
	return done, nil
}

// fits returns *kv.ErrNoBlocks if too few blocks are free for the plan.
func (e *Engine) fits(p *Plan) error {
	next := 0
	if p.Takes > 0 {
		for _, id := range e.cache.Sequences() {
			next += e.cache.DecodeNeed(id)
		}
	}
	if need, free := p.Need(next), e.cache.Free(); need > free {
		return &kv.ErrNoBlocks{Need: need, Free: free}
	}
	return nil
}

// Release frees all blocks of a sequence: it has finished, or it is preempted and will be prefilled again.
func (e *Engine) Release(id kv.SeqID) error {
	if err := e.cache.Remove(id); err != nil {
		return err
	}
	err := e.inputs.End(id)
	delete(e.own, id)
	e.report(StageRelease, []kv.SeqID{id}, nil)
	return err
}

// Restore replaces the engine's cache by a copy of c, which must have the engine's configuration. It opens
// the tensors of the sequences in c and closes those of all others. Sequences in c keep their own options.
func (e *Engine) Restore(c *kv.Cache) error {
	restored, err := c.Snapshot().Cache(e.cfg.Config, e.method.Columns())
	if err != nil {
		return err
	}
	for _, id := range restored.Sequences() {
		s := restored.Sequence(id)
		for i := range s.Heads {
			h := &s.Heads[i]
			if err := restored.CheckHead(h); err != nil {
				return fmt.Errorf("ref: restore: sequence %d, head %d of L·H: %w", id, i, err)
			}
			if err := e.ownPages(s, i); err != nil {
				return fmt.Errorf("ref: restore: sequence %d, head %d of L·H: %w", id, i, err)
			}
			if h.KVs() > s.Len || h.KVs() < s.Len && KeepsAll(e.method) {
				return fmt.Errorf("ref: restore: sequence %d, head %d of L·H: %d KVs of %d tokens", id, i, h.KVs(), s.Len)
			}
		}
	}
	e.cache = restored
	maps.DeleteFunc(e.own, func(id kv.SeqID, _ rules) bool { return restored.Sequence(id) == nil })
	return e.inputs.Restore(restored.Sequences())
}

// ownPages returns an error if a head has keys or values in a format that the method does not use there.
func (e *Engine) ownPages(s *kv.Sequence, head int) error {
	for _, part := range []kv.Part{kv.Keys, kv.Values} {
		for i, g := range s.Heads[head].List(part) {
			want, deep := ownFormat(e.method, head/e.cfg.Shape.KVHeads, part, i)
			if g.Format != want || g.Deep != deep {
				return fmt.Errorf("segment %d of %v is %v, with method %s it should be %v", i, part, g.Format, e.method.Name(), want)
			}
			if deep {
				shallow := s.Heads[head-e.cfg.Shape.KVHeads].List(part)
				if len(shallow) == 0 || !slices.Equal(shallow[0].Table, g.Table) || shallow[0].Len != g.Len {
					return fmt.Errorf("the merged pages of %v differ from those of the shallower layer's head", part)
				}
			}
		}
	}
	return nil
}

// ownFormat returns the format of a layer's segment i of a part under a method, and whether the layer is the
// deeper of a merged pair. The format is zero if the method has no such segment.
func ownFormat(m Method, layer int, part kv.Part, i int) (f kv.Format, deep bool) {
	if merger, ok := m.(Merger); ok {
		merged, deep := merger.Merging().Merges(layer)
		switch {
		case merged && i == 0:
			return merger.Directions(), deep
		case merged && i == 1:
			return RetainedFormat(), false
		case merged:
			return kv.Format{}, false
		}
	}
	if q, ok := m.(Quantizer); ok && i == 0 {
		keys, values := q.Formats()
		if part == kv.Keys {
			return keys, false
		}
		return values, false
	}
	return kv.Format{}, false
}

// Poison fills every slot that no head holds with values that make any read of it visible, see
// [kv.Cache.Poison].
func (e *Engine) Poison() error {
	e.cache.Poison()
	return nil
}

// report tells the observer that a stage is done. fill adds the stage's parts; it is called only if there is
// an observer, and may be nil.
func (e *Engine) report(stage Stage, seqs []kv.SeqID, fill func(*Event)) {
	if e.observe == nil {
		return
	}
	ev := Event{Stage: stage, Seqs: seqs, Cache: e.cache}
	if fill != nil {
		fill(&ev)
	}
	e.observe(ev)
}
