package ref

import (
	"fmt"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref/merge"
)

// MiniCacheOptions are the options of the method minicache.
type MiniCacheOptions struct {
	From   int     `json:"from" help:"S: layers S and S+1, S+2 and S+3, … are merged; -1: the second half of the layers, or both of two" values:"-1,0,1,2"`
	T      float64 `json:"t" help:"weight of the deeper layer of a pair in the common direction, 0 to 1"`
	Retain string  `json:"retain" help:"which tokens are also kept unmerged: ratio (the fraction gamma with the largest distances) or threshold (those with a distance above d_max − gamma·(d_max − d_min))"`
	Gamma  float64 `json:"gamma" help:"see retain, 0 to 1"`
	Append string  `json:"append" help:"later tokens: merge (none is retained) or threshold (a token is retained if its distance is above the first merge's limit; with retain=ratio, above the largest distance that was not retained)"`
}

func miniCacheEntry() Entry {
	e := Entry{
		Name:        "minicache",
		Paper:       "MiniCache (Liu et al., arXiv 2405.14366)",
		Watches:     "no attention: the directions of keys and values",
		Does:        "merges the keys, and the values, of two layers into one direction and two norms; retains those with the largest distance",
		From:        "pairs of layers from S on",
		When:        "after the prompt, which attends to its own keys and values, and after every step: a token is exact in its own step",
		Reads:       "all held KVs",
		Payload:     "in merged layers D·b + 8 (norms; the direction is two layers'), of retained tokens 2·D·b + 8 (indices) more; else 2·D·b + 4 (position)",
		CacheTokens: "not accepted: from and gamma set the bytes of a token",
		Rate:        "not accepted",
		HeldAgainst: "Zefan-Cai/KVCache-Factory@c97f9d7 (norms, directions, distances, retained tokens, restored keys)",
		OwnPages:    true,
		Defaults: func() any {
			return &MiniCacheOptions{From: -1, T: merge.Default().T, Retain: "ratio", Gamma: 0.05, Append: "merge"}
		},
	}
	e.New = func(c *Config) (Method, error) {
		o := *e.Defaults().(*MiniCacheOptions)
		if err := c.Set.Into(&e, &o); err != nil {
			return nil, err
		}
		m, err := newMiniCache(&o, kv.Format{Kind: kv.Merged}, c)
		if err != nil {
			return nil, e.wrap(err)
		}
		return m, nil
	}
	return e
}

// miniCache is MiniCache, with the vectors of one head at a time. A compression merges everything that is not
// merged yet: first the prompt's tokens, then each generated token after its step.
type miniCache struct {
	merging   Merging
	format    kv.Format // of directions
	heads     int       // of one layer
	retention Retention
}

func newMiniCache(o *MiniCacheOptions, format kv.Format, c *Config) (miniCache, error) {
	m := miniCache{format: format, merging: Merging{Slerp: merge.Default()}, heads: c.Shape.KVHeads}
	m.retention = Retention{Gamma: o.Gamma, Threshold: o.Retain == "threshold", Later: o.Append == "threshold"}
	m.merging.Slerp.T = o.T
	layers := c.Shape.Layers
	m.merging.First = o.From
	if o.From == -1 {
		m.merging.First = max(0, min(layers/2, layers-2)) // a model of two layers merges both
	}
	switch {
	case o.Retain != "ratio" && o.Retain != "threshold":
		return m, fmt.Errorf("retain is %q: choose ratio or threshold", o.Retain)
	case o.Append != "merge" && o.Append != "threshold":
		return m, fmt.Errorf("append is %q: choose merge or threshold", o.Append)
	case o.From < -1 || o.From >= 0 && o.From > layers-2 && c.Shape.Check() == nil:
		return m, fmt.Errorf("from is %d of %d layers: choose 0 to %d, so that there is a pair, or −1", o.From, layers, layers-2)
	case c.Compression.MaxCacheTokens > 0 || c.Compression.Rate > 0:
		return m, fmt.Errorf("it keeps every token, so it takes neither max_cache_tokens nor rate: from and gamma set the bytes of a token")
	}
	if err := merge.CheckGamma(o.Gamma); err != nil {
		return m, err
	}
	if err := m.merging.Slerp.Check(); err != nil {
		return m, err
	}
	m.merging.Pairs = max(0, layers-m.merging.First) / 2
	if c.Shape.Check() != nil || !slices.Contains(kv.BlockSizes(), c.BlockSize) || !c.DType.Valid() {
		return m, nil // Config.Validate reports the error
	}
	return m, checkMerger(&c.Config, m)
}

