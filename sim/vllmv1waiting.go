package sim

import (
	"fmt"
	"math"
)

// scheduleWaiting takes from the queue those who begin in this iteration, with what the
// running ones leave of the budget.
func (s *vllmV1) scheduleWaiting(step *Step) error {
	budget := s.limits.MaxNumBatchedTokens - step.Sequences
	for _, c := range s.chunks {
		budget -= c.tokens
	}
	for s.waiting.n > 0 && budget > 0 && s.running.len()+len(s.partial) < s.limits.MaxNumSeqs {
		q := s.waiting.front()
		if why := s.neverAdmitted(q); why != "" {
			q.result.Error = why
			if s.pool != nil {
				s.pool.disown(q)
			}
			s.end(s.waiting.pop())
			continue
		}
		a, ok := s.admits(q, budget)
		if !ok {
			return nil
		}
		s.waiting.pop()
		q.order = s.admissions
		s.admissions++
		s.partial = append(s.partial, q)
		if s.pool != nil {
			s.pool.hold(q, a.cached)
			n := a.cached * s.ledger.cfg.BlockSize
			q.filled += n
			q.result.Cached += n
			step.Cached += n
		}
		if n := s.receives(q); n > 0 {
			q.filled += n
			q.result.Cached += n
			step.Cached += n
		}
		if err := s.enter(step, q, a); err != nil {
			return err
		}
		q.toFill = q.prompt + q.generated
		s.chunks = append(s.chunks, chunk{q: q, tokens: a.tokens, before: q.filled, admitted: true})
		budget -= a.tokens
	}
	return nil
}

// admission is what a sequence begins with.
type admission struct {
	tokens       int // of the first chunk
	cached, free int // blocks that are cached, and of these, those that no sequence uses
}

// admits returns what the head of the queue begins with if it is admitted now, or that it
// is not.
func (s *vllmV1) admits(q *sequence, budget int) (a admission, ok bool) {
	tokens, from := q.prompt+q.generated, q.filled+s.receives(q)
	if s.pool != nil && from == 0 {
		a.cached, a.free = s.pool.find(q, (tokens-1)/s.ledger.cfg.BlockSize)
		from = a.cached * s.ledger.cfg.BlockSize
	}
	whole := s.cut(tokens-from, math.MaxInt)
	if s.WholePrompts && whole > budget {
		return a, false
	}
	a.tokens = min(whole, budget)
	need := s.fillNeed(q, s.within(from+a.tokens), a)
	if s.ReserveFull {
		need = max(need, s.fillNeed(q, s.within(tokens), a))
	}
	return a, need <= s.ledger.Free()
}

// receives returns how many tokens of a waiting sequence's prompt come with it: of one that was
// preempted none, since its blocks were freed.
func (s *vllmV1) receives(q *sequence) int {
	if !s.received || q.result.Preemptions > 0 {
		return 0
	}
	return q.prompt - 1
}

// within returns the most tokens that a sequence of n has in the cache.
func (s *vllmV1) within(n int) int {
	if longest := s.limits.MaxModelLen; longest > 0 {
		return min(n, longest)
	}
	return n
}

// neverAdmitted says why a request can never be served; nothing if it can be, or if those
// behind it wait for it in any case.
func (s *vllmV1) neverAdmitted(q *sequence) string {
	if s.BlockedHead {
		return ""
	}
	if longest := s.limits.MaxModelLen; longest > 0 && q.prompt+q.output > longest {
		return fmt.Sprintf("a prompt of %d tokens and %d of output exceed max_model_len %d", q.prompt, q.output, longest)
	}
	if s.WholePrompts && s.cut(q.prompt+q.generated, math.MaxInt) > s.limits.MaxNumBatchedTokens {
		return fmt.Sprintf("a prompt of %d tokens exceeds max_num_batched_tokens %d", q.prompt+q.generated, s.limits.MaxNumBatchedTokens)
	}
	return s.cannotServe(q, s.ledger.PrefillNeed(q.prompt+q.generated), s.ledger.Blocks(), bound{math.MaxInt, ""})
}

// enter has the cache take the next chunk of a sequence's prompt.
func (s *vllmV1) enter(step *Step, q *sequence, a admission) error {
	l := s.ledger
	from, to := s.entered(q), q.filled+a.tokens
	if from == 0 && q.own != nil {
		if err := l.Configure(q.id, q.own); err != nil {
			return fmt.Errorf("sim: step %d: request %q: %w", step.Index, q.result.ID, err)
		}
	}
	if s.pool != nil {
		s.pool.grow(q, max(a.cached, l.blocksOf(from)), l.blocksOf(to))
		s.pool.register(q, to/l.cfg.BlockSize)
	}
	if err := l.Extend(q.id, to-from, a.cached-a.free); err != nil {
		return fmt.Errorf("sim: step %d: request %q: %w", step.Index, q.result.ID, err)
	}
	return nil
}
