package sim

import (
	"errors"
	"fmt"
	"slices"
)

// vllm06Chunks is the scheduler of vLLM 0.6.0 with enable_chunked_prefill. An iteration decodes every running
// sequence and uses the rest of max_num_batched_tokens for prompts, of which the last may be incomplete.
type vllm06Chunks struct {
	*Server
	blocks  vllmBlocks
	partial []*sequence // admitted sequences with incomplete prompts; between iterations at most one
	hold    bool        // no sequence is admitted until one finishes
}

// ChunkPrefills selects the scheduler of vLLM 0.6.0 with chunked prefill. It is an error with compression, and
// for a cache that is not a [Ledger].
func (s *Server) ChunkPrefills() error {
	switch {
	case s.ledger == nil:
		return errors.New("sim: chunked prefill needs a ledger: engines prefill whole prompts")
	case s.policy.enabled:
		return errors.New("sim: chunked prefill and compression exclude each other: KV-Compress observes the attention of a prompt's last queries to all its keys, and so prefills whole prompts")
	case s.limits.MaxNumBatchedTokens < s.limits.MaxNumSeqs:
		return fmt.Errorf("sim: chunked prefill: max_num_batched_tokens %d is less than max_num_seqs %d, and each sequence decodes a token in an iteration", s.limits.MaxNumBatchedTokens, s.limits.MaxNumSeqs)
	}
	c := &vllm06Chunks{Server: s, blocks: newVLLMBlocks(s.cache)}
	s.rules, s.inReserve = c, c.blocks.unit
	return nil
}

func (s *vllm06Chunks) filling() []*sequence { return s.partial }

func (s *vllm06Chunks) finished() { s.hold = false }

func (s *vllm06Chunks) iterate(step *Step) (bool, error) {
	preempted, err := s.preemptLacking(step)
	if err != nil {
		return false, err
	}
	for {
		if err := s.admit(step); err != nil {
			return false, err
		}
		if s.running.len()+len(s.partial)+len(preempted) > 0 {
			break
		}
		if more, err := s.sleep(step); !more || err != nil {
			return false, err
		}
	}
	// Preempted sequences go to the head of the queue, but are not admitted in this iteration.
	for _, q := range preempted {
		s.waiting.pushFront(q)
	}
	step.Kind = Decode
	if len(s.partial) > 0 {
		step.Kind = Prefill
		if s.running.len() > 0 {
			step.Kind = Mixed
		}
	}
	decoded := s.running.len()
	s.tellDecodes(step)
	if err := s.decodeRunning(step, len(s.partial)+len(preempted) == 0); err != nil {
		return false, err
	}
	if err := s.fill(step, s.limits.MaxNumBatchedTokens-decoded); err != nil {
		return false, err
	}
	if s.Batch { // vLLM lists sequences admitted now, then a continued prompt, then decoding sequences
		decodes, prompts := step.Scheduled[:decoded], step.Scheduled[decoded:]
		if len(prompts) > 0 && !prompts[0].Admitted {
			prompts = append(prompts[1:], prompts[0])
		}
		step.Scheduled = slices.Concat(prompts, decodes)
		step.Batch = step.Batch[:0]
		for _, c := range step.Scheduled {
			if len(s.partial) == 0 || c.Seq != s.partial[0].id {
				step.Batch = append(step.Batch, c.Seq)
			}
		}
	}
	return true, nil
}

// preemptLacking preempts the sequences that were admitted last, as long as a running sequence finds no free
// block at its turn.
func (s *vllm06Chunks) preemptLacking(step *Step) (preempted []*sequence, err error) {
	for {
		q, needs := s.running.tail, 0
		if n := len(s.partial); n > 0 {
			q = s.partial[n-1] // it has the blocks of its prompt already
		} else if q != nil {
			needs = s.cache.DecodeNeed(q.id)
		}
		if q == nil || !s.blocks.tooFew(s.need(), needs) {
			return preempted, nil
		}
		if n := len(s.partial); n > 0 {
			s.partial = s.partial[:n-1]
			step.Dropped += q.filled
			err = s.requeue(step, q)
		} else {
			err = s.preempt(step, q)
		}
		if err != nil {
			return preempted, err
		}
		preempted = append(preempted, q)
		s.hold = s.limits.HoldAfterPreemption && s.running.len()+len(s.partial) > 0
	}
}

// admit takes the sequences whose first chunk runs now from the queue, as long as the batch has tokens left and
// the blocks for their whole prompts and the watermark are free.
func (s *vllm06Chunks) admit(step *Step) error {
	s.admitted = s.admitted[:0]
	if s.hold {
		return nil
	}
	budget := s.limits.MaxNumBatchedTokens - s.running.len()
	for _, q := range s.partial {
		budget -= min(budget, q.toFill-q.filled)
	}
	watermark := s.limits.watermark(s.blocks.total)
	for s.waiting.n > 0 {
		q := s.waiting.front()
		n := q.prompt + q.generated
		if why := s.cannotServe(q, s.blocks.prompt(n), s.room(n, watermark), s.limits.longestContext()); why != "" {
			s.refuse(step, why)
			continue
		}
		need, cached := s.ledger.ReserveNeed(n, q.hashes)
		free := s.blocks.free() - (s.need()+need)/s.blocks.unit
		if free < watermark || budget == 0 || s.running.len()+len(s.partial) >= s.limits.MaxNumSeqs {
			break
		}
		if err := s.reserve(step, q, n, cached); err != nil {
			return err
		}
		q.order = s.admissions
		s.admissions++
		budget -= min(budget, n-cached)
		s.partial = append(s.partial, s.waiting.pop())
	}
	return nil
}

// room returns the number of blocks that a prompt of n tokens may take. A prompt of several chunks must leave
// a block: one that took all of them would find no free block at its turn and be preempted again and again.
func (s *vllm06Chunks) room(n, watermark int) int {
	if n > s.limits.MaxNumBatchedTokens && !s.limits.KeepUnservable {
		watermark = max(watermark, 1)
	}
	return s.blocks.total - watermark
}

// fill computes tokens of prompts up to the budget. A sequence whose prompt is complete gets a token and runs
// from then on.
func (s *vllm06Chunks) fill(step *Step, budget int) error {
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
		if s.Batch {
			step.Scheduled = append(step.Scheduled, Scheduled{Seq: q.id, Tokens: n, Before: q.filled, Admitted: q.filled == q.cached})
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
	s.partial = slices.Delete(s.partial, 0, done)
	step.Filling = len(s.partial)
	return nil
}
