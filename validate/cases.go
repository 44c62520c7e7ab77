// Package validate compares: engines with each other, engines with golden
// results, and engines with what other implementations decided.
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
	ID       string   `json:"id,omitempty"` // as the file has it
	Kind     string   `json:"kind"`         // KindEviction, KindMetrics, or the method's name in the file
	Agree    bool     `json:"agree"`
	Skipped  string   `json:"skipped,omitempty"` // why nothing was compared
	Detail   string   `json:"detail"`            // what the case is
	Compared string   `json:"compared,omitempty"`
	Values   int      `json:"values_compared"`
	Blocks   *int     `json:"blocks,omitempty"` // evicted; nil of a case that evicts none, as below
	KVs      *int     `json:"kvs,omitempty"`    // evicted
	Moves    *int     `json:"moves,omitempty"`
	MaxError *float64 `json:"max_relative_error,omitempty"` // of what is not compared to the bit; nil where all is
	Mismatch string   `json:"mismatch,omitempty"`           // the first; empty if all agree
}

// addError takes in the relative error of what is not compared to the bit.
func (r *CaseResult) addError(far float64) {
	if r.MaxError == nil {
		r.MaxError = new(float64)
	}
	*r.MaxError = max(*r.MaxError, far)
}

// PrefillTolerance is the relative error up to which prefill metrics agree with
// a recording. The recordings are of binary32 sums in another order; 1e-5 is
// what their source states.
const PrefillTolerance = 1e-5

// Bounds on a file of cases.
const (
	maxCasesBytes = 1 << 30
	maxCaseHeads  = 1 << 16
)

// fields are the members of a JSON object and where they go; all must be there.
type fields map[string]any

// members returns the members of a JSON object, none of which may occur twice.
func members(raw []byte) (map[string][]byte, error) {
	found := map[string][]byte{}
	err := strictjson.Object(raw, func(name string, value []byte) error {
		found[name] = value
		return nil
	})
	return found, err
}

// decode puts the members of a JSON object where the fields say. Members that are
// no field are what else the recorder had to say.
func (f fields) decode(found map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(f)) {
		value, ok := found[name]
		if !ok || string(value) == "null" {
			return fmt.Errorf("%q is not given", name)
		}
		if err := strictjson.Known(value, f[name]); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}

// Cases replays recorded decisions of another implementation: a JSON array of
// eviction decisions or of prefill metrics. An error means that the file could
// not be read; a disagreement is in the results. Infinity and -Infinity, as Python writes
// them, are numbers. The context ends it between two cases.
func Cases(ctx context.Context, r io.Reader) ([]CaseResult, error) {
	dec := json.NewDecoder(withInfinities(io.LimitReader(r, maxCasesBytes)))
	if t, err := dec.Token(); err == io.EOF {
		return nil, errors.New("cases: the file is empty")
	} else if err != nil {
		return nil, fmt.Errorf("cases: %w", err)
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
			return nil, fmt.Errorf("cases: case %d: %w", n, err)
		}
		result, err := replayCase(raw)
		if err != nil {
			return nil, fmt.Errorf("cases: case %d: %w", n, err)
		}
		result.Case, result.Agree = n, result.Mismatch == ""
		results = append(results, result)
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("cases: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("cases: something follows the array")
	}
	if len(results) == 0 {
		return nil, errors.New("cases: the file has none")
	}
	return results, nil
}

// optional is decode for members that may be null or left out.
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
		return CaseResult{}, errors.New(`neither "heads" (an eviction) nor "q" and "k" (prefill metrics) is given`)
	}
}