func (m miniCache) Name() string          { return "minicache" }
func (m miniCache) Columns() []kv.Column  { return nil }
func (m miniCache) Observe() *Observation { return nil }
func (m miniCache) Merging() Merging      { return m.merging }
func (m miniCache) Directions() kv.Format { return m.format }
func (m miniCache) Retention() Retention  { return m.retention }

// Asks returns how many keys and values of merged layers are not merged yet.
func (m miniCache) Asks(c Counts) int {
	n := 0
	for _, pair := range m.merging.pairs(m.heads) {
		for _, i := range pair {
			n += 2 * c.Tokens
			if c.Keys != nil {
				n -= c.Keys[i] + c.Values[i]
			}
		}
	}
	return n
}

// Retains implements [Merger].
func (m miniCache) Retains(tokens int) (kvs int, known bool) {
	if m.retention.Threshold || m.retention.Later {
		return 0, false
	}
	return merge.RatioCount(tokens, m.retention.Gamma), true
}

// Protects implements [Protector].
func (m miniCache) Protects(Counts) (sinks, newest int) { return 0, 0 }

// retain returns which of the merged tokens are retained, given their distances, and the limit for tokens
// merged later. Unless it is the first merge, the limit is that of the first.
func (m miniCache) retain(distances []float32, first bool, limit float32) ([]int32, float32) {
	switch {
	case !first && m.retention.Later:
		return merge.Above(distances, limit), limit
	case !first:
		return nil, limit
	case m.retention.Threshold:
		limit = merge.Limit(distances, m.retention.Gamma)
		return merge.Above(distances, limit), limit
	}
	kept := merge.Ratio(distances, m.retention.Gamma)
	return kept, largestBut(distances, kept)
}

// largestBut returns the largest distance of a token that is not in but, which is ascending; −1 if there is
// none.
func largestBut(distances []float32, but []int32) float32 {
	largest := float32(-1)
	for i, d := range distances {
		if len(but) > 0 && int(but[0]) == i {
			but = but[1:]
			continue
		}
		largest = max(largest, d)
	}
	return largest
}

func (m miniCache) Plan(v View) Plan {
	cfg, reader, heads := v.Cache.Config(), kv.Reader{Cache: v.Cache}, v.Sequence.Heads
	d, pairs := cfg.Shape.HeadSize, m.merging.pairs(cfg.Shape.KVHeads)
	var deep, shallow []float32
	return PlanMerger(&cfg, heads, m, func(pair int, part kv.Part, from, n int) Retained {
		h := [2]*kv.Head{&heads[pairs[pair][0]], &heads[pairs[pair][1]]}
		limit := float32(0)
		if list := h[0].List(part); len(list) > 0 {
			limit = list[0].Limit
		}
		deep, shallow = grow(deep, n*d), grow(shallow, n*d)
		reader.Read(shallow, h[0], part, from)
		reader.Read(deep, h[1], part, from)
		merged, err := m.merging.Slerp.Merge(deep, shallow, d)
		if err != nil { // carrying out the plan returns the same error
			return Retained{}
		}
		var r Retained
		if from == 0 || m.retention.Later {
			r.Distances = merged.Distances
		}
		r.KVs, r.Limit = m.retain(merged.Distances, from == 0, limit)
		for i := range r.KVs {
			r.KVs[i] += int32(from)
		}
		return r
	})
}

