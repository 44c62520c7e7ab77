package report

import (
	"kvcompress/ref"
	"kvcompress/sim"
)

// entry is one line of the memory ledger: a step, and what follows from it.
type entry struct {
	*sim.Step
	denseBlocks   int   // that an uncompressed cache would hold: Σ ⌈tokens/B⌉·L·H
	metadataBytes int64 // of the allocated blocks
	asked, freed  int   // blocks, of all compressions of the step
	evicted       int   // KVs
	moved         int   // KVs
	bytesMoved    int64
}

// newLedger returns an entry for every step of the report.
func newLedger(r *sim.Report) []entry {
	cfg := &r.Options.Config
	dense := newDenseCache(r)
	ledger := make([]entry, len(r.Steps))
	for i := range r.Steps {
		e := entry{Step: &r.Steps[i]}
		e.denseBlocks = dense.step(e.Step)
		e.metadataBytes = cfg.MetadataBytes(e.Usage.Allocated)
		for _, c := range e.Compression {
			e.asked += c.Asked
			e.freed += c.Freed
			e.evicted += c.Evicted
			e.moved += c.Moved
		}
		e.bytesMoved = int64(e.moved) * int64(cfg.MoveBytes())
		ledger[i] = e
	}
	return ledger
}

// denseCache follows the lengths of the sequences through the steps, and so the
// blocks that they would hold had nothing been evicted.
type denseCache struct {
	requests  []sim.Result
	blockSize int
	heads     int   // L·H
	generated []int // tokens of each request's output so far
	lengths   []int // tokens of each request in the cache
	blocks    int   // Σ ⌈lengths/B⌉
}

func newDenseCache(r *sim.Report) *denseCache {
	return &denseCache{
		requests:  r.Requests,
		blockSize: r.Options.BlockSize,
		heads:     r.Shape.Layers * r.Shape.KVHeads,
		generated: make([]int, len(r.Requests)),
		lengths:   make([]int, len(r.Requests)),
	}
}

// step returns the blocks after the step's batch ran, before its finished
// sequences left.
func (d *denseCache) step(s *sim.Step) int {
	for _, id := range s.Preempted {
		d.resize(id, 0)
	}
	for _, id := range s.Batch {
		n := d.lengths[id] + 1
		if s.Kind == sim.Prefill {
			n = d.requests[id].PromptTokens + d.generated[id]
		}
		d.resize(id, n)
		d.generated[id]++
	}
	blocks := d.blocks * d.heads
	for _, id := range s.Finished {
		d.resize(id, 0)
	}
	return blocks
}

func (d *denseCache) resize(id ref.SeqID, n int) {
	d.blocks += ceilDiv(n, d.blockSize) - ceilDiv(d.lengths[id], d.blockSize)
	d.lengths[id] = n
}

// blockBytes returns the bytes of keys and values in one block.
func blockBytes(r *sim.Report) int64 {
	o := &r.Options
	return int64(o.BlockSize) * 2 * int64(r.Shape.HeadSize) * int64(o.DType.Size())
}

// latencies are a request's times in nanoseconds, −1 where there is none.
type latencies struct {
	ttft int64 // from arrival to the first token
	tpot int64 // from one token to the next, on average, after the first
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

func ceilDiv(a, b int) int { return (a + b - 1) / b }
