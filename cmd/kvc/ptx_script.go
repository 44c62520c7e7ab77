package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"kvcompress/internal/words"
	"kvcompress/kernels/devices"
	"kvcompress/kernels/invoke"
	"kvcompress/kernels/ptx"
	"kvcompress/trace/regular"
)

func newPTXScriptCmd(parsed *ptx.Cache) *cobra.Command {
	device := deviceFlags{name: devices.PTX, options: ptx.Options{Checks: ptx.AllChecks(), Cache: parsed, MemoryLimit: 2 << 30}}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "script FILE",
		Short: "Run a script of launches that share memory, and compare their results",
		Long: `Script runs the statements of a file, one a line:

  module FILE.ptx                             kernels and variables from here on
  buffer NAME in=FILE [mask=FILE]             memory with the array of a file; what a mask of
                                              bools leaves out stays undefined
  buffer NAME zeros=TYPE[SHAPE]               … with zeros
  buffer NAME tmp=TYPE[SHAPE]                 … that is undefined
  write NAME FILE                             the array of a file into a buffer
  zero NAME                                   zeros into a buffer
  set VARIABLE[+BYTES] KIND=VALUE             a number, address or struct into a variable
  set VARIABLE[+BYTES] in=FILE                … or an array
  launch ENTRY grid=X[,Y[,Z]] block=X[,Y[,Z]] [shared=BYTES] [cooperative] [KIND=VALUE]…
  expect NAME FILE [mask=FILE] [ulp=N] [rtol=R] [atol=A]
                                              what a buffer or variable has to hold now
  save NAME FILE                              a buffer into a file of the script's folder
  save VARIABLE[+BYTES] TYPE[SHAPE]:FILE      … or a variable, as an array

Arguments are the numbers and structs of kvc ptx run, and buf=NAME or buf=NAME+BYTES. Words
with spaces stand in double quotes; # begins a comment. Names of files are relative to the
script's folder. docs/ptx-run.md has an example.

The exit code is 1 if an expectation is not met or a checker finds anything, and 2 if the
script cannot be run; files are written only if all went well.`,
		Example: `  kvc ptx script pipeline.txt
  kvc ptx script case/launch.txt --json | jq .expected`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return ptxScript(cmd, args[0], &device, asJSON) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	device.add(fs)
	addRun(fs, &device.options)
	fs.Var(positive[int64]{&device.options.MemoryLimit}, "memory", "`bytes` that all buffers may have together")
	fs.BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// ptxScriptResult is what `kvc ptx script --json` prints.
type ptxScriptResult struct {
	File         string              `json:"file"`
	Device       string              `json:"device"`
	Checks       string              `json:"checks,omitempty"`
	Instructions int64               `json:"instructions,omitempty"`
	Launches     []invoke.Launched   `json:"launches"`
	Expected     []invoke.Comparison `json:"expected"`
	Saved        []invoke.Buffer     `json:"saved"`
	Printed      string              `json:"printed,omitempty"`
	Findings     []ptxFinding        `json:"findings,omitempty"`
	Suppressed   int64               `json:"suppressed"`
	Error        string              `json:"error,omitempty"`
}

func ptxScript(cmd *cobra.Command, path string, flags *deviceFlags, asJSON bool) error {
	text, err := regular.ReadFile(path, 2<<20)
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", path, err)}
	}
	script, err := invoke.ParseScript(path, text)
	if err != nil {
		return usageError{err}
	}
	var printed bytes.Buffer
	flags.options.Output = &printed
	if !asJSON {
		flags.options.Output = printableWriter{cmd.OutOrStdout()}
	}
	dev, err := flags.open()
	if err != nil {
		return err
	}
	done, err := script.Run(cmd.Context(), dev, filepath.Dir(path))
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted: no file is written")
	}
	err = errors.Join(err, dev.Close())
	r := ptxScriptResult{
		File: path, Device: dev.Name(), Launches: done.Launches, Expected: done.Expected, Saved: done.Saved, Printed: printed.String(),
	}
	if machine, ok := dev.(*ptx.Device); ok {
		r.Checks, r.Instructions, r.Suppressed = flags.options.Checks.String(), machine.Instructions(), machine.Suppressed()
	}
	found := done.Findings
	if err != nil {
		if r.Error = err.Error(); len(found) == 0 {
			found = findingsOf(err)
		}
	}
	if r.Findings = newPTXFindings(found); asJSON {
		if err := printJSON(cmd.OutOrStdout(), r); err != nil {
			return err
		}
	} else {
		printPTXScript(cmd.OutOrStdout(), r)
		printFindings(cmd.OutOrStdout(), found)
	}
	switch {
	case err != nil && len(found) > 0:
		return failure{err}
	case err != nil:
		return err
	case len(found) > 0:
		return failure{&ptx.Findings{List: found}}
	case done.Differ:
		return failure{errors.New("a buffer is not as expected")}
	}
	return nil
}

// printPTXScript prints the launches of a script, the buffers that were written and the
// comparisons.
func printPTXScript(out io.Writer, r ptxScriptResult) {
	launches := "launches"
	if len(r.Launches) == 1 {
		launches = "launch"
	}
	fmt.Fprintf(out, "%s: %d %s on %s", printableLine(r.File), len(r.Launches), launches, r.Device)
	if r.Instructions > 0 {
		fmt.Fprintf(out, ", %s", words.Count(r.Instructions, "thread instruction"))
	}
	if r.Checks != "" {
		fmt.Fprintf(out, "; checks: %s", r.Checks)
	}
	fmt.Fprintln(out, ".")
	printSuppressed(out, r.Suppressed)
	for i := range r.Expected {
		fmt.Fprintf(out, "line %d: %s\n", r.Expected[i].Line, printableLine(r.Expected[i].String()))
	}
	for _, b := range r.Saved {
		fmt.Fprintf(out, "written: %s, %s%s, %s to %s, %d NaN\n", printableLine(b.File), b.Type, invoke.ShapeText(b.Shape), number(b.Min), number(b.Max), b.NaNs)
	}
}
