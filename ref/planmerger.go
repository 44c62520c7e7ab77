package ref

import "kvcompress/kv"

// Retention says which tokens of a pair of heads a [Merger] retains, for K and V separately, by the distance
// between their two vectors (NUMERICS.md, "Merged vectors").
type Retention struct {
	Gamma     float64
	Threshold bool // the first merge retains tokens above a limit; otherwise a fraction Gamma
	Later     bool // a token merged later is retained if its distance is above the first merge's limit
}

// Retained are the keys or values of a pair of heads that are retained, and why: see [Edit].
type Retained struct {
	KVs       []int32
	Limit     float32
	Distances []float32
}

// PlanMerger returns the plan of a Merger: for every pair of heads everything that is not merged yet, keys
// before values. retain is called for n keys or values of a pair, from logical index from on. PlanMerger reads only the heads'
// lengths.
func PlanMerger(cfg *kv.Config, heads []kv.Head, m Merger, retain func(pair int, part kv.Part, from, n int) Retained) Plan {
	var p Plan
	edits := make([][]Edit, len(heads))
	for i, pair := range m.Merging().pairs(cfg.Shape.KVHeads) {
		h := &heads[pair[0]]
		for _, part := range []kv.Part{kv.Keys, kv.Values} {
			from := h.End(part)
			n := h.KVs() - from
			if n <= 0 {
				continue
			}
			kept := retain(i, part, from, n)
			if len(kept.KVs) == 0 {
				kept.KVs = nil
			}
			kvs := make([]int32, n)
			for k := range kvs {
				kvs[k] = int32(from + k)
			}
			p.Asked += 2 * n
			for side, head := range pair {
				edits[head] = append(edits[head], Edit{
					Op: Merge, Part: part, Head: head, With: pair[1-side], KVs: kvs,
					Retained: kept.KVs, Limit: kept.Limit, Distances: kept.Distances,
				})
			}
		}
	}
	for _, of := range edits {
		p.Edits = append(p.Edits, of...)
	}
	p.Needs, p.Takes = needs(MergerBlocks(cfg, heads, m, &p))
	return p
}

// plannedMerge returns a plan that takes and frees as many blocks as the Merger's; known is false if that
// depends on keys and values.
func plannedMerge(cfg *kv.Config, s *kv.Sequence, m Merger) (p Plan, known bool) {
	known = true
	p = PlanMerger(cfg, s.Heads, m, func(_ int, _ kv.Part, from, n int) Retained {
		kvs, ok := m.Retains(n)
		known = known && ok
		if from > 0 { // no token merged later is retained
			kvs = 0
		}
		return Retained{KVs: make([]int32, kvs)}
	})
	if q, ok := m.(Quantizer); ok {
		first := PlanQuantizer(cfg, s, q)
		p = first.Then(&p)
	}
	return p, known
}
