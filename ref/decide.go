package ref

import (
	"math"
	"math/bits"
	"slices"
	"sort"

	"kvcompress/internal/ceil"
	"kvcompress/internal/work"
)

// Decide returns the same decision as [Walk], faster: no sort spans more than one head.
//
//  1. Each head sorts its candidates by (cost, logical index) with a radix sort. The cost of the candidate
//     that completes the j-th unit is the unit's key (with Share, multiplied by the head's share). A
//     head's keys ascend with j.
//  2. A binary search over the bits of a key finds the E-th smallest key of the quota. The number of keys
//     below a bound is a binary search in each head. Units with equal keys are evicted in (layer, head, j)
//     order.
//  3. A head with u evicted units loses the first c + (u−1)·Unit of its sorted candidates.
//
// Scratch memory is 4 bytes for each KV of the sequence, which holds the result, and 16 for each KV of the
// head that a worker is sorting.
func Decide(p *Problem) Decision {
	offsets := make([]int, len(p.Heads)+1)
	for i := range p.Heads {
		offsets[i+1] = offsets[i] + p.Heads[i].Len
	}
	order := make([]int32, offsets[len(p.Heads)]) // candidates of each head, cheapest first
	keys := make([][]uint32, len(p.Heads))        // [head][j]

	sorters := make([]sorter, work.Workers(len(p.Heads)))
	work.Each(len(sorters), len(p.Heads), func(worker, head int) {
		mine := order[offsets[head]:offsets[head+1]]
		keys[head] = sorters[worker].sort(p, head, mine)
	})

	d := p.refined(func(quotas []Quota) Decision {
		d := Decision{Asked: asked(quotas), Heads: make([]HeadEviction, len(p.Heads))}
		for _, quota := range quotas {
			d.Evicted += quota.choose(keys, d.Heads)
		}
		return d
	})

	work.Each(len(sorters), len(p.Heads), func(_, head int) {
		lost := &d.Heads[head]
		if lost.Units == 0 {
			return
		}
		n := p.lastUnit(head) + (lost.Units-1)*p.Unit
		lost.KVs = order[offsets[head]:][:n:n]
		sortLogical(lost.KVs, p.Heads[head].Len)
	})
	return d
}

// choose sets the number of units that each head of the quota loses, and returns their sum. It picks the
// quota's number of smallest (key, layer, head, j), or all units if there are fewer.
func (q *Quota) choose(keys [][]uint32, lost []HeadEviction) int {
	mine := keys[q.First : q.First+q.Heads]
	below := func(bound uint64) int { // keys < bound
		n := 0
		for _, k := range mine {
			n += sort.Search(len(k), func(j int) bool { return uint64(k[j]) >= bound })
		}
		return n
	}
	const beyond = 1 << 32 // above every key
	total := below(beyond)
	if q.Units == 0 {
		return 0
	}
	if total <= q.Units {
		for i, k := range mine {
			lost[q.First+i].Units = len(k)
		}
		return total
	}
	// The E-th smallest key is the smallest bound with at least E keys ≤ it.
	threshold := uint64(sort.Search(beyond, func(bound int) bool { return below(uint64(bound)+1) >= q.Units }))
	equal := q.Units - below(threshold) // how many units with key == threshold are evicted
	for i, k := range mine {
		b := sort.Search(len(k), func(j int) bool { return uint64(k[j]) >= threshold })
		for ; equal > 0 && b < len(k) && uint64(k[b]) == threshold; equal-- {
			b++
		}
		lost[q.First+i].Units = b
	}
	return q.Units
}

// sorter sorts the candidates of one head at a time.
type sorter struct {
	pairs, spare []keyed
	costs        []float32 // of pairs, with Share
	counts       [radixPasses][1 << radixBits]uint32
}

type keyed struct {
	key     uint32 // orderedBits of the cost
	logical int32
}

const (
	radixBits   = 11
	radixPasses = 3
)

