package ref

import (
	"cmp"
	"math"
	"slices"

	"kvcompress/internal/splitmix"
	"kvcompress/kv"
	"kvcompress/ref/vec"
)

// Problem is one eviction decision: which KVs of one sequence to evict so that the quotas are met. Slots are
// physical: block·BlockSize + offset.
type Problem struct {
	Ranking
	Seq       kv.SeqID
	Length    int // tokens of the sequence; its newest KV has position Length−1
	KVHeads   int // H
	BlockSize int // B
	Heads     []kv.Head
	Scores    []float32 // by slot, Width numbers each
	Positions []int32   // by slot
}

// Ranking says how a method evicts: which KVs are candidates, what each costs, and how many units to evict
// from which heads. It is all that an engine needs to know of a method that only evicts.
type Ranking struct {
	Unit    int // KVs that are evicted together: B to free whole blocks, 1 to count KVs
	Sinks   int // oldest tokens, which are not candidates
	Window  int // newest tokens, which are not candidates
	Key     Key
	Column  int  // ByScore: the column of the scores
	Width   int  // ByScore: numbers of a KV in the column, which are summed; 0 means 1
	Average bool // ByScore: divide the score by the number of queries after the KV
	Bias    *HeadBias
	Weight  float32 // of Bias
	Seed    uint64  // ByHash
	Keep    int     // every head keeps at least this many KVs, the costliest
	Quotas  []Quota

	// Share, if not nil, has a number n for each head (Ada-SnapKV's normalization). To compare KVs of
	// different heads, a head's costs are multiplied by the sum of its n largest costs over the sum of all of
	// them. Costs must not be negative.
	Share []int

	// Refine, if not nil, is called with the number of units that each head loses by Quotas. It returns the
	// quotas that are then used instead, one for each head (Ada-SnapKV's floor).
	Refine func(lost []int) []Quota
}

// Key says what evicting a KV costs.
type Key uint8

// The keys.
const (
	ByScore    Key = iota // the score of its column
	ByPosition            // its position: the oldest are evicted first
	ByHash                // a seeded hash of sequence, layer, head and position: evicted at random
)

// Problem returns the decision that the ranking poses for a sequence in the cache.
func (r Ranking) Problem(cache *kv.Cache, s *kv.Sequence) *Problem {
	p := &Problem{
		Ranking:   r,
		Seq:       s.ID,
		Length:    s.Len,
		KVHeads:   cache.Shape().KVHeads,
		BlockSize: cache.Config().BlockSize,
		Heads:     s.Heads,
		Positions: cache.Positions,
	}
	if r.Key == ByScore {
		p.Scores = cache.Data[r.Column]
	}
	return p
}

// Decision is the result of a Problem.
type Decision struct {
	Asked   int // units that the quotas ask for
	Evicted int // units evicted; fewer than Asked if there are too few candidates
	Heads   []HeadEviction
}

// Equal reports whether two decisions are the same.
func (d *Decision) Equal(other *Decision) bool {
	return d.Asked == other.Asked && d.Evicted == other.Evicted &&
		slices.EqualFunc(d.Heads, other.Heads, func(a, b HeadEviction) bool {
			return a.Units == b.Units && slices.Equal(a.KVs, b.KVs)
		})
}

// HeadEviction is what one head loses.
type HeadEviction struct {
	Units int
	KVs   []int32 // logical indices, ascending; c + (Units−1)·Unit of them
}

// candidate is a KV that may be evicted.
type candidate struct {
	shared  float32 // cost multiplied by the head's share
	cost    float32
	head    int // layer·H + head
	logical int32
}

// compare orders candidates by (cost, layer, head, logical), with Share by (shared cost,
// layer, head, cost, logical).
func (a candidate) compare(b candidate) int {
	return cmp.Or(cmp.Compare(a.shared, b.shared), cmp.Compare(a.head, b.head), cmp.Compare(a.cost, b.cost), cmp.Compare(a.logical, b.logical))
}

// Walk is stage 2 of compression and its specification (the paper's Algorithm 1). It visits the candidates of
// each quota in order of cost, lowest first, until the quota's units are evicted.
//
// A head loses its first unit with its c-th visited candidate, where c is the number of KVs in the head's
// last unit, and one further unit with every Unit candidates after that. So what a head keeps always fills
// whole units. Candidates visited after a head's last evicted unit are kept. Candidates of equal cost are
// visited in (layer, head, logical) order.
//
// With Share, candidates of different heads are ordered by their costs multiplied by the heads' shares, those
// of one head by cost.
//
// With Refine, Walk is repeated with the quotas that Refine returns.
func Walk(p *Problem) Decision { return p.refined(p.walk) }

// refined decides by the ranking's quotas, and if it has Refine, again by the quotas that Refine returns.
func (p *Problem) refined(decide func([]Quota) Decision) Decision {
	d := decide(p.Quotas)
	if p.Refine == nil {
		return d
	}
	lost := make([]int, len(d.Heads))
	for i := range lost {
		lost[i] = d.Heads[i].Units
	}
	return decide(p.Refine(lost))
}

