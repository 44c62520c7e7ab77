package sim

import (
	"cmp"
	"fmt"
	"slices"

	"kvcompress/kv"
)

// scheduleRunning schedules the tokens of the running sequences. If blocks are lacking, it first compresses, and
// then preempts until there are enough.
func (s *vllmV1) scheduleRunning(step *Step) error {
	before := step.Work[CompressedSeqs]
	for s.policy.enabled && s.lacks() {
		if more, err := s.compress(step); err != nil {
			return err
		} else if !more {
			break
		}
	}
	if done, err := s.scheduleTogether(step, step.Work[CompressedSeqs] == before); done || err != nil {
		return err
	}
	return s.scheduleEach(step)
}

// lacks reports whether the running sequences need more blocks than are free.
func (s *vllmV1) lacks() bool {
	need := s.ledger.NeedAll(1)
	budget := s.limits.MaxNumBatchedTokens - s.running.len()
	for _, q := range s.partial {
		if n := s.chunkOf(q, budget); n > 0 {
			need += s.need(q, n)
			budget -= n
		}
	}
	return need > s.ledger.Free()
}

// scheduleTogether is a fast scheduleEach for the case that every running sequence is scheduled, none is
// preempted, and those with incomplete prompts were admitted last. Otherwise it returns false. If quiet is set,
// several decode steps may be taken at once.
func (s *vllmV1) scheduleTogether(step *Step, quiet bool) (bool, error) {
	budget := s.limits.MaxNumBatchedTokens - s.running.len()
	if s.plain || budget < 0 || s.running.len() == 0 && len(s.partial) == 0 {
		return false, nil
	}
	need := s.ledger.NeedAll(1)
	for _, q := range s.partial {
		if budget == 0 {
			break
		}
		n := s.chunkOf(q, budget)
		if n < 1 || s.running.len() > 0 && q.order < s.running.tail.order {
			s.chunks = s.chunks[:0]
			return false, nil
		}
		need += s.need(q, n)
		budget -= n
		s.chunks = append(s.chunks, chunk{q: q, tokens: n, before: q.filled})
	}
	if need > s.ledger.Free() {
		s.chunks = s.chunks[:0]
		return false, nil
	}
	if s.Batch {
		for q := s.running.head; q != nil; q = q.next {
			_, computed := s.tokens(q)
			step.Scheduled = append(step.Scheduled, Scheduled{Seq: q.id, Tokens: 1, Before: computed})
		}
	}
	tables := s.ledger.tables
	if err := s.decodeRunning(step, quiet && len(s.partial) == 0 && s.headStays(budget)); err != nil {
		return false, err
	}
	switch {
	case s.pool == nil:
	case len(s.pool.windowed) == 0:
		s.pool.take((s.ledger.tables - tables) / s.ledger.unit)
	default:
		s.decodedEach(step)
	}
	for _, c := range s.chunks {
		if err := s.enter(step, c.q, admission{tokens: c.tokens}); err != nil {
			return false, err
		}
	}
	return true, nil
}

// decodedEach takes the blocks of the decode steps that all running sequences have just run, in the order of
// single steps.
func (s *vllmV1) decodedEach(step *Step) {
	for left := step.Steps; left > 0; left-- {
		for q := s.running.head; q != nil; q = q.next {
			_, computed := s.tokens(q)
			s.pool.decode(q, computed-left)
		}
		if left > 1 {
			step.Peak = max(step.Peak, s.ledger.Blocks()-s.ledger.Free())
		}
	}
}

// headStays reports whether the head of the queue cannot be admitted before a sequence finishes. Decode steps
// without windows do not change that: they only take blocks.
func (s *vllmV1) headStays(budget int) bool {
	if s.waiting.n == 0 || budget == 0 || s.running.len() == s.limits.MaxNumSeqs {
		return true
	}
	if s.pool != nil && len(s.pool.windowed) > 0 {
		return false
	}
	q := s.waiting.front()
	if s.neverAdmitted(q) != "" {
		return false
	}
	_, ok := s.admits(q, budget)
	return !ok
}

