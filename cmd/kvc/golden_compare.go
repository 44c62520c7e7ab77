package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"kvcompress/trace/regular"
	"kvcompress/validate/kit"
)

// The formats of `kvc golden compare`.
const (
	formatText   = "text"
	formatJSON   = "json"
	formatJUnit  = "junit"
	formatGitHub = "github"
)

// compareFlags are the flags of `kvc golden compare`.
type compareFlags struct {
	theirs string
	all    bool
	format string
	json   bool
	kit.Options
}

func newGoldenCompareCmd() *cobra.Command {
	flags := compareFlags{format: formatText}
	cmd := &cobra.Command{
		Use:   "compare DIR --theirs DIR2",
		Short: "Report where another implementation's arrays first differ from an export",
		Long: `Compare compares the arrays in DIR2 with those that kvc golden export wrote to DIR. Both
have the same names and the same format, npy or safetensors. It reports the stage, step,
sequence, layer, head and KV of the first value that differs, and a summary of each part.

Values are compared to the bit. --ulp, or --rtol and --atol, allow outputs and metrics to
differ from the export's. Arrays that are missing in DIR2 are reported; with --all, or if
all are missing, that is a disagreement.

Exit code 0: they agree; 1: they do not; 2: a file cannot be read.`,
		Example: `  kvc golden compare golden --theirs mine
  kvc golden compare golden --theirs mine --parts outputs --atol 1e-5
  kvc golden compare golden --theirs mine --all --format github
  kvc golden compare golden --theirs mine --format junit > junit.xml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return goldenCompare(cmd, args[0], &flags) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&flags.theirs, "theirs", "", "`folder` of the arrays to compare")
	addTolerance(fs, &flags.Tolerance)
	fs.StringSliceVar(&flags.Parts, "parts", nil, "compare only these `parts`, such as outputs,evicted")
	fs.BoolVar(&flags.all, "all", false, "take a missing array as a disagreement")
	fs.Var(&enum[string]{&flags.format, []string{formatText, formatJSON, formatJUnit, formatGitHub}}, "format", "of the result: text, json, junit (XML) or github (annotations of a workflow)")
	fs.BoolVar(&flags.json, "json", false, "the same as --format json")
	return cmd
}

func goldenCompare(cmd *cobra.Command, dir string, flags *compareFlags) error {
	if flags.json {
		if cmd.Flags().Changed("format") && flags.format != formatJSON {
			return usageError{fmt.Errorf("--json and --format %s exclude each other", flags.format)}
		}
		flags.format = formatJSON
	}
	if flags.theirs == "" {
		return usageError{errors.New("--theirs is missing: the folder to compare")}
	}
	if err := checkTolerance(&flags.Tolerance); err != nil {
		return err
	}
	for _, folder := range []string{dir, flags.theirs} {
		if info, err := os.Stat(folder); err != nil {
			return usageError{fmt.Errorf("%s: %w", folder, regular.Short(err))}
		} else if !info.IsDir() {
			return usageError{fmt.Errorf("%s is not a folder", folder)}
		}
	}
	report, err := kit.Compare(cmd.Context(), os.DirFS(dir), os.DirFS(flags.theirs), flags.Options)
	if ctx := cmd.Context().Err(); ctx != nil {
		return ctx
	}
	if report == nil {
		return usageError{fmt.Errorf("%s: %w", dir, err)}
	}
	if err := printComparison(cmd, report, flags); err != nil {
		return err
	}
	if err != nil {
		return usageError{err}
	}
	if err := report.Failure(flags.all); err != nil {
		return failure{fmt.Errorf("%s: %w", flags.theirs, err)}
	}
	return nil
}

// printComparison prints a report. Its names come from files, so they are made printable.
func printComparison(cmd *cobra.Command, report *kit.Report, flags *compareFlags) error {
	out := cmd.OutOrStdout()
	var text bytes.Buffer
	var err error
	switch flags.format {
	case formatJSON:
		return printJSON(out, report)
	case formatJUnit:
		return report.JUnit(out, flags.all)
	case formatGitHub:
		err = report.GitHub(&text)
	default:
		err = report.Text(&text)
	}
	if err != nil {
		return err
	}
	_, err = out.Write([]byte(printable(text.String())))
	return err
}
