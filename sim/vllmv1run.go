package sim

import (
	"fmt"
	"math"
	"slices"

	"kvcompress/trace"
)

// vllmV1 is the scheduler of vLLM's V1 engine. An iteration has one budget of tokens: first for the running
// sequences, in the order of admission, and then for the queue. A prompt takes as many tokens as it can, and
// the blocks for them.
type vllmV1 struct {
	*Server
	V1
	pool    *blockPool  // nil without prefix caching and without windows of groups of layers
	partial []*sequence // running sequences with incomplete prompts, in the order of admission
	order   []*sequence // scratch: all running sequences
	chunks  []chunk     // of this iteration, in the order of scheduling
}

// chunk is a sequence's part of an iteration.
type chunk struct {
	q        *sequence
	tokens   int
	before   int  // its tokens that were computed or cached
	decode   bool // one token of a sequence with a complete prompt
	admitted bool // in this iteration
}

// sharesBlocks reports whether the scheduler is V1 with prefix caching.
func (s *Server) sharesBlocks() bool {
	v, ok := s.rules.(*vllmV1)
	return ok && v.Prefixes
}

func (s *vllmV1) filling() []*sequence { return s.partial }

func (s *vllmV1) finished() {}

func (s *vllmV1) arrived(q *sequence, r *trace.Request) {
	q.filled, q.toFill = 0, 0
	if longest := s.limits.MaxModelLen; longest > 0 && s.BlockedHead {
		q.output = min(q.output, max(1, longest-q.prompt))
	}
	if s.Priority != nil {
		q.priority = s.Priority(q.id)
	}
	if s.pool == nil {
		return
	}
	s.pool.reset(&q.table)
	if !s.Prefixes {
		return
	}
	var hashes []uint64
	if s.PrefixTokens > 0 {
		hashes = r.PrefixHashes[:min(len(r.PrefixHashes), r.PromptTokens/s.PrefixTokens)]
	}
	t := &q.table
	switch {
	case s.Content != nil:
		t.sharable, t.content = math.MaxInt, s.Content(q.id)
	case s.plain:
		t.sharable, t.content = math.MaxInt, contentOf(q.id, hashes, s.PrefixTokens, r.PromptTokens)
	default:
		t.hashed, t.hashes = len(hashes)*s.PrefixTokens/s.ledger.cfg.BlockSize, hashes
		t.sharable = t.hashed
		if len(s.pool.windowed) > 0 { // then its other blocks are objects too
			t.sharable, t.own = math.MaxInt, mix(ownStream, uint64(q.id))|1
		}
	}
}

func (s *vllmV1) release(q *sequence) error { return s.leave(q, false) }

// leave releases a sequence. If back is set, it will come back and can find its own blocks again.
func (s *vllmV1) leave(q *sequence, back bool) error {
	if s.pool == nil {
		return s.ledger.Release(q.id)
	}
	tokens := s.ledger.Tokens(q.id)
	s.pool.release(q, s.ledger.blocksOf(tokens), tokens/s.ledger.cfg.BlockSize, back && s.Prefixes)
	return s.ledger.Release(q.id)
}

func (s *vllmV1) iterate(step *Step) (bool, error) {
	if s.policy.due() {
		if _, err := s.compress(step); err != nil {
			return false, err
		}
	}
	for {
		s.admitted, s.chunks = s.admitted[:0], s.chunks[:0]
		s.sortWaiting()
		preempted := len(step.Preempted)
		if err := s.scheduleRunning(step); err != nil {
			return false, err
		}
		if len(step.Preempted) == preempted {
			if err := s.scheduleWaiting(step); err != nil {
				return false, err
			}
		}
		switch {
		case len(s.chunks) > 0 || step.Sequences > 0:
			return true, s.run(step)
		case s.BlockedHead && (len(step.Preempted) > preempted || s.waiting.n > 0 || len(s.partial) > 0):
			step.Kind = Decode // of no sequence
			return true, nil
		case len(step.Preempted) > preempted:
			continue // vLLM begins the next iteration at once
		case step.Work[CompressionSteps] > 0:
			step.Kind = Decode // without sequences: all that were compressed were then preempted and refused
			return true, nil
		}
		if more, err := s.sleep(step); !more || err != nil {
			return false, err
		}
	}
}

// sortWaiting sorts the queue by priority.
func (s *vllmV1) sortWaiting() {
	if s.Priority != nil {
		s.waiting.sort(byPriority)
	}
}

// tokens returns the number of tokens of a sequence, and the number of those that are in the cache.
func (s *vllmV1) tokens(q *sequence) (tokens, computed int) {
	if s.fills(q) {
		return q.prompt + q.generated, q.filled
	}
	n := q.prompt + s.generated(q)
	return n, n - 1
}

// fills reports whether the prompt of an admitted sequence is incomplete.
func (s *vllmV1) fills(q *sequence) bool { return q.filled < q.toFill }

