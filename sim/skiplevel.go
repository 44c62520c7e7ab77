package sim

import "kvcompress/ref"

// ByLevel is a [Spread] of which heads of unequal lengths lose as with [Even]: cut down to a
// common level. Spares says whether heads that hold every token lose nothing, as long as the
// others can lose all that is asked for.
type ByLevel interface {
	ByDemand
	Spares() bool
}

// leveled is a run while it is compressed.
type leveled struct {
	run
	kvs, units int // of each head
	can        int // units that each can lose
}

// levels is how a ledger compresses by level.
type levels struct {
	spares bool
	runs   []leveled // scratch, as are
	phases []phase   // what the last compression changed
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

// compressByLevel is Compress of a sequence that is asked for asked blocks, in a single pass
// over its runs. It returns false, with nothing changed, where it does not apply: where the
// heads that are not spared cannot lose what is asked for, as where no head has lost anything yet,
// or where that is much.
//
// It does what Compress does with the spread, step by step: of each run the units and how many
// it can lose; the lowest level at which no more than the asked units are evicted; the first heads
// that would lose one more at the next lower level do. The sums change by what the heads lose,
// and phases where the last block of a head is filled otherwise than before.
func (l *Ledger) compressByLevel(a *account, asked int) (c ref.Compressed, ok bool) {
	if l.levels == nil || asked == 0 || asked > mostUnits*l.heads {
		return c, false
	}
	old := a.heads()
	tokens, b := a.tokens+l.steps, l.cfg.BlockSize
	sinks, window := l.cfg.Compression.Sinks, l.counting.window(l.cfg.Compression.ProtectedWindow)
	protected := min(tokens, sinks+window)
	runs := l.levels.runs[:0]
	can, at := 0, 0
	for _, r := range old {
		h := leveled{run: r, kvs: tokens - r.gone}
		h.units = l.blocksOf(h.kvs)
		last := h.kvs - (h.units-1)*b
		if candidates := h.kvs - protected; h.kvs > 0 && candidates >= last && !(l.levels.spares && r.gone == 0) {
			h.can = 1 + (candidates-last)/b
			can += r.heads * h.can
			at = max(at, h.units)
		}
		runs = append(runs, h)
	}
	l.levels.runs = runs
	if can < asked {
		return c, false
	}
	left := asked
	for at > 0 {
		fall := 0 // at the next lower level
		for i := range runs {
			h := &runs[i]
			fall += h.heads * min(h.can, max(0, h.units-at+1))
		}
		if fall > asked {
			break
		}
		at--
		left = asked - fall
	}
	undone, fell := true, 0 // fell are heads that lost, whose last blocks are full now
	a.leave()
	a.runs = a.runs[:0]
	mask := b - 1
	l.levels.phases = l.levels.phases[:0]
	lose := func(h *leveled, heads, units int) {
		gone := h.gone
		if units > 0 {
			last := h.kvs - (h.units-1)*b
			evicted := last + (units-1)*b
			gone += evicted
			c.Evicted += heads * evicted
			c.Freed += heads * units
			c.Moved += heads * moved(evicted, h.kvs-protected, min(tokens, window))
			l.phases[(h.kvs-l.steps)&mask] -= heads
			l.levels.phases = append(l.levels.phases, phase{h.kvs & mask, -heads})
			fell += heads
			undone = undone && units == 1 && last == 1
		} else {
			undone = false
		}
		if n := len(a.runs); n > 0 && a.runs[n-1].gone == gone {
			a.runs[n-1].heads += heads
		} else {
			a.runs = append(a.runs, run{heads, gone})
		}
	}
	for i := range runs {
		h := &runs[i]
		lost := min(h.can, max(0, h.units-at))
		more := 0 // heads that lose one unit more
		if left > 0 && at > 0 && min(h.can, max(0, h.units-at+1)) > lost {
			more = min(left, h.heads)
			left -= more
			lose(h, more, lost+1)
		}
		if h.heads > more {
			lose(h, h.heads-more, lost)
		}
	}
	l.phases[-l.steps&mask] += fell
	l.levels.phases = append(l.levels.phases, phase{0, fell})
	c.Asked = asked
	a.asksAt, a.undoneAt = 0, never
	l.used -= c.Freed
	l.tables -= c.Freed
	l.kvs -= c.Evicted
	if undone {
		l.undone++
	}
	return c, true
}
