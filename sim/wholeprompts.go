package sim

import "fmt"

// wholePrompts is the scheduler of vLLM 0.6 with KV-Compress: an iteration is either the
// prefill of whole prompts or a decode step of every running sequence.
type wholePrompts struct {
	*Server
	hold bool // no prefill until a sequence finishes: one was preempted
}

func (s *wholePrompts) filling() []*sequence { return nil }

func (s *wholePrompts) finished() { s.hold = false }

func (s *wholePrompts) iterate(step *Step) (bool, error) {
	if s.policy.due() {
		if _, err := s.compress(step); err != nil {
			return false, err
		}
	}
	for {
		if err := s.admit(step); err != nil {
			return false, err
		}
		switch {
		case len(s.admitted) > 0:
			return true, s.prefill(step)
		case s.running.len() > 0:
			return true, s.decode(step)
		}
		if more, err := s.sleep(step); !more || err != nil {
			return false, err
		}
	}
}

// admit takes from the queue what is to be prefilled now: first come first,
// while the blocks, less the watermark, and the limits of a batch allow it.
func (s *wholePrompts) admit(step *Step) error {
	s.admitted = s.admitted[:0]
	if s.hold {
		return nil
	}
	caching := s.ledger != nil && s.ledger.prefixes != nil
	free, tokens := s.cache.Free(), 0
	watermark := s.limits.watermark(s.cache.Blocks())
	for s.waiting.n > 0 {
		q := s.waiting.front()
		n := q.prompt + q.generated
		need := s.cache.PrefillNeed(n)
		if why := s.neverFits(q, need, watermark, s.limits.MaxNumBatchedTokens); why != "" {
			q.result.Error = why
			s.end(s.waiting.pop())
			continue
		}
		cached := 0
		if caching {
			need, cached = s.ledger.ReserveNeed(n, q.hashes)
		}
		// What a preempted sequence has generated may take it beyond the limit of a
		// batch: then it is recomputed in a batch of its own.
		n -= cached
		tooMany := tokens+n > s.limits.MaxNumBatchedTokens && (tokens > 0 || q.generated == 0)
		if free-need < watermark || s.running.len()+len(s.admitted) >= s.limits.MaxNumSeqs || tooMany {
			break
		}
		if caching {
			if err := s.reserve(step, q, n+cached, cached); err != nil {
				return err
			}
		}
		free -= need
		tokens += n
		s.admitted = append(s.admitted, s.waiting.pop())
	}
	return nil
}

// neverFits says why a sequence whose prefill needs so many blocks could not be
// admitted to an empty cache, or whose length a server refuses; nothing if it could be.
func (s *Server) neverFits(q *sequence, need, watermark, longest int) string {
	switch room := s.cache.Blocks() - watermark; {
	case s.limits.MaxModelLen > 0 && q.prompt+q.output > s.limits.MaxModelLen:
		return fmt.Sprintf("a prompt of %d tokens and %d of output exceed max_model_len %d", q.prompt, q.output, s.limits.MaxModelLen)
	case q.prompt > longest:
		return fmt.Sprintf("a prompt of %d tokens exceeds max_num_batched_tokens %d", q.prompt, longest)
	case need <= room:
		return ""
	case q.generated > 0:
		return fmt.Sprintf("it was preempted with %d prompt and %d generated tokens, and to recompute them needs %d blocks: the cache has %d beyond its watermark",
			q.prompt, q.generated, need, room)
	default:
		return fmt.Sprintf("a prompt of %d tokens needs %d blocks: the cache has %d beyond its watermark", q.prompt, need, room)
	}
}

// prefill runs the admitted prompts. Each gives its sequence a token.
func (s *wholePrompts) prefill(step *Step) error {
	step.Kind = Prefill
	for _, q := range s.admitted {
		n := q.prompt + q.generated
		var err error
		if s.ledger != nil && s.ledger.prefixes != nil {
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
	w[MetricPairs] += s.policy.watches.Pairs(int(to))
	step.Tokens += n
	q.filled += n
}

// start has a sequence run whose prompt is computed, and has given it a token.
func (s *Server) start(step *Step, q *sequence) {
	step.Sequences++
	if s.Batch || s.all == nil {
		step.Batch = append(step.Batch, q.id)
	}
	q.generated++
	q.finishAt = s.decodes + q.output - q.generated
	q.since, q.compressed = s.steps, false
	q.order = s.admissions
	s.admissions++
	s.running.push(q)
}

// decode runs one token of every running sequence, or, where steps are skipped, as
// many as come before anything else happens. Where the blocks are not there, it
// compresses first, and then preempts the latest until they are.
func (s *wholePrompts) decode(step *Step) error {
	step.Kind = Decode
	before := len(step.Compression)
	for s.need() > s.cache.Free() && s.policy.enabled {
		if freed, err := s.compress(step); err != nil {
			return err
		} else if freed == 0 {
			break
		}
	}
	for s.need() > s.cache.Free() {
		if err := s.preempt(step); err != nil {
			return err
		}
	}
	// What was compressed just now may make room for who waits.
	return s.decodeRunning(step, len(step.Compression) == before)
}

// decodeRunning runs a decode step, for which the blocks are there, or several
// where they are quiet and the server skips.
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
		err = s.all.DecodeAll(step.Steps)
	} else if err = s.cache.Decode(step.Batch); err == nil {
		u := s.cache.Usage()
		step.Work[KVsRead], step.Work[BlocksRead] = int64(u.KVs), int64(u.Allocated)
	}
	if err != nil {
		return fmt.Errorf("sim: step %d: %w", step.Index, err)
	}
	if repeats && s.Skip && quiet && s.policy.everyStep() {
		s.repeat(step)
	}
	s.decodes += step.Steps
	return nil
}

// need returns the blocks that a decode step of all running sequences takes.
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

// preempt sends the latest running sequence back to the head of the queue, and holds all
// prefills until a sequence finishes.
func (s *wholePrompts) preempt(step *Step) error {
	if s.running.len() == 0 {
		return s.nobodyLeft(step)
	}
	if err := s.preemptRunning(step, s.running.tail); err != nil {
		return err
	}
	s.hold = s.running.len() > 0 // with nobody left to finish, nobody is waited for
	return nil
}

// preemptRunning sends a running sequence back to the head of the queue, to be recomputed.
func (s *Server) preemptRunning(step *Step, q *sequence) error {
	s.running.remove(q)
	q.generated = s.generated(q)
	q.result.OutputTokens = q.generated
	return s.requeue(step, q)
}

// requeue releases a sequence that was admitted, and puts it at the head of the queue.
func (s *Server) requeue(step *Step, q *sequence) error {
	if err := s.cache.Release(q.id); err != nil {
		return err
	}
	q.result.Preemptions++
	s.waiting.pushFront(q)
	step.Preempted = append(step.Preempted, q.id)
	return nil
}

func (s *Server) nobodyLeft(step *Step) error {
	return fmt.Errorf("sim: step %d: the cache has %d of %d blocks free with nobody in it, and still lacks some", step.Index, s.cache.Free(), s.cache.Blocks())
}

// compress runs a compression of the running sequences, and returns how many
// blocks came free.
func (s *Server) compress(step *Step) (freed int, err error) {
	before := len(step.Compression)
	err = s.policy.run(s.cache, &s.running, s.steps, step)
	for _, c := range step.Compression[before:] {
		freed += c.Freed
	}
	if err != nil {
		return freed, fmt.Errorf("sim: step %d: %w", step.Index, err)
	}
	return freed, nil
}
