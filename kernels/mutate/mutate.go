// Package mutate does mutation testing on PTX: it plants small faults, one at a time, and
// measures a check by the fraction that it detects. It edits the PTX text, so a mutant runs
// on anything that accepts PTX.
//
// [Parse] reads a module and [Module.Mutants] lists its mutants. A [Command] tries them on your own test, a
// [Check] on that of the engine.
package mutate

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"kvcompress/kernels/ptx"
)

// Mutant is a PTX text with one fault.
type Mutant struct {
	Kernel string `json:"kernel"` // or function
	Kind   string `json:"kind"`
	Line   int    `json:"ptx_line"`
	// File and SourceLine are the instruction's place in the CUDA source; "" and 0 if the PTX
	// has no line information.
	File       string `json:"file,omitempty"`
	SourceLine int    `json:"line,omitempty"`
	Old        string `json:"old"` // the instruction
	New        string `json:"new"` // its replacement

	module *Module
	at     place
	result written // see fault
}

type place struct{ function, statement int }

// Where returns the place of the fault: "decide.cu:344", or a line of the PTX.
func (m *Mutant) Where() string {
	if m.File == "" {
		return fmt.Sprintf("%s:%d", m.module.Name, m.Line)
	}
	return fmt.Sprintf("%s:%d", m.File, m.SourceLine)
}

// Module is a PTX text to be mutated.
type Module struct {
	Name      string
	text      []byte
	functions []ptx.Function
}

// Parse parses a PTX text. Its errors are those of ptx.Parse.
func Parse(name string, text []byte) (*Module, error) {
	functions, err := ptx.Statements(name, text)
	if err != nil {
		return nil, err
	}
	return &Module{Name: name, text: text, functions: functions}, nil
}

// Kernels returns the names of the functions that have a body.
func (m *Module) Kernels() []string {
	var names []string
	for _, f := range m.functions {
		names = append(names, f.Name)
	}
	return names
}

// Mutants returns all mutants of a kernel or function, in the order of its text.
func (m *Module) Mutants(kernel string) []Mutant {
	k := slices.IndexFunc(m.functions, func(f ptx.Function) bool { return f.Name == kernel })
	if k < 0 {
		return nil
	}
	var list []Mutant
	statements := m.functions[k].Statements
	instructions := make([]written, len(statements))
	for i, s := range statements {
		instructions[i] = read(string(m.text[s.Start:s.End]))
	}
	c := &preceding{last: map[string]string{}, products: map[string]written{}, small: smallOf(instructions)}
	for i, s := range statements {
		w := instructions[i]
		if w.op == "" {
			continue
		}
		for _, f := range c.faults(w) {
			if f.text == w.String() {
				continue
			}
			list = append(list, Mutant{
				Kernel: kernel, Kind: f.kind, Line: s.Line, File: clean(s.File), SourceLine: s.SourceLine,
				Old: w.String(), New: f.text, module: m, at: place{k, i}, result: f.result,
			})
		}
		c.note(w, s.Labeled)
	}
	return list
}

func clean(file string) string { return strings.TrimPrefix(file, "./") }

// Sample returns up to n random mutants. It draws a kernel, then one of its mutants, so each
// kernel is as likely as any other, whatever its size. Kernels of a module that group maps to
// the same name count as one. Mutants that the PTX machine would refuse are drawn again. The
// result has fewer than n if there are not enough, or if ctx is done.
func Sample(ctx context.Context, modules []*Module, n int, seed uint64, group func(kernel string) string) []*Mutant {
	type kernel struct {
		module *Module
		name   string
	}
	var groups []string
	of := map[string][]kernel{}
	for _, m := range modules {
		for _, name := range m.Kernels() {
			g := m.Name + ":" + group(name)
			if of[g] == nil {
				groups = append(groups, g)
			}
			of[g] = append(of[g], kernel{m, name})
		}
	}
	if len(groups) == 0 {
		return nil
	}
	r := rand.New(rand.NewPCG(seed, 0))
	known := map[kernel][]Mutant{}
	taken := map[string]bool{}
	var list []*Mutant
	for tries := 0; len(list) < n && tries < 20*n+100 && ctx.Err() == nil; tries++ {
		same := of[groups[r.IntN(len(groups))]]
		k := same[r.IntN(len(same))]
		all, ok := known[k]
		if !ok {
			all = k.module.Mutants(k.name)
			known[k] = all
		}
		if len(all) == 0 {
			continue
		}
		m := all[r.IntN(len(all))] // a copy
		key := fmt.Sprint(k.module.Name, m.at, m.New)
		if taken[key] {
			continue
		}
		taken[key] = true
		if m.loads() {
			list = append(list, &m)
		}
	}
	return list
}

// Sample returns up to n random mutants of the module, or of one kernel if kernel is not "".
// Each mutant is as likely as any other. The result has fewer than n if there are not enough,
// or if ctx is done. For an unknown kernel, the error lists the module's kernels.
func (m *Module) Sample(ctx context.Context, kernel string, n int, seed uint64) ([]*Mutant, error) {
	one := *m
	if kernel != "" {
		if !slices.Contains(m.Kernels(), kernel) {
			return nil, fmt.Errorf("%s: no kernel %q: there are %s", m.Name, kernel, strings.Join(m.Kernels(), ", "))
		}
		one.functions = slices.Clone(m.functions)
		for i := range one.functions {
			if one.functions[i].Name != kernel {
				one.functions[i].Statements = nil
			}
		}
	}
	var all []Mutant
	for _, name := range one.Kernels() {
		all = append(all, one.Mutants(name)...)
	}
	r := rand.New(rand.NewPCG(seed, 0))
	var list []*Mutant
	for _, i := range r.Perm(len(all)) {
		if len(list) == n || ctx.Err() != nil {
			break
		}
		x := all[i]
		x.module = m
		if x.loads() {
			list = append(list, &x)
		}
	}
	return list, nil
}

