package sim

// vllm06Whole is the scheduler of vLLM 0.6.0 without chunked prefill: an iteration is
// either the prefill of whole prompts or a decode step of every running sequence.
type vllm06Whole struct {
	*Server
	blocks vllmBlocks
	hold   bool // no sequence is admitted until one finishes
}

// UseVLLM06 selects the scheduler of vLLM 0.6.0 without chunked prefill. It is an error with compression.
func (s *Server) UseVLLM06() error {
	if s.policy.enabled {
		return errCompressed
	}
	w := &vllm06Whole{Server: s, blocks: newVLLMBlocks(s.cache)}
	s.rules, s.inReserve = w, w.blocks.unit
	return nil
}

func (s *vllm06Whole) filling() []*sequence { return nil }

func (s *vllm06Whole) finished() { s.hold = false }

func (s *vllm06Whole) iterate(step *Step) (bool, error) {
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

// admit takes the sequences to prefill now from the queue, in its order, as long as the blocks of their prompts
// and the watermark are free and the limits of a batch allow it.
func (s *vllm06Whole) admit(step *Step) error {
	s.admitted = s.admitted[:0]
	if s.hold {
		return nil
	}
	batch := wholeBatch{limits: &s.limits, seqs: s.running.len()}
	watermark := s.limits.watermark(s.blocks.total)
	free := s.blocks.free()
	for s.waiting.n > 0 {
		q := s.waiting.front()
		n := q.prompt + q.generated
		need := s.blocks.prompt(n)
		if why := s.cannotServe(q, need, s.blocks.total-watermark, s.limits.longestPrompt()); why != "" {
			s.refuse(step, why)
			continue
		}
		cached := 0
		if s.caching() {
			need, cached = s.ledger.ReserveNeed(n, q.hashes)
			need /= s.blocks.unit
		}
		if free-need < watermark || !batch.fits(q, n-cached) {
			break
		}
		if s.caching() {
			if err := s.reserve(step, q, n, cached); err != nil {
				return err
			}
		}
		free -= need
		batch.add(n - cached)
		s.admitted = append(s.admitted, s.waiting.pop())
	}
	return nil
}

// decode decodes a token of every running sequence. While one of them finds no free block at its turn, the
// sequence that was admitted last is preempted.
func (s *vllm06Whole) decode(step *Step) error {
	step.Kind = Decode
	for q := s.running.tail; q != nil && s.blocks.tooFew(s.need(), s.cache.DecodeNeed(q.id)); q = s.running.tail {
		if err := s.preempt(step, q); err != nil {
			return err
		}
		s.waiting.pushFront(q)
	}
	s.hold = s.running.len() > 0 && (s.hold || s.limits.HoldAfterPreemption && len(step.Preempted) > 0)
	s.tellDecodes(step)
	return s.decodeRunning(step, len(step.Preempted) == 0)
}

// vllmBlocks counts the blocks of a cache as vLLM does. A block of vLLM has the KVs of all heads
// of all layers, so it is unit blocks of the cache, each of which has those of one head. If some
// layers are not growing ones (of windows, or of states of a fixed size), unit is 1.
type vllmBlocks struct {
	cache       Cache
	unit, total int
}

func newVLLMBlocks(c Cache) vllmBlocks {
	unit := max(1, c.PrefillNeed(1))
	if l, ok := c.(*Ledger); ok && (l.full != l.heads || l.fixed > 0 || l.windows.heads > 0) {
		unit = 1
	}
	return vllmBlocks{c, unit, c.Blocks() / unit}
}

func (b *vllmBlocks) free() int { return b.cache.Free() / b.unit }

// prompt returns the blocks that a prefill of n tokens takes.
func (b *vllmBlocks) prompt(n int) int { return b.cache.PrefillNeed(n) / b.unit }

// tooFew reports whether there are too few free blocks for a decode step that needs need blocks,
// ofLast of them for the sequence admitted last. vLLM 0.6.0 asks for a free block for each
// sequence in turn, even if the sequence's last block has room.
func (b *vllmBlocks) tooFew(need, ofLast int) bool {
	need /= b.unit
	if ofLast == 0 {
		need++
	}
	return need > b.free()
}
