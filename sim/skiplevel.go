package sim

import "kvcompress/ref"

// ByLevel is a [Spread] that cuts heads down to a common level of blocks, as [Even] does, but for
// spared ones, which lose nothing as long as the others can lose all that is asked for.
type ByLevel interface {
	ByDemand

	// Spares reports whether heads are spared. After the first compression those are that hold
	// every token.
	Spares() bool

	// SparedAtFirst returns how many of a sequence's heads, of units blocks each, its first
	// compression spares, which asks for asked blocks. They are the first in (layer, head) order.
	SparedAtFirst(heads, units, asked int) int
}

// levels is how a ledger compresses by level: it surveys a sequence's runs, and cuts them. What
// follows from the last compression is not surveyed again: see settled.
//
// Where sinks and the window take p blocks of a head, it can lose all others. So heads can be cut
// to any level from p on.
type levels struct {
	spread ByLevel
	spares bool
	asks   asking
	floor  int  // blocks that sinks and the window take
	settle bool // settled applies: a block has several KVs, and so many and one more, evicted of a head, all count as moved

	// Of the last sequence that was surveyed.
	units []int // blocks of each head, by run; 0 where heads lose nothing
	top   int   // the most of them

	runs   []run  // scratch: what the next sequence that is cut becomes
	parted [2]run // likewise: one whose heads all hold every token
}

// newLevels returns nil where a ledger does not compress by level: where the method asks for
// anything but blocks of all heads together.
func newLevels(cfg *ref.Config, blocks bool, spread Spread) *levels {
	by, ok := spread.(ByLevel)
	if opt := &cfg.Compression; !ok || !blocks || opt.EvenLayers || opt.Uniform {
		return nil
	}
	v := &levels{spread: by, spares: by.Spares()}
	v.countLike(cfg, CountHeld)
	return v
}

// countLike has compressions count as a version of KV-Compress does.
func (v *levels) countLike(cfg *ref.Config, c Counting) {
	v.asks = newAsking(cfg, c)
	window := c.window(cfg.Compression.ProtectedWindow)
	v.floor = ceilDiv(cfg.Compression.Sinks+window, cfg.BlockSize)
	v.settle = cfg.BlockSize > 1 && window > cfg.BlockSize
}

// survey finds the blocks of each head of a sequence, and returns what the sequence holds and
// what it is asked for, as Count does.
func (l *Ledger) survey(a *account) (held, asked int) {
	v, tokens := l.levels, a.tokens+l.steps
	runs, shift := a.heads(), uint(l.shift)&63
	if cap(v.units) < len(runs) {
		v.units = make([]int, 2*len(runs))
	}
	units := v.units[:len(runs)]
	kvs, top := 0, 0
	for i := range runs {
		r := &runs[i]
		n := tokens - r.gone
		u := (n + 1<<shift - 1) >> shift
		kvs += r.heads * n
		held += r.heads * u
		if v.spares && r.gone == 0 {
			u = 0
		}
		units[i], top = u, max(top, u)
	}
	v.units, v.top = units, top
	return held, v.asks.of(tokens, kvs, held)
}

// protected returns how many of a sequence's tokens sinks and the window protect.
func (l *Ledger) protected(tokens int) int {
	return min(tokens, l.cfg.Compression.Sinks+l.counting.window(l.cfg.Compression.ProtectedWindow))
}

// compressByLevel is Compress of a sequence that has just been surveyed and is asked for asked
// blocks, and says in c what it did. It returns false, with nothing changed, where it does not
// apply: where the heads that are not spared cannot lose what is asked for.
//
// As with Even, heads are cut to the lowest level at which no more than the asked blocks are
// evicted, and the first of those that would lose one more at the next lower level lose it.
func (l *Ledger) compressByLevel(a *account, asked int, c *ref.Compressed) bool {
	v := l.levels
	runs, tokens := a.heads(), a.tokens+l.steps
	if v.spares && len(runs) == 1 && runs[0].gone == 0 {
		runs = v.part(runs[0].heads, l.blocksOf(tokens), asked)
	}
	protected := l.protected(tokens)
	at, left := v.lowest(runs, asked, l.blocksOf(protected))
	if at < 0 {
		return false
	}
	cut := cutting{ledger: l, tokens: tokens, protected: protected, runs: v.runs[:0]}
	cut.window = min(tokens, l.counting.window(l.cfg.Compression.ProtectedWindow))
	cut.done.Asked = asked
	for i := range runs {
		r, u := runs[i], v.units[i]
		if u > at || u == at && left > 0 {
			if more := min(left, r.heads); more > 0 {
				left -= more
				r.heads -= more
				cut.lower(more, r.gone, u, at-1)
			}
			if u > at && r.heads > 0 {
				cut.lower(r.heads, r.gone, u, at)
				continue
			}
		}
		cut.keep(r.heads, r.gone)
	}
	*l.phase(0) += cut.losers // their last blocks are full
	if a.stage == nil {
		v.runs = a.runs
	} else {
		a.stage, v.runs = nil, nil
	}
	a.runs, a.met = cut.runs, false
	if v.settle && at > v.floor {
		a.settled.settle(a.runs, tokens, at, v.spares, uint(l.shift))
	} else {
		a.settled.level = 0
	}
	*c = cut.done
	l.used -= c.Freed
	l.tables -= c.Freed
	l.kvs -= c.Evicted
	if cut.losers == l.heads && c.Freed == l.heads && c.Evicted == l.heads { // each lost a block, of one KV
		l.undone++
	}
	return true
}

// part surveys heads of units blocks that all hold every token: the first of them are spared.
func (v *levels) part(heads, units, asked int) []run {
	spared := v.spread.SparedAtFirst(heads, units, asked)
	v.parted = [2]run{{spared, 0}, {heads - spared, 0}}
	v.units = append(v.units[:0], 0, units)
	v.top = units
	return v.parted[:]
}

// lowest returns the lowest level, not below floor, at which no more than the asked blocks are
// evicted, and how many are left to evict; a negative level where the heads have fewer above
// floor.
func (v *levels) lowest(runs []run, asked, floor int) (at, left int) {
	units := v.units[:len(runs)]
	left = asked
	for at = v.top; at > floor; {
		heads, next := 0, floor // heads that would lose a block at the next lower level; the highest level that others have
		for i, r := range runs {
			if units[i] >= at {
				heads += r.heads
			} else {
				next = max(next, units[i])
			}
		}
		if heads > left {
			return at, left
		}
		down := min(at-next, left/max(1, heads))
		at -= down
		left -= down * heads
	}
	if left > 0 {
		return -1, left
	}
	return at, 0
}

// cutting is a sequence while it is cut.
type cutting struct {
	ledger                    *Ledger
	tokens, protected, window int
	runs                      []run // that it is to have
	losers                    int   // heads that lost blocks
	done                      ref.Compressed
}

// lower has heads of units blocks keep level full ones.
func (c *cutting) lower(heads, gone, units, level int) {
	l := c.ledger
	n, kept := c.tokens-gone, level<<l.shift
	c.losers += heads
	c.done.Evicted += heads * (n - kept)
	c.done.Freed += heads * (units - level)
	c.done.Moved += heads * moved(n-kept, n-c.protected, c.window)
	*l.phase(n) -= heads
	c.keep(heads, c.tokens-kept)
}

// keep adds heads to the end.
func (c *cutting) keep(heads, gone int) {
	if n := len(c.runs); n > 0 && c.runs[n-1].gone == gone {
		c.runs[n-1].heads += heads
	} else if heads > 0 {
		c.runs = append(c.runs, run{heads, gone})
	}
}
