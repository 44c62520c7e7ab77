package sim

import (
	"math"
	"slices"

	"kvcompress/ref"
)

// settled is the state of a sequence after a compression by level. It determines the next
// compression, without visiting the heads that do not change.
//
// A compression shortens heads to a level in blocks, and the first heads that reach the level to
// one block less. So of the heads that can lose KVs, none is longer than a later one. With B tokens
// per block they are, in this order,
//
//   - low: less than (level − 1)·B KVs,
//   - full: (level − 1)·B KVs, in one run,
//   - mid: more than that and less than level·B KVs,
//   - high: level·B KVs, in one run.
//
// With one token more, full and mid heads reach the level, and high ones are one KV above it.
//
//   - If fewer blocks are asked for than there are high heads, only these lose: the level rises by
//     one (rise).
//   - Otherwise the level stays. Each high head loses the KV that it has gained, and then the first
//     full heads lose theirs (undo). If more blocks are asked for, the first mid heads and then the
//     high heads lose one block each (shorten). Without a token since the last compression, only
//     shorten applies.
//   - If each of these heads would lose a block, the level goes down, and the sequence is surveyed.
type settled struct {
	level           int // in blocks; 0 if the heads are not known to have this form
	tokens          int // of the sequence when it was compressed
	first           int // index of the first run of full, mid or high heads
	full, mid, high int // heads
	below           int // blocks of the low heads and the spared heads
	until           int // number of tokens up to which below is valid
	joins           int // number of tokens at which low heads become full, or mid heads high
	gone            int // KVs that all heads have lost
}

// settle sets the state of a sequence after a compression to a level.
func (s *settled) settle(runs []run, tokens, level int, spares bool, shift uint) {
	*s = settled{tokens: tokens, until: tokens, joins: math.MaxInt, first: len(runs)}
	lower, upper := (level-1)<<shift, level<<shift
	for i, r := range runs {
		n, spared := tokens-r.gone, spares && r.gone == 0
		s.gone += r.heads * r.gone
		switch {
		case i > 0 && (spared || r.gone >= runs[i-1].gone && !(spares && runs[i-1].gone == 0)), !spared && n > upper:
			return // only spared heads may come before shorter ones
		case spared || n < lower:
			s.below += r.heads * ((n + 1<<shift - 1) >> shift)
			continue
		case n == lower:
			s.full = r.heads
		case n < upper:
			s.mid += r.heads
		default:
			s.high = r.heads
		}
		s.first = min(s.first, i)
	}
	s.level = level
}

// renew recomputes below, until and joins before a compression.
func (s *settled) renew(runs []run, tokens int, shift uint) {
	s.below, s.until, s.joins = 0, math.MaxInt, math.MaxInt
	for _, r := range runs[:s.first] {
		blocks := (tokens - r.gone + 1<<shift - 1) >> shift
		s.below += r.heads * blocks
		s.until = min(s.until, r.gone+blocks<<shift)
		if r.gone > 0 {
			s.joins = r.gone + (s.level-1)<<shift // the last run of low heads is the first to become full
		}
	}
	if s.mid > 0 {
		s.joins = min(s.joins, runs[s.lastMid(runs)].gone+s.level<<shift)
	}
}

// lastMid returns the index of the last run of mid heads. There is at least one.
func (s *settled) lastMid(runs []run) int {
	if s.high > 0 {
		return len(runs) - 2
	}
	return len(runs) - 1
}

// join reclassifies low heads that have become full, and mid heads that have become high.
func (s *settled) join(runs []run, shift uint) []run {
	if i := s.first - 1; i >= 0 && s.tokens-runs[i].gone == (s.level-1)<<shift && runs[i].gone > 0 {
		s.below -= runs[i].heads * (s.level - 1)
		if s.full > 0 {
			runs[i].heads += s.full
			runs = slices.Delete(runs, i+1, i+2)
		}
		s.first, s.full = i, runs[i].heads
	}
	if s.mid > 0 {
		if i := s.lastMid(runs); s.tokens-runs[i].gone == s.level<<shift {
			s.mid -= runs[i].heads
			runs[i].heads += s.high
			runs = runs[:i+1]
			s.high = runs[i].heads
		}
	}
	s.until, s.joins = s.tokens, math.MaxInt
	return runs
}

