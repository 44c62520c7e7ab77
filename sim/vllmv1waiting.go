package sim

import (
	"fmt"
	"math"

	"kvcompress/internal/words"
)

// scheduleWaiting admits sequences from the queue, with the budget that the running sequences leave.
func (s *vllmV1) scheduleWaiting(step *Step) error {
	budget := s.limits.MaxNumBatchedTokens - step.Sequences
	for _, c := range s.chunks {
		budget -= c.tokens
	}
	for s.waiting.n > 0 && budget > 0 && s.running.len()+len(s.partial) < s.limits.MaxNumSeqs {
		q := s.waiting.front()
		if why := s.neverAdmitted(q); why != "" {
			if s.pool != nil {
				s.pool.disown(q)
			}
			s.refuse(step, why)
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

// admission is the first chunk of a sequence.
type admission struct {
	tokens       int // of the chunk
	cached, free int // cached blocks, and those of them that no sequence uses
}

// admits returns the first chunk of the head of the queue, and whether it can be admitted now.
func (s *vllmV1) admits(q *sequence, budget int) (a admission, ok bool) {
	tokens, from := q.prompt+q.generated, q.filled+s.receives(q)
	if s.pool != nil {
		most := (tokens - 1) / s.pool.tokens
		if from > 0 {
			most = 0
		}
		a.cached, a.free = s.pool.find(q, most)
		from += a.cached * s.pool.tokens
	}
	whole := s.cut(tokens-from, math.MaxInt)
	if s.WholePrompts && whole > budget {
		return a, false
	}
	a.tokens = min(whole, budget)
	need := s.fillNeed(q, s.within(from+a.tokens), a)
	if s.ReserveFull {
		need = max(need, s.reserveNeed(s.within(tokens), a))
	}
	return a, need <= s.ledger.Free()
}

// receives returns the number of prompt tokens whose KVs a waiting sequence was received with; 0 after a
// preemption, which frees them.
func (s *vllmV1) receives(q *sequence) int {
	if !s.received || q.result.Preemptions > 0 {
		return 0
	}
	return q.prompt - 1
}

// within returns the most tokens that a sequence of n tokens has in the cache.
func (s *vllmV1) within(n int) int {
	if longest := s.limits.MaxModelLen; longest > 0 {
		return min(n, longest)
	}
	return n
}

// neverAdmitted returns why a request can never be served; "" if it can be, or with BlockedHead.
func (s *vllmV1) neverAdmitted(q *sequence) string {
	if s.BlockedHead {
		return ""
	}
	if longest := s.limits.MaxModelLen; longest > 0 && q.prompt+q.output > longest {
		return fmt.Sprintf("a prompt of %s and %s of output exceed max_model_len %d", words.Count(q.prompt, "token"), words.Number(q.output), longest)
	}
	if s.WholePrompts && s.cut(q.prompt+q.generated, math.MaxInt) > s.limits.MaxNumBatchedTokens {
		return fmt.Sprintf("a prompt of %s exceeds max_num_batched_tokens %d", words.Count(q.prompt+q.generated, "token"), s.limits.MaxNumBatchedTokens)
	}
	if need := s.reserveNeed(q.prompt+q.generated, admission{}); need > s.ledger.Blocks() {
		return s.tooLarge(q, need)
	}
	return ""
}

// tooLarge says that a sequence needs more blocks than the cache has, in V1's blocks: those of all heads of a group of
// layers, of which one is never used.
func (s *vllmV1) tooLarge(q *sequence, need int) string {
	of, has := "of one head", words.Number(s.ledger.Blocks()) // where blocks are not in groups
	if unit := s.ledger.unit; unit > 0 {
		need /= unit
		of, has = fmt.Sprintf("of %d tokens", s.ledger.cfg.BlockSize), words.Number(s.ledger.Blocks()/unit)+", one less than num_gpu_blocks"
	}
	blocks := words.Count(need, "block") + " " + of
	if q.generated > 0 {
		return fmt.Sprintf("it was preempted with %s prompt and %s generated tokens, and to recompute them needs %s: the cache has %s",
			words.Number(q.prompt), words.Number(q.generated), blocks, has)
	}
	return fmt.Sprintf("a prompt of %s needs %s: the cache has %s", words.Count(q.prompt, "token"), blocks, has)
}

// enter adds the next chunk of a sequence's prompt to the cache.
func (s *vllmV1) enter(step *Step, q *sequence, a admission) error {
	l := s.ledger
	from, to := s.entered(q), q.filled+a.tokens
	if from == 0 && q.own != nil {
		if err := l.Configure(q.id, q.own); err != nil {
			return fmt.Errorf("sim: step %d: request %q: %w", step.Index, q.result.ID, err)
		}
	}
	if s.pool != nil {
		s.pool.slide(q, from)
		s.pool.grow(q, max(a.cached, l.blocksOf(from)), l.blocksOf(to))
		s.pool.register(q, to/l.cfg.BlockSize)
	}
	if err := l.Extend(q.id, to-from); err != nil {
		return fmt.Errorf("sim: step %d: request %q: %w", step.Index, q.result.ID, err)
	}
	return nil
}
