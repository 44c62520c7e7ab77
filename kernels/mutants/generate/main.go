// Generate builds the PTX of every mutant with clang-19 and keeps what differs from
// the kernels' own, in diffs/.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"

	"kvcompress/kernels/mutants"
)

func main() {
	log.SetFlags(0)
	if err := generate(); err != nil {
		log.Fatal(err)
	}
}

func generate() error {
	old, err := filepath.Glob("diffs/*.diff")
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	all := mutants.All()
	errs := make([]error, len(all))
	var wait sync.WaitGroup
	slots := make(chan struct{}, runtime.NumCPU())
	for i := range all {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := build(&all[i]); err != nil {
				errs[i] = fmt.Errorf("%s: %w", all[i].Name, err)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// otherFormats are the entry points of the formats that a mutant has none of.
var otherFormats = regexp.MustCompile(`(?m)^[A-Z_]+\((f32|bf16|e4m3|e5m2)\)$`)

// build writes the diff of one mutant.
func build(m *mutants.Mutant) error {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, os.DirFS("../cu")); err != nil {
		return err
	}
	file := filepath.Join(dir, m.File)
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	edited, err := m.Edit(string(text))
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(edited), 0o644); err != nil {
		return err
	}
	source := filepath.Join(dir, m.Source())
	if text, err = os.ReadFile(source); err != nil {
		return err
	}
	if err := os.WriteFile(source, otherFormats.ReplaceAll(text, nil), 0o644); err != nil {
		return err
	}
	if out, err := exec.Command(filepath.Join(dir, "build"), m.Source()).CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	module := strings.TrimSuffix(m.Source(), ".cu") + ".ptx"
	diff, err := exec.Command("diff", "-n", filepath.Join("../cu", module), filepath.Join(dir, module)).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 {
		err = nil // they differ
	} else if err == nil {
		err = errors.New("the edit changes nothing")
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join("diffs", m.Name+".diff"), diff, 0o644)
}
