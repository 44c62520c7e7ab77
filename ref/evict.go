package ref

import (
	"cmp"
	"math"
	"slices"
)

// Problem is one eviction decision: which KVs of one sequence fall, so that the
// quotas' blocks come free. Slots are physical: block·BlockSize + offset.
type Problem struct {
	Seq       SeqID
	Length    int // tokens of the sequence: its newest KV has position Length−1
	KVHeads   int // H
	BlockSize int // B
	Heads     []Head
	Metrics   []float32 // by slot
	Positions []int32   // by slot
	Reduction Reduction
	Options   *Compression
	Quotas    []Quota
}

// Problem states the eviction decision for a sequence as it is in the cache.
func (c *Config) Problem(cache *Cache, s *Sequence) *Problem {
	return &Problem{
		Seq:       s.ID,
		Length:    s.Len,
		KVHeads:   c.Shape.KVHeads,
		BlockSize: c.BlockSize,
		Heads:     s.Heads,
		Metrics:   cache.Metrics,
		Positions: cache.Positions,
		Reduction: c.Metric.Reduction,
		Options:   &c.Compression,
		Quotas:    c.Quotas(c.Count(s.Len, s.KVs(), s.Blocks())),
	}
}

// Decision is what falls.
type Decision struct {
	Asked   int // blocks that the quotas asked for
	Evicted int // blocks that fall; fewer than asked where candidates run out
	Heads   []HeadEviction
}

// Shortfall returns how many blocks were asked for and cannot fall.
func (d *Decision) Shortfall() int { return d.Asked - d.Evicted }

// KVs returns how many KVs fall.
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
			return a.Blocks == b.Blocks && slices.Equal(a.KVs, b.KVs)
		})
}

// HeadEviction is what one head loses.
type HeadEviction struct {
	Blocks int
	KVs    []int32 // logical indices, ascending; c + (Blocks−1)·B of them
}

// candidate is a KV that may be evicted.
type candidate struct {
	cost    float32
	head    int // layer·H + head
	logical int32
}

// Walk is stage 2 of compression, and its specification (the paper's Algorithm
// 1): it visits the candidates of each quota from the cheapest on, and counts
// off blocks until as many have fallen as the quota asks for.
//
// A head's first block falls with the c-th of its candidates, where c is the
// number of KVs in its last block, and each further one after another B: so
// what a head keeps always fills whole blocks. Candidates past the last block
// that fell stay. Candidates of equal cost go in (layer, head, logical) order.
func Walk(p *Problem) Decision {
	d := Decision{Asked: asked(p.Quotas), Heads: make([]HeadEviction, len(p.Heads))}
	for _, quota := range p.Quotas {
		var candidates []candidate
		for head := quota.First; head < quota.First+quota.Heads; head++ {
			candidates = p.appendCandidates(candidates, head)
		}
		slices.SortFunc(candidates, func(a, b candidate) int {
			return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(a.head, b.head), cmp.Compare(a.logical, b.logical))
		})

		visited := make([][]int32, len(p.Heads))
		fallen := 0
		for _, kv := range candidates {
			if fallen == quota.Blocks {
				break
			}
			visited[kv.head] = append(visited[kv.head], kv.logical)
			lost := &d.Heads[kv.head]
			if len(visited[kv.head]) == p.lastBlock(kv.head)+lost.Blocks*p.BlockSize {
				lost.Blocks++
				lost.KVs = visited[kv.head]
				fallen++
			}
		}
		d.Evicted += fallen
	}
	for i := range d.Heads {
		slices.Sort(d.Heads[i].KVs)
	}
	return d
}

// lastBlock returns c, the number of KVs in a non-empty head's last block.
func (p *Problem) lastBlock(head int) int {
	h := &p.Heads[head]
	return h.Len - (len(h.Table)-1)*p.BlockSize
}

// appendCandidates appends the KVs of a head that may be evicted, in logical
// order: not the sinks, not the protected window.
func (p *Problem) appendCandidates(to []candidate, head int) []candidate {
	h := &p.Heads[head]
	for logical := range h.Len {
		slot := h.Slot(logical, p.BlockSize)
		if position := p.Positions[slot]; p.evictable(position) {
			to = append(to, candidate{p.cost(head, position, p.Metrics[slot]), head, int32(logical)})
		}
	}
	return to
}

// evictable reports whether a KV at this position is a candidate.
func (p *Problem) evictable(position int32) bool {
	return int(position) >= p.Options.Sinks && int(position) <= p.Length-1-p.Options.ProtectedWindow
}

// cost returns what it costs to lose a KV: its metric, averaged over the
// queries after it where the reduction says so (+Inf where there is none yet),
// plus its head's bias. It is never −0, so that equal costs have equal bits.
func (p *Problem) cost(head int, position int32, metric float32) float32 {
	layer, head := head/p.KVHeads, head%p.KVHeads
	if p.Options.Random {
		return randomCost(p.Options.Seed, p.Seq, layer, head, position)
	}
	cost := metric
	if p.Reduction == Avg {
		after := p.Length - 1 - int(position)
		if after == 0 {
			return float32(math.Inf(1))
		}
		cost /= float32(after)
	}
	if b := p.Options.HeadBias; b != nil {
		cost += float32(b.at(layer, head, position) * p.Options.BiasWeight)
	}
	return cost + 0
}

// randomCost is the seeded hash in [0, 1) that replaces the cost of a KV: the
// top 24 bits of three rounds of the SplitMix64 finalizer.
func randomCost(seed uint64, seq SeqID, layer, head int, position int32) float32 {
	x := mix(seed ^ uint64(uint32(seq)))
	x = mix(x ^ uint64(uint32(layer))<<32 ^ uint64(uint32(head)))
	x = mix(x ^ uint64(uint32(position)))
	return float32(x>>40) / (1 << 24)
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) after
// one step of its counter.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
