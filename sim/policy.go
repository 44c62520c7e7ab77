package sim

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
)

// policy follows a Schedule: it decides when the running sequences are compressed and
// which of them.
type policy struct {
	Schedule
	enabled   bool // there is something to compress by
	blocks    bool // the method counts blocks
	ranks     bool // it ranks KVs by what it keeps of each
	packs     bool // it quantizes or merges keys and values, and sorts nothing: MaxKVPerCompression is no limit
	blockSize int
	watches   *ref.Observation // of prompts; nil for none
	ownOnce   bool             // a sequence has had a Once that is not the schedule's

	prefilled bool // a prefill has just run
	decodes   int  // decode steps since the last compression
	newTokens int  // tokens that entered since
	rounds    int  // compressions in which a sequence was compressed

	order []*sequence // scratch
	line  line        // where compressions go along courses
}

// newPolicy returns the policy of a schedule for a configuration's method.
func newPolicy(cfg *ref.Config, schedule Schedule) policy {
	p := policy{Schedule: schedule, blocks: cfg.CountsBlocks(), blockSize: cfg.BlockSize}
	if cfg.Compresses() {
		p.enable(cfg)
	}
	return p
}

// enable has the policy compress from now on.
func (p *policy) enable(cfg *ref.Config) {
	p.enabled = true
	if method, err := cfg.NewMethod(); err == nil { // with an error nothing is served
		p.watches = method.Observe()
		p.ranks = Ranks(method)
		switch method.(type) {
		case ref.Quantizer, ref.Merger:
			p.packs = true
		}
	}
}

// Ranks reports whether a method's compressions rank KVs by what it keeps of each.
func Ranks(m ref.Method) bool {
	switch m.(type) {
	case ref.Counter, ref.Quantizer, ref.Merger:
		return false
	}
	return true
}

// due reports whether a compression is to run before the next batch.
func (p *policy) due() bool {
	if !p.enabled {
		return false
	}
	return p.prefilled ||
		p.Interval > 0 && p.decodes >= p.Interval ||
		p.NewTokenLimit > 0 && p.newTokens > p.NewTokenLimit
}

// everyStep reports whether every decode step begins with a compression of every
// sequence that has something to lose.
func (p *policy) everyStep() bool { return p.Interval == 1 && !p.Once && !p.ownOnce }

// quiet returns how many decode steps of a batch can run before a compression is
// due: at least 1.
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

// idle returns how many decode steps of the running sequences can be taken at once though
// compressions are due between them, because no sequence would be asked for anything: at
// least 1.
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
			return 1 // the next compression uses up its only one
		}
		n = min(n, 1+min(l.Quiet(q.id), math.MaxInt-1))
	}
	return n
}

// entered notes what a step put into the cache.
func (p *policy) entered(s *Step) {
	if s.Kind != Prefill {
		if due := p.quiet(max(1, s.Sequences)); p.enabled && s.Steps > due {
			// Compressions that did nothing were due during these steps; the next is due
			// an interval later, as always.
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

// run compresses those that choose finds, in the order of admission. One for whose plan the
// cache has too few free blocks is left as it is: others may free them, or a preemption.
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
		if errors.As(err, &full) { // nothing has changed: it waits for its next turn
			s.chosen, s.attempted = false, false
			continue
		}
		if err != nil {
			return err
		}
		s.chosen, s.compressedAt, s.round = false, now, p.rounds
		step.Compression = append(step.Compression, p.told(s.id, &r))
		p.work(&step.Work, held, &r)
	}
	return nil
}

// told returns what a step tells of a compression.
func (p *policy) told(id kv.SeqID, r *ref.Compressed) Compression {
	short := r.Asked - r.Evicted - r.Hidden - r.Quantized - r.Merged
	if p.blocks {
		short = r.Asked - r.Freed
	}
	return Compression{Seq: id, Asked: r.Asked, Short: max(0, short), Taken: r.Taken, Freed: r.Freed, Evicted: r.Evicted, Hidden: r.Hidden, Quantized: r.Quantized, Merged: r.Merged, Moved: r.Moved}
}

// work adds the compression of a sequence that held slots slots.
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

// choose marks the sequences that a compression takes: those that have been left out of
// most compressions since their own first, and of equal ones the one that arrived last, as
// many as MaxKVPerCompression allows: all, where keys and values are quantized or merged and none is sorted. Those that this step, now, has compressed already are
// left alone.
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

// waited returns how many compressions have left a sequence out since its last one; 0 for
// one that was never compressed.
func (p *policy) waited(q *sequence) int {
	if q.round == 0 {
		return 0
	}
	return p.rounds - q.round
}
