package sim

import (
	"math"
	"slices"

	"kvcompress/ref"
)

// A Spread says which heads lose the blocks that a compression evicts. An engine
// finds that out from what it has measured; a ledger has to be told.
type Spread interface {
	// Spread appends the demand's heads to dst, with Lost set: in order, and split
	// where heads that were alike lose unequal numbers. Of each quota's blocks, as
	// many fall as can.
	Spread(dst []Heads, d *Demand) []Heads
}

// Demand is what a compression asks of the heads of one sequence.
type Demand struct {
	Seq         ref.SeqID
	Tokens      int         // of the sequence
	DenseBlocks int         // that it would have, had nothing been evicted
	Quotas      []ref.Quota // ascending, without overlap; other heads lose nothing
	Heads       []Heads     // all of them, in order
}

// Heads are consecutive heads of a sequence, in (layer, head) order, that are
// alike.
type Heads struct {
	First, N    int // heads First to First+N−1
	KVs, Blocks int // that each of them has
	Can         int // blocks that each could lose
	Lost        int // blocks that each loses
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
func Even() Spread { return &shares{} }

// at returns the weights for what is to stay after a demand: those measured nearest
// to it; nil for equal ones.
func (s *shares) at(d *Demand) []int32 {
	if len(s.kept) == 0 {
		return nil
	}
	blocks := -sumQuotas(d.Quotas)
	for _, h := range d.Heads {
		blocks += h.N * h.Blocks
	}
	kept := float64(blocks) / float64(d.DenseBlocks)
	best := 0
	for i, k := range s.kept {
		if math.Abs(k-kept) < math.Abs(s.kept[best]-kept) {
			best = i
		}
	}
	return s.weights[best]
}

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
		dst = level(dst, start, weights, q.Blocks)
	}
	take(1 << 62)
	return dst
}

// level sets what the heads from dst[start] on lose, blocks in all. They are cut
// down to a common level: keep(level) = level·weight. Of the heads whose blocks
// would fall at the next lower level, the first lose one more.
func level(dst []Heads, start int, weights []int32, blocks int) []Heads {
	part := dst[start:]
	loss := func(h *Heads, level int64) int {
		keep := level
		if weights != nil {
			keep = level * int64(weights[h.First]) / weightOne
		}
		return int(min(int64(h.Can), max(0, int64(h.Blocks)-keep)))
	}
	total := func(level int64) int {
		n := 0
		for i := range part {
			n += part[i].N * loss(&part[i], level)
		}
		return n
	}
	// The lowest level at which no more than the blocks fall. At the highest none does.
	low, high := int64(0), int64(0)
	for i := range part {
		top := int64(part[i].Blocks)
		if weights != nil {
			top = (top + 1) * weightOne / int64(weights[part[i].First])
		}
		high = max(high, top)
	}
	for low < high {
		if middle := (low + high) / 2; total(middle) <= blocks {
			high = middle
		} else {
			low = middle + 1
		}
	}
	left := blocks
	for i := range part {
		part[i].Lost = loss(&part[i], low)
		left -= part[i].N * part[i].Lost
	}
	for i := start; i < len(dst) && left > 0 && low > 0; i++ {
		h := &dst[i]
		if loss(h, low-1) == h.Lost {
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