func (p *Problem) walk(quotas []Quota) Decision {
	d := Decision{Asked: asked(quotas), Heads: make([]HeadEviction, len(p.Heads))}
	for _, quota := range quotas {
		var candidates []candidate
		for head := quota.First; head < quota.First+quota.Heads; head++ {
			candidates = append(candidates, p.candidates(head)...)
		}
		slices.SortFunc(candidates, candidate.compare)

		visited := make([][]int32, len(p.Heads))
		evicted := 0
		for _, kv := range candidates {
			if evicted == quota.Units {
				break
			}
			visited[kv.head] = append(visited[kv.head], kv.logical)
			lost := &d.Heads[kv.head]
			if len(visited[kv.head]) == p.lastUnit(kv.head)+lost.Units*p.Unit {
				lost.Units++
				lost.KVs = visited[kv.head]
				evicted++
			}
		}
		d.Evicted += evicted
	}
	for i := range d.Heads {
		slices.Sort(d.Heads[i].KVs)
	}
	return d
}

// lastUnit returns c, the number of KVs in a non-empty head's last unit.
func (p *Problem) lastUnit(head int) int { return (p.Heads[head].Len-1)%p.Unit + 1 }

// candidates returns the KVs of a head that may be evicted, cheapest first; at least Keep KVs are left out.
func (p *Problem) candidates(head int) []candidate {
	all := p.appendCandidates(nil, head)
	slices.SortFunc(all, candidate.compare)
	return all[:min(len(all), max(0, p.Heads[head].Len-p.Keep))]
}

// appendCandidates appends the KVs of a head that are neither sinks nor in the protected window, in logical
// order.
func (p *Problem) appendCandidates(to []candidate, head int) []candidate {
	h := &p.Heads[head]
	first := len(to)
	var costs []float32
	for logical := range h.Len {
		slot := h.Slot(logical, p.BlockSize)
		if position := p.Positions[slot]; p.evictable(position) {
			cost := p.cost(head, position, p.score(slot))
			to = append(to, candidate{cost, cost, head, int32(logical)})
			costs = append(costs, cost)
		}
	}
	if p.Share != nil {
		slices.Sort(costs)
		factor := ShareOf(costs, p.Share[head])
		for i := range to[first:] {
			to[first+i].shared = float32(to[first+i].cost * factor)
		}
	}
	return to
}

// ShareOf returns the sum of the top largest costs divided by the sum of all; 1 if all are 0. costs are
// ascending and not negative. Each sum is a sum of NUMERICS.md §3 over its own elements.
func ShareOf(costs []float32, top int) float32 {
	all := vec.Sum(costs)
	if all == 0 {
		return 1
	}
	return vec.Sum(costs[max(0, len(costs)-top):]) / all
}

// evictable reports whether a KV at this position is a candidate.
func (p *Problem) evictable(position int32) bool {
	return int(position) >= p.Sinks && int(position) <= p.Length-1-p.Window
}

// score returns the score of the KV in a slot: the sum of its numbers in the column, in order.
func (p *Problem) score(slot int) float32 {
	if p.Key != ByScore {
		return 0
	}
	if p.Width <= 1 {
		return p.Scores[slot]
	}
	var sum float32
	for _, v := range p.Scores[slot*p.Width:][:p.Width] {
		sum += v
	}
	return sum
}

// Candidate returns the position of a head's KV, its score (0 unless the key is ByScore) and its cost.
func (p *Problem) Candidate(head, kv int) (position int32, score, cost float32) {
	slot := p.Heads[head].Slot(kv, p.BlockSize)
	if p.Key == ByScore {
		score = p.score(slot)
	}
	position = p.Positions[slot]
	return position, score, p.cost(head, position, score)
}

// cost returns the cost of evicting a KV. With ByScore it is the score, divided by the number of later
// queries if the ranking says Average (+Inf if there are none), plus the bias. It is never −0, so that equal
// costs have equal bits.
func (p *Problem) cost(head int, position int32, score float32) float32 {
	layer, head := head/p.KVHeads, head%p.KVHeads
	switch p.Key {
	case ByPosition:
		return float32(position) // exact: positions are below 2²⁴
	case ByHash:
		return randomCost(p.Seed, p.Seq, layer, head, position)
	}
	cost := score
	if p.Average {
		after := p.Length - 1 - int(position)
		if after == 0 {
			return float32(math.Inf(1))
		}
		cost /= float32(after)
	}
	if b := p.Bias; b != nil {
		cost += float32(b.at(layer, head, position) * p.Weight)
	}
	return cost + 0
}

// randomCost returns a seeded hash in [0, 1), used as the cost of a KV: the top 24 bits of three rounds of
// the SplitMix64 finalizer.
func randomCost(seed uint64, seq kv.SeqID, layer, head int, position int32) float32 {
	x := splitmix.Next(seed ^ uint64(uint32(seq)))
	x = splitmix.Next(x ^ uint64(uint32(layer))<<32 ^ uint64(uint32(head)))
	x = splitmix.Next(x ^ uint64(uint32(position)))
	return float32(x>>40) / (1 << 24)
}
