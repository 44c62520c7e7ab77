// Package coverage reports which instructions and branch directions of kernels the PTX
// machine has executed: counts per kernel, and the source lines with missing ones.
//
// A ptx.Coverage in ptx.Options counts during launches; [Of] returns a [Report] of its counts.
package coverage

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"kvcompress/internal/words"
	"kvcompress/kernels"
	"kvcompress/kernels/ptx"
)

// AddEngine adds all kernels of the engine to a coverage, so kernels that are never launched
// are listed too. parsed keeps the parsed modules, for devices that share it; nil keeps nothing.
func AddEngine(c *ptx.Coverage, parsed *ptx.Cache) error {
	dev := ptx.New(ptx.Options{Coverage: c, Cache: parsed})
	for _, name := range kernels.Modules() {
		text, err := kernels.PTX(name)
		if err != nil {
			return err
		}
		if _, err := dev.Load(name, text); err != nil {
			return err
		}
	}
	return dev.Close()
}

// Count counts instructions, instructions executed by at least one thread, branch
// directions, and directions taken. A branch with a guard has two directions.
type Count struct {
	Instructions    int `json:"instructions"`
	Executed        int `json:"executed"`
	Directions      int `json:"branch_directions"`
	DirectionsTaken int `json:"branch_directions_taken"`
}

// Add adds another count.
func (c *Count) Add(d Count) {
	c.Instructions += d.Instructions
	c.Executed += d.Executed
	c.Directions += d.Directions
	c.DirectionsTaken += d.DirectionsTaken
}

// Report is the coverage of kernels.
type Report struct {
	Count
	Kernels []Kernel `json:"kernels"`
	Lines   []Line   `json:"not_run"` // source lines with a missing instruction or direction, by file and line
}

// Kernel is the coverage of a kernel.
type Kernel struct {
	Module   string `json:"module"`
	Kernel   string `json:"kernel"`
	Launches int64  `json:"launches"`
	Count
}

// Line is a source line with an instruction or branch direction that has not been executed.
type Line struct {
	File     string   `json:"file"` // of the source, or of the PTX if it has no line information
	Line     int      `json:"line"`
	Kernels  []string `json:"kernels"` // with a missing instruction or direction
	PTXLines []int    `json:"ptx_lines"`
	Count             // of these kernels
	// Expected is the reason why the missing instructions are not executed; "" if none is known.
	Expected string `json:"expected,omitempty"`

	instructionsMissing []string // kernels with a missing instruction, not only a missing direction
}

