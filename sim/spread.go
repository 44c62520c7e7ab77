package sim

import (
	"math"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
)

// A Spread is a model of how the units (blocks or KVs, as the method counts) that a compression evicts are
// spread over heads. An engine decides that by scores; a ledger has none.
type Spread interface {
	// Spread appends the demand's heads to dst, with Lost set. They stay in order; Heads are split if
	// their heads lose unequal numbers. For each quota as many units are lost as it asks for, or as its
	// heads can lose.
	Spread(dst []Heads, d *Demand) []Heads
}

// Demand is what a compression asks of the heads of one sequence.
type Demand struct {
	Seq        kv.SeqID
	Tokens     int         // of the sequence
	Unit       int         // KVs of a unit
	DenseUnits int         // units of the sequence if nothing had been evicted
	Quotas     []ref.Quota // ascending, without overlap; other heads lose nothing
	Heads      []Heads     // all heads, in order
}

// Heads are consecutive heads of a sequence, in (layer, head) order, with equal numbers of KVs.
type Heads struct {
	First, N   int // heads First to First+N−1
	KVs, Units int // KVs and units of each head
	Can        int // units that each head can lose
	Lost       int // units that each head loses
}

// shares spreads units so that heads keep units in proportion to their weights, as far as that is possible.
type shares struct {
	// weights[i] are the weights of the heads, in (layer, head) order, when the fraction kept[i] of the
	// dense units is kept. kept is ascending. Weights are from 1 to weightOne.
	kept    []float64
	weights [][]int32
}

// weightOne is the largest weight.
const weightOne = 1 << 15

// Even returns the spread that makes all heads keep the same number of units, as far as possible: heads are
// cut down to a common length, so longer heads lose more.
func Even() Spread { return even{} }

type even struct{ shares }

// Spread implements [Spread].
func (e even) Spread(dst []Heads, d *Demand) []Heads { return e.shares.Spread(dst, d) }

// ByHeadsOnly marks a spread whose result depends on the quotas and lengths of heads, and on the sequence's
// number of tokens only in whether a head holds all of them. It lets a server skip compressions.
func (even) ByHeadsOnly() {}

// ByDemand implements [ByDemand].
func (even) ByDemand() {}

// Spares implements [ByLevel].
func (even) Spares() bool { return false }

// SparedAtFirst implements [ByLevel].
func (even) SparedAtFirst(heads, units, asked int) int { return 0 }

// at returns the weights for the fraction that is kept after a demand: those of the nearest kept[i]; nil if
// all weights are equal.
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

// level sets Lost of the heads from dst[start] on, so that they lose this many blocks together. They are cut
// down to a common level: each keeps level·weight blocks. The rest is taken from the first of the heads that
// would lose another block at the next lower level.
func level(dst []Heads, start int, weights []int32, blocks int) []Heads {
	part := dst[start:]
	loss := func(h *Heads, level int64) int {
		keep := level
		if weights != nil {
			keep = level * int64(weights[h.First]) / weightOne
		}
		return int(min(int64(h.Can), max(0, int64(h.Units)-keep)))
	}
	fits := func(level int64) bool { // at most the blocks asked for are evicted
		n := 0
		for i := range part {
			n += part[i].N * loss(&part[i], level)
		}
		return n <= blocks
	}
	// Guess the level as if all heads could lose what it asks of them.
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
		h.Lost++ // a level is at most one block, since the largest weight is 1
		left -= h.N
	}
	return dst
}

// lowest returns the lowest level, at least 0, that fits; all levels above it must fit. The search is faster
// the nearer the guess is.
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
