package sim

import (
	"fmt"
	"math"
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
)

// Repeats reports whether a decode step of all sequences followed by a compression of each leaves all
// lengths as they are, however often it is repeated. That is so if every head lost in the last compression
// the KV that it had gained, and if no decision depends on the number of tokens of a sequence.
func (l *Ledger) Repeats() bool {
	switch {
	case l.undone != l.seqs.len():
		return false
	case l.patient != nil: // l.undone counts only sequences whose compression no spread decides
		return true
	case !l.byTokens():
		return false
	}
	_, ok := l.spread.(interface{ ByHeadsOnly() })
	return ok
}

// Repeat executes times steps at once. Each is a compression of every sequence and then a decode step. It is
// called after the decode step that follows a Repeats that returned true.
func (l *Ledger) Repeat(times int) {
	l.denseKVs += times * l.growing
	l.denseBlocks += crossings(&l.densePhases, l.growing, l.cfg.BlockSize, l.steps, times)
	l.steps += times
	// Lengths do not change, so gone grows with the steps.
	l.phases = [maxB]int{}
	for a := range l.seqs.all() {
		if a.undoneAt != never {
			a.undoneAt += times
		}
		a.leave()
		for i := range a.runs {
			r := &a.runs[i]
			r.gone += times
			l.phases[(a.tokens-r.gone)&(l.cfg.BlockSize-1)] += r.heads
		}
	}
}

// countable returns an error if a ledger cannot compute how a method changes lengths.
func countable(m ref.Method) error {
	switch m.(type) {
	case ref.Dropper, ref.Counter, ref.Masker, ref.Quantizer, ref.Merger:
		return nil
	}
	return fmt.Errorf("sim: method %s does not say how it changes lengths: it runs on an engine, not on a ledger", m.Name())
}

// Count returns how much Compress would ask a sequence for, in the method's unit: blocks or KVs.
func (l *Ledger) Count(id kv.SeqID) int {
	a := l.seqs.of(id)
	if a == nil {
		return 0
	}
	if l.packer != nil {
		return l.packer.asks(l, a)
	}
	by := l.rulesFor(id)
	if l.blocks {
		return sumQuotas(l.demand(by.cfg, a))
	}
	switch tokens := a.tokens + l.steps; {
	case tokens < a.asksAt:
		return 0
	case tokens == a.undoneAt+1:
		return a.undoneAs.Asked
	}
	c := l.counts(a)
	n := by.method.Asks(c)
	if patient, ok := by.method.(ref.Patient); ok && n == 0 {
		a.asksAt = c.Tokens + 1 + min(patient.Quiet(c), math.MaxInt-1-c.Tokens)
	}
	return n
}

// Quiet returns a number of tokens such that Count is 0 now and after each of them. It may be less than
// the largest such number: it is what the method guarantees.
func (l *Ledger) Quiet(id kv.SeqID) int {
	a := l.seqs.of(id)
	if l.patient == nil || a == nil || l.Count(id) > 0 {
		return 0
	}
	return a.asksAt - (a.tokens + l.steps) - 1
}

// counts returns a sequence's lengths, which are valid until the next call.
func (l *Ledger) counts(a *account) ref.Counts {
	l.lengths = l.lengths[:0]
	for _, r := range a.heads() {
		for range r.heads {
			l.lengths = append(l.lengths, l.length(a, r))
		}
	}
	c := ref.Counts{Prompt: a.prompt, Tokens: a.tokens + l.steps, Heads: l.lengths}
	if p := &a.packed; p.sum.seqs > 0 {
		c.Keys, c.Values = slices.Repeat([]int{max(p.keys, p.merged)}, l.heads), slices.Repeat([]int{max(p.values, p.merged)}, l.heads)
	}
	return c
}

// ranking returns how a sequence is compressed.
func (l *Ledger) ranking(by compressor, a *account) ref.Ranking {
	if l.blocks { // KV-Compress does not need the length of each head
		opt := &by.cfg.Compression
		return ref.Ranking{Unit: l.cfg.BlockSize, Sinks: opt.Sinks, Window: l.counting.window(opt.ProtectedWindow), Quotas: l.demand(by.cfg, a)}
	}
	return by.method.(ref.Dropper).Rank(l.counts(a))
}

