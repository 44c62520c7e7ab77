package sim

import (
	"slices"
	"unsafe"

	"kvcompress/kv"
	"kvcompress/ref"
)

// Servers perform the same compressions again and again, on sequences with prompts of equal length
// after equal numbers of output tokens. courses is a cache of their results.
//
// The cache is exact because a compression is a function of the sequence's state: the length of its
// prompt, its number of tokens, and the KVs that each head has lost. Method, configuration and
// counting are the ledger's, and the spread must be [ByDemand]. A stage is such a state, and an
// outcome is the result of [Ledger.Compress] on it after some more tokens. Decode steps need no
// outcomes: they add a token to every head and do not change the KVs lost. Sequences with options
// of their own, and spreads that are not ByDemand, do not use the cache.
//
// Different states do not become equal later: if a sequence was compressed at another time than
// others, the levels of its heads stay different. So if compressions go by level, a sequence stops
// using the cache when it was compressed twice without a token in between, as after a prefill, or
// when maxMisses states in a row were new. Before that, each such sequence adds up to maxMisses
// states to the cache, so later sequences with the same history find more of them.
//
// A state becomes a stage when it occurs for the second time. States are compared as a whole, not
// only by their hashes. When the stages exceed maxCourseBytes, the cache is cleared; sequences keep
// the stages that they are at.
type courses struct {
	table [courseStates / coursePage]*[coursePage]courseEntry // pages are allocated when first used
	bytes uintptr
}

// courseEntry is an entry of the hash table: the last state that was looked up there.
type courseEntry struct {
	hash  uint64
	stage *stage // nil for a state that occurred once
}

// courseStates is the number of entries of the hash table and coursePage that of one of its pages, powers
// of two; maxCourseBytes bounds the memory of stages and outcomes.
const (
	courseStates   = 1 << 15
	coursePage     = 1 << 6
	maxCourseBytes = 24 << 20
	maxMisses      = 4
)

// ByDemand is a [Spread] whose result depends only on the demand, and not on Demand.Seq.
type ByDemand interface {
	Spread
	ByDemand()
}

// stage is a state that sequences share.
type stage struct {
	prompt, tokens int
	outcomes       *outcome // known outcomes, the latest first
	runs           []run    // never modified
}

// outcome is the compression of a sequence that was at a stage, some tokens later.
type outcome struct {
	after  int // tokens since the stage
	to     *stage
	held   int            // blocks before the compression
	refill int            // heads that lose a block of one KV, so their last block is full
	done   ref.Compressed // result of Compress
	phases []phase        // changes of Ledger.phases, if refill does not describe them
	count  int            // result of Count; 0 if the sequence is not compressed
	undone bool           // the compression is counted in Ledger.undone
	next   *outcome       // of the same stage
}

// phase is a change of the number of heads whose length is rest modulo B.
type phase struct{ rest, heads int }

// newCourses returns an empty cache; nil if the spread is not ByDemand or nothing is compressed.
func newCourses(cfg *ref.Config, spread Spread) *courses {
	if _, ok := spread.(ByDemand); !ok || !cfg.Compresses() {
		return nil
	}
	return &courses{}
}

