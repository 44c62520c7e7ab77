package validate

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"kvcompress/internal/work"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/trace"
)

// Pair runs the reference engine and an engine under test in lock-step: each operation runs on both at the
// same time, and after every stage they wait for each other while their caches are compared. A Pair is itself
// an engine, so that a scheduler can drive both.
//
// The first difference ends it: the operation in which it occurs, and all later ones, return a *Divergence.
// An error that only the engine under test returns is such a difference, as is a stage that only one engine
// reports.
//
// If a [Tolerance] accepts values with other bits, the engine under test gets the reference's state after the
// operation. So each stage starts from inputs that are equal to the bit: a metric that is one ulp off cannot
// change a later decision, and tolerated errors cannot accumulate.
type Pair struct {
	cfg       ref.Config
	tolerance Tolerance
	observe   func(ref.Event)
	reference *ref.Engine
	test      Engine

	arrived chan ref.Event // a stage that the engine under test has finished
	resume  chan struct{}  // the engine under test may continue
	done    chan outcome   // the engine under test has finished the operation
	ended   *outcome       // the value received from done

	op       Operation // the current or last operation
	number   int       // number of operations before op; −1 before the first
	last     ref.Event // stage and sequences of the last compared event
	diverged *Divergence
	tally    Tally
	own      map[kv.SeqID]*trace.Compression // options of sequences that have their own
	resync   bool                            // a value was tolerated in this operation
}

// outcome is how an operation ended.
type outcome struct {
	result ref.Compressed
	err    error
}

// sides names the engines of a Pair.
var sides = [2]string{"reference", "engine"}

// NewPair returns a pair with empty caches. Both engines call open, possibly at the same time. observe, which
// may be nil, is called with the reference's events after they have been compared.
func NewPair(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event), test NewEngine, tolerance Tolerance) (*Pair, error) {
	if observe == nil {
		observe = func(ref.Event) {}
	}
	p := &Pair{
		cfg:       cfg,
		tolerance: tolerance,
		observe:   observe,
		number:    -1,
		own:       map[kv.SeqID]*trace.Compression{},
		arrived:   make(chan ref.Event),
		resume:    make(chan struct{}),
		done:      make(chan outcome),
	}
	var err error
	if p.reference, err = ref.NewEngine(cfg, open, p.meet); err != nil {
		return nil, err
	}
	p.test, err = test(cfg, open, func(e ref.Event) {
		p.arrived <- e
		<-p.resume
	})
	if err != nil {
		return nil, errors.Join(err, p.reference.Close())
	}
	return p, nil
}

// Divergence returns the first difference, or nil. Its Trace and Step are left for the caller to set.
func (p *Pair) Divergence() *Divergence { return p.diverged }

// Tally returns how much was compared.
func (p *Pair) Tally() Tally { return p.tally }

// Restore replaces the caches of both engines by a copy of c.
func (p *Pair) Restore(c *kv.Cache) error {
	return errors.Join(p.reference.Restore(c), p.test.Restore(c))
}

// Poison poisons the unused slots of both engines.
func (p *Pair) Poison() error {
	return errors.Join(p.reference.Poison(), p.test.Poison())
}

// Close closes both engines.
func (p *Pair) Close() error { return errors.Join(p.reference.Close(), p.test.Close()) }

// Do carries out one operation on both engines.
func (p *Pair) Do(op Operation) (ref.Compressed, error) {
	if p.diverged != nil {
		return ref.Compressed{}, p.diverged
	}
	p.op, p.ended, p.last, p.resync = op, nil, ref.Event{}, false
	p.number++
	go func() {
		var o outcome
		defer func() { p.done <- o }()
		defer work.Recover(&o.err) // a wrong kernel may have written indices that make Go code panic
		o.result, o.err = op.run(p.test)
	}()
	result, err := op.run(p.reference)
	p.drain(stopped(err))
	p.compareOutcomes(outcome{result, err}, *p.ended)
	switch {
	case p.diverged != nil:
		return result, p.diverged
	case err != nil:
		return result, err
	case stopped(p.ended.err):
		return result, p.ended.err
	case p.resync:
		return result, p.test.Restore(p.reference.Cache())
	}
	return result, nil
}

// meet is called when the reference has finished a stage.
func (p *Pair) meet(e ref.Event) {
	p.last = ref.Event{Stage: e.Stage, Seqs: e.Seqs}
	if p.ended == nil {
		select {
		case other := <-p.arrived:
			if p.diverged == nil {
				p.compare(e, other)
			}
			p.resume <- struct{}{}
		case o := <-p.done:
			p.ended = &o
		}
	}
	if p.ended != nil && p.ended.err == nil {
		p.diverge("stage", stageText(e), "none")
	}
	p.observe(e)
}

// drain lets the engine under test finish the operation that the reference has finished. If the reference was
// interrupted, the other engine may be at a later stage.
func (p *Pair) drain(interrupted bool) {
	for p.ended == nil {
		select {
		case extra := <-p.arrived:
			if !interrupted {
				p.last = ref.Event{}
				p.diverge("stage", "none", stageText(extra))
			}
			p.resume <- struct{}{}
		case o := <-p.done:
			p.ended = &o
		}
	}
}