// chunkOf returns the number of tokens of a running sequence that the next iteration computes, at most budget.
func (s *vllmV1) chunkOf(q *sequence, budget int) int {
	tokens, computed := s.tokens(q)
	n := s.cut(tokens-computed, budget)
	if longest := s.limits.MaxModelLen; longest > 0 {
		n = min(n, longest-1-computed)
	}
	return n
}

// cut returns the number of n tokens of a prompt that an iteration computes, at most budget.
func (s *vllmV1) cut(n, budget int) int {
	if s.LongPrefill > 0 {
		n = min(n, s.LongPrefill)
	}
	return min(n, budget)
}

// need returns the number of blocks that a running sequence takes for n more tokens.
func (s *vllmV1) need(q *sequence, n int) int {
	switch _, computed := s.tokens(q); {
	case s.fills(q):
		return s.fillNeed(q, computed+n, admission{})
	case s.pool != nil:
		return s.ledger.unit * s.pool.need(computed, computed+n)
	default:
		return s.ledger.DecodeNeed(q.id)
	}
}

// fillNeed returns the number of blocks that a sequence takes to have the first tokens of its prompt, up to to,
// in the cache.
func (s *vllmV1) fillNeed(q *sequence, to int, a admission) int {
	entered := s.entered(q)
	if s.pool == nil {
		return s.ledger.ChunkNeed(entered, to-entered)
	}
	return s.ledger.unit * (s.pool.need(max(entered, a.cached*s.pool.tokens), to) + a.free)
}

// reserveNeed returns the number of free blocks without which a sequence of n tokens is not admitted, however
// small its first chunk is.
func (s *vllmV1) reserveNeed(n int, a admission) int {
	if s.pool == nil {
		return s.ledger.PrefillNeed(n)
	}
	blocks := s.pool.blocksOf(n)
	need := a.free + len(s.pool.full)*(blocks-a.cached)
	for _, g := range s.pool.windowed {
		// Of a window there are the last tokens before a batch, and those of the batch. They may begin within a block.
		most := s.pool.blocksOf(s.within(g.window-1+s.limits.MaxNumBatchedTokens)) + 1
		need += max(0, min(blocks, most)-a.cached)
	}
	return s.ledger.unit * need
}

// entered returns the number of tokens of a sequence with an incomplete prompt that are in the cache; 0 if it
// waits.
func (s *vllmV1) entered(q *sequence) int {
	if q.toFill == 0 {
		return 0
	}
	return q.filled
}

// start adds a sequence whose prompt is computed, and which has got a token, to those that run.
func (s *vllmV1) start(step *Step, q *sequence) {
	step.Sequences++
	if s.Batch {
		step.Batch = append(step.Batch, q.id)
	}
	q.generated++
	q.finishAt = s.decodes + q.output - q.generated
	q.startedAt, q.compressedAt, q.account = s.steps, never, nil
	s.running.insert(q)
	if s.policy.line.built {
		s.policy.line.join(q)
	}
}

// run computes what was scheduled.
func (s *vllmV1) run(step *Step) error {
	fills := 0
	for _, c := range s.chunks {
		q := c.q
		if s.Batch {
			step.Scheduled = append(step.Scheduled, Scheduled{Seq: q.id, Tokens: c.tokens, Before: c.before, Admitted: c.admitted})
		}
		if c.decode {
			s.decodeOne(step, q)
			continue
		}
		fills++
		if q.result.Admitted < 0 {
			q.result.Admitted = step.Start
		}
		if q.result.Preemptions > 0 {
			q.result.Recomputed += c.tokens
		}
		step.Work[MetricPairs] -= s.policy.watches.Pairs(q.filled) // of the chunks before this one
		s.workOn(step, q, c.tokens)
		if s.fills(q) || q.toFill == 0 {
			continue
		}
		if err := s.ledger.Admit(q.id); err != nil {
			return fmt.Errorf("sim: step %d: request %q: %w", step.Index, q.result.ID, err)
		}
		s.partial = slices.DeleteFunc(s.partial, func(p *sequence) bool { return p == q })
		s.admitted = append(s.admitted, q)
		s.policy.prefilled = true
		s.start(step, q)
	}
	step.Filling = len(s.partial)
	switch {
	case fills == 0:
		step.Kind = Decode
	case step.Work[DecodeSeqs] > 0:
		step.Kind = Mixed
	default:
		step.Kind = Prefill
	}
	return nil
}

// decodeOne decodes a token of one sequence, for which the cache has a block already.
func (s *vllmV1) decodeOne(step *Step, q *sequence) {
	step.Sequences++
	step.Tokens++
	step.Work[DecodeSeqs]++
	kvs, blocks := s.ledger.Read(q.id)
	step.Work[KVsRead] += kvs
	step.Work[BlocksRead] += blocks
	step.Work[QuantizedBytesRead] += s.ledger.ReadQuantizedOf(q.id)
	step.Work[IndexKeysRead] += s.ledger.ReadIndexOf(q.id)
	if s.Batch {
		step.Batch = append(step.Batch, q.id)
	}
	s.running.sooner(q)
}
