package sim

import (
	"slices"

	"kvcompress/ref"
)

// ByLevel is a [Spread] of which heads of unequal lengths lose as with [Even]: cut down to a
// common level. Spares says whether heads that hold every token lose nothing, as long as the
// others can lose all that is asked for.
type ByLevel interface {
	ByDemand
	Spares() bool
}

// levels is how a ledger compresses by level: a sequence is surveyed, and then cut.
type levels struct {
	spares bool

	// Of the last sequence that was surveyed. runs are its runs, the first to lose first.
	runs []leveled
	can  int // units that all heads can lose
	top  int // units of the longest heads that can lose any
}

// leveled is a run while it is compressed.
type leveled struct {
	run
	kvs, units int // of each head
	last       int // KVs in the last unit
	can        int // units that each can lose
	losers     int // heads that lost units
}

// newLevels returns nil where a ledger does not compress by level: where the method asks for
// anything but blocks of all heads together.
func newLevels(cfg *ref.Config, blocks bool, spread Spread) *levels {
	by, ok := spread.(ByLevel)
	if opt := &cfg.Compression; !ok || !blocks || opt.EvenLayers || opt.Uniform {
		return nil
	}
	return &levels{spares: by.Spares()}
}

// mostUnits bounds what is compressed by level, in units a head on average. The
// level is found by going down from the longest head, and is near it.
const mostUnits = 2

// survey finds what each run of a sequence has and can lose, as Compress does, and returns
// what the sequence holds.
func (l *Ledger) survey(a *account) (kvs, blocks int) {
	v := l.levels
	tokens, shift := a.tokens+l.steps, l.shift
	protected := l.protected(tokens)
	runs := a.heads()
	v.runs = slices.Grow(v.runs[:0], len(runs))[:len(runs)]
	v.can, v.top = 0, 0
	for i, r := range runs {
		n := tokens - r.gone
		units, can := l.blocksOf(n), 0
		last := n - (units-1)<<shift
		if more := n - protected - last; more >= 0 && n > 0 && !(v.spares && r.gone == 0) {
			can = 1 + more>>shift
			v.can += r.heads * can
			v.top = max(v.top, units)
		}
		kvs += r.heads * n
		blocks += r.heads * units
		h := &v.runs[i] // field by field, so that nothing is copied
		h.heads, h.gone, h.kvs, h.units, h.last, h.can, h.losers = r.heads, r.gone, n, units, last, can, 0
	}
	return kvs, blocks
}

// protected returns how many of a sequence's tokens sinks and the window protect.
func (l *Ledger) protected(tokens int) int {
	return min(tokens, l.cfg.Compression.Sinks+l.counting.window(l.cfg.Compression.ProtectedWindow))
}

// compressByLevel is Compress of a sequence that has just been surveyed and is asked for asked
// blocks, and says in c what it did. It returns false, with nothing changed, where it does not apply: where the
// heads that are not spared cannot lose what is asked for, as where no head has lost anything yet,
// or where that is much.
//
// It does what Compress does with the spread, step by step: of each run the units and how many
// it can lose; the lowest level at which no more than the asked units are evicted; the first heads
// that would lose one more at the next lower level do. The sums change by what the heads lose,
// and phases where the last block of a head is filled otherwise than before.
func (l *Ledger) compressByLevel(a *account, asked int, c *ref.Compressed) bool {
	v := l.levels
	if v == nil || asked == 0 || asked > mostUnits*l.heads || v.can < asked {
		return false
	}
	*c = ref.Compressed{Asked: asked}
	at, left := v.lowest(asked)
	tokens, mask := a.tokens+l.steps, l.cfg.BlockSize-1
	protected, window := l.protected(tokens), min(tokens, l.counting.window(l.cfg.Compression.ProtectedWindow))
	undone, full := true, 0 // full are heads that lost, whose last blocks are full now
	a.leave()
	a.runs = a.runs[:0]
	for i := range v.runs {
		h := &v.runs[i]
		lost, more := min(h.can, max(0, h.units-at)), 0 // more are heads that lose one unit more
		if left > 0 && at > 0 && min(h.can, max(0, h.units-at+1)) > lost {
			more = min(left, h.heads)
			left -= more
			l.cut(a, h, more, lost+1, protected, window, c)
			undone = undone && lost == 0 && h.last == 1
		}
		if h.heads > more {
			l.cut(a, h, h.heads-more, lost, protected, window, c)
			undone = undone && lost == 1 && h.last == 1
		}
		l.phases[(h.kvs-l.steps)&mask] -= h.losers
		full += h.losers
	}
	l.phases[-l.steps&mask] += full
	a.asksAt, a.undoneAt = 0, never
	l.used -= c.Freed
	l.tables -= c.Freed
	l.kvs -= c.Evicted
	if undone {
		l.undone++
	}
	return true
}

// lowest returns the lowest level at which no more than the asked units are evicted, and how
// many are left to evict.
func (v *levels) lowest(asked int) (at, left int) {
	left = asked
	for at = v.top; at > 0; at-- {
		evicted := 0 // at the next lower level
		for i := range v.runs {
			h := &v.runs[i]
			evicted += h.heads * min(h.can, max(0, h.units-at+1))
		}
		if evicted > asked {
			break
		}
		left = asked - evicted
	}
	return at, left
}

// cut has heads of a surveyed run lose units each.
func (l *Ledger) cut(a *account, h *leveled, heads, units, protected, window int, c *ref.Compressed) {
	gone := h.gone
	if units > 0 {
		evicted := h.kvs - (h.units-units)<<l.shift
		gone += evicted
		c.Evicted += heads * evicted
		c.Freed += heads * units
		c.Moved += heads * moved(evicted, h.kvs-protected, window)
		h.losers += heads
	}
	if n := len(a.runs); n > 0 && a.runs[n-1].gone == gone {
		a.runs[n-1].heads += heads
	} else {
		a.runs = append(a.runs, run{heads, gone})
	}
}

// changed returns which phases the last cut changed.
func (v *levels) changed(mask int) []phase {
	var phases []phase
	full := 0
	for i := range v.runs {
		if h := &v.runs[i]; h.losers > 0 {
			phases = append(phases, phase{h.kvs & mask, -h.losers})
			full += h.losers
		}
	}
	return append(phases, phase{0, full})
}
