package sim

import (
	"fmt"

	"kvcompress/internal/words"
)

// This file has the operations that the schedulers share: to refuse, admit, prefill, decode and
// preempt sequences.

// wholeBatch is a batch of whole prompts while it is formed.
type wholeBatch struct {
	limits *Limits
	seqs   int // running sequences and those of the batch
	tokens int // of the batch
}

// fits reports whether a sequence with n tokens to compute fits the batch. A preempted sequence that
// has more tokens than max_num_batched_tokens is recomputed in a batch of its own.
func (b *wholeBatch) fits(q *sequence, n int) bool {
	alone := b.tokens == 0 && q.generated > 0
	return b.seqs < b.limits.MaxNumSeqs && (alone || b.tokens+n <= b.limits.MaxNumBatchedTokens)
}

func (b *wholeBatch) add(n int) {
	b.seqs++
	b.tokens += n
}

// caching reports whether prompts share the blocks of a prefix cache.
func (s *Server) caching() bool { return s.ledger != nil && s.ledger.prefixes != nil }

// cannotServe returns why a sequence can never be admitted, "" if it can: its prefill needs need blocks
// and the cache has only room beyond its watermark, or it has more tokens than longest.
func (s *Server) cannotServe(q *sequence, need, room int, longest bound) string {
	n := q.prompt
	if s.limits.DropOutgrown {
		n += q.generated
	}
	switch most := s.limits.MaxModelLen; {
	case most > 0 && q.prompt+q.output > most && !s.limits.KeepUnservable:
		return fmt.Sprintf("a prompt of %s and %s of output exceed max_model_len %d", words.Count(q.prompt, "token"), words.Number(q.output), most)
	case n > longest.tokens && n > q.prompt:
		return fmt.Sprintf("it was preempted with %s prompt and %s generated tokens, which exceed %s %d", words.Number(q.prompt), words.Number(q.generated), longest.name, longest.tokens)
	case n > longest.tokens:
		return fmt.Sprintf("a prompt of %s exceeds %s %d", words.Count(n, "token"), longest.name, longest.tokens)
	case need <= room:
		return ""
	case q.generated > 0:
		return fmt.Sprintf("it was preempted with %s prompt and %s generated tokens, and to recompute them needs %s: the cache has %s beyond its watermark",
			words.Number(q.prompt), words.Number(q.generated), words.Count(need, "block"), words.Number(room))
	default:
		return fmt.Sprintf("a prompt of %s needs %s: the cache has %s beyond its watermark", words.Count(q.prompt, "token"), words.Count(need, "block"), words.Number(room))
	}
}

// refuse drops the sequence at the head of the queue.
func (s *Server) refuse(step *Step, why string) {
	q := s.waiting.pop()
	q.result.Error = why
	step.Refused = append(step.Refused, q.id)
	s.end(q)
}

// reserve takes the blocks for the prefill of a sequence.
func (s *Server) reserve(step *Step, q *sequence, n, cached int) error {
	if _, err := s.ledger.Reserve(q.id, n, q.hashes); err != nil {
		return fmt.Errorf("sim: step %d: request %q: %w", step.Index, q.result.ID, err)
	}
	q.toFill, q.filled, q.cached = n, cached, cached
	q.result.Cached += cached
	step.Cached += cached
	return nil
}

// prefill runs the admitted prompts. Each gives its sequence a token.
func (s *Server) prefill(step *Step) error {
	step.Kind = Prefill
	for _, q := range s.admitted {
		n := q.prompt + q.generated
		var err error
		if s.caching() {
			err = s.ledger.Admit(q.id)
		} else {
			q.toFill, q.filled = n, 0
			err = s.enter(q, n)
		}
		if err != nil {
			return fmt.Errorf("sim: step %d: request %q: %w", step.Index, q.result.ID, err)
		}
		if q.generated > 0 {
			q.result.Recomputed += n - q.filled
		} else {
			q.result.Admitted = step.Start
		}
		q.order = s.admissions
		s.admissions++
		if s.Batch {
			step.Scheduled = append(step.Scheduled, Scheduled{Seq: q.id, Tokens: n - q.filled, Before: q.filled, Admitted: true})
		}
		s.workOn(step, q, n-q.filled)
		s.start(step, q)
	}
	return nil
}

// workOn computes n more tokens of a sequence's prompt.
func (s *Server) workOn(step *Step, q *sequence, n int) {
	w, from, to := &step.Work, int64(q.filled), int64(q.filled+n)
	w[PrefillSteps] = 1
	w[PrefillSeqs]++
	w[PrefillTokens] += int64(n)
	w[AttentionPairs] += to*(to+1)/2 - from*(from+1)/2
	if s.ledger != nil {
		w[WindowPairs] += windowPairs(from, to, int64(s.ledger.attendsTo()))
	}
	w[MetricPairs] += s.policy.watches.Pairs(int(to))
	step.Tokens += n
	q.filled += n
}

