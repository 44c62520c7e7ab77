package sim

import (
	"math"
	"slices"

	"kvcompress/ref"
)

// settled is how a compression by level left a sequence, from which the next one goes on without a
// look at the heads that it does not change.
//
// A compression cuts heads down to a level of blocks, and the first of those that reach it to the
// next lower one. So the heads that can lose are never longer than those behind them. With B tokens
// a block they are, in order,
//
//   - low, of less than (level − 1)·B KVs,
//   - full, of exactly (level − 1)·B,
//   - mid, of more than that and less than level·B,
//   - high, of exactly level·B.
//
// A token later, high heads are one KV above the level, full and mid ones reach it, and low ones do
// not. Where as many blocks are asked for as there are high heads, and no more than the three kinds
// have heads, each high head loses one and the first full and mid heads the rest. Without a token in
// between, the first mid heads lose what is asked for.
type settled struct {
	level           int // in blocks; 0 where heads are not known to be so
	tokens          int // of the sequence when it was compressed
	until           int // tokens up to which the blocks below stay, and mid heads below the level
	first           int // of the runs of full, mid and high heads
	full, mid, high int // heads
	below           int // blocks of the low heads, and of those that lose nothing
	gone            int // KVs that all heads have lost
}

// settle notes how a compression to a level left a sequence.
func (s *settled) settle(runs []run, tokens, level int, spares bool, shift uint) {
	*s = settled{tokens: tokens, until: math.MaxInt, first: len(runs)}
	lower, upper := (level-1)<<shift, level<<shift
	for i, r := range runs {
		n := tokens - r.gone
		s.gone += r.heads * r.gone
		switch spared := spares && r.gone == 0; {
		case spared && i > 0, !spared && i > 0 && r.gone >= runs[i-1].gone && runs[i-1].gone > 0:
			return // heads that lose nothing come first, and then shorter ones before longer ones
		case spared || n < lower:
			s.addBelow(r, n, level, shift)
			continue
		case n == lower:
			s.full = r.heads
		case n < upper:
			s.mid += r.heads
			s.until = min(s.until, r.gone+upper-1)
		case n == upper:
			s.high = r.heads
		default:
			return
		}
		s.first = min(s.first, i)
	}
	s.level = level
}

// addBelow adds a run of low heads, or of such that lose nothing.
func (s *settled) addBelow(r run, n, level int, shift uint) {
	blocks := (n + 1<<shift - 1) >> shift
	s.below += r.heads * blocks
	until := r.gone + blocks<<shift
	if blocks == level-1 {
		until-- // with one token more it is full
	}
	s.until = min(s.until, until)
}

// renew counts the blocks below anew, a token after the compression. It returns false where a low
// head is full now, or a mid one is not below the level any more.
func (s *settled) renew(runs []run, tokens int, spares bool, shift uint) bool {
	s.below, s.until = 0, math.MaxInt
	for _, r := range runs[:s.first] {
		n := tokens - r.gone
		if n >= (s.level-1)<<shift && !(spares && r.gone == 0) {
			return false
		}
		s.addBelow(r, n, s.level, shift)
	}
	if s.mid > 0 {
		last := len(runs) - 1
		if s.high > 0 {
			last--
		}
		s.until = min(s.until, runs[last].gone+s.level<<shift-1)
	}
	return tokens <= s.until
}

// follow says what a sequence holds and is asked for. It returns false where what was known of
// its heads does not say what a compression does.
func (l *Ledger) follow(a *account, tokens int) (held, asked int, ok bool) {
	v, s := l.levels, &a.settled
	since := tokens - s.tokens
	if tokens > s.until && !s.renew(a.runs, tokens, v.spares, uint(l.shift)) || since > 1 {
		s.level = 0
		return 0, 0, false
	}
	held = s.below + s.level*(s.full+s.mid+s.high)
	lowest, most := 0, s.mid
	if since == 1 {
		held += s.high
		lowest, most = s.high, s.full+s.mid+s.high
	} else {
		held -= s.full
	}
	if s.high == 0 {
		most-- // with as many the level would go down
	}
	asked = v.asks.of(tokens, l.heads*tokens-s.gone, held)
	if asked > 0 && (asked < lowest || asked > most) {
		s.level = 0
		return 0, 0, false
	}
	return held, asked, true
}

// goOn compresses a sequence as follow has said.
func (l *Ledger) goOn(a *account, asked int, c *ref.Compressed) {
	s := &a.settled
	tokens, b := a.tokens+l.steps, l.cfg.BlockSize
	lower, now := (s.level-1)<<(uint(l.shift)&63), l.phases[:b]
	runs, left, evicted, mid := a.runs, asked, 0, s.first
	now[-l.steps&(b-1)] += asked
	if tokens > s.tokens {
		left -= s.high
		if s.high > 0 {
			runs[len(runs)-1].gone++
		}
		one := min(left, s.full) // full heads that lose the KV that they have gained
		now[(1-l.steps)&(b-1)] -= s.high + one
		evicted = s.high + one
		left -= one
		if s.full > 0 && one > 0 {
			runs[mid].gone++
			mid++
		}
		if rest := s.full - one; rest > 0 {
			if one > 0 {
				runs[mid-1].heads = one
				runs = slices.Insert(runs, mid, run{rest, runs[mid-1].gone - 1})
			}
			s.mid += rest
			s.until = min(s.until, tokens+b-2)
		}
		s.full = one
	} else if s.full > 0 {
		mid++
	}
	if left > 0 { // of mid heads
		whole := mid
		for rest := left; rest > 0; {
			r := &runs[whole]
			n, heads := tokens-r.gone, min(rest, r.heads)
			evicted += heads * (n - lower)
			now[(n-l.steps)&(b-1)] -= heads
			rest -= heads
			if r.heads -= heads; r.heads == 0 {
				whole++
			}
		}
		switch lost := (run{left, tokens - lower}); {
		case s.full > 0:
			runs[mid-1].heads += left
			if whole > mid {
				runs = slices.Delete(runs, mid, whole)
			}
		case whole > mid:
			runs[mid] = lost
			runs = slices.Delete(runs, mid+1, whole)
		default:
			runs = slices.Insert(runs, mid, lost)
		}
		s.full += left
		s.mid -= left
	}
	a.runs = runs
	s.tokens = tokens
	s.gone += evicted
	l.used -= asked
	l.tables -= asked
	l.kvs -= evicted
	if asked == l.heads && evicted == asked { // each head lost a block, of one KV
		l.undone++
	}
	c.Asked, c.Freed, c.Evicted, c.Moved = asked, asked, evicted, evicted
}
