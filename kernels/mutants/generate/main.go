// Generate builds the PTX of every mutant with clang-19 and keeps what differs from
// the kernels' own, in diffs/.
package main

import (
	"bytes"
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

// formats are the lines that make the entry points of a format.
var formats = regexp.MustCompile(`(?m)^[A-Z_]+\((f32|f16|bf16|e4m3|e5m2)\)$`)

// only returns a source without the entry points of other formats.
func only(format string, source []byte) []byte {
	return formats.ReplaceAllFunc(source, func(line []byte) []byte {
		if bytes.HasSuffix(line, []byte("("+format+")")) {
			return line
		}
		return nil
	})
}

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
	if err := os.WriteFile(source, only(m.InFormat(), text), 0o644); err != nil {
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
