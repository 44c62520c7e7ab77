package cost

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Measurement is the throughput of one run of equal requests that all arrive at the start.
type Measurement struct {
	Line             int     `json:"line"` // of the file
	GPU              string  `json:"gpu"`
	Model            string  `json:"model"`
	InputLen         int     `json:"input_len"`
	OutputLen        int     `json:"output_len"`
	NumRequests      int     `json:"num_requests"`
	CompressionRate  string  `json:"compression_rate"`
	MaxCacheTokens   int     `json:"max_cache_tokens,omitempty"`   // 0 is no compression
	MaxDecodingBatch int     `json:"max_decoding_batch,omitempty"` // 0 is unknown
	TokensPerS       float64 `json:"total_tokens_per_s,omitempty"` // input and output; 0 is unknown
}

// Seconds returns the duration of the run; 0 is unknown.
func (m *Measurement) Seconds() float64 {
	if m.TokensPerS == 0 {
		return 0
	}
	return float64(m.NumRequests*(m.InputLen+m.OutputLen)) / m.TokensPerS
}

// Compressed reports whether the run compressed its cache.
func (m *Measurement) Compressed() bool { return m.MaxCacheTokens > 0 }

// Bounds on a file of measurements.
const (
	maxMeasurements = 100_000
	maxRunTokens    = 1 << 31 // of one run
	maxRunRequests  = 1_000_000
	maxField        = 200 // bytes
	maxCSVBytes     = 64 << 20
)

// ThroughputColumns returns the columns that a file of throughputs must have, and those that
// it may have.
func ThroughputColumns() (required, optional []string) {
	return []string{"gpu", "model", "input_len", "output_len", "num_requests", "compression_rate", "max_cache_tokens"},
		[]string{"max_decoding_batch", "total_tokens_per_s"}
}

// ReadMeasurements reads a CSV of throughputs with a header that names the columns
// gpu, model, input_len, output_len, num_requests, compression_rate,
// max_cache_tokens, max_decoding_batch and total_tokens_per_s, in any order.
// max_cache_tokens is empty for runs without compression. The last two columns may be empty or
// missing if the runs are only to be predicted. The error names the line and column.
func ReadMeasurements(r io.Reader, name string) ([]Measurement, error) {
	var list []Measurement
	required, optional := ThroughputColumns()
	err := readCSV(r, name, required, optional, func(line int, get func(string) string) error {
		m := Measurement{Line: line, GPU: get("gpu"), Model: get("model"), CompressionRate: get("compression_rate")}
		for _, c := range []struct {
			column string
			to     *int
			least  int
		}{
			{"input_len", &m.InputLen, 1}, {"output_len", &m.OutputLen, 1}, {"num_requests", &m.NumRequests, 1},
			{"max_cache_tokens", &m.MaxCacheTokens, 0}, {"max_decoding_batch", &m.MaxDecodingBatch, 0},
		} {
			if err := parseCount(c.to, get(c.column), c.least); err != nil {
				return fmt.Errorf("%s: %w", c.column, err)
			}
		}
		if s := get("total_tokens_per_s"); s != "" {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil || !(v > 0 && v <= 1e9) {
				return fmt.Errorf("total_tokens_per_s: want a number above 0, got %q", s)
			}
			m.TokensPerS = v
		}
		if m.NumRequests > maxRunRequests {
			return fmt.Errorf("num_requests: %d: want at most %d", m.NumRequests, maxRunRequests)
		}
		if float64(m.NumRequests)*(float64(m.InputLen)+float64(m.OutputLen)) > maxRunTokens {
			return fmt.Errorf("num_requests: %d requests of %d and %d tokens are more than %d tokens in all", m.NumRequests, m.InputLen, m.OutputLen, maxRunTokens)
		}
		list = append(list, m)
		return nil
	})
	return list, err
}

