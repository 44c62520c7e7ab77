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
	lost map[kv.SeqID][][]int // of each compression, blocks by head
}

// NewRecording returns an empty recording.
func NewRecording() *Recording { return &Recording{map[kv.SeqID][][]int{}} }

// Observe takes in an event of the engine that is recorded.
func (r *Recording) Observe(e ref.Event) {
	if e.Stage != ref.StageDecide || e.Plan.Asked == 0 {
		return
	}
	heads, size := e.Cache.Sequence(e.Seqs[0]).Heads, e.Cache.Config().BlockSize
	lost := make([]int, len(heads))
	for _, edit := range e.Plan.Edits {
		held := heads[edit.Head].Len
		lost[edit.Head] = (held+size-1)/size - (held-len(edit.KVs)+size-1)/size
	}
	r.lost[e.Seqs[0]] = append(r.lost[e.Seqs[0]], lost)
}

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
			if i < len(lost) {
				one.Lost = lost[i]
			}
			dst = append(dst, one)
		}
	}
	return dst
}