// Of returns the report of a coverage.
func Of(c *ptx.Coverage) *Report {
	r := &Report{Kernels: []Kernel{}, Lines: []Line{}}
	for _, k := range c.Kernels() {
		kernel := Kernel{Module: k.Module, Kernel: k.Kernel, Launches: k.Launches}
		lines := map[place]*Line{}
		for i := range k.Instructions {
			in := &k.Instructions[i]
			one := countOf(in)
			kernel.Add(one)
			at := placeOf(k.Module, in)
			l := lines[at]
			if l == nil {
				l = &Line{File: at.file, Line: at.line}
				lines[at] = l
			}
			l.Add(one)
			if one.missing() {
				l.PTXLines = append(l.PTXLines, in.Line)
			}
		}
		r.Add(kernel.Count)
		r.Kernels = append(r.Kernels, kernel)
		for _, l := range lines {
			if l.missing() {
				r.add(l, k.Kernel)
			}
		}
	}
	slices.SortFunc(r.Lines, func(a, b Line) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return r
}

func (c *Count) missing() bool {
	return c.Executed < c.Instructions || c.DirectionsTaken < c.Directions
}

func countOf(in *ptx.InstructionCoverage) Count {
	c := Count{Instructions: 1}
	if in.Ran > 0 || in.Branch && in.Skipped > 0 { // a branch counts as executed even if it was never taken
		c.Executed = 1
	}
	if in.Branch {
		c.Directions = 2
		for _, n := range []int64{in.Ran, in.Skipped} {
			if n > 0 {
				c.DirectionsTaken++
			}
		}
	}
	return c
}

type place struct {
	file string
	line int
}

func placeOf(module string, in *ptx.InstructionCoverage) place {
	if in.File == "" || in.SourceLine == 0 {
		return place{module, in.Line}
	}
	return place{path.Clean(in.File), in.SourceLine}
}

// add adds a line of a kernel.
func (r *Report) add(l *Line, kernel string) {
	i := slices.IndexFunc(r.Lines, func(m Line) bool { return m.File == l.File && m.Line == l.Line })
	if i < 0 {
		i = len(r.Lines)
		r.Lines = append(r.Lines, Line{File: l.File, Line: l.Line})
	}
	m := &r.Lines[i]
	m.Kernels = append(m.Kernels, kernel)
	m.PTXLines = append(m.PTXLines, l.PTXLines...)
	if l.Executed < l.Instructions {
		m.instructionsMissing = append(m.instructionsMissing, kernel)
	}
	m.Add(l.Count)
}

// Write prints the report: a table of kernels, with one row for a kernel in all formats of
// the cache, and the lines with missing instructions or directions.
func (r *Report) Write(w io.Writer) {
	type row struct {
		name string
		n    int
		Count
	}
	var rows []row
	width := len("KERNEL")
	for _, k := range r.Kernels {
		name := k.Module + ": " + withoutFormat(k.Kernel)
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if i < 0 {
			i = len(rows)
			rows = append(rows, row{name: name})
		}
		rows[i].n++
		rows[i].Add(k.Count)
		width = max(width, len(name))
	}
	fmt.Fprintf(w, "%-*s  %8s  %12s  %8s  %10s  %8s\n", width, "KERNEL", "VARIANTS", "INSTRUCTIONS", "EXECUTED", "DIRECTIONS", "TAKEN")
	line := func(name string, variants int, c *Count) {
		fmt.Fprintf(w, "%-*s  %8s  %12s  %8s  %10s  %8s\n", width, name, words.Number(variants),
			words.Number(c.Instructions), words.Number(c.Executed), words.Number(c.Directions), words.Number(c.DirectionsTaken))
	}
	for i := range rows {
		line(rows[i].name, rows[i].n, &rows[i].Count)
	}
	line("all", len(r.Kernels), &r.Count)
	if len(r.Lines) == 0 {
		return
	}
	fmt.Fprintf(w, "\nNot executed, by line of the source:\n")
	for i := range r.Lines {
		l := &r.Lines[i]
		fmt.Fprintf(w, "  %s:%d  %s, in %s\n", l.File, l.Line, l.what(), kernelsText(l.Kernels))
		if l.Expected != "" {
			fmt.Fprintf(w, "    expected: %s\n", l.Expected)
		}
	}
}

// what describes what is missing.
func (l *Line) what() string {
	var parts []string
	if n := l.Instructions - l.Executed; n > 0 {
		parts = append(parts, fmt.Sprintf("%s of %s", words.Number(n), words.Count(l.Instructions, "instruction")))
	}
	if n := l.Directions - l.DirectionsTaken; n > 0 {
		parts = append(parts, fmt.Sprintf("%s of %s", words.Number(n), words.Count(l.Directions, "branch direction")))
	}
	return strings.Join(parts, " and ")
}

// withoutFormat returns the name of a kernel without the cache's format.
func withoutFormat(kernel string) string {
	name, format := kernel, ""
	if i := strings.LastIndexByte(kernel, '_'); i > 0 {
		name, format = kernel[:i], kernel[i+1:]
	}
	if format != "" && kernels.IsKernel(kernel, name) {
		return name
	}
	return kernel
}

// kernelsText lists kernels: "costs", "append_tokens (f16, bf16)".
func kernelsText(names []string) string {
	var text []string
	for i := 0; i < len(names); {
		name := withoutFormat(names[i])
		var formats []string
		for ; i < len(names) && withoutFormat(names[i]) == name; i++ {
			if names[i] != name {
				formats = append(formats, strings.TrimPrefix(names[i], name+"_"))
			}
		}
		if len(formats) > 0 {
			name += " (" + strings.Join(formats, ", ") + ")"
		}
		text = append(text, name)
	}
	return strings.Join(text, ", ")
}
