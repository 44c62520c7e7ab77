package sweep

import (
	"fmt"
)

// read says in a sentence or two what limits a projection.
func (o *Outcome) read(maxNumSeqs int, refusal string) string {
	m := &o.Metrics
	var s string
	switch {
	case m.Finished == 0 && m.Refused > 0:
		return "No request can be served: " + refusal + "."
	case m.Finished == 0:
		return "No request finished."
	case m.Waiting.Mean < 0.5 && m.Busy < 0.95:
		s = fmt.Sprintf("Load-bound: the cards are idle %.0f %% of the time and next to nobody waits; they could take more requests.", 100*(1-m.Busy))
	case m.MaxBatch >= int64(maxNumSeqs) && m.Preemptions == 0 && m.KVUsage.Max < 0.95:
		s = fmt.Sprintf("Bound by the batch limit: %d sequences run at a time and fill at most %.0f %% of the cache's blocks; a higher limit would let more run.",
			maxNumSeqs, 100*m.KVUsage.Max)
	case m.KVUsage.Max >= 0.85 || m.Preemptions > 0:
		s = fmt.Sprintf("Memory-bound: the batch stops at %d because its KVs fill %.0f %% of the cache's %d blocks.", max(m.MaxDecodeBatch, 1), 100*m.KVUsage.Max, o.Memory.Blocks)
	default:
		s = fmt.Sprintf("Bound by time: %.1f requests wait on average, while %.0f %% of the blocks are free.", m.Waiting.Mean, 100*(1-m.KVUsage.Mean))
	}
	if m.Preemptions > 0 {
		s += fmt.Sprintf(" %d preemptions: %d tokens were computed again.", m.Preemptions, m.Recomputed)
	}
	if m.Refused > 0 {
		s += fmt.Sprintf(" %d requests were refused, as: %s.", m.Refused, refusal)
	}
	most := -1
	for i := range o.Time {
		if most < 0 || o.Time[i].Share > o.Time[most].Share {
			most = i
		}
	}
	if most >= 0 {
		s += fmt.Sprintf(" Most time, %.0f %%, goes to %s.", 100*o.Time[most].Share, o.Time[most].Term)
	}
	return s
}
