package validate

import (
	"fmt"
	"slices"

	"kvcompress/ref"
	"kvcompress/trace"
)

// Decided says in which KVs two decisions about a head differ, and why the reference's decision is right.
type Decided struct {
	KVs []DecidedKV `json:"kvs"` // for each side, the first KV that only it evicts
	// Bound is the largest cost of the KVs that the reference evicts in the head; it keeps every KV with a
	// larger cost. "" if it evicts none.
	Bound string `json:"bound,omitempty"`
}

// DecidedKV is a KV that only one side evicts. Numbers are formatted as in a Divergence.
type DecidedKV struct {
	Side     string `json:"side"`  // who evicts it
	Index    int32  `json:"index"` // logical index in its head
	Position int32  `json:"position"`
	Metric   string `json:"metric,omitempty"` // if the method ranks by a metric
	Cost     string `json:"cost"`
}

// String is a line for each KV, and one for the bound.
func (d *Decided) String() string {
	text := ""
	for _, kv := range d.KVs {
		metric := ""
		if kv.Metric != "" {
			metric = ", metric " + kv.Metric
		}
		text += fmt.Sprintf("  only the %s evicts index %d: position %d%s, cost %s\n", kv.Side, kv.Index, kv.Position, metric, kv.Cost)
	}
	if d.Bound != "" {
		text += fmt.Sprintf("  the reference evicts costs up to %s there\n", d.Bound)
	}
	return text
}

// decided returns in which KVs the decisions of two events differ for a head; nil if the method does not
// evict by cost, or if they do not differ. own is the sequence's own options, or nil.
func decided(cfg *ref.Config, own *trace.Compression, sides [2]string, want, got ref.Event, layer, head int) *Decided {
	with, err := cfg.With(own)
	if err != nil || want.Cache == nil || layer < 0 || head < 0 {
		return nil
	}
	method, err := with.NewMethod()
	if err != nil {
		return nil
	}
	dropper, ok := method.(ref.Dropper)
	s := want.Cache.Sequence(want.Seqs[0])
	if !ok || s == nil {
		return nil
	}
	ranking := dropper.Rank(ref.View{Cache: want.Cache, Sequence: s}.Counts())
	problem := ranking.Problem(want.Cache, s)
	h := layer*want.Cache.Shape().KVHeads + head
	lists := [2][]int32{evictedOf(want, h), evictedOf(got, h)}
	d := &Decided{}
	for side, list := range lists {
		for _, kv := range list {
			if slices.Contains(lists[1-side], kv) || kv < 0 || int(kv) >= s.Heads[h].KVs() {
				continue
			}
			position, metric, cost := problem.Candidate(h, int(kv))
			one := DecidedKV{Side: sides[side], Index: kv, Position: position, Cost: Float32Text(cost)}
			if ranking.Key == ref.ByScore {
				one.Metric = Float32Text(metric)
			}
			d.KVs = append(d.KVs, one)
			break
		}
	}
	var bound float32
	for i, kv := range lists[0] {
		if _, _, cost := problem.Candidate(h, int(kv)); i == 0 || cost > bound {
			bound = cost
		}
	}
	if len(lists[0]) > 0 {
		d.Bound = Float32Text(bound)
	}
	if len(d.KVs) == 0 {
		return nil
	}
	return d
}

// evictedOf returns the KVs of a head that a decision evicts, ascending.
func evictedOf(e ref.Event, head int) []int32 {
	for i := range e.Parts {
		if p := &e.Parts[i]; p.Name == "evicted" && p.Head == head {
			return p.Ints
		}
	}
	return nil
}
