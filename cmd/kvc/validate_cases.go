package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"kvcompress/internal/words"
	"kvcompress/validate"
)

// validateCases compares with recorded decisions and results of other implementations.
func validateCases(cmd *cobra.Command, name string, asJSON bool) error {
	ctx, clear := watched(cmd, "cases compared")
	report, err := validate.CasesAt(ctx, name)
	clear()
	if cmd.Context().Err() != nil {
		return interrupted(cmp.Or(err, cmd.Context().Err()), words.OfAll(report.Agree, report.Cases, "case", "agree")+", of the files that were done")
	}
	if err != nil {
		err = usageError{fmt.Errorf("--cases: %w", err)}
	}
	if len(report.Results) == 0 && err != nil {
		return err
	}
	if asJSON {
		err = errors.Join(err, printJSON(cmd.OutOrStdout(), report))
	} else {
		err = errors.Join(err, printCasesReport(cmd.OutOrStdout(), &report))
	}
	if disagree := report.Cases - report.Agree; err == nil && disagree > 0 {
		err = failure{fmt.Errorf("%s: %s", name, words.OfAll(disagree, report.Cases, "case", "disagree"))}
	}
	return err
}

// printCasesReport prints a line for each file, or for each case if there is one file, then the
// cases that disagree and the total.
func printCasesReport(out io.Writer, report *validate.CasesReport) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(report.Files) == 1 {
		fmt.Fprintln(table, "CASE\tKIND\tVALUES\tRESULT\tDETAIL")
		for _, r := range report.Results {
			id := fmt.Sprint(r.Case)
			if r.ID != "" {
				id = r.ID
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", printableLine(id), printableLine(r.Kind), words.Number(r.Values), caseResult(&r), printableLine(r.Detail))
		}
	} else {
		fmt.Fprintln(table, "FILE\tKIND\tCASES\tAGREE\tNOT COMPARED\tRESULT")
		for _, f := range report.Files {
			result := "agree"
			switch {
			case f.Error != "":
				result = f.Error
			case f.Agree < f.Cases:
				result = fmt.Sprintf("%s disagree", words.Number(f.Cases-f.Agree))
			case f.Cases == 0:
				result = "nothing compared"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", printableLine(f.Name), printableLine(f.Kind), words.Number(f.Cases), words.Number(f.Agree), words.Number(f.Skipped), printableLine(result))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(report.Files) > 1 {
		for _, r := range report.Results {
			if r.Mismatch != "" {
				fmt.Fprintf(out, "\n%s, case %d %s: %s\n", printableLine(r.File), r.Case, printableLine(r.ID), caseResult(&r))
			}
		}
	}
	if report.Agree == report.Cases && report.Cases > 1 {
		fmt.Fprintf(out, "\nAll %s cases agree", words.Number(report.Cases))
	} else {
		fmt.Fprintf(out, "\n%s", words.OfAll(report.Agree, report.Cases, "case", "agree"))
	}
	if report.Skipped > 0 {
		fmt.Fprintf(out, "; %s %s", words.Number(report.Skipped), words.Do(report.Skipped, "were not compared"))
	}
	_, err := fmt.Fprintln(out, ".")
	return err
}

// caseResult returns the result of a case in a few words.
func caseResult(r *validate.CaseResult) string {
	switch {
	case r.Skipped != "":
		return "not compared: " + printableLine(r.Skipped)
	case r.Mismatch != "":
		return printableLine(r.Mismatch)
	case r.MaxError != nil && *r.MaxError > 0:
		return fmt.Sprintf("agrees within %.1e", *r.MaxError)
	default:
		return "agrees"
	}
}