// stageOf returns the stage of a state. It returns nil if the state occurs for the first time, or if
// another state has replaced it in the hash table since.
func (c *courses) stageOf(prompt, tokens int, runs []run) *stage {
	hash := mix(uint64(prompt), uint64(tokens))
	for _, r := range runs {
		hash = mix(hash^uint64(r.heads), uint64(r.gone))
	}
	page := &c.table[hash%courseStates/coursePage]
	if *page == nil {
		*page = new([coursePage]courseEntry)
	}
	m := &(*page)[hash%coursePage]
	switch {
	case m.hash != hash:
		*m = courseEntry{hash: hash}
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

// add adds an outcome to a stage.
func (c *courses) add(s *stage, t outcome) *outcome {
	c.take(unsafe.Sizeof(t) + uintptr(len(t.phases))*unsafe.Sizeof(phase{}))
	t.next = s.outcomes
	s.outcomes = &t
	return &t
}

// take counts bytes of memory, and clears the cache when there are too many.
func (c *courses) take(bytes uintptr) {
	c.bytes += bytes
	if c.bytes > maxCourseBytes {
		c.bytes = bytes
		clear(c.table[:])
	}
}

// outcome returns the known outcome after the given number of tokens; nil if there is none.
func (s *stage) outcome(after int) *outcome {
	t := s.outcomes
	for t != nil && t.after != after {
		t = t.next
	}
	return t
}

// leave detaches an account from its stage: it gets its own copy of the runs, which may be modified.
func (a *account) leave() {
	a.lookedUp, a.settled.level = false, 0
	if a.stage != nil {
		a.runs, a.stage = append(a.runs[:0], a.stage.runs...), nil
	}
}

// heads returns the runs of an account. They must not be modified.
func (a *account) heads() []run {
	if a.stage != nil {
		return a.stage.runs
	}
	return a.runs
}

// predict returns the outcome of compressing a sequence now. It returns nil, or an outcome with a count of 0, if the
// method asks the sequence for nothing. If the outcome is not in the cache, only its count and held are set. The result
// is valid until the next call.
func (l *Ledger) predict(id kv.SeqID, a *account) *outcome {
	tokens := a.tokens + l.steps
	if tokens < a.asksAt {
		return nil
	}
	own, from := l.hasOwn(id), a.stage
	if l.courses != nil && !own && a.stage == nil && !a.lookedUp && a.misses < maxMisses {
		a.stage, a.lookedUp = l.courses.stageOf(a.prompt, tokens, a.runs), true
	}
	if a.stage != nil {
		if t := a.stage.outcome(tokens - a.stage.tokens); t != nil {
			return t
		}
	}
	t := &l.scratch
	t.to = nil
	if l.levels != nil && !own {
		t.held, t.count = l.survey(a)
	} else if t.count = l.Count(id); t.count > 0 {
		t.held = l.Held(id)
	}
	if t.count > 0 {
		if l.levels != nil && from != nil && from.tokens == tokens {
			a.misses = maxMisses
		}
		return t
	}
	if a.stage != nil && a.stage.tokens == tokens { // no token since the stage, as after a prefill
		l.courses.add(a.stage, outcome{})
	}
	return nil
}

// apply compresses a sequence, given the outcome that predict has just returned. It returns the
// complete outcome.
func (l *Ledger) apply(id kv.SeqID, a *account, t *outcome) (*outcome, error) {
	if t.to == nil {
		return l.compressNew(id, a)
	}
	a.stage, a.misses = t.to, 0
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

// compressNew compresses a sequence whose outcome is not in the cache, right after predict, and adds the
// outcome to the cache.
func (l *Ledger) compressNew(id kv.SeqID, a *account) (t *outcome, err error) {
	tokens := a.tokens + l.steps
	t = &l.scratch
	own, from, undone := l.hasOwn(id), a.stage, l.undone
	byLevel := l.levels != nil && !own
	if byLevel && a.misses >= maxMisses && l.compressByLevel(a, t.count, &t.done) {
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
	a.stage, a.lookedUp = l.courses.stageOf(a.prompt, tokens, a.runs), true
	a.settled.level = 0
	if byLevel {
		a.misses++
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

// changed returns the changes of l.phases.
func (l *Ledger) changed(before *[maxB]int) (phases []phase) {
	for rest := range l.cfg.BlockSize {
		at := (rest - l.steps) & (l.cfg.BlockSize - 1)
		if more := l.phases[at] - before[at]; more != 0 {
			phases = append(phases, phase{rest, more})
		}
	}
	return phases
}

// refill returns the number of heads whose phase changes from 1 to 0, or 0 if any other phase
// changes.
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
