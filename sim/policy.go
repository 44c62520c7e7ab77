package sim

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
)

// policy decides by a Schedule when running sequences are compressed, and which of them.
type policy struct {
	Schedule
	enabled   bool // there is compression
	blocks    bool // the method counts blocks
	ranks     bool // the method ranks KVs by its columns
	packs     bool // the method quantizes or merges, and sorts nothing: MaxKVPerCompression is no limit
	blockSize int
	watches   *ref.Observation // of prompts; nil for none
	ownOnce   bool             // a sequence has had another Once than the schedule's

	prefilled bool // the last step prefilled
	decodes   int  // decode steps since the last compression
	newTokens int  // tokens that entered since the last compression
	rounds    int  // number of compressions in which a sequence was compressed

	order []*sequence // scratch
	line  line        // if compressions follow courses
}

// newPolicy returns the policy for a schedule and a configuration's method.
func newPolicy(cfg *ref.Config, schedule Schedule) policy {
	p := policy{Schedule: schedule, blocks: cfg.CountsBlocks(), blockSize: cfg.BlockSize}
	if cfg.Compresses() {
		p.enable(cfg)
	}
	return p
}

// enable turns compression on.
func (p *policy) enable(cfg *ref.Config) {
	p.enabled = true
	if method, err := cfg.NewMethod(); err == nil { // the configuration has been validated
		p.watches = method.Observe()
		p.ranks = Ranks(method)
		switch method.(type) {
		case ref.Quantizer, ref.Merger:
			p.packs = true
		}
	}
}

// Ranks reports whether a method ranks KVs by values, rather than by position or not at all.
func Ranks(m ref.Method) bool {
	switch m.(type) {
	case ref.Counter, ref.Quantizer, ref.Merger:
		return false
	}
	return true
}

// due reports whether a compression is due before the next batch.
func (p *policy) due() bool {
	if !p.enabled {
		return false
	}
	return p.prefilled ||
		p.Interval > 0 && p.decodes >= p.Interval ||
		p.NewTokenLimit > 0 && p.newTokens > p.NewTokenLimit
}

// everyStep reports whether every sequence is compressed before each decode step, if it can be.
func (p *policy) everyStep() bool { return p.Interval == 1 && !p.Once && !p.ownOnce }

// quiet returns the number of decode steps of a batch before a compression is due, at least 1.
func (p *policy) quiet(batch int) int {
	n := math.MaxInt
	if !p.enabled {
		return n
	}
	if p.Interval > 0 {
		n = min(n, p.Interval-p.decodes)
	}
	if p.NewTokenLimit > 0 {
		n = min(n, 1+max(0, p.NewTokenLimit-p.newTokens)/batch)
	}
	return max(n, 1)
}

// idle returns the number of decode steps, at least 1, that can be taken at once although compressions are
// due between them, because these compressions would ask no sequence for anything.
func (p *policy) idle(l *Ledger, running *runningList) int {
	n := math.MaxInt
	if !p.enabled {
		return n
	}
	for q := running.head; q != nil && n > 1; q = q.next {
		switch {
		case !q.once:
		case q.attempted:
			continue
		default:
			return 1 // the next compression counts as the sequence's only one
		}
		n = min(n, 1+min(l.Quiet(q.id), math.MaxInt-1))
	}
	return n
}

// entered counts the steps and tokens of a step.
func (p *policy) entered(s *Step) {
	if s.Kind != Prefill {
		if due := p.quiet(max(1, s.Sequences)); p.enabled && s.Steps > due {
			// Compressions that did nothing were due during these steps. Count from the last of them.
			p.decodes, p.newTokens = 0, 0
			since := (s.Steps-due-1)%p.quiet(s.Sequences) + 1
			p.decodes, p.newTokens = since, since*s.Sequences
			return
		}
		p.decodes += s.Steps
	}
	p.newTokens += s.Tokens
	p.prefilled = p.prefilled || s.Kind == Prefill
}

// run compresses the sequences that choose marks, in the order of admission. A sequence whose compression
// needs more free blocks than there are is skipped; it is tried again later.
func (p *policy) run(c Cache, running *runningList, now int, step *Step) error {
	p.prefilled, p.decodes, p.newTokens = false, 0, 0
	if chosen := p.choose(c, running, now); chosen == 0 {
		return nil
	}
	p.rounds++
	for s := running.head; s != nil; s = s.next {
		if !s.chosen {
			continue
		}
		held := c.Held(s.id) * p.blockSize
		r, err := c.Compress(s.id)
		var full *kv.ErrNoBlocks
		if errors.As(err, &full) { // nothing has changed
			s.chosen, s.attempted = false, false
			continue
		}
		if err != nil {
			return err
		}
		s.chosen, s.compressedAt, s.round = false, now, p.rounds
		step.Compression = append(step.Compression, p.entry(s.id, &r))
		p.work(&step.Work, held, &r)
	}
	return nil
}

// entry returns the entry of a compression in Step.Compression.
func (p *policy) entry(id kv.SeqID, r *ref.Compressed) Compression {
	short := r.Asked - r.Evicted - r.Hidden - r.Quantized - r.Merged
	if p.blocks {
		short = r.Asked - r.Freed
	}
	return Compression{Seq: id, Asked: r.Asked, Short: max(0, short), Taken: r.Taken, Freed: r.Freed, Evicted: r.Evicted, Hidden: r.Hidden, Quantized: r.Quantized, Merged: r.Merged, Moved: r.Moved}
}

// work adds the work of compressing a sequence that held this many slots.
func (p *policy) work(w *Work, slots int, r *ref.Compressed) {
	w[CompressionSteps] = 1
	w[CompressedSeqs]++
	if p.ranks {
		w[KVsSorted] += int64(slots)
	}
	w[KVsEvicted] += int64(r.Evicted)
	w[KVsMoved] += int64(r.Moved)
	w[BlocksFreed] += int64(r.Freed)
	if p.packs {
		w[Quantized] += int64(r.Quantized)
		w[Merged] += int64(r.Merged)
	}
}

// choose marks the sequences to compress and returns their number. The order is by the number of
// compressions that have left a sequence out since its last one, most first; of equal ones the latest to
// arrive comes first. It marks as many as MaxKVPerCompression allows (all, if the method packs).
// Sequences that were already compressed in this step, now, are not marked.
func (p *policy) choose(c Cache, running *runningList, now int) (chosen int) {
	p.order = p.order[:0]
	for q := running.tail; q != nil; q = q.prev {
		p.order = append(p.order, q)
	}
	before := func(a, b *sequence) int {
		return cmp.Or(cmp.Compare(p.waited(b), p.waited(a)), cmp.Compare(b.id, a.id))
	}
	if !slices.IsSortedFunc(p.order, before) {
		slices.SortFunc(p.order, before)
	}
	slots, limit := 0, p.MaxKVPerCompression
	if p.packs {
		limit = 0 // nothing is sorted
	}
	for _, s := range p.order {
		if s.once && s.attempted || s.compressedAt == now {
			continue
		}
		s.attempted = true
		if c.Count(s.id) == 0 {
			continue
		}
		if limit > 0 {
			slots += c.Held(s.id) * p.blockSize
			if slots > limit && (chosen > 0 || p.Strict) {
				break
			}
		}
		s.chosen = true
		chosen++
	}
	return chosen
}

// waited returns the number of compressions that have left a sequence out since its last one; 0 if it was
// never compressed.
func (p *policy) waited(q *sequence) int {
	if q.round == 0 {
		return 0
	}
	return p.rounds - q.round
}