// start adds a sequence whose prompt is computed, and which has got a token, to those that run.
func (s *Server) start(step *Step, q *sequence) {
	step.Sequences++
	if s.Batch || s.all == nil {
		step.Batch = append(step.Batch, q.id)
	}
	q.generated++
	q.finishAt = s.decodes + q.output - q.generated
	q.startedAt, q.compressedAt, q.account = s.steps, never, nil
	s.running.push(q)
	if s.policy.line.built {
		s.policy.line.join(q)
	}
}

// tellDecodes adds a decoded token of each running sequence to step.Scheduled, if batches are reported.
func (s *Server) tellDecodes(step *Step) {
	if !s.Batch {
		return
	}
	for q := s.running.head; q != nil; q = q.next {
		step.Scheduled = append(step.Scheduled, Scheduled{Seq: q.id, Tokens: 1, Before: q.prompt + s.generated(q) - 1})
	}
}

// decodeRunning runs a decode step of all running sequences, for which there are enough blocks. If the
// step is quiet and the server skips steps, it runs as many as quietSteps allows.
func (s *Server) decodeRunning(step *Step, quiet bool) error {
	batch := s.running.len()
	if batch == 0 {
		return nil
	}
	repeats := s.ledger != nil && s.ledger.Repeats()
	if s.Skip && s.all != nil && quiet {
		step.Steps = s.quietSteps(step)
	}
	step.Sequences = batch
	step.Tokens = batch * step.Steps
	step.Work[DecodeSeqs] = int64(step.Tokens)
	if s.Batch || s.all == nil {
		for q := s.running.head; q != nil; q = q.next {
			step.Batch = append(step.Batch, q.id)
		}
	}
	var err error
	if s.all != nil {
		step.Work[KVsRead], step.Work[BlocksRead] = s.all.ReadAll(step.Steps)
		step.Work[QuantizedBytesRead], step.Work[IndexKeysRead] = s.readQuantized(step.Steps), s.readIndex(step.Steps)
		err = s.all.DecodeAll(step.Steps)
	} else if err = s.cache.Decode(step.Batch); err == nil {
		u := s.cache.Usage()
		step.Work[KVsRead], step.Work[BlocksRead] = int64(u.KVs), int64(u.Allocated)
	}
	if err != nil {
		return fmt.Errorf("sim: step %d: %w", step.Index, err)
	}
	if repeats && s.Skip && quiet && s.policy.everyStep() && s.need() <= s.cache.Free() {
		s.repeat(step)
	}
	s.decodes += step.Steps
	return nil
}

// readQuantized returns the bytes of quantized KVs that decode steps of all sequences read.
func (s *Server) readQuantized(steps int) int64 {
	if s.ledger == nil {
		return 0
	}
	return s.ledger.ReadQuantized(steps)
}

// readIndex returns the keys of an indexer that decode steps of all sequences read.
func (s *Server) readIndex(steps int) int64 {
	if s.ledger == nil {
		return 0
	}
	return s.ledger.ReadIndex(steps)
}

// need returns the number of blocks that a decode step of all running sequences takes.
func (s *Server) need() int {
	if s.all != nil {
		return s.all.NeedAll(1)
	}
	n := 0
	for q := s.running.head; q != nil; q = q.next {
		n += s.cache.DecodeNeed(q.id)
	}
	return n
}

// preempt releases a running sequence, which is to be recomputed. The caller puts it at the head of the
// queue.
func (s *Server) preempt(step *Step, q *sequence) error {
	s.running.remove(q)
	q.generated = s.generated(q)
	q.result.OutputTokens = q.generated
	return s.requeue(step, q)
}

// requeue releases an admitted sequence. The caller puts it at the head of the queue.
func (s *Server) requeue(step *Step, q *sequence) error {
	if err := s.cache.Release(q.id); err != nil {
		return err
	}
	q.result.Preemptions++
	step.Preempted = append(step.Preempted, q.id)
	return nil
}

// compress runs a compression of the running sequences. It reports whether another compression may free
// more blocks: if this one freed some, or if it compressed any sequence and the method packs (quantizes
// or merges). Such a method needs free blocks to compress, so a sequence that could not be compressed
// before may be now.
func (s *Server) compress(step *Step) (more bool, err error) {
	freed := step.Work[BlocksFreed]
	sequences := step.Work[CompressedSeqs]
	if s.compressesQuickly() {
		err = s.compressQuickly(step)
	} else {
		err = s.policy.run(s.cache, &s.running, s.steps, step)
	}
	if err != nil {
		return false, fmt.Errorf("sim: step %d: %w", step.Index, err)
	}
	if s.policy.packs {
		return step.Work[CompressedSeqs] > sequences, nil
	}
	return step.Work[BlocksFreed] > freed, nil
}