// demand returns KV-Compress's quotas for groups of heads.
func (l *Ledger) demand(cfg *ref.Config, a *account) []ref.Quota {
	kvs, blocks := l.holds(a)
	e := l.counting.asks(cfg, a.tokens+l.steps, kvs, blocks)
	if l.quotas == nil || e != l.quotasOf {
		l.quotas, l.quotasOf = l.cfg.Quotas(e), e
	}
	return l.quotas
}

// forced reports whether each quota is for one head, so that the spread has no choice.
func forced(quotas []ref.Quota) bool {
	for _, q := range quotas {
		if q.Heads != 1 {
			return false
		}
	}
	return true
}

func sumQuotas(quotas []ref.Quota) int {
	n := 0
	for _, q := range quotas {
		n += q.Units
	}
	return n
}

// Compress compresses a sequence as its method asks. If a quota is for several heads, values decide in an
// engine which of them lose KVs; here the ledger's [Spread] decides.
//
// The number of evicted units is exact: a head can lose the units that its KVs outside sinks and window
// fill. The number of moved KVs is an estimate that assumes that evicted KVs are spread evenly over the
// candidates.
func (l *Ledger) Compress(id kv.SeqID) (ref.Compressed, error) {
	a := l.seqs.of(id)
	if a == nil {
		return ref.Compressed{}, fmt.Errorf("sim: compress: sequence %d is not in the ledger", id)
	}
	a.leave()
	tokens := a.tokens + l.steps
	if tokens == a.undoneAt+1 {
		l.undoAgain(a)
		return a.undoneAs, nil
	}
	a.asksAt, a.undoneAt = 0, never
	by := l.rulesFor(id)
	switch m := by.method.(type) {
	case ref.Quantizer, ref.Merger:
		return l.pack(id, a)
	case ref.Counter:
		counts := l.counts(a)
		return l.evict(a, m.Asks(counts), m.Evicts(counts)), nil
	case ref.Masker: // hidden KVs are still held
		asked := m.Asks(l.counts(a))
		return ref.Compressed{Asked: asked, Hidden: asked}, nil
	}
	r := l.ranking(by, a)
	c := ref.Compressed{Asked: r.Asks()}
	if c.Asked == 0 {
		return c, nil
	}
	protected := min(tokens, r.Sinks+r.Window)
	l.runs = l.runs[:0]
	first := 0
	for _, run := range a.runs {
		h := Heads{First: first, N: run.heads, KVs: l.length(a, run)}
		h.Units = ceil.Div(h.KVs, r.Unit)
		if c, candidates := lastUnit(h.KVs, r.Unit), h.KVs-protected; c > 0 && candidates >= c {
			h.Can = 1 + (candidates-c)/r.Unit
		}
		l.runs = append(l.runs, h)
		first += run.heads
	}
	l.asked = Demand{Seq: id, Tokens: tokens, Unit: r.Unit, DenseUnits: ceil.Div(tokens, r.Unit) * l.heads, Quotas: r.Quotas, Heads: l.runs}
	if err := l.lose(&r, &c); err != nil {
		return c, fmt.Errorf("sim: compress: sequence %d: %w", id, err)
	}

	l.enter(a, -1)
	a.runs = a.runs[:0]
	undone := tokens >= r.Sinks+r.Window
	if l.blocks {
		undone = undone && r.Unit == l.cfg.BlockSize
	} else {
		undone = undone && l.patient != nil && tokens > a.prompt && forced(r.Quotas)
	}
	for _, h := range l.lost {
		undone = undone && h.Lost == 1 && lastUnit(h.KVs, r.Unit) == 1
		if h.Lost > 0 {
			evicted := lastUnit(h.KVs, r.Unit) + (h.Lost-1)*r.Unit
			c.Freed += h.N * (l.blocksOf(h.KVs) - l.blocksOf(h.KVs-evicted))
			c.Evicted += h.N * evicted
			c.Moved += h.N * moved(evicted, h.KVs-protected, min(tokens, r.Window))
			h.KVs -= evicted
		}
		l.addRun(a, h.N, h.KVs)
	}
	l.enter(a, 1)
	l.used -= c.Freed
	if undone {
		l.undone++
		if l.patient != nil && !l.replays {
			a.undoneAt, a.undoneAs = tokens, c
		}
	}
	return c, nil
}

// undoAgain removes the KV that each head has gained, as the last compression did.
func (l *Ledger) undoAgain(a *account) {
	l.enter(a, -1)
	for i := range a.runs {
		a.runs[i].gone++
	}
	l.enter(a, 1)
	l.used -= a.undoneAs.Freed
	l.undone++
	a.undoneAt++
}

