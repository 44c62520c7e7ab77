package sim

import "errors"

// kvCompress is the scheduler of KV-Compress's server, which is vLLM 0.6.0 without chunked
// prefill and with this: before a batch is formed, running sequences are compressed if it
// is due; blocks are counted for each head; and where a decode step lacks blocks though
// nothing was prefilled since the last compression, prefills are locked out until a
// sequence finishes or is preempted.
type kvCompress struct {
	*Server
	locked bool
}

var errCompressed = errors.New("sim: vLLM 0.6 compresses nothing: compression needs the kv-compress server")

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

// beforeBatch compresses if it is due, or forced by the lack of blocks, and sets the lock.
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

// admit takes from the queue what is prefilled now: first come, first served, while the
// blocks that it asks for and the watermark are free and the limits of a batch allow it.
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
		// A prompt of whole blocks asks for one more of each head than it takes.
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

// decode runs a token of every running sequence. Where the blocks are not there, the
// latest admitted is preempted, which opens the lock.
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
	// What came free just now may make room for who waits.
	return s.decodeRunning(step, len(step.Preempted) == 0 && step.Work[CompressedSeqs] == before)
}

// compressUntilFree compresses until the blocks of a decode step are there, or no more come
// free.
func (s *kvCompress) compressUntilFree(step *Step) error {
	for s.need() > s.cache.Free() && s.policy.enabled {
		if more, err := s.compress(step); !more || err != nil {
			return err
		}
	}
	return nil
}

// KVCompressStep is what KV-Compress's server decides in an iteration.
type KVCompressStep struct {
	Lacking     bool // a decode step lacked blocks
	Prefilled   bool // something was prefilled in the iteration before
	Locked      bool // nothing may be prefilled
	LockedAfter bool // likewise, once the batch is formed
	Free        int  // blocks, after compression and before the batch
}
