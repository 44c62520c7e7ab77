package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"kvcompress/traces"
	"kvcompress/validate"
)

func newGoldenCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "golden",
		Short: "Hold traces against their golden results",
		Long: `A golden result says, for every step and stage of a replay, a digest of each part
of the state and the few numbers that a person would check. It lies beside its
trace, as golden.json, with the options of the replay, options.json.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGoldenCheckCmd(), newGoldenUpdateCmd())
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

func newGoldenCheckCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [TRACE…]",
		Short: "Replay traces and say which step and stage first differs",
		Long: `Check replays each trace, the bundled ones if none is named, and compares every
digest with the golden result. Exit code 1 if one differs.`,
		Example: `  kvc golden check
  kvc golden check story mha
  kvc golden check ./my-trace --json`,
		ValidArgsFunction: completeTraces,
		RunE: func(cmd *cobra.Command, args []string) error {
			return goldenCheck(cmd, args, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the results as JSON")
	return cmd
}

func goldenCheck(cmd *cobra.Command, names []string, asJSON bool) error {
	if len(names) == 0 {
		names = traces.Names()
	}
	var results []goldenResult
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	if !asJSON {
		fmt.Fprintln(table, "TRACE\tSTEPS\tDIGESTS\tTIME\tRESULT")
	}
	differ := 0
	for _, name := range names {
		r, err := goldenCheckOne(cmd, name)
		if err != nil {
			return err
		}
		results = append(results, r)
		result := "same"
		if r.Difference != nil {
			differ++
			result = "differs"
		}
		if !asJSON {
			fmt.Fprintf(table, "%s\t%d\t%d\t%.2fs\t%s\n", r.Trace, r.Steps, r.Digests, r.Seconds, result)
		}
	}
	if asJSON {
		if err := printJSON(cmd.OutOrStdout(), results); err != nil {
			return err
		}
	} else if err := table.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		if d := r.Difference; d != nil && !asJSON {
			fmt.Fprintf(cmd.OutOrStdout(), "\n%s, %s\n  golden  %s\n  now     %s\n", r.Trace, d.Where(), d.Want, d.Got)
		}
	}
	if differ > 0 {
		return failure{fmt.Errorf("%d of %d traces differ from their golden results; if that is meant, run `kvc golden update`", differ, len(names))}
	}
	return nil
}

func goldenCheckOne(cmd *cobra.Command, name string) (goldenResult, error) {
	b, err := traces.Open(name)
	if err != nil {
		return goldenResult{}, err
	}
	f, err := b.FS.Open(traces.GoldenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return goldenResult{}, fmt.Errorf("trace %s has no %s: make one with `kvc golden update`", name, traces.GoldenFile)
	}
	if err != nil {
		return goldenResult{}, err
	}
	defer f.Close()
	want, err := validate.ReadGolden(f)
	if err != nil {
		return goldenResult{}, fmt.Errorf("trace %s: %w", name, err)
	}
	start := time.Now()
	got, err := recordGolden(cmd, b)
	if err != nil {
		return goldenResult{}, fmt.Errorf("trace %s: %w", name, err)
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
func recordGolden(cmd *cobra.Command, b *traces.Bundle) (*validate.Golden, error) {
	bar := newReplayBar(cmd.ErrOrStderr(), b.Trace)
	defer bar.clear()
	return validate.Record(cmd.Context(), b.Name, b.Trace, b.Options, bar.step)
}

func newGoldenUpdateCmd() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "update [TRACE…]",
		Short: "Rewrite golden results",
		Long: `Update replays each trace and writes its golden result beside it. A bundled trace,
or all of them if none is named, is written to the folder --dir: run it in the
repository, look at the diff, and build anew.`,
		Example: `  kvc golden update
  kvc golden update story
  kvc golden update ./my-trace`,
		ValidArgsFunction: completeTraces,
		RunE: func(cmd *cobra.Command, args []string) error {
			return goldenUpdate(cmd, args, dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "traces", "where the bundled traces' sources lie")
	return cmd
}

func goldenUpdate(cmd *cobra.Command, names []string, dir string) error {
	if len(names) == 0 {
		names = traces.Names()
	}
	for _, name := range names {
		b, err := traces.Open(name)
		if err != nil {
			return err
		}
		target := b.Dir
		if target == "" { // bundled: its source may be newer than what is built in
			target = filepath.Join(dir, name)
			if b, err = traces.Open(target); err != nil {
				return fmt.Errorf("%w (run this in the repository, or say where with --dir)", err)
			}
		}
		g, err := recordGolden(cmd, b)
		if err != nil {
			return fmt.Errorf("trace %s: %w", name, err)
		}
		var text bytes.Buffer
		if err := g.Write(&text); err != nil {
			return err
		}
		path := filepath.Join(target, traces.GoldenFile)
		old, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if bytes.Equal(old, text.Bytes()) {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: as before\n", path)
			continue
		}
		if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: written, %d steps\n", path, len(g.Steps))
	}
	return nil
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
