// Package export writes a row for every request or every step as CSV, JSON lines or Parquet, and
// a run as a trace for Perfetto and Chrome. It writes during the run and buffers little. For a
// bench, it writes a row for every cell.
//
// [New] returns an [Exporter], to which the steps and requests of a run are passed.
package export

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"kvcompress/sim"
	"kvcompress/sim/stats"
)

// Exporter receives a run's steps and results as they happen. After its first error it drops
// everything; Close returns that error.
type Exporter interface {
	Step(*sim.Step)
	Request(*sim.Result)
	Close() error // ends the data; does not close the underlying writer
}

// Request is a row for a request. Times are in nanoseconds, and times of events are on the
// serving clock; an event that did not happen has none. Rows are in the order in which requests
// end.
type Request struct {
	ID           string  `parquet:"id"`
	State        string  `parquet:"state,dict"` // finished, refused or unfinished
	Arrival      int64   `parquet:"arrival_ns"`
	Admitted     *int64  `parquet:"admitted_ns,optional"`    // its first prefill began
	FirstToken   *int64  `parquet:"first_token_ns,optional"` // its first prefill ended
	Finished     *int64  `parquet:"finished_ns,optional"`
	TTFT         *int64  `parquet:"ttft_ns,optional"` // from arrival to the first token, including the time that clients and the API add
	TPOT         *int64  `parquet:"tpot_ns,optional"` // mean time from one token to the next, if the request finished with at least two
	PromptTokens int64   `parquet:"prompt_tokens"`
	OutputTokens int64   `parquet:"output_tokens"` // generated
	Preemptions  int64   `parquet:"num_preemptions"`
	Recomputed   int64   `parquet:"recomputed_tokens"`
	Cached       int64   `parquet:"cached_tokens"`       // prompt tokens from a prefix cache
	Replica      int64   `parquet:"replica"`             // server of the request, from 0; of disaggregated servers the one that decoded it
	Error        *string `parquet:"error,optional,dict"` // why it was refused
}

// requestOf returns a function that makes rows from results. clientNS is the time that clients
// and the API add to the time to first token.
func requestOf(clientNS int64) func(*sim.Result) Request {
	return func(r *sim.Result) Request {
		row := Request{
			ID: r.ID, State: "unfinished", Arrival: r.Arrival, Admitted: came(r.Admitted), FirstToken: came(r.FirstToken), Finished: came(r.Finished),
			PromptTokens: int64(r.PromptTokens), OutputTokens: int64(r.OutputTokens),
			Preemptions: int64(r.Preemptions), Recomputed: int64(r.Recomputed), Cached: int64(r.Cached), Replica: int64(r.Replica),
		}
		if r.FirstToken >= 0 {
			row.TTFT = came(r.FirstToken - r.Arrival + clientNS)
		}
		if times, finished := stats.TimesOf(r); finished {
			row.State, row.TPOT = "finished", came(times.TPOT)
		}
		if r.Error != "" {
			row.State, row.Error = "refused", &r.Error
		}
		return row
	}
}

// came returns a time, or nil for −1: an event that did not happen.
func came(ns int64) *int64 {
	if ns < 0 {
		return nil
	}
	return &ns
}

// Step is a row for a step, or for consecutive steps that only decode: then Tokens and the work
// are sums over these steps, and the other fields are those of the last.
type Step struct {
	Index     int64  `parquet:"step"`
	Steps     int64  `parquet:"steps"`
	Kind      string `parquet:"kind,dict"` // prefill, decode or mixed
	Start     int64  `parquet:"start_ns"`
	End       int64  `parquet:"end_ns"`
	Sequences int64  `parquet:"batch_size"`
	Tokens    int64  `parquet:"tokens"`
	Running   int64  `parquet:"num_requests_running"` // running and waiting: after the step
	Waiting   int64  `parquet:"num_requests_waiting"`
	Preempted int64  `parquet:"num_preemptions"`
	Finished  int64  `parquet:"finished"`
	Blocks    int64  `parquet:"blocks_allocated"`
	KVs       int64  `parquet:"kvs"`
	DenseKVs  int64  `parquet:"dense_kvs"` // of an uncompressed cache

	// The work that determines the step's time: see sim.Feature.
	PrefillTokens  int64 `parquet:"prefill_tokens"`
	AttentionPairs int64 `parquet:"attention_pairs"`
	KVsRead        int64 `parquet:"kvs_read"`
	KVsSorted      int64 `parquet:"kvs_sorted"`
	KVsEvicted     int64 `parquet:"kvs_evicted"`
	KVsMoved       int64 `parquet:"kvs_moved"`
	BlocksFreed    int64 `parquet:"blocks_freed"`
}

func stepOf(s *sim.Step) Step {
	w := &s.Work
	return Step{
		int64(s.Index), int64(s.Steps), string(s.Kind), s.Start, s.End, int64(s.Sequences), int64(s.Tokens), int64(s.Running), int64(s.Waiting),
		int64(len(s.Preempted)), int64(len(s.Finished)), int64(s.Usage.Allocated), int64(s.Usage.KVs), int64(s.Usage.DenseKVs),
		w[sim.PrefillTokens], w[sim.AttentionPairs], w[sim.KVsRead], w[sim.KVsSorted], w[sim.KVsEvicted], w[sim.KVsMoved], w[sim.BlocksFreed],
	}
}

// Kinds of rows.
type What int

// A row for each request, or for each step.
const (
	Requests What = iota
	Steps
)

// CheckName returns an error if the extension of a file's name is not a format of New.
func CheckName(path string) error {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".csv", ".jsonl", ".parquet":
		return nil
	}
	return fmt.Errorf("%s: want a name that ends in .csv, .jsonl or .parquet", path)
}

// New returns an exporter that writes rows to w, in the format of the name's extension. clientNS
// is the time that clients and the API add to each request's time to first token, in nanoseconds.
func New(w io.Writer, name string, what What, clientNS int64) (Exporter, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	ext := strings.ToLower(filepath.Ext(name))
	if what == Requests {
		return rows(w, ext, requestOf(clientNS), nil), nil
	}
	return rows(w, ext, nil, stepOf), nil
}

func rows[Row any](w io.Writer, ext string, ofRequest func(*sim.Result) Row, ofStep func(*sim.Step) Row) Exporter {
	t := newTable[Row](w, ext)
	t.ofRequest, t.ofStep = ofRequest, ofStep
	return t
}

// newTable returns a table in the format of an extension, CSV unless it is another.
func newTable[Row any](w io.Writer, ext string) *table[Row] {
	switch ext {
	case ".parquet":
		return newParquet[Row](w)
	case ".jsonl":
		return newJSONL[Row](w)
	}
	return newCSV[Row](w)
}
