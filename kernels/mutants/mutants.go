// Package mutants does mutation testing of the engine's kernels. A mutant is one small edit
// of a .cu file, a bug of a kind that people write. The package's test runs the validation
// on every mutant and fails if one is not noticed; docs/planted-bugs.md says which check
// notices each.
//
// clang-19 builds a mutant from the edited source. An archive in testdata, which go generate
// writes, has the PTX of all mutants, so that the test needs no compiler. Each is stored under
// a digest of its sources, so that outdated PTX is not run.
package mutants

import (
	"cmp"
	"fmt"
	"strings"

	"kvcompress/kernels"
)

//go:generate go run ./generate

// Mutant is a bug that can be planted. Of a kernel that there is one of for each
// format of the cache, only that of one format has it.
type Mutant struct {
	Name string // of the bug, in words: "block-edge"
	Bug  string // what is wrong
	File string // the .cu or .cuh file that is edited
	Old  string // what stands there, once
	New  string // what takes its place

	Module string // the .cu file that is built, where that is not File
	Format string // of the cache: "bf16"; f16 where none is named
	Method string // that runs what has the bug, where that is not KV-Compress
}

// module returns the .cu file that the mutant's kernels are built from.
func (m *Mutant) module() string { return cmp.Or(m.Module, m.File) }

// format returns the format of the cache whose kernels have the bug.
func (m *Mutant) format() string { return cmp.Or(m.Format, "f16") }

// edit returns the text of File with the bug in it.
func (m *Mutant) edit(text string) (string, error) {
	if n := strings.Count(text, m.Old); n != 1 {
		return "", fmt.Errorf("mutants: %s: %q is in %s %d times, and has to be there once", m.Name, m.Old, m.File, n)
	}
	return strings.Replace(text, m.Old, m.New, 1), nil
}

// Kernels returns what an engine runs in the place of its own kernels to have the bug:
// all kernels of the mutant's PTX.
func (m *Mutant) Kernels(ptx []byte) map[string]kernels.Replacement {
	file := strings.TrimSuffix(m.module(), ".cu") + ".ptx"
	replaced := map[string]kernels.Replacement{}
	for _, entry := range kernels.Entries(ptx) {
		replaced[entry] = kernels.Replacement{File: file, PTX: ptx, Entry: entry}
	}
	return replaced
}