// compressSettled returns the number of blocks that a sequence holds, and the number that it is asked for. If
// asked is positive and held at most most, compressSettled compresses the sequence and sets c to the result of
// Compress. It returns false, and changes no counts, if the sequence has to be surveyed.
func (l *Ledger) compressSettled(a *account, most int, c *ref.Compressed) (held, asked int, known bool) {
	s, tokens := &a.settled, a.tokens+l.steps
	since := tokens - s.tokens
	if since > 1 {
		s.level = 0
		return 0, 0, false
	}
	if tokens > s.until {
		s.renew(a.runs, tokens, uint(l.shift)&63)
	}
	held = s.below + s.level*(s.full+s.mid+s.high)
	down := s.mid + s.high // if at least as many blocks are asked for, the level goes down
	if since == 1 {
		held += s.high
		down += s.full + s.high
	} else {
		held -= s.full
	}
	switch asked = l.levels.asks.of(tokens, l.heads*tokens-s.gone, held); {
	case asked == 0 || asked < down && held > most:
		return held, asked, true
	case asked >= down:
		s.level = 0
		return 0, 0, false
	}
	runs, left, evicted := a.runs, asked, 0
	s.tokens = tokens
	*l.phase(0) += asked // the last blocks of these heads are full now
	if since > 0 {
		one := asked // number of heads that lose only the KV that they have gained
		if asked < s.high {
			runs = s.rise(runs, asked)
		} else {
			one = s.high + min(asked-s.high, s.full)
			runs = s.undo(runs, one-s.high, l.cfg.BlockSize)
		}
		*l.phase(1) -= one
		left, evicted = asked-one, one
	}
	if left > 0 {
		var more int
		runs, more = l.shorten(s, runs, left)
		evicted += more
	}
	if tokens >= s.joins {
		runs = s.join(runs, uint(l.shift)&63)
	}
	a.runs = runs
	s.gone += evicted
	l.used -= asked
	l.tables -= asked
	l.kvs -= evicted
	if asked == l.heads && evicted == asked { // each head lost a block with a single KV
		l.undone++
	}
	c.Asked, c.Freed, c.Evicted, c.Moved = asked, asked, evicted, evicted
	return held, asked, true
}

// rise removes the KV that they have gained from the first lose high heads, fewer than there are,
// and raises the level by one.
func (s *settled) rise(runs []run, lose int) []run {
	s.below += s.level * (s.full + s.mid)
	s.first = len(runs) - 1
	high := &runs[s.first]
	runs = append(runs, run{s.high - lose, high.gone})
	runs[s.first] = run{lose, high.gone + 1}
	s.level++
	s.full, s.mid, s.high = lose, s.high-lose, 0
	s.until = s.tokens
	return runs
}

// undo removes the KV that they have gained from all high heads and from the first lose full heads.
// The other full heads become mid heads.
func (s *settled) undo(runs []run, lose, block int) []run {
	if s.high > 0 {
		runs[len(runs)-1].gone++
	}
	rest := s.full - lose
	s.mid += rest
	s.full = lose
	if lose > 0 {
		full := &runs[s.first]
		full.heads, full.gone = lose, full.gone+1
		if rest > 0 {
			runs = slices.Insert(runs, s.first+1, run{rest, full.gone - 1})
		}
	}
	if rest > 0 {
		s.joins = min(s.joins, s.tokens+block-1)
	}
	return runs
}

// shorten shortens the first heads of the mid and high heads to the length of the full heads. It
// returns the number of KVs evicted.
func (l *Ledger) shorten(s *settled, runs []run, heads int) (_ []run, evicted int) {
	lower := (s.level - 1) << (uint(l.shift) & 63)
	first := s.first // first run of mid heads
	if s.full > 0 {
		first++
	}
	at := first
	for left := heads; left > 0; {
		r := &runs[at]
		n, more := s.tokens-r.gone, min(left, r.heads)
		evicted += more * (n - lower)
		*l.phase(n) -= more
		left -= more
		if r.heads -= more; r.heads == 0 {
			at++
		}
	}
	switch {
	case s.full > 0:
		runs[first-1].heads += heads
		if at > first {
			runs = slices.Delete(runs, first, at)
		}
	case at > first:
		runs[first] = run{heads, s.tokens - lower}
		runs = slices.Delete(runs, first+1, at)
	default:
		runs = slices.Insert(runs, first, run{heads, s.tokens - lower})
	}
	s.full += heads
	s.high -= max(0, heads-s.mid)
	s.mid = max(0, s.mid-heads)
	return runs, evicted
}
