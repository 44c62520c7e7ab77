package sim

import (
	"kvcompress/internal/ceil"
	"kvcompress/ref"
)

// ByLevel is a [Spread] that shortens heads to a common level, a number of blocks, as [Even] does.
// It may spare some heads: they lose nothing as long as the others can lose all that is asked for.
type ByLevel interface {
	ByDemand

	// Spares reports whether heads are spared. After the first compression of a sequence, the
	// spared heads are those that hold every token.
	Spares() bool

	// SparedAtFirst returns the number of heads that a sequence's first compression spares: the
	// first in (layer, head) order. Each head has units blocks; asked blocks are asked for.
	SparedAtFirst(heads, units, asked int) int
}

// levels is the state of compression by level: the ledger counts the blocks of a sequence's runs
// (survey) and shortens them to a level. If the result follows from the last compression, the
// survey is omitted: see settled.
//
// If sinks and the window take p blocks of a head, the head can lose all its other blocks. So heads
// can be shortened to any level from p on.
type levels struct {
	spread ByLevel
	spares bool
	asks   asking
	floor  int  // blocks of a head that sinks and the window take
	settle bool // settled can be used: B > 1, and window > B, so if a head loses up to B + 1 KVs, as many KVs move

	// Of the sequence surveyed last:
	units []int // blocks of each head, by run; 0 for spared heads
	top   int   // the maximum of units

	runs   []run  // scratch: the next sequence's runs after compression
	parted [2]run // scratch: the runs of a sequence whose heads all hold every token
}

// newLevels returns nil if a ledger does not compress by level. It does if the spread is ByLevel
// and the method asks for blocks of all heads together.
func newLevels(cfg *ref.Config, blocks bool, spread Spread) *levels {
	by, ok := spread.(ByLevel)
	if opt := &cfg.Compression; !ok || !blocks || opt.EvenLayers || opt.Uniform {
		return nil
	}
	v := &levels{spread: by, spares: by.Spares()}
	v.countLike(cfg, CountHeld)
	return v
}

// countLike sets how compressions count: see Counting.
func (v *levels) countLike(cfg *ref.Config, c Counting) {
	v.asks = newAsking(cfg, c)
	window := c.window(cfg.Compression.ProtectedWindow)
	v.floor = ceil.Div(cfg.Compression.Sinks+window, cfg.BlockSize)
	v.settle = cfg.BlockSize > 1 && window > cfg.BlockSize
}

// survey sets v.units and v.top for a sequence, and returns the number of blocks that it holds and
// the number that it is asked for, the result of Count.
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

// protected returns the number of a sequence's tokens that sinks and the window protect.
func (l *Ledger) protected(tokens int) int {
	return min(tokens, l.cfg.Compression.Sinks+l.counting.window(l.cfg.Compression.ProtectedWindow))
}

// compressByLevel is Compress for a sequence that has just been surveyed and is asked for asked
// blocks. It sets c to the result. If the heads that are not spared cannot lose as many blocks, it
// changes nothing and returns false.
//
// As with Even, heads are shortened to the lowest level at which no more than asked blocks are
// evicted. Then the first heads with that many blocks lose one more, until asked blocks are evicted.
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
	*l.phase(0) += cut.losers // their last blocks are full now
	if a.stage == nil {
		v.runs = a.runs
	} else {
		a.stage, v.runs = nil, nil
	}
	a.runs, a.lookedUp = cut.runs, false
	if v.settle && at > v.floor {
		a.settled.settle(a.runs, tokens, at, v.spares, uint(l.shift))
	} else {
		a.settled.level = 0
	}
	*c = cut.done
	l.used -= c.Freed
	l.tables -= c.Freed
	l.kvs -= c.Evicted
	if cut.losers == l.heads && c.Freed == l.heads && c.Evicted == l.heads { // each head lost a block with a single KV
		l.undone++
	}
	return true
}

// part surveys a sequence whose heads all hold every token, in units blocks each. The first of them
// are spared.
func (v *levels) part(heads, units, asked int) []run {
	spared := v.spread.SparedAtFirst(heads, units, asked)
	v.parted = [2]run{{spared, 0}, {heads - spared, 0}}
	v.units = append(v.units[:0], 0, units)
	v.top = units
	return v.parted[:]
}

// lowest returns the lowest level, at least floor, at which no more than asked blocks are evicted,
// and the number of blocks still to evict. The level is negative if the heads have fewer than asked
// blocks above floor.
func (v *levels) lowest(runs []run, asked, floor int) (at, left int) {
	units := v.units[:len(runs)]
	left = asked
	for at = v.top; at > floor; {
		heads, next := 0, floor // number of heads with at least at blocks; the largest number of blocks of the others
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

// cutting is a sequence during compressByLevel.
type cutting struct {
	ledger                    *Ledger
	tokens, protected, window int
	runs                      []run // after the compression
	losers                    int   // number of heads that lost blocks
	done                      ref.Compressed
}

// lower adds heads that are shortened from units blocks to level full blocks.
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

// keep adds heads that lose nothing.
func (c *cutting) keep(heads, gone int) {
	if n := len(c.runs); n > 0 && c.runs[n-1].gone == gone {
		c.runs[n-1].heads += heads
	} else if heads > 0 {
		c.runs = append(c.runs, run{heads, gone})
	}
}