// sort writes the head's candidates to order, cheapest first, and returns the
// keys of its units.
func (s *sorter) sort(p *Problem, head int, order []int32) []uint32 {
	h := &p.Heads[head]
	s.pairs = slices.Grow(s.pairs[:0], h.Len)
	for b, block := range h.Table {
		first := b * p.BlockSize
		slot := int(block) * p.BlockSize
		rows := min(p.BlockSize, h.Len-first)
		var scores []float32 // nil if a score is a sum of several numbers
		if p.Key == ByScore && p.Width <= 1 {
			scores = p.Scores[slot:][:rows]
		}
		for i, position := range p.Positions[slot:][:rows] {
			if p.evictable(position) {
				var score float32
				if scores != nil {
					score = scores[i]
				} else {
					score = p.score(slot + i)
				}
				key := orderedBits(p.cost(head, position, score))
				s.pairs = append(s.pairs, keyed{key, int32(first + i)})
			}
		}
	}
	s.radix()
	for i, kv := range s.pairs {
		order[i] = kv.logical
	}

	if h.Len == 0 {
		return nil
	}
	var keys []uint32
	most := min(len(s.pairs), max(0, h.Len-p.Keep)) // the most that the head may lose
	if c := p.lastUnit(head); most >= c {
		keys = make([]uint32, 1+(most-c)/p.Unit)
		for j := range keys {
			keys[j] = s.pairs[c+j*p.Unit-1].key
		}
	}
	if p.Share != nil {
		s.costs = slices.Grow(s.costs[:0], len(s.pairs))[:len(s.pairs)]
		for i, kv := range s.pairs {
			s.costs[i] = costOf(kv.key)
		}
		factor := ShareOf(s.costs, p.Share[head])
		for j, key := range keys {
			keys[j] = orderedBits(float32(costOf(key) * factor))
		}
	}
	return keys
}

// radix sorts the pairs by key; equal keys keep their order.
func (s *sorter) radix() {
	s.spare = slices.Grow(s.spare[:0], len(s.pairs))[:len(s.pairs)]
	s.counts = [radixPasses][1 << radixBits]uint32{}
	const mask = 1<<radixBits - 1
	for _, kv := range s.pairs {
		s.counts[0][kv.key&mask]++
		s.counts[1][kv.key>>radixBits&mask]++
		s.counts[2][kv.key>>(2*radixBits)]++
	}
	for pass := range radixPasses {
		counts := &s.counts[pass]
		shift := pass * radixBits
		if len(s.pairs) > 0 && int(counts[s.pairs[0].key>>shift&mask]) == len(s.pairs) {
			continue // all keys have the same digit
		}
		next := uint32(0)
		for i, n := range counts {
			counts[i] = next
			next += n
		}
		for _, kv := range s.pairs {
			at := &counts[kv.key>>shift&mask]
			s.spare[*at] = kv
			*at++
		}
		s.pairs, s.spare = s.spare, s.pairs
	}
}

// orderedBits maps a float32 that is neither NaN nor −0 to an integer, preserving order.
func orderedBits(f float32) uint32 {
	bits := math.Float32bits(f)
	if bits>>31 == 1 {
		return ^bits
	}
	return bits | 1<<31
}

// costOf is the inverse of orderedBits.
func costOf(key uint32) float32 {
	if key>>31 == 0 {
		return math.Float32frombits(^key)
	}
	return math.Float32frombits(key &^ (1 << 31))
}

// sortLogical sorts distinct logical indices below n with a bitmap.
func sortLogical(kvs []int32, n int) {
	marks := make([]uint64, ceil.Div(n, 64))
	for _, kv := range kvs {
		marks[kv/64] |= 1 << (kv % 64)
	}
	at := 0
	for w, word := range marks {
		for ; word != 0; word &= word - 1 {
			kvs[at] = int32(w*64 + bits.TrailingZeros64(word))
			at++
		}
	}
}
