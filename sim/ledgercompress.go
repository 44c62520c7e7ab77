package sim

import (
	"fmt"
	"math"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
)

// Repeats reports whether, from now on, a decode step of all sequences and then a
// compression of each would come back to what there is now, again and again: the
// last ones have, for every head lost the KV that it had gained, and nothing that
// decides on that depends on how many tokens a sequence has.
func (l *Ledger) Repeats() bool {
	switch {
	case l.undone != l.seqs.len():
		return false
	case l.patient != nil: // only what no spread decides is counted as undone
		return true
	case !l.byTokens():
		return false
	}
	_, ok := l.spread.(interface{ ByHeadsOnly() })
	return ok
}

// Repeat does times steps at once, each a
// compression of every sequence and then a decode step, after the decode step that
// followed on Repeats.
func (l *Ledger) Repeat(times int) {
	l.denseKVs += times * l.growing
	l.denseBlocks += crossings(&l.densePhases, l.growing, l.cfg.BlockSize, l.steps, times)
	l.steps += times
	// Lengths stay what they are, while the steps go on.
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

// countable returns an error if a ledger cannot tell what a method does to lengths.
func countable(m ref.Method) error {
	switch m.(type) {
	case ref.Dropper, ref.Counter, ref.Masker, ref.Quantizer, ref.Merger:
		return nil
	}
	return fmt.Errorf("sim: method %s says nothing of lengths: it runs on an engine, not on a ledger", m.Name())
}

// Count returns what Compress would ask a sequence for, in the method's unit.
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

// Quiet returns how many tokens can enter a sequence so that Count is 0 now and after each
// of them, as far as the method says so.
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
	if l.blocks { // without a length for each head
		opt := &by.cfg.Compression
		return ref.Ranking{Unit: l.cfg.BlockSize, Sinks: opt.Sinks, Window: l.counting.window(opt.ProtectedWindow), Quotas: l.demand(by.cfg, a)}
	}
	return by.method.(ref.Dropper).Rank(l.counts(a))
}

// demand returns what KV-Compress asks of each group of heads.
func (l *Ledger) demand(cfg *ref.Config, a *account) []ref.Quota {
	kvs, blocks := l.holds(a)
	e := l.counting.asks(cfg, a.tokens+l.steps, kvs, blocks)
	if l.quotas == nil || e != l.quotasOf {
		l.quotas, l.quotasOf = l.cfg.Quotas(e), e
	}
	return l.quotas
}

// forced reports whether each quota is of one head, so that no spread has a choice.
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

// Compress has a sequence lose what its method asks for. Where a quota is of several
// heads, what the KVs hold decides which of them lose: that is told by the ledger's
// [Spread].
//
// How many units go in all is exact: a head can lose the units that its KVs outside the
// sinks and the window fill. What is moved is estimated: the evicted are taken to lie
// evenly among the candidates.
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
	case ref.Masker: // what is hidden is still held
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
		h.Units = ceilDiv(h.KVs, r.Unit)
		if c, candidates := lastUnit(h.KVs, r.Unit), h.KVs-protected; c > 0 && candidates >= c {
			h.Can = 1 + (candidates-c)/r.Unit
		}
		l.runs = append(l.runs, h)
		first += run.heads
	}
	l.asked = Demand{Seq: id, Tokens: tokens, Unit: r.Unit, DenseUnits: ceilDiv(tokens, r.Unit) * l.heads, Quotas: r.Quotas, Heads: l.runs}
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
		if l.patient != nil && !l.told {
			a.undoneAt, a.undoneAs = tokens, c
		}
	}
	return c, nil
}

// undoAgain has every head lose the KV that it has gained, as with the last compression.
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

// lose sets in l.lost what each head loses of l.asked.
func (l *Ledger) lose(r *ref.Ranking, c *ref.Compressed) error {
	l.lost = l.spread.Spread(l.lost[:0], &l.asked)
	if r.Refine == nil {
		return l.checkSpread(l.lost, r.Quotas)
	}
	if l.told {
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
	l.lost = Even().Spread(l.lost[:0], &l.asked) // each is of one head
	return l.checkSpread(l.lost, quotas)
}

// evict has each head of a sequence lose lost[head] KVs.
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

// addRun adds heads of kvs KVs each to the end of a sequence's runs.
func (l *Ledger) addRun(a *account, heads, kvs int) {
	gone := a.tokens + l.steps - kvs
	if n := len(a.runs); n > 0 && a.runs[n-1].gone == gone {
		a.runs[n-1].heads += heads
	} else {
		a.runs = append(a.runs, run{heads, gone})
	}
}

// moved estimates how many KVs of a head move when evicted of its candidates are evicted:
// those that stay in the last evicted slots. The protected window, which
// lies there, always stays; of the candidates as large a part as of all.
func moved(evicted, candidates, window int) int {
	if evicted <= window {
		return evicted
	}
	return evicted - int(int64(evicted)*int64(evicted-window)/int64(candidates))
}

// lastUnit returns c, the number of KVs in the last unit of a head; 0 for an empty one.
func lastUnit(kvs, unit int) int {
	if kvs == 0 {
		return 0
	}
	return (kvs-1)%unit + 1
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// checkSpread sees that every head occurs once, in order, loses no more than it
// can, and that the units of each quota go as far as there are any. Without quotas, any
// head may lose what it can.
func (l *Ledger) checkSpread(lost []Heads, quotas []ref.Quota) error {
	next, q, fell, can := 0, 0, 0, 0
	for _, h := range lost {
		if h.First != next || h.N < 1 || h.Lost < 0 || h.Lost > h.Can {
			return fmt.Errorf("the spread gives heads %d to %d, after head %d, a loss of %d units of %d", h.First, h.First+h.N-1, next-1, h.Lost, h.Can)
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
				return fmt.Errorf("the spread takes %d units from heads %d to %d: %d can go and %d are to", fell, quotas[q].First, next-1, can, quotas[q].Units)
			}
			fell, can = 0, 0
		}
	}
	if next != l.heads {
		return fmt.Errorf("the spread knows %d heads of %d", next, l.heads)
	}
	return nil
}
