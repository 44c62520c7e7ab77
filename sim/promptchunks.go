package sim

import (
	"fmt"
	"math"
)

// promptChunks is the scheduler of vLLM 0.6 with enable_chunked_prefill: an iteration
// decodes every running sequence, and fills what is left of its tokens with prompts.
type promptChunks struct {
	*Server
	partial []*sequence // admitted, and part of the prompt is to be computed
	hold    bool        // nobody is admitted until a sequence finishes: one was preempted
}

func (s *promptChunks) filling() []*sequence { return s.partial }

func (s *promptChunks) finished() { s.hold = false }

// ChunkPrefills has the server compute prompts in chunks, beside the decode steps
// of the sequences that run, as vLLM does with enable_chunked_prefill: an iteration
// decodes every running sequence, and fills up what is left of
// max_num_batched_tokens with prompts, first come first. It is an error with
// compression, and on a cache that is not a [Ledger].
func (s *Server) ChunkPrefills() error {
	switch {
	case s.ledger == nil:
		return fmt.Errorf("sim: chunked prefill: only a ledger has it; engines prefill whole prompts")
	case s.policy.enabled:
		return fmt.Errorf("sim: chunked prefill and compression exclude each other: KV-Compress takes its first metrics from a prompt's last queries over all its keys, and so prefills whole prompts")
	case s.limits.MaxNumBatchedTokens < s.limits.MaxNumSeqs:
		return fmt.Errorf("sim: chunked prefill: max_num_batched_tokens %d is less than max_num_seqs %d, each of which is to decode a token in an iteration", s.limits.MaxNumBatchedTokens, s.limits.MaxNumSeqs)
	}
	s.rules = &promptChunks{Server: s}
	return nil
}

func (s *promptChunks) iterate(step *Step) (bool, error) {
	for s.need() > s.cache.Free() {
		if err := s.preempt(step); err != nil {
			return false, err
		}
	}
	for {
		if err := s.admitChunks(step); err != nil {
			return false, err
		}
		if s.running.len() > 0 || len(s.partial) > 0 {
			break
		}
		if more, err := s.sleep(step); !more || err != nil {
			return false, err
		}
	}
	step.Kind = Decode
	if len(s.partial) > 0 {
		step.Kind = Prefill
		if s.running.len() > 0 {
			step.Kind = Mixed
		}
	}
	if err := s.decodeRunning(step, len(s.partial) == 0); err != nil {
		return false, err
	}
	return true, s.fill(step)
}

// preempt sends the latest admitted sequence back to the head of the queue, and holds
// all admissions until a sequence finishes.
func (s *promptChunks) preempt(step *Step) error {
	switch n := len(s.partial); {
	case n > 0:
		q := s.partial[n-1]
		s.partial = s.partial[:n-1]
		step.Dropped += q.filled
		if err := s.requeue(step, q); err != nil {
			return err
		}
	case s.running.len() > 0:
		if err := s.preemptRunning(step, s.running.tail); err != nil {
			return err
		}
	default:
		return s.nobodyLeft(step)
	}
	s.hold = s.running.len()+len(s.partial) > 0 // with nobody left to finish, nobody is waited for
	return nil
}

// admitChunks takes from the queue those whose first chunk runs now: while the
// tokens of the batch allow it, and the blocks, less the watermark, for their whole
// prompts.
func (s *promptChunks) admitChunks(step *Step) error {
	s.admitted = s.admitted[:0]
	if s.hold {
		return nil
	}
	budget := s.limits.MaxNumBatchedTokens - s.running.len()
	for _, q := range s.partial {
		budget -= q.toFill - q.filled
	}
	watermark := s.limits.watermark(s.cache.Blocks())
	for s.waiting.n > 0 && budget > 0 {
		q := s.waiting.front()
		n := q.prompt + q.generated
		if why := s.neverFits(q, s.cache.PrefillNeed(n), watermark, math.MaxInt); why != "" {
			q.result.Error = why
			s.end(s.waiting.pop())
			continue
		}
		need, cached := s.ledger.ReserveNeed(n, q.hashes)
		if s.cache.Free()-s.need()-need < watermark || s.running.len()+len(s.partial) >= s.limits.MaxNumSeqs {
			break
		}
		if err := s.reserve(step, q, n, cached); err != nil {
			return err
		}
		budget -= n - cached
		s.partial = append(s.partial, s.waiting.pop())
	}
	return nil
}

// reserve takes the blocks of a sequence whose prefill begins.
func (s *Server) reserve(step *Step, q *sequence, n, cached int) error {
	if _, err := s.ledger.Reserve(q.id, n, q.hashes); err != nil {
		return fmt.Errorf("sim: step %d: request %q: %w", step.Index, q.result.ID, err)
	}
	q.toFill, q.filled, q.cached = n, cached, cached
	q.result.Cached += cached
	step.Cached += cached
	return nil
}

// fill computes as much of the prompts as the batch has room for. Who has all of
// it gets a token, and runs from then on.
func (s *promptChunks) fill(step *Step) error {
	budget := s.limits.MaxNumBatchedTokens - step.Sequences
	done := 0
	for _, q := range s.partial {
		n := min(budget, q.toFill-q.filled)
		if n == 0 {
			break
		}
		if q.result.Admitted < 0 {
			q.result.Admitted = step.Start
		}
		if q.generated > 0 {
			q.result.Recomputed += n
		}
		s.workOn(step, q, n)
		budget -= n
		if q.filled < q.toFill {
			break
		}
		if err := s.ledger.Admit(q.id); err != nil {
			return fmt.Errorf("sim: step %d: request %q: %w", step.Index, q.result.ID, err)
		}
		done++
		s.admitted = append(s.admitted, q)
		s.start(step, q)
	}
	s.partial = append(s.partial[:0], s.partial[done:]...)
	step.Filling = len(s.partial)
	return nil
}
