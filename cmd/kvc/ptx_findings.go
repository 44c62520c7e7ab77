package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"kvcompress/internal/words"
	"kvcompress/kernels/ptx"
)

// addRun defines the flags of a run of the PTX machine: what it reports, and when it ends.
func addRun(fs *pflag.FlagSet, o *ptx.Options) {
	o.MaxFindings = 100
	fs.Var(positive[int]{&o.MaxFindings}, "findings", "end a launch after `N` different findings")
	fs.Var(&suppressions{&o.Suppress}, "suppress", "ignore findings, `KIND[@FILE[:LINE]]`, such as race@scan.cu:88 or any@vendor.cuh; may be repeated")
	fs.BoolVar(&o.SameValueStores, "allow-same-value", false, "do not report unordered stores of equal values to the same address as races")
	fs.BoolVar(&o.AllowApprox, "allow-approx", false, "run instructions whose result may differ on a GPU")
	fs.Var(positive[int64]{&o.Budget}, "budget", "`instructions` of warps after which a kernel is taken to be endless (default 2^34)")
}

// suppressions is the value of --suppress, which may be given several times.
type suppressions struct{ list *[]ptx.Suppression }

// Set adds a suppression.
func (s *suppressions) Set(text string) error {
	one, err := ptx.ParseSuppression(text)
	if err == nil {
		*s.list = append(*s.list, one)
	}
	return err
}

func (s *suppressions) String() string { return "" }

// Type returns the name of the value in --help.
func (s *suppressions) Type() string { return "finding" }

// ptxFinding is a finding in JSON.
type ptxFinding struct {
	*ptxFault
	Times int64 `json:"times"`
}

func newPTXFindings(found []ptx.Finding) []ptxFinding {
	list := make([]ptxFinding, len(found))
	for i, f := range found {
		list[i] = ptxFinding{newPTXFault(f.Report), f.Times}
	}
	return list
}

// findingsOf returns the findings in an error, each once.
func findingsOf(err error) []ptx.Finding {
	var all *ptx.Findings
	if errors.As(err, &all) {
		return all.List
	}
	var found []ptx.Finding
	var collect func(err error)
	collect = func(err error) {
		switch e := err.(type) {
		case nil:
		case *ptx.Report:
			found = append(found, ptx.Finding{Report: e, Times: 1})
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				collect(one)
			}
		case interface{ Unwrap() error }:
			collect(e.Unwrap())
		}
	}
	collect(err)
	return found
}

// printSuppressed says how many findings --suppress ignored, if any.
func printSuppressed(out io.Writer, n int64) {
	if n > 0 {
		fmt.Fprintf(out, "Findings passed over, as --suppress says: %s.\n", words.Number(n))
	}
}

// printFindings prints the reports, and a summary if there is more than one thing to say.
func printFindings(out io.Writer, found []ptx.Finding) {
	many := len(found) > 1
	for _, f := range found {
		fmt.Fprint(out, strings.TrimRight(printable(f.String()), "\n"), "\n")
		if f.Times > 1 {
			fmt.Fprintf(out, "    found   %s\n", words.Count(f.Times, "time"))
		}
		fmt.Fprintln(out)
	}
	if many {
		fmt.Fprintln(out, (&ptx.Findings{List: found}).Summary()+".")
	}
}
