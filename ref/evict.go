package ref

import (
	"cmp"
	"math"
	"slices"

	"kvcompress/internal/splitmix"
	"kvcompress/kv"
	"kvcompress/ref/vec"
)

// Problem is one eviction decision: which KVs of one sequence are evicted, so that the
// quotas are met. Slots are physical: block·BlockSize + offset.
type Problem struct {
	Ranking
	Seq       kv.SeqID
	Length    int // tokens of the sequence: its newest KV has position Length−1
	KVHeads   int // H
	BlockSize int // B
	Heads     []kv.Head
	Scores    []float32 // by slot, Width of each
	Positions []int32   // by slot
}

// Ranking says how a dropping method chooses: which KVs are candidates, what each costs,
// and how many units are evicted of which heads. It is all that an engine has to know of
// the method.
type Ranking struct {
	Unit    int // KVs that leave together: B where whole blocks are to come free, 1 where KVs are counted
	Sinks   int // the oldest tokens are no candidates
	Window  int // nor are the newest
	Key     Key
	Column  int  // ByScore: the column that has the scores,
	Width   int  // and its numbers for each KV, which are added up; 0 is 1
	Average bool // ByScore: the score is divided by the queries after the KV
	Bias    *HeadBias
	Weight  float32 // of Bias
	Seed    uint64  // ByHash
	Keep    int     // KVs that each head keeps at least: the costliest
	Quotas  []Quota

	// Share, where it is not nil, has a number for each head: between heads, a head's costs
	// count times the part that its Share[head] largest have of their sum (Ada-SnapKV's
	// normalization). Costs are then not negative.
	Share []int

	// Refine, where it is not nil, is told how many units each head loses by the quotas,
	// and gives the quotas, one for each head, that count (Ada-SnapKV's floor).
	Refine func(lost []int) []Quota
}

// Key is what a KV costs to lose.
type Key uint8

// The keys.
const (
	ByScore    Key = iota // the score of its column
	ByPosition            // its position: the oldest go first
	ByHash                // a seeded hash of sequence, head and position: at random
)

// Problem states the decision that a ranking asks for, about a sequence as it is in the
// cache.
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

// Decision is what is evicted.
type Decision struct {
	Asked   int // units that the quotas asked for
	Evicted int // units that are evicted; fewer than asked where candidates run out
	Heads   []HeadEviction
}

// Shortfall returns how many units were asked for and cannot be evicted.
func (d *Decision) Shortfall() int { return d.Asked - d.Evicted }

// KVs returns how many KVs are evicted.
func (d *Decision) KVs() int {
	n := 0
	for i := range d.Heads {
		n += len(d.Heads[i].KVs)
	}
	return n
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
	shared  float32 // cost, times its head's share
	cost    float32
	head    int // layer·H + head
	logical int32
}

// compare orders candidates by (cost, layer, head, logical), with Share by (shared cost,
// layer, head, cost, logical).
func (a candidate) compare(b candidate) int {
	return cmp.Or(cmp.Compare(a.shared, b.shared), cmp.Compare(a.head, b.head), cmp.Compare(a.cost, b.cost), cmp.Compare(a.logical, b.logical))
}

// Walk is stage 2 of compression, and its specification (the paper's Algorithm 1): it
// visits the candidates of each quota from the cheapest on, and counts off units until
// as many are evicted as the quota asks for.
//
// A head's first unit goes with the c-th of its candidates, where c is the number of KVs
// in its last unit, and each further one after another Unit candidates: so what a head
// keeps always fills whole units. Candidates past the last unit that goes stay.
// Candidates of equal cost go in (layer, head, logical) order.
//
// With Share, costs times their head's share decide between heads, costs within one.
//
// With Refine, the quotas that it gives are walked anew.
func Walk(p *Problem) Decision { return p.refined(p.walk) }

// refined makes a decision, and where the ranking refines its quotas, the one that counts.
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

// candidates returns the KVs of a head that may be evicted, cheapest first: no more than
// leave the head with Keep.
func (p *Problem) candidates(head int) []candidate {
	all := p.appendCandidates(nil, head)
	slices.SortFunc(all, candidate.compare)
	return all[:min(len(all), max(0, p.Heads[head].Len-p.Keep))]
}

// appendCandidates appends the KVs of a head that are no sinks and not in the protected
// window, in logical order.
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

// ShareOf returns the part that the top largest of a head's costs, which ascend and are not
// negative, have of their sum: the quotient of two sums in the order of a warp, each with
// its elements counted from its first. It is 1 where all costs are 0.
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

// score returns the score of the KV in a slot: the sum of its column's numbers, in order.
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

// Candidate returns the position of a head's KV, its score (0 where none counts) and what it
// costs to lose it.
func (p *Problem) Candidate(head, kv int) (position int32, score, cost float32) {
	slot := p.Heads[head].Slot(kv, p.BlockSize)
	if p.Key == ByScore {
		score = p.score(slot)
	}
	position = p.Positions[slot]
	return position, score, p.cost(head, position, score)
}

// cost returns what it costs to lose a KV. By score that is the score, averaged over the
// queries after it where the ranking says so (+Inf where there is none yet), plus its
// head's bias. It is never −0, so that equal costs have equal bits.
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

// randomCost is the seeded hash in [0, 1) that replaces the cost of a KV: the
// top 24 bits of three rounds of the SplitMix64 finalizer.
func randomCost(seed uint64, seq kv.SeqID, layer, head int, position int32) float32 {
	x := splitmix.Next(seed ^ uint64(uint32(seq)))
	x = splitmix.Next(x ^ uint64(uint32(layer))<<32 ^ uint64(uint32(head)))
	x = splitmix.Next(x ^ uint64(uint32(position)))
	return float32(x>>40) / (1 << 24)
}