// lose sets l.lost to the units that each head loses for the demand l.asked.
func (l *Ledger) lose(r *ref.Ranking, c *ref.Compressed) error {
	l.lost = l.spread.Spread(l.lost[:0], &l.asked)
	if r.Refine == nil {
		return l.checkSpread(l.lost, r.Quotas)
	}
	if l.replays {
		c.Asked = 0
		for _, h := range l.lost {
			c.Asked += h.N * h.Lost
		}
		return l.checkSpread(l.lost, nil)
	}
	if err := l.checkSpread(l.lost, r.Quotas); err != nil {
		return err
	}
	lost := make([]int, 0, l.heads)
	for _, h := range l.lost {
		for range h.N {
			lost = append(lost, h.Lost)
		}
	}
	quotas := r.Refine(lost)
	c.Asked = sumQuotas(quotas)
	l.asked.Quotas = quotas
	l.lost = Even().Spread(l.lost[:0], &l.asked) // each quota is for one head
	return l.checkSpread(l.lost, quotas)
}

// evict evicts lost[head] KVs from each head of a sequence.
func (l *Ledger) evict(a *account, asked int, lost []int) ref.Compressed {
	c := ref.Compressed{Asked: asked}
	if asked == 0 {
		return c
	}
	l.enter(a, -1)
	lengths := l.counts(a).Heads
	a.runs = a.runs[:0]
	for i, n := range lengths {
		c.Evicted += lost[i]
		c.Moved += lost[i]
		c.Freed += l.blocksOf(n) - l.blocksOf(n-lost[i])
		l.addRun(a, 1, n-lost[i])
	}
	l.enter(a, 1)
	l.used -= c.Freed
	return c
}

// addRun appends heads with kvs KVs each to a sequence's runs.
func (l *Ledger) addRun(a *account, heads, kvs int) {
	gone := a.tokens + l.steps - kvs
	if n := len(a.runs); n > 0 && a.runs[n-1].gone == gone {
		a.runs[n-1].heads += heads
	} else {
		a.runs = append(a.runs, run{heads, gone})
	}
}

// moved estimates the number of KVs of a head that move when evicted of its candidates are evicted: the
// KVs in the last evicted slots that are kept. The protected window is in these slots and is kept; of the
// candidates in them the same fraction is kept as of all candidates.
func moved(evicted, candidates, window int) int {
	if evicted <= window {
		return evicted
	}
	return evicted - int(int64(evicted)*int64(evicted-window)/int64(candidates))
}

// lastUnit returns the number of KVs in the last unit of a head, 0 if the head is empty.
func lastUnit(kvs, unit int) int {
	if kvs == 0 {
		return 0
	}
	return (kvs-1)%unit + 1
}

// checkSpread checks that every head occurs once, in order, and loses no more than it can, and that all
// units of each quota are lost, or as many as its heads can lose. If quotas is nil, any head may lose
// what it can.
func (l *Ledger) checkSpread(lost []Heads, quotas []ref.Quota) error {
	next, q, fell, can := 0, 0, 0, 0
	for _, h := range lost {
		if h.First != next || h.N < 1 || h.Lost < 0 || h.Lost > h.Can {
			return fmt.Errorf("the spread has heads %d to %d, after head %d, lose %d units of %d that they can lose", h.First, h.First+h.N-1, next-1, h.Lost, h.Can)
		}
		next += h.N
		for q < len(quotas) && h.First >= quotas[q].First+quotas[q].Heads {
			q++
		}
		if q == len(quotas) || next <= quotas[q].First {
			if h.Lost > 0 && quotas != nil {
				return fmt.Errorf("the spread takes units from heads %d to %d, which have no quota", h.First, h.First+h.N-1)
			}
			continue
		}
		fell += h.N * h.Lost
		can += h.N * h.Can
		if end := quotas[q].First + quotas[q].Heads; next >= end {
			if next > end || fell != min(can, quotas[q].Units) {
				return fmt.Errorf("the spread takes %d units from heads %d to %d: they can lose %d, and the quota is %d", fell, quotas[q].First, next-1, can, quotas[q].Units)
			}
			fell, can = 0, 0
		}
	}
	if next != l.heads {
		return fmt.Errorf("the spread has %d heads: want %d", next, l.heads)
	}
	return nil
}
