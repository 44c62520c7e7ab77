package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"kvcompress/internal/words"
	"kvcompress/kernels/ptx"
	"kvcompress/trace/regular"
	"kvcompress/traces"
	"kvcompress/validate"
)

func newGoldenCmd(parsed *ptx.Cache) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "golden",
		Short: "Compare replays of traces with their golden results",
		Long: `A golden result has, for every step and stage of a replay, a digest of each part of the
state, and a few numbers for people to read. It is the file golden.json in the trace's
folder, beside options.json, the options of the replay. Replays with other methods have
both files in methods/METHOD. NAME/METHOD names such a replay, and NAME/... all replays
of a trace.`,
		Example: `  kvc golden check
  kvc golden update ./my-trace`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGoldenCheckCmd(parsed), newGoldenUpdateCmd(), newGoldenExportCmd(), newGoldenCompareCmd())
	return cmd
}

// goldenResult is one trace's line of `kvc golden check`.
type goldenResult struct {
	Trace      string               `json:"trace"`
	Steps      int                  `json:"steps"`
	Digests    int                  `json:"digests"`
	Seconds    float64              `json:"seconds"`
	Difference *validate.Difference `json:"difference,omitempty"`
}

func newGoldenCheckCmd(parsed *ptx.Cache) *cobra.Command {
	var asJSON bool
	engine := engineFlags{device: deviceFlags{options: ptx.Options{Checks: ptx.AllChecks(), Cache: parsed}}}
	cmd := &cobra.Command{
		Use:   "check [TRACE…]",
		Short: "Replay traces and report the first step and stage that differs",
		Long: `Check replays each trace (if none is named, the bundled ones with all their methods) and
compares every digest with the golden result. Exit code 1 if one differs. It replays on
the reference engine or, with --device, on the CUDA engine, which does not run all methods.`,
		Example: `  kvc golden check
  kvc golden check story mha recall/snapkv
  kvc golden check recall/...
  kvc golden check story --device ptx
  kvc golden check ./my-trace --json`,
		ValidArgsFunction: completeReplays,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("device") {
				return goldenCheck(cmd, args, nil, asJSON)
			}
			engines, err := engine.open(cmd.Context())
			if err != nil {
				return err
			}
			return goldenCheck(cmd, args, engines.make, asJSON)
		},
	}
	engine.device.add(cmd.Flags())
	engine.device.optional(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the results as JSON")
	return cmd
}

func goldenCheck(cmd *cobra.Command, names []string, engine validate.NewEngine, asJSON bool) error {
	bundles, err := openTraces(cmd.Context(), names)
	if err != nil {
		return err
	}
	results := []goldenResult{}
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	if !asJSON {
		fmt.Fprintln(table, "TRACE\tSTEPS\tDIGESTS\tTIME\tRESULT")
	}
	differ := 0
	var left []notRun
	var failed error // errors of traces that could not be checked; the others are checked nonetheless
	for _, b := range bundles {
		r, err := goldenCheckOne(cmd, b, engine)
		if why := unsupported(names, err); why != nil {
			left = append(left, notRun{b.Name, why.Error()})
			continue
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("trace %s: %w", b.Name, err))
			if cmd.Context().Err() != nil {
				break
			}
			continue
		}
		results = append(results, r)
		result := "same"
		if r.Difference != nil {
			differ++
			result = "differs"
		}
		if !asJSON {
			fmt.Fprintf(table, "%s\t%s\t%s\t%.2fs\t%s\n", r.Trace, words.Number(r.Steps), words.Number(r.Digests), r.Seconds, result)
		}
	}
	if asJSON {
		if err := printJSON(cmd.OutOrStdout(), results); err != nil {
			return err
		}
	} else if err := table.Flush(); err != nil {
		return err
	}
	if !asJSON {
		sayNotRun(cmd.OutOrStdout(), left)
	}
	for _, r := range results {
		if d := r.Difference; d != nil && !asJSON {
			fmt.Fprintf(cmd.OutOrStdout(), "\n%s, %s\n  golden  %s\n  now     %s\n", r.Trace, d.Where(), d.Want, d.Got)
		}
	}
	if differ > 0 {
		failed = errors.Join(failed, failure{fmt.Errorf("%s from golden results; if that is intended, run `kvc golden update`", words.OfAll(differ, len(bundles), "trace", "differ"))})
	}
	return failed
}

func goldenCheckOne(cmd *cobra.Command, b *traces.Bundle, engine validate.NewEngine) (goldenResult, error) {
	f, err := regular.Open(b.FS, traces.GoldenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return goldenResult{}, fmt.Errorf("there is no %s: make one with `kvc golden update`", traces.GoldenFile)
	}
	if err != nil {
		return goldenResult{}, fmt.Errorf("%s: %w", traces.GoldenFile, err)
	}
	defer f.Close()
	want, err := validate.ReadGolden(f)
	if err != nil {
		return goldenResult{}, fmt.Errorf("%s: %w", traces.GoldenFile, err)
	}
	if err := checkOptions(b, b.Options); err != nil {
		return goldenResult{}, err
	}
	start := time.Now()
	got, err := recordGolden(cmd, b, engine)
	if err != nil {
		return goldenResult{}, err
	}
	r := goldenResult{Trace: b.Name, Steps: len(got.Steps), Seconds: time.Since(start).Seconds(), Difference: want.Compare(got)}
	for _, s := range got.Steps {
		for _, stage := range s.Stages {
			r.Digests += len(stage.Digest)
		}
	}
	return r, nil
}

// recordGolden replays a trace, with a progress bar.
func recordGolden(cmd *cobra.Command, b *traces.Bundle, engine validate.NewEngine) (*validate.Golden, error) {
	bar := newReplayBar(cmd.ErrOrStderr(), b.Trace)
	defer bar.clear()
	return validate.Record(cmd.Context(), b.Name, b.Trace, b.Options, bar.progress, engine)
}

// openTraces opens the named replays, or all bundled ones if none is named. An unknown name is
// wrong use.
func openTraces(ctx context.Context, names []string) ([]*traces.Bundle, error) {
	var bundles []*traces.Bundle
	if len(names) == 0 {
		for _, name := range traces.Replays() {
			b, err := traces.Bundled(name)
			if err != nil {
				return nil, err
			}
			bundles = append(bundles, b)
		}
	}
	for _, name := range names {
		replays, err := traces.Expand(name)
		if err != nil {
			return nil, usageError{err}
		}
		for _, name := range replays {
			b, err := openTrace(ctx, name)
			if err != nil {
				return nil, err
			}
			bundles = append(bundles, b)
		}
	}
	return bundles, nil
}

func openTrace(ctx context.Context, name string) (*traces.Bundle, error) {
	if err := traces.Check(name); err != nil {
		return nil, usageError{err}
	}
	b, err := traces.OpenContext(ctx, name)
	if err != nil {
		return nil, err
	}
	b.Name = printableLine(b.Name) // it comes from the trace's file, and is printed
	return b, nil
}

// completeReplays completes the names of bundled replays, and folders.
func completeReplays(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return traces.Replays(), cobra.ShellCompDirectiveDefault
}

// completeTraces completes the names of bundled traces, and folders.
func completeTraces(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return traces.Names(), cobra.ShellCompDirectiveDefault
}

// printJSON prints a result with stable keys.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
