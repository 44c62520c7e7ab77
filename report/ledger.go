package report

import (
	"kvcompress/sim"
)

// entry is one row of the memory ledger: a step, and numbers computed from it.
type entry struct {
	*sim.Step
	metadataBytes int64  // of the allocated blocks
	unit          string // what the method counts: blocks or KVs
	short         int    // blocks or KVs that the step's compressions were to evict, and how many of them were not evicted
	freed         int    // blocks
	evicted       int    // KVs
	moved         int    // KVs
	bytesMoved    int64
}

// newLedger returns an entry for every step of the report.
func newLedger(r *sim.Report) []entry {
	cfg := &r.Options.Config
	ledger := make([]entry, len(r.Steps))
	for i := range r.Steps {
		e := entry{Step: &r.Steps[i], unit: unit(r)}
		e.metadataBytes = cfg.MetadataBytes(e.Usage.Allocated)
		for _, c := range e.Compression {
			e.short += c.Short
			e.freed += c.Freed
			e.evicted += c.Evicted
			e.moved += c.Moved
		}
		e.bytesMoved = int64(e.moved) * int64(cfg.MoveBytes())
		ledger[i] = e
	}
	return ledger
}

// unit returns what the report's method counts: blocks or KVs.
func unit(r *sim.Report) string {
	if r.Options.CountsBlocks() {
		return "block"
	}
	return "KV"
}

// blockBytes returns the bytes of keys and values in one block.
func blockBytes(r *sim.Report) int64 {
	o := &r.Options
	return int64(o.BlockSize) * 2 * int64(r.Shape.HeadSize) * int64(o.DType.Size())
}

// latencies are a request's times in nanoseconds; −1 if there is none.
type latencies struct {
	ttft int64 // from arrival to the first token
	tpot int64 // mean time from one token to the next, after the first
	e2e  int64 // from arrival to the last token
}

func newLatencies(r *sim.Result) latencies {
	l := latencies{-1, -1, -1}
	if r.FirstToken >= 0 {
		l.ttft = r.FirstToken - r.Arrival
	}
	if r.Finished >= 0 {
		l.e2e = r.Finished - r.Arrival
		if r.OutputTokens > 1 {
			l.tpot = (r.Finished - r.FirstToken) / int64(r.OutputTokens-1)
		}
	}
	return l
}
