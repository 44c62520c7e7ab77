// Package validate compares engines: with each other (CUDA with the reference, stage by stage), with golden
// results, and with recorded decisions and results of other implementations.
//
// Start with [Trace], which replays a recorded trace on two engines; [Random], which runs random pipelines; [Record],
// which makes a golden result; and [CasesAt], which checks recorded decisions.
package validate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"kvcompress/internal/work"
	"kvcompress/strictjson"
)

// The kinds of recorded case.
const (
	KindEviction = "eviction"
	KindMetrics  = "prefill_metrics"
)

// CaseResult is the comparison of one recorded case.
type CaseResult struct {
	File     string   `json:"file,omitempty"`
	Case     int      `json:"case"`         // its index in the file
	ID       string   `json:"id,omitempty"` // from the file
	Kind     string   `json:"kind"`         // KindEviction, KindMetrics, or the method's name in the file
	Agree    bool     `json:"agree"`
	Skipped  string   `json:"skipped,omitempty"` // why the case was not compared
	Detail   string   `json:"detail"`            // a description of the case
	Compared string   `json:"compared,omitempty"`
	Values   int      `json:"values_compared"`
	Blocks   *int     `json:"blocks,omitempty"` // evicted; nil of a case that evicts none, as below
	KVs      *int     `json:"kvs,omitempty"`    // evicted
	Moves    *int     `json:"moves,omitempty"`
	MaxError *float64 `json:"max_relative_error,omitempty"` // of what is not compared to the bit; nil where all is
	Mismatch string   `json:"mismatch,omitempty"`           // the first mismatch; empty if everything agrees
}

// addError takes in the relative error of what is not compared to the bit.
func (r *CaseResult) addError(far float64) {
	if r.MaxError == nil {
		r.MaxError = new(float64)
	}
	*r.MaxError = max(*r.MaxError, far)
}

// PrefillTolerance is the largest relative error of prefill metrics against a recording. The recordings are
// binary32 sums in another order, and their source states an error of 1e-5.
const PrefillTolerance = 1e-5

// Bounds on a file of cases.
const (
	maxCasesBytes = 1 << 30
	maxCaseHeads  = 1 << 16
)

// fields maps required members of a JSON object to pointers to their destinations.
type fields map[string]any

// members returns the members of a JSON object. A duplicate name is an error.
func members(raw []byte) (map[string][]byte, error) {
	found := map[string][]byte{}
	err := strictjson.Object(raw, func(name string, value []byte) error {
		found[name] = value
		return nil
	})
	return found, err
}

// decode decodes the members that are fields to their destinations. Other members are ignored.
func (f fields) decode(found map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(f)) {
		value, ok := found[name]
		if !ok || string(value) == "null" {
			return fmt.Errorf("%q is missing", name)
		}
		if err := strictjson.Known(value, f[name]); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}

// Cases replays recorded decisions of another implementation: a JSON array of eviction decisions or of
// prefill metrics. It accepts Infinity and -Infinity, which Python writes. An error means that the file could
// not be read, or that the context ended between two cases; disagreements are in the results.
func Cases(ctx context.Context, r io.Reader) ([]CaseResult, error) {
	dec := json.NewDecoder(withInfinities(io.LimitReader(r, maxCasesBytes)))
	if t, err := dec.Token(); err == io.EOF {
		return nil, errors.New("cases: the file is empty")
	} else if err != nil {
		return nil, fmt.Errorf("cases: %w", strictjson.Plain(err))
	} else if t != json.Delim('[') {
		return nil, fmt.Errorf("cases: an array of cases is expected, not %v", t)
	}
	var results []CaseResult
	for n := 0; dec.More(); n++ {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("cases: stopped before case %d: %w", n, err)
		}
		work.Step(ctx)
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, fmt.Errorf("cases: case %d: %w", n, strictjson.Plain(err))
		}
		result, err := replayCase(raw)
		if err != nil {
			return nil, fmt.Errorf("cases: case %d: %w", n, err)
		}
		result.Case, result.Agree = n, result.Mismatch == ""
		results = append(results, result)
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("cases: %w", strictjson.Plain(err))
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("cases: there is data after the array")
	}
	if len(results) == 0 {
		return nil, errors.New("cases: the file has none")
	}
	return results, nil
}

// optional is decode for members that may be null or missing.
func (f fields) optional(found map[string][]byte) error {
	given := fields{}
	for name, to := range f {
		if value, ok := found[name]; ok && string(value) != "null" {
			given[name] = to
		}
	}
	return given.decode(found)
}

func replayCase(raw []byte) (CaseResult, error) {
	found, err := members(raw)
	if err != nil {
		return CaseResult{}, err
	}
	switch {
	case found["heads"] != nil:
		c, err := readEviction(found)
		if err != nil {
			return CaseResult{}, err
		}
		return c.replay(), nil
	case found["q"] != nil && found["k"] != nil:
		c, err := readMetrics(found)
		if err != nil {
			return CaseResult{}, err
		}
		return c.replay(), nil
	default:
		return CaseResult{}, errors.New(`want "heads" (an eviction) or "q" and "k" (prefill metrics)`)
	}
}
