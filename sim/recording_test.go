package sim

import (
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
)

// Recording records what an engine evicted in each compression. It is a [Spread] with which a ledger that
// serves the same requests evicts the same. It can be used once, by one ledger.
type Recording struct {
	lost     map[kv.SeqID][][]int    // for each compression the KVs evicted from each head
	retained map[kv.SeqID][][][2]int // for each compression that merges the keys and values retained in each head
}

// NewRecording returns an empty recording.
func NewRecording() *Recording { return &Recording{map[kv.SeqID][][]int{}, map[kv.SeqID][][][2]int{}} }

// Observe processes an event of the engine.
func (r *Recording) Observe(e ref.Event) {
	if e.Stage != ref.StageDecide || e.Plan.Asked == 0 {
		return
	}
	heads := len(e.Cache.Sequence(e.Seqs[0]).Heads)
	lost := make([]int, heads)
	for i, gone := range e.Plan.Gone(heads) {
		lost[i] = len(gone)
	}
	r.lost[e.Seqs[0]] = append(r.lost[e.Seqs[0]], lost)
	if e.Plan.Merged() == 0 {
		return
	}
	retained := make([][2]int, heads)
	for i := range e.Plan.Edits {
		if edit := &e.Plan.Edits[i]; edit.Op == ref.Merge {
			retained[edit.Head][edit.Part-kv.Keys] += len(edit.Retained)
		}
	}
	r.retained[e.Seqs[0]] = append(r.retained[e.Seqs[0]], retained)
}

// Retained implements retainer.
func (r *Recording) Retained(id kv.SeqID) ([][2]int, bool) {
	recorded := r.retained[id]
	if len(recorded) == 0 {
		return nil, false
	}
	r.retained[id] = recorded[1:]
	return recorded[0], true
}

// Refined marks the recording as having the losses of heads after quotas were refined.
func (r *Recording) Refined() {}

// Spread implements [Spread]. For a compression that was not recorded no head loses anything, which a
// ledger refuses.
func (r *Recording) Spread(dst []Heads, d *Demand) []Heads {
	recorded := r.lost[d.Seq]
	if len(recorded) == 0 {
		return append(dst, d.Heads...)
	}
	lost := recorded[0]
	r.lost[d.Seq] = recorded[1:]
	dst = slices.Grow(dst, len(lost))
	for _, h := range d.Heads {
		for i := h.First; i < h.First+h.N; i++ {
			one := h
			one.First, one.N = i, 1
			if i < len(lost) && lost[i] > 0 {
				one.Lost = 1 + ceil.Div(lost[i]-lastUnit(h.KVs, d.Unit), d.Unit)
			}
			dst = append(dst, one)
		}
	}
	return dst
}
