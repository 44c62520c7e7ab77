package sim

import (
	"fmt"

	"kvcompress/kv"
	"kvcompress/ref"
)

// Repeats reports whether, from now on, a decode step of all sequences and then a
// compression of each would come back to what there is now, again and again: the
// last ones have, for every head lost the KV that it had gained, and nothing that
// decides on that depends on how many tokens a sequence has.
func (l *Ledger) Repeats() bool {
	if l.undone != len(l.seqs) || l.cfg.Compression.MaxCacheTokens == 0 {
		return false
	}
	_, ok := l.spread.(interface{ ByHeadsOnly() })
	return ok
}

// Repeat does what so many compressions and decode steps would do, each a
// compression of every sequence and then a decode step, after the decode step that
// followed on Repeats.
func (l *Ledger) Repeat(times int) {
	l.denseKVs += times * l.growing
	l.denseBlocks += crossings(&l.densePhases, l.growing, l.cfg.BlockSize, l.steps, times)
	l.steps += times
	// Lengths stay what they are, while the steps go on.
	l.phases = [maxB]int{}
	for _, a := range l.seqs {
		for i := range a.runs {
			r := &a.runs[i]
			r.base -= times
			l.phases[r.base&(l.cfg.BlockSize-1)] += r.heads
		}
	}
}

// Count returns how many blocks Compress would ask a sequence for.
func (l *Ledger) Count(id kv.SeqID) int {
	a := l.seqs[id]
	if a == nil {
		return 0
	}
	return sumQuotas(l.demand(a))
}

// demand returns what each group of heads has to lose.
func (l *Ledger) demand(a *account) []ref.Quota {
	kvs, blocks := l.holds(a)
	e := l.cfg.Count(a.tokens+l.steps, kvs, blocks)
	if l.quotas == nil || e != l.quotasOf {
		l.quotas, l.quotasOf = l.cfg.Quotas(e), e
	}
	return l.quotas
}

func sumQuotas(quotas []ref.Quota) int {
	n := 0
	for _, q := range quotas {
		n += q.Units
	}
	return n
}

// Compress has a sequence lose what stage 1 counts, spread over its heads by the
// ledger's [Spread].
//
// How many blocks fall in all is exact: a head can lose the blocks that its KVs
// outside the sinks and the protected window fill. What is moved is estimated: the
// evicted are taken to lie evenly among the candidates.
func (l *Ledger) Compress(id kv.SeqID) (ref.Compressed, error) {
	a := l.seqs[id]
	if a == nil {
		return ref.Compressed{}, fmt.Errorf("sim: compress: sequence %d is not in the ledger", id)
	}
	quotas := l.demand(a)
	c := ref.Compressed{Asked: sumQuotas(quotas)}
	if c.Asked == 0 {
		return c, nil
	}
	opt := &l.cfg.Compression
	tokens := a.tokens + l.steps
	protected := min(tokens, opt.Sinks+opt.ProtectedWindow)
	l.runs = l.runs[:0]
	first := 0
	for _, r := range a.runs {
		h := Heads{First: first, N: r.heads, KVs: l.length(r)}
		h.Blocks = l.blocksOf(h.KVs)
		if c, candidates := l.lastBlock(h.KVs), h.KVs-protected; c > 0 && candidates >= c {
			h.Can = 1 + (candidates-c)/l.cfg.BlockSize
		}
		l.runs = append(l.runs, h)
		first += r.heads
	}
	l.asked = Demand{Seq: id, Tokens: tokens, DenseBlocks: l.blocksOf(tokens) * l.heads, Quotas: quotas, Heads: l.runs}
	l.lost = l.spread.Spread(l.lost[:0], &l.asked)
	if err := l.checkSpread(l.lost, quotas); err != nil {
		return c, fmt.Errorf("sim: compress: sequence %d: %w", id, err)
	}

	l.enter(a, -1)
	a.runs = a.runs[:0]
	undone := tokens >= opt.Sinks+opt.ProtectedWindow
	for _, h := range l.lost {
		undone = undone && h.Lost == 1 && l.lastBlock(h.KVs) == 1
		if h.Lost > 0 {
			evicted := l.lastBlock(h.KVs) + (h.Lost-1)*l.cfg.BlockSize
			c.Freed += h.N * h.Lost
			c.Evicted += h.N * evicted
			c.Moved += h.N * moved(evicted, h.KVs-protected, min(tokens, opt.ProtectedWindow))
			h.KVs -= evicted
		}
		base := h.KVs - l.steps
		if n := len(a.runs); n > 0 && a.runs[n-1].base == base {
			a.runs[n-1].heads += h.N
		} else {
			a.runs = append(a.runs, run{h.N, base})
		}
	}
	l.enter(a, 1)
	l.used -= c.Freed
	if undone {
		l.undone++
	}
	return c, nil
}

// moved estimates how many KVs of a head move when so many of its candidates are
// evicted: those that stay of as many slots at its end. The protected window, which
// lies there, always stays; of the candidates as large a part as of all.
func moved(evicted, candidates, window int) int {
	return evicted - int(int64(evicted)*int64(max(0, evicted-window))/int64(candidates))
}

// lastBlock returns c, the number of KVs in a head's last block; 0 for an empty
// head.
func (l *Ledger) lastBlock(kvs int) int {
	return kvs - (l.blocksOf(kvs)-1)*l.cfg.BlockSize*min(1, kvs)
}

// checkSpread sees that every head occurs once, in order, loses no more than it
// can, and that the blocks of each quota fall as far as there are any.
func (l *Ledger) checkSpread(lost []Heads, quotas []ref.Quota) error {
	next, q, fell, can := 0, 0, 0, 0
	for _, h := range lost {
		if h.First != next || h.N < 1 || h.Lost < 0 || h.Lost > h.Can {
			return fmt.Errorf("the spread gives heads %d to %d, after head %d, a loss of %d blocks of %d", h.First, h.First+h.N-1, next-1, h.Lost, h.Can)
		}
		next += h.N
		for q < len(quotas) && h.First >= quotas[q].First+quotas[q].Heads {
			q++
		}
		if q == len(quotas) || next <= quotas[q].First {
			if h.Lost > 0 {
				return fmt.Errorf("the spread takes blocks from heads %d to %d, which have no quota", h.First, h.First+h.N-1)
			}
			continue
		}
		fell += h.N * h.Lost
		can += h.N * h.Can
		if end := quotas[q].First + quotas[q].Heads; next >= end {
			if next > end || fell != min(can, quotas[q].Units) {
				return fmt.Errorf("the spread takes %d blocks from heads %d to %d: %d can fall and %d are to", fell, quotas[q].First, next-1, can, quotas[q].Units)
			}
			fell, can = 0, 0
		}
	}
	if next != l.heads {
		return fmt.Errorf("the spread knows %d heads of %d", next, l.heads)
	}
	return nil
}
