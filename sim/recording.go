package sim

import (
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
)

// Recording is what an engine evicted in each compression: as a [Spread], it has a
// ledger that serves the same requests evict the same. It is for one ledger, which
// uses it up.
type Recording struct {
	lost     map[kv.SeqID][][]int    // of each compression, KVs by head
	retained map[kv.SeqID][][][2]int // of each compression that merges, keys and values by head
}

// NewRecording returns an empty recording.
func NewRecording() *Recording { return &Recording{map[kv.SeqID][][]int{}, map[kv.SeqID][][][2]int{}} }

// Observe takes in an event of the engine that is recorded.
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

// Retained implements what a ledger asks of a method that merges.
func (r *Recording) Retained(id kv.SeqID) ([][2]int, bool) {
	recorded := r.retained[id]
	if len(recorded) == 0 {
		return nil, false
	}
	r.retained[id] = recorded[1:]
	return recorded[0], true
}

// Refined says that what it tells is what heads lose after their quotas were refined.
func (r *Recording) Refined() {}

// Spread implements [Spread]. A compression that was not recorded loses nothing,
// which a ledger does not take.
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
				one.Lost = 1 + ceilDiv(lost[i]-lastUnit(h.KVs, d.Unit), d.Unit)
			}
			dst = append(dst, one)
		}
	}
	return dst
}
