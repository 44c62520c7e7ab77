package main

import (
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"kvcompress/validate"
)

// validateCases replays recorded decisions of another implementation.
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