// loads reports whether the PTX machine accepts the mutant.
func (m *Mutant) loads() bool {
	p, err := ptx.Parse(m.module.Name, m.Alone(), true)
	return err == nil && (!m.isKernel() || runs(p, m.Kernel))
}

func (m *Mutant) isKernel() bool { return m.module.functions[m.at.function].Entry }

// runs reports whether a program has a kernel that can be run.
func runs(p *ptx.Program, kernel string) bool {
	for _, k := range p.Kernels() {
		if k.Name == kernel {
			return k.Refused == ""
		}
	}
	return false
}

// PTX returns the text with the fault.
func (m *Mutant) PTX() []byte { return m.module.with(m.at, m.New) }

// Alone returns the text with the fault, without other kernels. Lines keep their numbers.
func (m *Mutant) Alone() []byte { return m.alone(m.New) }

// with returns the text with a statement replaced. Lines keep their numbers.
func (m *Module) with(at place, by string) []byte {
	s := m.functions[at.function].Statements[at.statement]
	lines := strings.Repeat("\n", bytes.Count(m.text[s.Start:s.End], []byte("\n")))
	return slices.Concat(m.text[:s.Start], []byte(by+lines), m.text[s.End:])
}

func (m *Mutant) alone(by string) []byte {
	text := m.module.with(m.at, by)
	own := m.module.functions[m.at.function]
	if !own.Entry {
		return text
	}
	s := own.Statements[m.at.statement]
	more := len(text) - len(m.module.text)
	for _, f := range m.module.functions {
		start, end := f.Start, f.End
		if !f.Entry || f.Name == own.Name {
			continue
		}
		if start > s.Start {
			start, end = start+more, end+more
		}
		start = unlinked(text, start)
		for i := start; i < end; i++ {
			if text[i] != '\n' {
				text[i] = ' '
			}
		}
	}
	return text
}

// unlinked returns where the linking directives before a function begin.
func unlinked(text []byte, start int) int {
	for {
		before := bytes.TrimRight(text[:start], " \t\r\n")
		found := false
		for _, word := range []string{".visible", ".weak", ".extern", ".common"} {
			if bytes.HasSuffix(before, []byte(word)) {
				start, found = len(before)-len(word), true
			}
		}
		if !found {
			return start
		}
	}
}

// Taint returns the text of the original kernel alone, except that the bits of the result that
// the fault would change are undefined. A check for undefined values then reports the first
// use of such a bit. It is nil where Probe is nil, and for [KindAddress32].
func (m *Mutant) Taint() []byte {
	w := read(m.Old)
	d := cmp.Or(w.writes(), w.loads())
	t := types[class(d)]
	if m.result.op == "" || t == "" || w.guard != "" || m.result.guard != "" {
		return nil
	}
	bits := ".b" + t[2:]
	if t == ".pred" {
		bits = t
	}
	return m.alone(fmt.Sprintf("{ .reg %[1]s %%mutant_a, %%mutant_b, %%mutant_u; %[2]s %[3]s "+
		"xor%[4]s %%mutant_b, %%mutant_b, %%mutant_a; and%[4]s %%mutant_b, %%mutant_b, %%mutant_u; xor%[4]s %[5]s, %%mutant_a, %%mutant_b; }",
		t, w.operand(0, "%mutant_a"), m.result.operand(0, "%mutant_b"), bits, d))
}

// Probe returns the text of the original kernel alone, with a trap after the instruction if
// the fault would change its result. It is nil if the instruction does not write a single
// register.
func (m *Mutant) Probe() []byte {
	w := read(m.Old)
	d := cmp.Or(w.writes(), w.loads())
	t := types[class(d)]
	if m.Kind == KindAddress32 && w.guard == "" && d != "" {
		return m.alone(fmt.Sprintf("{ .reg .b64 %%mutant_a, %%mutant_b; .reg .pred %%mutant_p; %s shl.b64 %%mutant_b, %%mutant_a, 32; shr.s64 %%mutant_b, %%mutant_b, 32; "+
			"setp.ne.b64 %%mutant_p, %%mutant_a, %%mutant_b; mov.b64 %s, %%mutant_a; @%%mutant_p trap; }", w.operand(0, "%mutant_a"), d))
	}
	if m.result.op == "" || t == "" || w.guard != "" || m.result.guard != "" {
		return nil
	}
	bits := ".b" + t[2:]
	compare := fmt.Sprintf("setp.ne%s %%mutant_p, %%mutant_a, %%mutant_b; mov%s %s, %%mutant_a;", bits, bits, d)
	if t == ".pred" {
		compare = fmt.Sprintf("xor.pred %%mutant_p, %%mutant_a, %%mutant_b; mov.pred %s, %%mutant_a;", d)
	}
	return m.alone(fmt.Sprintf("{ .reg %s %%mutant_a, %%mutant_b; .reg .pred %%mutant_p; %s %s %s @%%mutant_p trap; }",
		t, w.operand(0, "%mutant_a"), m.result.operand(0, "%mutant_b"), compare))
}
