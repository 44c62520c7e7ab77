package sim

import (
	"math"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
)

// A Spread says which heads lose the units (blocks, or KVs, as the method counts) that a
// compression evicts. An engine
// finds that out from what it has measured; a ledger has to be told.
type Spread interface {
	// Spread appends the demand's heads to dst, with Lost set: in order, and split
	// where heads that were alike lose unequal numbers. Of each quota's blocks, as
	// many are evicted as can be.
	Spread(dst []Heads, d *Demand) []Heads
}

// Demand is what a compression asks of the heads of one sequence.
type Demand struct {
	Seq        kv.SeqID
	Tokens     int         // of the sequence
	Unit       int         // KVs of a unit
	DenseUnits int         // that it would have, had nothing been evicted
	Quotas     []ref.Quota // ascending, without overlap; other heads lose nothing
	Heads      []Heads     // all of them, in order
}

// Heads are consecutive heads of a sequence, in (layer, head) order, that are
// alike.
type Heads struct {
	First, N   int // heads First to First+N−1
	KVs, Units int // that each of them has
	Can        int // units that each could lose
	Lost       int // units that each loses
}

// shares spreads blocks so that the blocks which heads keep are in proportion to
// their weights, as far as what they have and what they can lose allows.
type shares struct {
	// weights[i] are those of the heads, in (layer, head) order, when kept[i] of the
	// dense blocks stay; kept ascends. A weight is from 1 to weightOne.
	kept    []float64
	weights [][]int32
}

// weightOne is the largest weight.
const weightOne = 1 << 15

// Even returns the spread that makes all heads keep alike: heads of equal length
// lose as many blocks, and longer ones first.
func Even() Spread { return even{} }

type even struct{ shares }

// Spread implements [Spread].
func (e even) Spread(dst []Heads, d *Demand) []Heads { return e.shares.Spread(dst, d) }

// ByHeadsOnly says that what heads lose depends on their quotas and what they hold,
// and of the sequence's tokens on no more than whether a head holds them all. A
// spread that has it lets a server skip compressions.
func (even) ByHeadsOnly() {}

// ByDemand implements [ByDemand].
func (even) ByDemand() {}

// Spares implements [ByLevel].
func (even) Spares() bool { return false }

// SparedAtFirst implements [ByLevel].
func (even) SparedAtFirst(heads, units, asked int) int { return 0 }

// at returns the weights for what is to stay after a demand: those measured nearest
// to it; nil for equal ones.
func (s *shares) at(d *Demand) []int32 {
	if len(s.kept) == 0 {
		return nil
	}
	blocks := -sumQuotas(d.Quotas)
	for _, h := range d.Heads {
		blocks += h.N * h.Units
	}
	kept := float64(blocks) / float64(d.DenseUnits)
	best := 0
	for i, k := range s.kept {
		if math.Abs(k-kept) < math.Abs(s.kept[best]-kept) {
			best = i
		}
	}
	return s.weights[best]
}

// ByDemand implements [ByDemand].
func (s *shares) ByDemand() {}

// Spread implements [Spread].
func (s *shares) Spread(dst []Heads, d *Demand) []Heads {
	weights := s.at(d)
	next := 0 // of d.Heads
	var rest Heads
	take := func(end int) { // appends the heads before end, by weight
		for {
			if rest.N == 0 {
				if next == len(d.Heads) {
					return
				}
				rest = d.Heads[next]
				next++
			}
			if rest.First >= end {
				return
			}
			h := rest
			h.N = min(h.N, end-h.First)
			if weights != nil {
				n := 1
				for n < h.N && weights[h.First+n] == weights[h.First] {
					n++
				}
				h.N = n
			}
			rest.First, rest.N = rest.First+h.N, rest.N-h.N
			dst = append(dst, h)
		}
	}
	for _, q := range d.Quotas {
		take(q.First)
		start := len(dst)
		take(q.First + q.Heads)
		dst = level(dst, start, weights, q.Units)
	}
	take(1 << 62)
	return dst
}

// level sets what the heads from dst[start] on lose, blocks in all. They are cut
// down to a common level: each keeps level·weight. Of the heads that would lose a block
// at the next lower level, the first lose one more.
func level(dst []Heads, start int, weights []int32, blocks int) []Heads {
	part := dst[start:]
	loss := func(h *Heads, level int64) int {
		keep := level
		if weights != nil {
			keep = level * int64(weights[h.First]) / weightOne
		}
		return int(min(int64(h.Can), max(0, int64(h.Units)-keep)))
	}
	fits := func(level int64) bool { // no more than the blocks asked for are evicted
		n := 0
		for i := range part {
			n += part[i].N * loss(&part[i], level)
		}
		return n <= blocks
	}
	// If all could lose what the level asks of them, it would be this one.
	stay, weight := int64(-blocks), int64(0)
	for i := range part {
		w := int64(weightOne)
		if weights != nil {
			w = int64(weights[part[i].First])
		}
		stay += int64(part[i].N) * int64(part[i].Units)
		weight += int64(part[i].N) * w
	}
	at := lowest(max(0, stay)*weightOne/max(1, weight), fits)

	left := blocks
	for i := range part {
		part[i].Lost = loss(&part[i], at)
		left -= part[i].N * part[i].Lost
	}
	for i := start; i < len(dst) && left > 0 && at > 0; i++ {
		h := &dst[i]
		if loss(h, at-1) == h.Lost {
			continue
		}
		if left < h.N {
			dst = slices.Insert(dst, i+1, *h)
			h = &dst[i]
			dst[i+1].First, dst[i+1].N = h.First+left, h.N-left
			h.N = left
		}
		h.Lost++ // a level is at most a block, for the largest weight is one
		left -= h.N
	}
	return dst
}

// lowest returns the lowest level, from 0 on, that fits, as all above it do. It is
// found the sooner the nearer the guess is.
func lowest(guess int64, fits func(int64) bool) int64 {
	low, high := int64(-1), guess // low does not fit, high does
	if fits(guess) {
		for step := int64(1); high > 0; step *= 2 {
			try := max(0, high-step)
			if !fits(try) {
				low = try
				break
			}
			high = try
		}
	} else {
		for step, found := int64(1), false; !found; step *= 2 {
			low, high = high, high+step
			found = fits(high)
		}
	}
	for low+1 < high {
		if middle := low + (high-low)/2; fits(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}
