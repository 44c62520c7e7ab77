package sim

import "errors"

// kvCompress is the scheduler of KV-Compress's server. It is that of vLLM 0.6.0 without chunked prefill, with
// these differences: before a batch is formed, running sequences are compressed if a compression is due;
// blocks are counted for each head; and if a decode step lacks blocks although nothing was prefilled since the
// last compression, prefills are locked out until a sequence finishes or is preempted.
type kvCompress struct {
	*Server
	locked bool
}

var errCompressed = errors.New("sim: vLLM 0.6 does not compress: compression needs the scheduler kv-compress")

func (s *kvCompress) filling() []*sequence { return nil }

func (s *kvCompress) finished() { s.locked = false }

func (s *kvCompress) iterate(step *Step) (bool, error) {
	if err := s.beforeBatch(step); err != nil {
		return false, err
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

// beforeBatch compresses if a compression is due or blocks are lacking, and sets the lock.
func (s *kvCompress) beforeBatch(step *Step) error {
	lacking, prefilled := s.need() > s.cache.Free(), s.policy.prefilled
	s.locked = s.locked || lacking && !prefilled
	if s.policy.due() || lacking && s.policy.enabled {
		if _, err := s.compress(step); err != nil {
			return err
		}
	}
	s.policy.prefilled = false
	step.Server = KVCompressStep{lacking, prefilled, s.locked, s.locked, s.cache.Free()}
	return nil
}

// admit takes the sequences to prefill now from the queue, in its order, as long as their blocks and the
// watermark are free and the limits of a batch allow it.
func (s *kvCompress) admit(step *Step) error {
	s.admitted = s.admitted[:0]
	if s.locked {
		return nil
	}
	batch := wholeBatch{limits: &s.limits, seqs: s.running.len()}
	watermark := s.limits.watermark(s.cache.Blocks())
	free := s.cache.Free()
	for s.waiting.n > 0 {
		q := s.waiting.front()
		n := q.prompt + q.generated
		// A prompt of whole blocks asks for one more block of each head than it takes.
		asked := s.cache.PrefillNeed(n + 1)
		if why := s.cannotServe(q, asked, s.cache.Blocks()-watermark, s.limits.longestPrompt()); why != "" {
			s.refuse(step, why)
			continue
		}
		if free-asked < watermark || !batch.fits(q, n) {
			break
		}
		free -= s.cache.PrefillNeed(n)
		batch.add(n)
		s.admitted = append(s.admitted, s.waiting.pop())
	}
	return nil
}

// decode decodes a token of every running sequence. While blocks are lacking, the sequence that was admitted
// last is preempted, which removes the lock.
func (s *kvCompress) decode(step *Step) error {
	step.Kind = Decode
	before := step.Work[CompressedSeqs]
	if s.policy.UntilFree {
		if err := s.compressUntilFree(step); err != nil {
			return err
		}
	}
	for q := s.running.tail; q != nil && s.need() > s.cache.Free(); q = s.running.tail {
		if err := s.preempt(step, q); err != nil {
			return err
		}
		s.waiting.pushFront(q)
		s.locked, step.Server.LockedAfter = false, false
	}
	s.tellDecodes(step)
	// After a preemption or compression the step is not quiet: a waiting sequence may fit now.
	return s.decodeRunning(step, len(step.Preempted) == 0 && step.Work[CompressedSeqs] == before)
}

// compressUntilFree compresses until there are enough blocks for a decode step, or no more can be freed.
func (s *kvCompress) compressUntilFree(step *Step) error {
	for s.need() > s.cache.Free() && s.policy.enabled {
		if more, err := s.compress(step); !more || err != nil {
			return err
		}
	}
	return nil
}

// KVCompressStep has the decisions of KV-Compress's server in an iteration.
type KVCompressStep struct {
	Lacking     bool // a decode step lacked blocks
	Prefilled   bool // the previous iteration was a prefill
	Locked      bool // prefills are locked out before the batch is formed
	LockedAfter bool // prefills are locked out after the batch is formed
	Free        int  // free blocks after compression and before the batch
}
