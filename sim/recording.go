package sim

import (
	"slices"

	"kvcompress/ref"
)

// Recording is what an engine evicted in each compression: as a [Spread], it has a
// ledger that serves the same requests evict the same. It is for one ledger, which
// uses it up.
type Recording struct {
	lost map[ref.SeqID][][]int // of each compression, blocks by head
}

// NewRecording returns an empty recording.
func NewRecording() *Recording { return &Recording{map[ref.SeqID][][]int{}} }

// Observe takes in an event of the engine that is recorded.
func (r *Recording) Observe(e ref.Event) {
	if e.Stage != ref.StageDecide || e.Decision.Asked == 0 {
		return
	}
	lost := make([]int, len(e.Decision.Heads))
	for i := range lost {
		lost[i] = e.Decision.Heads[i].Blocks
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
