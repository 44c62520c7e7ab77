package report

import (
	"encoding/json"
	"fmt"
	"io"

	"kvcompress/kv"
	"kvcompress/sim"
)

// schemaVersion is the version of the document that JSON writes. It changes when a name is
// removed or changes its meaning, not when one is added.
const schemaVersion = 1

// JSON writes the whole report as one indented JSON object:
//
//	schema_version  1
//	trace           name of the trace
//	partial         whether the replay was ended before its last request was
//	shape           of the model: layers, kv_heads, group, head_size
//	options         all options of the replay, under the names that an options file has
//	totals          sums and peaks:
//	    steps, prefill_steps, decode_steps
//	    compressions              of one sequence each
//	    preemptions, requests_finished, requests_refused
//	    blocks_asked, blocks_freed, blocks_short        of and by compression
//	    kvs_entered, kvs_evicted, kvs_moved, bytes_moved
//	    max_kvs_hidden            from queries, of one sequence at a time; absent if none were
//	    peak_blocks, peak_kvs, peak_bytes               of the cache; bytes of K and V
//	    peak_dense_blocks, peak_dense_kvs, peak_dense_bytes   of an uncompressed one
//	    metadata_bytes            of the blocks at their peak
//	steps           the memory ledger, an object for each step:
//	    step, start_ns, end_ns, kind (prefill or decode)
//	    batch                     the requests that ran, as indices into requests
//	    tokens                    that entered the cache
//	    compression               a list of {seq, asked, short, freed, evicted, hidden, moved}; absent if none
//	                              ran; short and hidden are absent where they are 0
//	    preempted, finished       indices into requests; absent if there are none
//	    usage                     {kvs, dense_kvs, dense_blocks, blocks_allocated, blocks_free,
//	                              slots_wasted}; dense is what an uncompressed cache would hold
//	    heads                     {kvs, blocks}, each [L][H]: held by every head; if asked for
//	    running, waiting          requests, after the step
//	    metadata_bytes            of the allocated blocks
//	    blocks_asked, blocks_freed, kvs_evicted, kvs_moved, bytes_moved   by compression
//	requests        an object for each request, in order of arrival:
//	    id, arrival_ns, admitted_ns, first_token_ns, finished_ns   null for what never came
//	    prompt_tokens, output_tokens, preemptions, recomputed_tokens
//	    error                     why it was refused; absent if it was not
//	    state                     finished, refused or unfinished
//	    ttft_ms, tpot_ms, e2e_ms  null where there is none
//	heads           by layer and KV head, [L][H], over all requests:
//	    kvs_entered, kvs_evicted  numbers of KVs
//	    kept                      the part that was never evicted; 1 where none entered
//
// Bytes moved are counted once: each is read, and written again. The same report
// gives the same bytes.
func JSON(w io.Writer, r *sim.Report) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(newDocument(r)); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

type document struct {
	SchemaVersion int          `json:"schema_version"`
	Trace         string       `json:"trace"`
	Partial       bool         `json:"partial"`
	Shape         kv.Shape     `json:"shape"`
	Options       sim.Options  `json:"options"`
	Totals        totalsJSON   `json:"totals"`
	Steps         []stepJSON   `json:"steps"`
	Requests      []resultJSON `json:"requests"`
	Heads         headsJSON    `json:"heads"`
}

type totalsJSON struct {
	sim.Totals
	BlocksShort    int   `json:"blocks_short"`
	KVsEntered     int64 `json:"kvs_entered"`
	PeakBytes      int64 `json:"peak_bytes"`
	PeakDenseBytes int64 `json:"peak_dense_bytes"`
}

type stepJSON struct {
	*sim.Step
	MetadataBytes int64 `json:"metadata_bytes"`
	BlocksAsked   int   `json:"blocks_asked"`
	BlocksFreed   int   `json:"blocks_freed"`
	KVsEvicted    int   `json:"kvs_evicted"`
	KVsMoved      int   `json:"kvs_moved"`
	BytesMoved    int64 `json:"bytes_moved"`
}

type resultJSON struct {
	*sim.Result
	// They shadow the result's times, which are −1 for events that did not happen.
	Admitted   *int64 `json:"admitted_ns,omitempty"`
	FirstToken *int64 `json:"first_token_ns,omitempty"`
	Finished   *int64 `json:"finished_ns,omitempty"`

	State string   `json:"state"`
	TTFT  *float64 `json:"ttft_ms,omitempty"`
	TPOT  *float64 `json:"tpot_ms,omitempty"`
	E2E   *float64 `json:"e2e_ms,omitempty"`
}

type headsJSON struct {
	sim.HeadTotals
	Kept [][]float64 `json:"kept"`
}

// came returns a time, or nil for −1: an event that did not happen.
func came(ns int64) *int64 {
	if ns < 0 {
		return nil
	}
	return &ns
}

func newDocument(r *sim.Report) *document {
	d := &document{
		SchemaVersion: schemaVersion,
		Trace:         r.Trace,
		Partial:       Partial(r),
		Shape:         r.Shape,
		Options:       r.Options,
		Totals: totalsJSON{
			Totals:      r.Totals,
			BlocksShort: r.Totals.Shortfall(),
			PeakBytes:   int64(r.Totals.PeakBlocks) * blockBytes(r),

			PeakDenseBytes: int64(r.Totals.PeakDenseBlocks) * blockBytes(r),
		},
		Steps:    make([]stepJSON, len(r.Steps)),
		Requests: make([]resultJSON, len(r.Requests)),
		Heads:    headsJSON{r.Heads, r.Heads.Kept()},
	}
	for i, e := range newLedger(r) {
		asked := e.freed
		if r.Options.CountsBlocks() {
			asked += e.short
		}
		d.Steps[i] = stepJSON{e.Step, e.metadataBytes, asked, e.freed, e.evicted, e.moved, e.bytesMoved}
	}
	for _, heads := range r.Heads.Entered {
		for _, n := range heads {
			d.Totals.KVsEntered += n
		}
	}
	for i := range r.Requests {
		q := &r.Requests[i]
		l := newLatencies(q)
		d.Requests[i] = resultJSON{q, came(q.Admitted), came(q.FirstToken), came(q.Finished), state(q), milliseconds(l.ttft), milliseconds(l.tpot), milliseconds(l.e2e)}
	}
	return d
}

// milliseconds converts a time; nil for an event that did not happen.
func milliseconds(ns int64) *float64 {
	if ns < 0 {
		return nil
	}
	ms := float64(ns) / 1e6
	return &ms
}
