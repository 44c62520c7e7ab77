package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvcompress/kernels/mutate"
	"kvcompress/kernels/ptx"
)

// ptxMutateFlags are the flags of `kvc ptx mutate`.
type ptxMutateFlags struct {
	check  string
	n      int
	seed   uint64
	entry  string
	limit  time.Duration
	asJSON bool
}

func newPTXMutateCmd() *cobra.Command {
	flags := ptxMutateFlags{}
	cmd := &cobra.Command{
		Use:   "mutate FILE.ptx --check 'COMMAND {}'",
		Short: "Mutation testing: plant small faults in a PTX file and see which ones a check notices",
		Long: `Mutate plants small faults in a PTX file, one at a time: a changed operand, rounding,
sign, width or comparison (< for <=), an off-by-one constant, a negated predicate, two
roundings made one by a fused multiply-add, a dropped barrier, fence, wait, atomic or
store, 32-bit instead of 64-bit address arithmetic. It writes each mutant to a file and
runs your command on it, with {} replaced by the file. The fault is noticed if the
command exits with another code than 0 or takes longer than --timeout. Without a fault
the command must exit with 0.

It prints how many faults were noticed, and lists the others by line of the source: your
check misses them, or they make no difference.

Exit code 2 if the check fails without a fault, or cannot be run.`,
		Example: `  kvc ptx mutate saxpy.ptx --check 'kvc ptx run {} --entry saxpy --grid 8 --block 128 \
      --arg u32=1000 --arg f32=2 --arg in=x.npy --arg inout=y.npy --expect y=want.npy'
  kvc ptx mutate mine.ptx -n 200 --check './test.sh {}' --json
  kvc ptx mutate mine.ptx --check 'kvc validate story --kernel attend_combine={}:combine'`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{"ptx"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error { return runPTXMutate(cmd, args[0], &flags) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&flags.check, "check", "", "`command` for the shell that checks the file {}")
	fs.IntVarP(&flags.n, "mutants", "n", 100, "how many faults are drawn")
	fs.Uint64Var(&flags.seed, "seed", 1, "which are drawn")
	fs.StringVar(&flags.entry, "entry", "", "faults in this kernel alone")
	fs.DurationVar(&flags.limit, "timeout", time.Minute, "how long the command may take for a fault")
	fs.BoolVar(&flags.asJSON, "json", false, "print the result as JSON")
	return cmd
}

func runPTXMutate(cmd *cobra.Command, file string, flags *ptxMutateFlags) error {
	switch {
	case flags.check == "":
		return usageError{errors.New("--check is missing: the command that checks the kernel")}
	case !strings.Contains(flags.check, "{}"):
		return usageError{fmt.Errorf("--check %q: want {} in it, which is replaced by the file with the fault", flags.check)}
	case flags.n < 1:
		return usageError{fmt.Errorf("--mutants %d: want at least 1", flags.n)}
	case flags.limit <= 0:
		return usageError{fmt.Errorf("--timeout %s: want more than 0", flags.limit)}
	}
	text, err := readPTX(file)
	if err != nil {
		return err
	}
	name := filepath.Base(file)
	if _, err := ptx.Parse(name, text, true); err != nil {
		return err
	}
	m, err := mutate.Parse(name, text)
	if err != nil {
		return err
	}
	start := time.Now()
	mutants, err := m.Sample(cmd.Context(), flags.entry, flags.n, flags.seed)
	if err != nil {
		return usageError{err}
	}
	bar := newBar(cmd.ErrOrStderr(), int64(len(mutants)), "mutants")
	check := mutate.Command{Text: flags.check, Limit: flags.limit}
	survivors, err := check.Check(cmd.Context(), m, mutants, func() { _ = bar.Add(1) })
	_ = bar.Clear()
	if err != nil {
		return err
	}
	result := mutate.NewResult(flags.seed, mutants, survivors)
	if flags.asJSON {
		return printJSON(cmd.OutOrStdout(), result)
	}
	printMutants(cmd.OutOrStdout(), result, time.Since(start))
	return nil
}
