// Package mutants does mutation testing of the engine's kernels. A mutant is one small edit
// of a .cu or .cuh file: a typical programming mistake. The package's test runs the validation
// on every mutant and fails if one is not detected; docs/planted-bugs.md says which check
// detects each.
//
// clang-19 builds a mutant from the edited source. go generate writes an archive with the PTX
// of all mutants to testdata, so the test needs no compiler. Each is stored under a digest of
// its sources, so outdated PTX is never run.
package mutants

import (
	"cmp"
	"fmt"
	"strings"

	"kvcompress/kernels"
)

//go:generate go run ./generate

// Mutant is an edit that plants a bug. If a kernel is compiled for each format of the
// cache, only the kernel of one format gets the bug.
type Mutant struct {
	Name string // "block-edge"
	Bug  string // description of the bug
	File string // the edited .cu or .cuh file
	Old  string // text that occurs exactly once in File
	New  string // its replacement

	Module string // the .cu file to compile, if it is not File
	Format string // of the cache: "bf16"; "" for f16
	Method string // compression method that runs the edited code; "" for KV-Compress
}

// module returns the .cu file that the mutant's kernels are built from.
func (m *Mutant) module() string { return cmp.Or(m.Module, m.File) }

// format returns the format of the cache whose kernels have the bug.
func (m *Mutant) format() string { return cmp.Or(m.Format, "f16") }

// edit returns the text of File with Old replaced by New.
func (m *Mutant) edit(text string) (string, error) {
	if n := strings.Count(text, m.Old); n != 1 {
		return "", fmt.Errorf("mutants: %s: %q is in %s %d times, and has to be there once", m.Name, m.Old, m.File, n)
	}
	return strings.Replace(text, m.Old, m.New, 1), nil
}

// Kernels returns the replacements that give an engine the bug: all kernels of the
// mutant's PTX.
func (m *Mutant) Kernels(ptx []byte) map[string]kernels.Replacement {
	file := strings.TrimSuffix(m.module(), ".cu") + ".ptx"
	replaced := map[string]kernels.Replacement{}
	for _, entry := range kernels.Entries(ptx) {
		replaced[entry] = kernels.Replacement{File: file, PTX: ptx, Entry: entry}
	}
	return replaced
}
