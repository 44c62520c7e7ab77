package coverage

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Expectation is a reason why instructions of the engine's kernels are not executed by the
// bundled traces and the first random pipelines.
type Expectation struct {
	Why   string `json:"why"`
	Files []struct {
		File string `json:"file"`
		// Lines maps the number of a source line to a part of its text, by which Stale
		// detects that the line has moved.
		Lines map[string]string `json:"lines"`
	} `json:"files"`
	// Kernels are the kernels that it applies to: without the cache's format for every format; empty for all.
	Kernels []string `json:"kernels,omitempty"`
}

//go:embed expected.json
var expected []byte

// Expectations returns the instructions of the engine's kernels that are expected not to be
// executed, by lines of the source.
func Expectations() ([]Expectation, error) {
	var list []Expectation
	if err := json.Unmarshal(expected, &list); err != nil {
		return nil, fmt.Errorf("coverage: expected.json: %w", err)
	}
	return list, nil
}

// Expect sets Expected in the report's lines.
func (r *Report) Expect() error {
	list, err := Expectations()
	if err != nil {
		return err
	}
	for i := range r.Lines {
		l := &r.Lines[i]
		for _, e := range list {
			if e.covers(l) {
				l.Expected = e.Why
			}
		}
	}
	return nil
}

// covers reports whether the expectation applies to a line, in all kernels that miss an
// instruction of it.
func (e *Expectation) covers(l *Line) bool {
	for _, f := range e.Files {
		if _, ok := f.Lines[strconv.Itoa(l.Line)]; !ok || f.File != l.File {
			continue
		}
		return !slices.ContainsFunc(l.instructionsMissing, func(kernel string) bool {
			return len(e.Kernels) > 0 && !slices.Contains(e.Kernels, kernel) && !slices.Contains(e.Kernels, withoutFormat(kernel))
		})
	}
	return false
}

// Holds reports whether the expectation applies to a source line in a kernel.
func (e *Expectation) Holds(file string, line int, kernel string) bool {
	return e.covers(&Line{File: file, Line: line, instructionsMissing: []string{kernel}})
}

// Unexpected returns the number of instructions that were not executed, on lines without an
// expectation.
func (r *Report) Unexpected() int {
	n := 0
	for i := range r.Lines {
		if l := &r.Lines[i]; l.Expected == "" {
			n += l.Instructions - l.Executed
		}
	}
	return n
}

// Stale returns the lines of an expectation whose text is not in the source line.
func (e *Expectation) Stale(source func(file string) ([]string, error)) ([]string, error) {
	var old []string
	for _, f := range e.Files {
		lines, err := source(f.File)
		if err != nil {
			return nil, err
		}
		for number, text := range f.Lines {
			n, err := strconv.Atoi(number)
			if err != nil || n < 1 || n > len(lines) || !strings.Contains(lines[n-1], text) {
				old = append(old, fmt.Sprintf("%s:%s is not %q", f.File, number, text))
			}
		}
	}
	return old, nil
}
