package sim

import (
	"slices"
	"unsafe"

	"kvcompress/kv"
	"kvcompress/ref"
)

// Servers compress the same lengths over and over: sequences with equal prompts, after equally
// many tokens of output. courses remembers what compressions came to.
//
// That is exact because a compression is a function of the sequence's state alone: of its
// prompt's length, its tokens and what its heads have lost, by the ledger's one method,
// configuration and counting, and by a spread that is [ByDemand]. A stage is such a state, and
// an outcome what [Ledger.Compress] did to it, after some tokens more. Decode steps need nothing
// remembered: they add a token to every head, and what heads have lost stays. Sequences with options of their own, and
// spreads that are not ByDemand, have no courses.
//
// States do not come together again: where a sequence was compressed at another time than others,
// its heads keep to unequal levels. So where compressions go by level, one that was compressed
// twice without a token in between, as after a prefill, or has come to mostStrayed new states in a
// row, leaves the courses. The others of its kind still get to know a course, as many states
// further with each of them.
//
// Only states that are met a second time become stages. States are compared as a whole, not by
// their hashes. When the stages fill maxCourseBytes, all are forgotten but those that sequences
// are at.
type courses struct {
	met   [courseStates]metState
	bytes uintptr
}

// metState is the last state that was met of those that share a place.
type metState struct {
	hash  uint64
	stage *stage // nil for a state that was met once
}

// courseStates is how many places there are, a power of two; maxCourseBytes bounds the memory of
// stages and outcomes.
const (
	courseStates   = 1 << 15
	maxCourseBytes = 24 << 20
	mostStrayed    = 4
)

// ByDemand is a [Spread] of which what heads lose depends on the demand alone, but not on
// whose it is: Demand.Seq.
type ByDemand interface {
	Spread
	ByDemand()
}

// stage is a state of sequences.
type stage struct {
	prompt, tokens int
	outcomes       *outcome // that are known, the latest first
	runs           []run    // which are never changed
}

// outcome is the compression of a sequence that was at a stage and has got some tokens since.
type outcome struct {
	after  int // tokens
	to     *stage
	held   int            // blocks before
	refill int            // heads whose last block had one KV, and is full now
	done   ref.Compressed // what Compress says
	phases []phase        // of other heads, what changes
	count  int            // what Count says: with 0 it is not compressed
	undone bool           // it counts for Repeats
	next   *outcome       // of the stage
}

// phase is a change of the number of heads whose length is rest modulo B.
type phase struct{ rest, heads int }

// newCourses returns an empty memory for a ledger with a spread; nil if it can have none.
func newCourses(cfg *ref.Config, spread Spread) *courses {
	if _, ok := spread.(ByDemand); !ok || !cfg.Compresses() {
		return nil
	}
	return &courses{}
}

// meet returns the stage of a state; nil for one that is met for the first time, or as if it
// were because others took its place.
func (c *courses) meet(prompt, tokens int, runs []run) *stage {
	hash := mix(uint64(prompt), uint64(tokens))
	for _, r := range runs {
		hash = mix(hash^uint64(r.heads), uint64(r.gone))
	}
	m := &c.met[hash%courseStates]
	switch {
	case m.hash != hash:
		*m = metState{hash: hash}
		return nil
	case m.stage == nil:
		m.stage = &stage{prompt: prompt, tokens: tokens, runs: slices.Clone(runs)}
		made := m.stage
		c.take(unsafe.Sizeof(*made) + uintptr(len(runs))*unsafe.Sizeof(run{}))
		return made
	case m.stage.prompt != prompt || m.stage.tokens != tokens || !slices.Equal(m.stage.runs, runs):
		return nil
	}
	return m.stage
}

// add has a stage know an outcome.
func (c *courses) add(s *stage, t outcome) *outcome {
	c.take(unsafe.Sizeof(t) + uintptr(len(t.phases))*unsafe.Sizeof(phase{}))
	t.next = s.outcomes
	s.outcomes = &t
	return &t
}

// take counts memory, and forgets all stages when there is too much.
func (c *courses) take(bytes uintptr) {
	c.bytes += bytes
	if c.bytes > maxCourseBytes {
		c.bytes = bytes
		clear(c.met[:])
	}
}

// outcome returns the known compression after that many tokens; nil if there is none.
func (s *stage) outcome(after int) *outcome {
	t := s.outcomes
	for t != nil && t.after != after {
		t = t.next
	}
	return t
}