// Spec merges token by token, ranks a distance by counting the larger ones, and counts blocks one by one, in
// the order of the pairs.
func (m miniCache) Spec(v View) Plan {
	var p Plan
	cfg, s := v.Cache.Config(), v.Sequence
	d, heads := cfg.Shape.HeadSize, cfg.Shape.KVHeads
	pages := func(format kv.Format, held, more int) (taken int) {
		for i := held; i < held+more; i++ {
			if i%cfg.Capacity(format) == 0 {
				taken++
			}
		}
		return taken
	}
	taken, end := make([]int, len(s.Heads)), make([]int, len(s.Heads))
	for head := range s.Heads {
		end[head] = s.Heads[head].First
		merged, deep := m.merging.Merges(head / heads)
		if !merged {
			continue
		}
		with := head + heads
		if deep {
			with = head - heads
		}
		shallowHead, deepHead := &s.Heads[min(head, with)], &s.Heads[max(head, with)]
		for _, part := range []kv.Part{kv.Keys, kv.Values} {
			e := Edit{Op: Merge, Part: part, Head: head, With: with}
			first, limit, retained := true, float32(0), 0
			before := 0 // tokens merged earlier
			for _, g := range shallowHead.List(part) {
				if g.Format.Kind == kv.Merged {
					first, limit, before = false, g.Limit, g.Len
				}
			}
			for _, g := range s.Heads[head].List(part) {
				if g.Format.Kind == kv.Exact {
					retained = g.Len
				}
			}
			var distances []float32
			x, y := make([]float32, d), make([]float32, d)
			for i := before; i < s.Len; i++ {
				read := v.Cache.ReadKeys
				if part == kv.Values {
					read = v.Cache.ReadValues
				}
				read(x, v.Cache.Slot(deepHead, i))
				read(y, v.Cache.Slot(shallowHead, i))
				e.KVs = append(e.KVs, int32(i))
				if one, err := m.merging.Slerp.Spec(x, y, d); err == nil { // otherwise carrying out the plan returns the error
					distances = append(distances, one.Distances[0])
				}
			}
			if len(e.KVs) == 0 {
				continue
			}
			var kept []int32
			switch {
			case first && m.retention.Threshold:
				limit = merge.Limit(distances, m.retention.Gamma)
				kept = merge.Above(distances, limit)
			case first:
				kept = merge.LargestSpec(distances, merge.RatioCount(len(distances), m.retention.Gamma))
				limit = -1
				for i, distance := range distances {
					if !slices.Contains(kept, int32(i)) && distance > limit {
						limit = distance
					}
				}
			case m.retention.Later:
				kept = merge.Above(distances, limit)
			}
			for _, i := range kept {
				e.Retained = append(e.Retained, int32(before)+i)
			}
			e.Limit = limit
			if first || m.retention.Later {
				e.Distances = distances
			}
			p.Asked += len(e.KVs)
			if !deep {
				taken[head] += pages(m.format, before, len(e.KVs))
			}
			taken[head] += pages(RetainedFormat(), retained, len(kept))
			end[head] = s.Len // of both parts, which are merged up to the last token
			p.Edits = append(p.Edits, e)
		}
	}
	used := 0 // blocks that earlier pairs have taken and not freed
	for shallow := range s.Heads {
		merged, deep := m.merging.Merges(shallow / heads)
		if !merged || deep {
			continue
		}
		used += taken[shallow] + taken[shallow+heads]
		p.Needs = max(p.Needs, used)
		for _, head := range []int{shallow, shallow + heads} {
			for logical := s.Heads[head].First; logical < end[head]; logical++ {
				if logical%cfg.BlockSize == cfg.BlockSize-1 { // the block's last KV is merged
					used--
				}
			}
		}
	}
	p.Takes = used
	return p
}