// scheduleEach schedules the running sequences one after the other, in the order of admission. While one lacks
// blocks, the last sequence is preempted, or with priorities the least urgent.
func (s *vllmV1) scheduleEach(step *Step) error {
	s.order = append(s.order[:0], s.partial...)
	for q := s.running.head; q != nil; q = q.next {
		s.order = append(s.order, q)
	}
	slices.SortFunc(s.order, func(a, b *sequence) int { return cmp.Compare(a.order, b.order) })
	budget := s.limits.MaxNumBatchedTokens
	for i := 0; i < len(s.order) && budget > 0; i++ {
		q := s.order[i]
		n := s.chunkOf(q, budget)
		if n < 1 {
			continue
		}
		if s.pool != nil {
			_, computed := s.tokens(q)
			s.pool.slide(q, computed)
		}
		for s.need(q, n) > s.ledger.Free() {
			victim := len(s.order) - 1
			if s.Priority != nil {
				victim = s.leastUrgent()
			}
			v := s.order[victim]
			s.order = slices.Delete(s.order, victim, victim+1)
			if at := slices.IndexFunc(s.chunks, func(c chunk) bool { return c.q == v }); at >= 0 && !s.StalePreempted {
				budget += s.chunks[at].tokens
				s.chunks = slices.Delete(s.chunks, at, at+1)
				i--
			}
			if err := s.preempt(step, v); err != nil {
				return err
			}
			if v == q {
				return nil
			}
		}
		if err := s.schedule(step, q, n); err != nil {
			return err
		}
		budget -= n
	}
	return nil
}

// schedule schedules n tokens of a running sequence and takes their blocks.
func (s *vllmV1) schedule(step *Step, q *sequence, n int) error {
	_, computed := s.tokens(q)
	c := chunk{q: q, tokens: n, before: computed, decode: !s.fills(q)}
	s.chunks = append(s.chunks, c)
	if !c.decode {
		return s.enter(step, q, admission{tokens: n})
	}
	if err := s.ledger.Decode([]kv.SeqID{q.id}); err != nil {
		return fmt.Errorf("sim: step %d: request %q: %w", step.Index, q.result.ID, err)
	}
	if s.pool != nil {
		s.pool.decode(q, computed)
	}
	return nil
}

// leastUrgent returns the index in s.order of the sequence that comes last by priority and arrival.
func (s *vllmV1) leastUrgent() int {
	last := 0
	for i, q := range s.order {
		if byPriority(q, s.order[last]) > 0 {
			last = i
		}
	}
	return last
}

// byPriority compares sequences by priority, and then by arrival.
func byPriority(a, b *sequence) int {
	return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.id, b.id))
}

// preempt sends a running sequence back to the queue, to be recomputed.
func (s *vllmV1) preempt(step *Step, q *sequence) error {
	if s.fills(q) {
		step.Dropped += q.filled
		s.partial = slices.DeleteFunc(s.partial, func(p *sequence) bool { return p == q })
	} else {
		s.running.remove(q)
		q.generated = s.generated(q)
		q.result.OutputTokens = q.generated
	}
	if err := s.leave(q, true); err != nil {
		return fmt.Errorf("sim: step %d: request %q: %w", step.Index, q.result.ID, err)
	}
	q.filled, q.toFill = 0, 0
	q.result.Preemptions++
	step.Preempted = append(step.Preempted, q.id)
	s.waiting.pushFront(q)
	s.sortWaiting()
	if at := slices.IndexFunc(s.chunks, func(c chunk) bool { return c.q == q }); at >= 0 { // with StalePreempted it keeps its tokens
		c := &s.chunks[at]
		c.before, c.decode = 0, false
	}
	return nil
}
