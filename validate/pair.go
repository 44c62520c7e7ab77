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

// Pair is the reference engine and an engine under test in lock-step: each operation
// runs on both at once, and after every stage they wait for each other and all that
// they hold is compared, as it lies in their caches. It is itself an engine, so that
// a scheduler drives both.
//
// The first difference ends it: the operation in which it occurs, and all after it,
// return a *Divergence. An error of the engine under test that the reference does
// not have is such a difference, as is a stage that only one of them reports.
//
// Where a [Tolerance] lets values of other bits agree, the engine under test is given
// the reference's state after the operation. So each stage is judged by itself, from
// inputs that are equal to the bit: a metric that is an ulp off cannot turn a later
// decision, nor can what is tolerated add up unseen.
type Pair struct {
	cfg       ref.Config
	tolerance Tolerance
	observe   func(ref.Event)
	reference *ref.Engine
	test      Engine

	arrived chan ref.Event // a stage that the engine under test has done
	resume  chan struct{}  // it may go on
	done    chan outcome   // it has done the operation
	ended   *outcome       // the same, once it is received

	op       Operation // that runs, or has run last
	number   int       // of operations before it; −1 if there was none
	last     ref.Event // stage and sequences of the last one that was compared
	diverged *Divergence
	tally    Tally
	own      map[kv.SeqID]*trace.Compression // of sequences that have some
	resync   bool                            // something was tolerated in this operation
}

// outcome is how an operation has ended.
type outcome struct {
	result ref.Compressed
	err    error
}

// sides are who is compared in a Pair.
var sides = [2]string{"reference", "engine"}

// NewPair returns a pair with empty caches. open is called for each of the engines,
// at the same time; observe, which may be nil, is called with the reference's events
// after they were compared.
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

// Divergence returns the first difference, nil while there is none. Its trace and
// step are the caller's to say.
func (p *Pair) Divergence() *Divergence { return p.diverged }

// Tally returns how much was compared.
func (p *Pair) Tally() Tally { return p.tally }

// Restore makes both engines go on from a cache.
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
		defer work.Recover(&o.err) // what a wrong kernel wrote may have been believed
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

// meet is called where the reference has done a stage.
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

// drain lets the engine under test end the operation that the reference has ended. If
// the reference was interrupted, the other may have come further.
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

// compare compares what the two have done in a stage.
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

// compareOutcomes compares how an operation has ended. An operation that was
// interrupted has no outcome.
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

// stopped reports whether an error says that the caller wanted no more.
func stopped(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// diverge notes a difference that is not in the caches, unless there is one.
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

// Configure has a sequence follow options of its own.
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

// Release frees all that a sequence holds.
func (p *Pair) Release(id kv.SeqID) error {
	_, err := p.Do(Operation{Kind: OpRelease, Sequences: []kv.SeqID{id}})
	return err
}

// Blocks and the methods below answer what the reference does, and see that the
// engine under test answers the same.
func (p *Pair) Blocks() int { return ask(p, "blocks", sim.Engine.Blocks) }

// Free returns the number of free blocks.
func (p *Pair) Free() int { return ask(p, "free blocks", sim.Engine.Free) }

// PrefillNeed returns the blocks that a prefill of n tokens takes.
func (p *Pair) PrefillNeed(n int) int {
	return ask(p, "blocks for a prefill", func(e sim.Engine) int { return e.PrefillNeed(n) })
}

// DecodeNeed returns the blocks that a sequence's next token takes.
func (p *Pair) DecodeNeed(id kv.SeqID) int {
	return ask(p, "blocks for a token", func(e sim.Engine) int { return e.DecodeNeed(id) })
}

// Held returns the blocks that a sequence has.
func (p *Pair) Held(id kv.SeqID) int {
	return ask(p, "blocks held", func(e sim.Engine) int { return e.Held(id) })
}

// Count returns how many blocks Compress would ask a sequence for.
func (p *Pair) Count(id kv.SeqID) int {
	return ask(p, "blocks to ask for", func(e sim.Engine) int { return e.Count(id) })
}

// Usage says how the cache is filled.
func (p *Pair) Usage() kv.Usage { return ask(p, "usage", sim.Engine.Usage) }

// HeadUsage says which heads fill the cache.
func (p *Pair) HeadUsage() kv.HeadUsage { return ask(p, "usage of the heads", sim.Engine.HeadUsage) }

// Interview asks both engines all that a scheduler may ask of the sequences in the
// cache.
func (p *Pair) Interview() {
	p.Usage()
	p.HeadUsage()
	p.Free()
	for _, id := range p.reference.Cache().Sequences() {
		p.Held(id)
		p.DecodeNeed(id)
		p.Count(id)
	}
}

// ask puts a question to both engines.
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