func parseCount(to *int, s string, least int) error {
	if s == "" && least == 0 {
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || int(n) < least {
		return fmt.Errorf("want an integer from %d to %d, got %q", least, math.MaxInt32, s)
	}
	*to = int(n)
	return nil
}

// readCSV reads rows by the names of their columns. get returns an empty string for
// an optional column that is missing.
func readCSV(r io.Reader, name string, required, optional []string, row func(line int, get func(string) string) error) error {
	in := csv.NewReader(io.LimitReader(r, maxCSVBytes))
	in.ReuseRecord = true
	at := map[string]int{}
	for n := 0; ; n++ {
		rec, err := in.Read()
		line := 0
		if err == nil {
			line, _ = in.FieldPos(0)
		}
		switch {
		case errors.Is(err, io.EOF) && n > 1:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%s: no rows: want a header and at least one row", name)
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		case n > maxMeasurements:
			return fmt.Errorf("%s:%d: more than %d rows", name, line, maxMeasurements)
		}
		for i, field := range rec {
			if len(field) > maxField {
				return fmt.Errorf("%s:%d: column %d: a field of %d bytes, want at most %d", name, line, i+1, len(field), maxField)
			}
		}
		if n == 0 {
			for i, c := range rec {
				c = strings.TrimSpace(strings.TrimPrefix(c, "\ufeff"))
				if _, twice := at[c]; twice {
					return fmt.Errorf("%s:1: column %q occurs twice", name, c)
				}
				if !slices.Contains(required, c) && !slices.Contains(optional, c) {
					return fmt.Errorf("%s:1: unknown column %q: want %s", name, c, strings.Join(append(slices.Clone(required), optional...), ", "))
				}
				at[c] = i
			}
			for _, c := range required {
				if _, ok := at[c]; !ok {
					return fmt.Errorf("%s:1: column %q is missing", name, c)
				}
			}
			continue
		}
		get := func(c string) string {
			if i, ok := at[c]; ok {
				return strings.TrimSpace(rec[i])
			}
			return ""
		}
		if err := row(line, get); err != nil {
			return fmt.Errorf("%s:%d: %w", name, line, err)
		}
	}
}

// Timing is a measured time of the work of a single term: the total of one or more launches of a
// kernel.
type Timing struct {
	Line    int
	GPU     string
	Model   string
	TP      int // cards over which the work was split
	Term    string
	Units   float64 // total work, in units of the term
	Seconds float64 // total time
}

// IsTimings reports whether the first line of a CSV is that of timings of kernels.
func IsTimings(header string) bool {
	return slices.Contains(strings.Split(strings.TrimSpace(header), ","), "term")
}

// ReadTimings reads a CSV with the columns gpu, model, term, units, microseconds and optionally
// tensor_parallel: the total time, from a profiler, of this many units of a term's work, split over
// this many cards.
func ReadTimings(r io.Reader, name string) ([]Timing, error) {
	var list []Timing
	err := readCSV(r, name, []string{"gpu", "model", "term", "units", "microseconds"}, []string{"tensor_parallel"}, func(line int, get func(string) string) error {
		t := Timing{Line: line, GPU: get("gpu"), Model: get("model"), TP: 1, Term: get("term")}
		if err := parseCount(&t.TP, get("tensor_parallel"), 0); err != nil || t.TP < 1 || t.TP > MaxTP {
			return fmt.Errorf("tensor_parallel: want 1 to %d, got %q", MaxTP, get("tensor_parallel"))
		}
		if !slices.ContainsFunc(Terms(), func(known Term) bool { return known.ID == t.Term }) {
			return fmt.Errorf("term: %q is unknown: want %s", t.Term, strings.Join(termIDs(), ", "))
		}
		for _, c := range []struct {
			column string
			to     *float64
		}{{"units", &t.Units}, {"microseconds", &t.Seconds}} {
			v, err := strconv.ParseFloat(get(c.column), 64)
			if err != nil || !(v > 0) || math.IsInf(v, 0) || v > 1e18 {
				return fmt.Errorf("%s: want a number above 0, got %q", c.column, get(c.column))
			}
			*c.to = v
		}
		t.Seconds /= 1e6
		list = append(list, t)
		return nil
	})
	return list, err
}

func termIDs() []string {
	var ids []string
	for _, t := range Terms() {
		ids = append(ids, t.ID)
	}
	return ids
}
