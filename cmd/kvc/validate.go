package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"kvcompress/validate"
)

func newValidateCmd() *cobra.Command {
	var cases string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "validate [TRACE…]",
		Short: "Hold the engine against its specification, or against recorded decisions",
		Long: `Validate replays each trace, the bundled ones if none is named, on the reference
engine, and makes every eviction decision a second time by walking all candidates
in order of cost, as the paper does. The two must agree in every KV.

With --cases it replays recorded decisions of another implementation: a JSON array
of eviction decisions (which blocks and KVs of every head fall, and the moves that
follow: equal to the last index) or of prefill metrics (equal to 1e-5, relative).

Exit code 1 if anything disagrees.`,
		Example: `  kvc validate
  kvc validate six-stories --json
  kvc validate --cases eviction.json`,
		ValidArgsFunction: completeTraces,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case cmd.Flags().Changed("cases") && len(args) > 0:
				return usageError{errors.New("--cases and traces exclude each other")}
			case cmd.Flags().Changed("cases"): // if to nothing, then by mistake
				return validateCases(cmd, cases, asJSON)
			default:
				return validateTraces(cmd, args, asJSON)
			}
		},
	}
	cmd.Flags().StringVar(&cases, "cases", "", "recorded decisions of another implementation, a JSON `file`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the results as JSON")
	return cmd
}

// validation is what `kvc validate --json` prints.
type validation struct {
	Traces     int    `json:"traces"`
	Steps      int    `json:"steps"`
	Values     int    `json:"values_compared"`
	Mismatches int    `json:"mismatches"`
	First      string `json:"first_divergence,omitempty"`

	Results []validate.TraceResult `json:"results"`
}

func validateTraces(cmd *cobra.Command, names []string, asJSON bool) error {
	bundles, err := openTraces(names)
	if err != nil {
		return err
	}
	all := validation{Results: []validate.TraceResult{}}
	var failed error // of traces that could not be replayed; the others are
	var out io.Writer = cmd.OutOrStdout()
	if asJSON {
		out = io.Discard
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TRACE\tSTEPS\tSTAGES\tDECISIONS\tVALUES COMPARED\tTIME\tRESULT")
	for _, b := range bundles {
		start := time.Now()
		bar := newReplayBar(cmd.ErrOrStderr(), b.Trace)
		r, err := validate.Trace(cmd.Context(), b.Name, b.Trace, b.Options, bar.progress)
		bar.clear()
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("trace %s: %w", b.Name, err))
			if cmd.Context().Err() != nil {
				break
			}
			continue
		}
		all.Traces++
		all.Steps += r.Steps
		all.Values += r.Values
		all.Results = append(all.Results, r)
		result := "agree"
		if r.Mismatch != "" {
			all.Mismatches++
			result = r.Mismatch
			if all.First == "" {
				all.First = r.Trace + ": " + r.Mismatch
			}
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%.2fs\t%s\n", r.Trace, r.Steps, r.Stages, r.Decisions, r.Values, time.Since(start).Seconds(), result)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if asJSON {
		if err := printJSON(cmd.OutOrStdout(), all); err != nil {
			return err
		}
	}
	if all.Mismatches > 0 {
		failed = errors.Join(failed, fmt.Errorf("%d of %d traces disagree", all.Mismatches, all.Traces))
	}
	if failed != nil {
		return failure{failed}
	}
	fmt.Fprintf(out, "\nThe engine's decisions and the walk's agree in all %d values of %d traces.\n", all.Values, all.Traces)
	return nil
}

func validateCases(cmd *cobra.Command, path string, asJSON bool) error {
	f, err := os.Open(path)
	if err != nil {
		return usageError{fmt.Errorf("--cases: %w", err)}
	}
	defer f.Close()
	results, err := validate.Cases(cmd.Context(), f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	disagree := 0
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	if !asJSON {
		fmt.Fprintln(table, "CASE\tKIND\tBLOCKS\tKVS\tMOVES\tVALUES\tRESULT\tDETAIL")
	}
	for _, r := range results {
		result := "agrees"
		if r.Kind == validate.KindMetrics {
			result = fmt.Sprintf("within %.1e", r.MaxError)
		}
		if r.Mismatch != "" {
			disagree++
			result = r.Mismatch
		}
		if !asJSON {
			fmt.Fprintf(table, "%d\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n", r.Case, r.Kind, r.Blocks, r.KVs, r.Moves, r.Values, result, r.Detail)
		}
	}
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), results)
	} else {
		err = table.Flush()
	}
	if err != nil {
		return err
	}
	if disagree > 0 {
		return failure{fmt.Errorf("%s: %d of %d cases disagree", path, disagree, len(results))}
	}
	if !asJSON {
		fmt.Fprintf(cmd.OutOrStdout(), "\nAll %d cases agree.\n", len(results))
	}
	return nil
}
