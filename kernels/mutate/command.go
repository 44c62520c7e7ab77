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

// Command is a shell command that checks a PTX file: it exits with 0 where nothing is wrong
// with it. The file's name stands for {}.
type Command struct {
	Text  string
	Limit time.Duration // a mutant for which it takes longer is noticed
}

// Run runs the command on a text, which gets the name of its module's file, in a folder of
// its own. failed says how it ended, if not well; the error is that it could not be run.
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
	case exit.ExitCode() == 126 || exit.ExitCode() == 127: // of a shell that finds no such command
		return "", fmt.Errorf("%q cannot be run: %s", c.Text, lastLine(out))
	}
	if said := lastLine(out); said != "" {
		return fmt.Sprintf("%v: %s", exit, said), nil
	}
	return exit.Error(), nil
}

// lastLine returns the last line of an output that is not empty.
func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// quote is a word for a shell.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// Check runs the command on every mutant of a module. One that it does not notice has
// survived; whether it is equivalent, nothing says. The error is also that of a command that
// fails without a fault. progress, which may be nil, is called as each is done.
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