// compare compares the results of a stage.
func (p *Pair) compare(want, got ref.Event) {
	c := comparison{cfg: &p.cfg, sides: sides}
	if want.Stage == ref.StagePrefill || want.Stage == ref.StageDecode {
		c.tolerance = p.tolerance
	}
	c.events(want, got)
	p.tally.Add(c.Tally)
	p.resync = p.resync || c.Tolerated > 0
	if d := c.divergence(); d != nil {
		if want.Stage == ref.StageDecide {
			d.Decided = decided(&p.cfg, p.own[want.Seqs[0]], sides, want, got, d.Layer, d.Head)
		}
		p.found(d)
	}
}

// compareOutcomes compares how an operation ended. It ignores an interrupted operation.
func (p *Pair) compareOutcomes(want, got outcome) {
	if stopped(want.err) || stopped(got.err) {
		return
	}
	switch {
	case got.err != nil && want.err == nil:
		p.diverge("error", "none", got.err.Error())
	case got.err == nil && want.err != nil:
		p.diverge("error", want.err.Error(), "none")
	case want.err == nil && got.result != want.result:
		p.last = ref.Event{}
		p.diverge("result", fmt.Sprintf("%+v", want.result), fmt.Sprintf("%+v", got.result))
	case want.err != nil:
		var a, b *kv.ErrNoBlocks
		if x, y := errors.As(want.err, &a), errors.As(got.err, &b); x != y || x && *a != *b {
			p.diverge("error", want.err.Error(), got.err.Error())
		}
	}
}

// stopped reports whether an error means that the caller interrupted the operation.
func stopped(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// diverge records a difference outside the caches, if it is the first.
func (p *Pair) diverge(what, want, got string) {
	if p.diverged == nil {
		p.found(&Divergence{Sides: sides, What: what, Place: Nowhere, Want: want, Got: got, Parts: []Part{{what, 1}}})
	}
}

func (p *Pair) found(d *Divergence) {
	d.Step, d.Operation, d.Number = -1, p.op, p.number
	d.Operation.Sequences = append([]kv.SeqID(nil), p.op.Sequences...)
	d.Stage, d.Seqs = p.last.Stage, append([]kv.SeqID(nil), p.last.Seqs...)
	p.diverged = d
}

// The methods of sim.Cache.

// Configure gives a sequence options of its own.
func (p *Pair) Configure(id kv.SeqID, own *trace.Compression) error {
	p.own[id] = own
	return errors.Join(p.reference.Configure(id, own), p.test.Configure(id, own))
}

// Prefill enters the first n tokens of a sequence.
func (p *Pair) Prefill(id kv.SeqID, n int) error {
	_, err := p.Do(Operation{Kind: OpPrefill, Sequences: []kv.SeqID{id}, Tokens: n})
	return err
}

// Decode enters one more token of every sequence of a batch.
func (p *Pair) Decode(batch []kv.SeqID) error {
	_, err := p.Do(Operation{Kind: OpDecode, Sequences: batch})
	return err
}

// Compress compresses a sequence.
func (p *Pair) Compress(id kv.SeqID) (ref.Compressed, error) {
	return p.Do(Operation{Kind: OpCompress, Sequences: []kv.SeqID{id}})
}

// Release frees all blocks of a sequence.
func (p *Pair) Release(id kv.SeqID) error {
	_, err := p.Do(Operation{Kind: OpRelease, Sequences: []kv.SeqID{id}})
	return err
}

// Blocks and the methods below return the reference's answer, and check that the engine under test returns
// the same.
func (p *Pair) Blocks() int { return ask(p, "blocks", sim.Engine.Blocks) }

// Free returns the number of free blocks.
func (p *Pair) Free() int { return ask(p, "free blocks", sim.Engine.Free) }

// PrefillNeed returns how many blocks a prefill of n tokens takes.
func (p *Pair) PrefillNeed(n int) int {
	return ask(p, "blocks for a prefill", func(e sim.Engine) int { return e.PrefillNeed(n) })
}

// DecodeNeed returns how many blocks a sequence's next token takes.
func (p *Pair) DecodeNeed(id kv.SeqID) int {
	return ask(p, "blocks for a token", func(e sim.Engine) int { return e.DecodeNeed(id) })
}

// Held returns how many blocks a sequence holds.
func (p *Pair) Held(id kv.SeqID) int {
	return ask(p, "blocks held", func(e sim.Engine) int { return e.Held(id) })
}

// Count returns how much Compress would ask for, in the method's unit.
func (p *Pair) Count(id kv.SeqID) int {
	return ask(p, "blocks to ask for", func(e sim.Engine) int { return e.Count(id) })
}

// Usage returns how full the cache is.
func (p *Pair) Usage() kv.Usage { return ask(p, "usage", sim.Engine.Usage) }

// HeadUsage returns what each head holds.
func (p *Pair) HeadUsage() kv.HeadUsage { return ask(p, "usage of the heads", sim.Engine.HeadUsage) }

// interview asks both engines everything that a scheduler may ask about the sequences in the cache.
func (p *Pair) interview() {
	p.Usage()
	p.HeadUsage()
	p.Free()
	for _, id := range p.reference.Cache().Sequences() {
		p.Held(id)
		p.DecodeNeed(id)
		p.Count(id)
	}
}

// ask asks both engines a question and compares the answers.
func ask[T any](p *Pair, what string, question func(sim.Engine) T) T {
	want := question(p.reference)
	if p.diverged == nil {
		p.tally.Values++
		if got := question(p.test); !reflect.DeepEqual(want, got) {
			p.last = ref.Event{}
			p.diverge(what, fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got))
		}
	}
	return want
}