// leave has an account know its own runs, which may be changed.
func (a *account) leave() {
	a.met, a.settled.level = false, 0
	if a.stage != nil {
		a.runs, a.stage = append(a.runs[:0], a.stage.runs...), nil
	}
}

// heads returns the runs of an account, which are not to be changed.
func (a *account) heads() []run {
	if a.stage != nil {
		return a.stage.runs
	}
	return a.runs
}

// ahead returns what Compress would do to a sequence; nil, or with a count of 0, if it is asked for nothing. It is valid
// until the next call. If it is not known yet, it says no more than count and held.
func (l *Ledger) ahead(id kv.SeqID, a *account) *outcome {
	tokens := a.tokens + l.steps
	if tokens < a.asksAt {
		return nil
	}
	own, from := l.hasOwn(id), a.stage
	if l.courses != nil && !own && a.stage == nil && !a.met && a.strayed < mostStrayed {
		a.stage, a.met = l.courses.meet(a.prompt, tokens, a.runs), true
	}
	if a.stage != nil {
		if t := a.stage.outcome(tokens - a.stage.tokens); t != nil {
			return t
		}
	}
	t := &l.led
	t.to = nil
	if l.levels != nil && !own {
		t.held, t.count = l.survey(a)
	} else if t.count = l.Count(id); t.count > 0 {
		t.held = l.Held(id)
	}
	if t.count > 0 {
		if l.levels != nil && from != nil && from.tokens == tokens {
			a.strayed = mostStrayed
		}
		return t
	}
	if a.stage != nil && a.stage.tokens == tokens { // a prefill came between two compressions
		l.courses.add(a.stage, outcome{})
	}
	return nil
}

// along does what an outcome says, which ahead has just returned.
func (l *Ledger) along(id kv.SeqID, a *account, t *outcome) (*outcome, error) {
	if t.to == nil {
		return l.lead(id, a)
	}
	a.stage, a.strayed = t.to, 0
	a.asksAt, a.undoneAt = 0, never
	l.used -= t.done.Freed
	l.tables -= t.done.Freed
	l.kvs -= t.done.Evicted
	mask := l.cfg.BlockSize - 1
	l.phases[(1-l.steps)&mask] -= t.refill
	l.phases[-l.steps&mask] += t.refill
	for _, p := range t.phases {
		l.phases[(p.rest-l.steps)&mask] += p.heads
	}
	if t.undone {
		l.undone++
		if l.patient != nil {
			a.undoneAt, a.undoneAs = a.tokens+l.steps, t.done
		}
	}
	return t, nil
}

// lead compresses a sequence that is not on a course that is known, as ahead has just said, and
// notes what that comes to for those that follow.
func (l *Ledger) lead(id kv.SeqID, a *account) (t *outcome, err error) {
	tokens := a.tokens + l.steps
	t = &l.led
	own, from, undone := l.hasOwn(id), a.stage, l.undone
	byLevel := l.levels != nil && !own
	if byLevel && a.strayed >= mostStrayed && l.compressByLevel(a, t.count, &t.done) {
		return t, nil
	}
	if l.courses == nil || own || tokens == a.undoneAt+1 {
		t.done, err = l.Compress(id)
		return t, err
	}
	before := l.phases
	if !byLevel || !l.compressByLevel(a, t.count, &t.done) {
		if t.done, err = l.Compress(id); err != nil {
			return t, err
		}
	}
	a.stage, a.met = l.courses.meet(a.prompt, tokens, a.runs), true
	a.settled.level = 0
	if byLevel {
		a.strayed++
	}
	if from == nil || a.stage == nil {
		return t, nil
	}
	known := outcome{after: tokens - from.tokens, to: a.stage, held: t.held, done: t.done, count: t.count, undone: l.undone != undone}
	phases := l.changed(&before)
	if known.refill = refill(phases); known.refill == 0 {
		known.phases = phases
	}
	return l.courses.add(from, known), nil
}

// changed returns which phases are not as before.
func (l *Ledger) changed(before *[maxB]int) (phases []phase) {
	for rest := range l.cfg.BlockSize {
		at := (rest - l.steps) & (l.cfg.BlockSize - 1)
		if more := l.phases[at] - before[at]; more != 0 {
			phases = append(phases, phase{rest, more})
		}
	}
	return phases
}

// refill returns how many heads change their phase from 1 to 0, if none changes otherwise;
// else 0.
func refill(phases []phase) int {
	heads := 0
	for _, p := range phases {
		switch p.rest {
		case 0:
			heads += p.heads
		case 1:
		default:
			return 0
		}
	}
	return heads
}
