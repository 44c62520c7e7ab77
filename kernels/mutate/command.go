package mutate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Command is a shell command that checks a PTX file: it exits with 0 if it finds no error.
// {} in Text is replaced by the file's name.
type Command struct {
	Text  string
	Limit time.Duration // on the time for one file; a mutant that takes longer counts as detected
}

// Run writes a text to a file of the given name in a temporary folder and runs the command on
// it. failed says how the command failed, "" if it did not. The error is set if the command
// could not be run.
func (c *Command) Run(ctx context.Context, name string, text []byte) (failed string, _ error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, filepath.Base(name))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return "", err
	}
	limited, cancel := context.WithTimeout(ctx, c.Limit)
	defer cancel()
	cmd := exec.CommandContext(limited, "sh", "-c", strings.ReplaceAll(c.Text, "{}", quote(file)))
	endTogether(cmd)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case limited.Err() != nil:
		return fmt.Sprintf("it took more than %s", c.Limit), nil
	case err == nil:
		return "", nil
	case !errors.As(err, &exit):
		return "", err
	case exit.ExitCode() == 126 || exit.ExitCode() == 127: // the shell did not find the command, or cannot execute it
		return "", fmt.Errorf("%q cannot be run: %s", c.Text, lastLine(out))
	}
	if said := lastLine(out); said != "" {
		return fmt.Sprintf("%v: %s", exit, said), nil
	}
	return exit.Error(), nil
}

// lastLine returns the last line of an output, without trailing white space.
func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// quote quotes a word for a shell.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// Check runs the command on mutants of a module and returns those for which it succeeds. It
// does not tell whether they are equivalent. It is an error if the command fails on the
// original module. progress, if not nil, is called after each mutant.
func (c *Command) Check(ctx context.Context, m *Module, mutants []*Mutant, progress func()) ([]Survivor, error) {
	failed, err := c.Run(ctx, m.Name, m.text)
	if err != nil {
		return nil, err
	}
	if failed != "" {
		return nil, fmt.Errorf("the check fails without a fault: %s", failed)
	}
	survived := make([]bool, len(mutants))
	errs := make([]error, len(mutants))
	each(len(mutants), func(i int) {
		failed, err := c.Run(ctx, m.Name, mutants[i].PTX())
		survived[i], errs[i] = failed == "", err
		if progress != nil {
			progress()
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var list []Survivor
	for i, is := range survived {
		if is {
			list = append(list, Survivor{Mutant: mutants[i], Why: "the check does not show a difference"})
		}
	}
	return list, nil
}
