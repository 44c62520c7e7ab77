// Package mutants plants bugs in the engine's kernels, one at a time: each a small
// edit of a .cu file, of the kind that is made in earnest. A validation that does
// not notice one of them is no validation; the package's test runs it on all, and
// docs/planted-bugs.md says by what each is found.
//
// The edits are applied and built by go generate, which needs clang-19; what they
// change in the PTX is kept, so that nothing is needed to run them.
package mutants

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"strconv"
	"strings"

	"kvcompress/kernels"
	"kvcompress/ref"
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

	// With makes a configuration one that runs what has the bug, where KV-Compress does
	// not: of a cache whose shape is given.
	With func(*ref.Config)

	// Format is the format of the cache whose kernels have the bug, as their names end:
	// "e4m3". Where it is empty, it is f16.
	Format string

	// Module is the .cu file that is built, where that is not File.
	Module string

	// Replay is the bundled replay that is tried, where the bug is in what KV-Compress
	// does not run.
	Replay string
}

// Source returns the name of the .cu file that the mutant's kernels are built from.
func (m *Mutant) Source() string {
	if m.Module != "" {
		return m.Module
	}
	return m.File
}

// InFormat returns the format whose kernels have the bug.
func (m *Mutant) InFormat() string { return cmp.Or(m.Format, "f16") }

// Edit returns the text of File with the bug in it.
func (m *Mutant) Edit(text string) (string, error) {
	if n := strings.Count(text, m.Old); n != 1 {
		return "", fmt.Errorf("mutants: %s: %q is in %s %d times", m.Name, m.Old, m.File, n)
	}
	return strings.Replace(text, m.Old, m.New, 1), nil
}

// diffs holds for each mutant what it changes in the PTX of its module, as diff -n
// says it.
//
//go:embed diffs
var diffs embed.FS

// Kernels returns what an engine runs in the place of its own kernels to have the
// bug: all of the module's.
func (m *Mutant) Kernels() (map[string]kernels.Replacement, error) {
	module := strings.TrimSuffix(m.Source(), ".cu") + ".ptx"
	text, err := kernels.PTX(module)
	if err != nil {
		return nil, err
	}
	diff, err := diffs.ReadFile("diffs/" + m.Name + ".diff")
	if err != nil {
		return nil, fmt.Errorf("mutants: %w: run go generate ./kernels/mutants", err)
	}
	if text, err = patch(text, diff); err != nil {
		return nil, fmt.Errorf("mutants: %s: %w: run go generate ./kernels/mutants", m.Name, err)
	}
	replaced := map[string]kernels.Replacement{}
	for _, entry := range kernels.Entries(text) {
		replaced[entry] = kernels.Replacement{File: module, PTX: text, Entry: entry}
	}
	return replaced, nil
}

// patch applies a diff in the form of diff -n (RCS): "d3 2" deletes two lines from
// line 3 on, "a4 2" adds the two lines that follow it after line 4. Lines are those
// of the original, counted from 1.
func patch(original, diff []byte) ([]byte, error) {
	from := bytes.SplitAfter(original, []byte("\n"))
	lines := bytes.SplitAfter(diff, []byte("\n"))
	var to []byte
	done := 0 // lines of the original that are in `to`, or deleted
	keep := func(line int) error {
		if line < done || line > len(from) {
			return fmt.Errorf("a diff of another text: line %d after %d of %d", line, done, len(from))
		}
		for ; done < line; done++ {
			to = append(to, from[done]...)
		}
		return nil
	}
	for at := 0; at < len(lines) && len(lines[at]) > 0; at++ {
		command := strings.Fields(string(lines[at]))
		if len(command) != 2 {
			return nil, fmt.Errorf("diff line %d: %q is no command", at+1, lines[at])
		}
		line, err1 := strconv.Atoi(command[0][1:])
		n, err2 := strconv.Atoi(command[1])
		if err1 != nil || err2 != nil || n < 1 {
			return nil, fmt.Errorf("diff line %d: %q is no command", at+1, lines[at])
		}
		switch command[0][0] {
		case 'd':
			if err := keep(line - 1); err != nil {
				return nil, err
			}
			if done += n; done > len(from) {
				return nil, fmt.Errorf("a diff of another text: %d lines of %d", done, len(from))
			}
		case 'a':
			if err := keep(line); err != nil {
				return nil, err
			}
			if at+n >= len(lines) {
				return nil, fmt.Errorf("diff line %d: fewer than %d lines follow", at+1, n)
			}
			to = append(to, bytes.Join(lines[at+1:at+1+n], nil)...)
			at += n
		default:
			return nil, fmt.Errorf("diff line %d: %q is no command", at+1, lines[at])
		}
	}
	return to, keep(len(from))
}
