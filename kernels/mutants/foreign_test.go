package mutants

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"
)

var foreign = flag.String("foreign", "", "a JSON `file` of bugs that others planted: see TestForeign")

// foreignBug is a bug from a file that is not part of this package: edits of a source file, and
// the module to build.
type foreignBug struct {
	Name   string      `json:"name"`
	File   string      `json:"file"`
	Module string      `json:"module"`
	What   string      `json:"what"`
	Edits  [][2]string `json:"edits"`
}

// TestForeign runs the validation on bugs from a file, and logs what detects each. It needs
// clang-19, and takes minutes: go test ./kernels/mutants -run Foreign -v -foreign FILE.
func TestForeign(t *testing.T) {
	if *foreign == "" {
		t.Skip("no -foreign FILE")
	}
	if _, err := exec.LookPath("clang++-19"); err != nil {
		t.Skip(err)
	}
	text, err := os.ReadFile(*foreign)
	if err != nil {
		t.Fatal(err)
	}
	var bugs []foreignBug
	if err := json.Unmarshal(text, &bugs); err != nil {
		t.Fatal(err)
	}
	for _, b := range bugs {
		t.Run(b.Name, func(t *testing.T) {
			m := Mutant{Name: b.Name, Bug: b.What, File: b.File, Module: b.Module + ".cu"}
			for _, format := range []string{"bf16", "e4m3", "e5m2", "f32"} {
				if strings.Contains(b.Name, format) {
					m.Format = format
				}
			}
			m.Old, m.New = b.Edits[0][0], b.Edits[0][1]
			source, err := m.Source(os.DirFS("../cu"))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range b.Edits[1:] {
				more := Mutant{Name: b.Name, File: b.File, Old: e[0], New: e[1]}
				if source.files[b.File], err = more.edit(source.files[b.File]); err != nil {
					t.Fatal(err)
				}
			}
			built, err := source.Build(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p := planted{kernels: m.Kernels(built)}
			for entry := range p.kernels {
				if strings.HasSuffix(entry, "_"+m.format()) {
					p.format = m.format()
				}
			}
			for _, input := range inputs(&m) {
				by, err := p.run(input)
				if err != nil {
					t.Fatalf("%s: %v", input, err)
				}
				if by != "" {
					t.Logf("noticed by %s (%s): %s", by, input, b.What)
					return
				}
			}
			t.Errorf("not noticed: %s", b.What)
		})
	}
}
