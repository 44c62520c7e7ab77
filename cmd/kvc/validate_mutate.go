package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvcompress/internal/words"
	"kvcompress/kernels/devices"
	"kvcompress/kernels/mutate"
)

// A mutant is run on random pipelines of up to mutateSeeds seeds, the same as in CI's coverage
// check: first on mutateRuns pipelines that execute the fault, then on others in which a branch of its kernel takes a
// direction that it has not taken before, and at last, unless the fault seems to be equivalent, on up to mutateMoreRuns more.
// The mutant survives if no pipeline detects it.
const (
	mutateSeeds    = 200
	mutateRuns     = 24
	mutateMoreRuns = 200
)

// validateMutate plants faults in the engine's kernels and prints how many are noticed.
func validateMutate(cmd *cobra.Command, flags *validateFlags) error {
	switch {
	case flags.mutate < 1:
		return usageError{fmt.Errorf("--mutate %d: want at least 1", flags.mutate)}
	case flags.engine.device.name == devices.CUDA:
		return usageError{errors.New("--mutate needs the PTX machine: --device ptx")}
	case !(flags.least >= 0 && flags.least <= 1):
		return usageError{fmt.Errorf("--least %v: want 0 to 1", flags.least)}
	case len(flags.engine.kernels) > 0:
		return usageError{errors.New("--mutate is for the engine's own kernels; for others use kvc ptx mutate")}
	}
	methods, err := randomMethods(cmd, flags.method)
	if err != nil {
		return err
	}
	modules, err := mutate.EngineModules()
	if err != nil {
		return err
	}
	start := time.Now()
	mutants := mutate.Sample(cmd.Context(), modules, flags.mutate, flags.seed, mutate.EngineGroup)
	bar := newBar(cmd.ErrOrStderr(), int64(len(mutants)), "mutants")
	check := mutate.Check{Methods: methods, Seeds: mutateSeeds, Runs: mutateRuns, MoreRuns: mutateMoreRuns, Progress: func() { _ = bar.Add(1) }}
	survivors, err := check.Run(cmd.Context(), mutants)
	_ = bar.Clear()
	if err != nil {
		return err
	}
	result := mutate.NewResult(flags.seed, mutants, survivors)
	if flags.asJSON {
		err = printJSON(cmd.OutOrStdout(), result)
	} else {
		printMutants(cmd.OutOrStdout(), result, time.Since(start))
	}
	if err == nil && result.Part() < flags.least {
		err = failure{fmt.Errorf("%.1f %% of the faults are noticed, less than %.1f %%", 100*result.Part(), 100*flags.least)}
	}
	return err
}

// printMutants prints a table by kind of fault, and the survivors by line of the source.
func printMutants(w io.Writer, r *mutate.Result, took time.Duration) {
	width := len("FAULT")
	for _, k := range r.Kinds {
		width = max(width, len(k.Kind))
	}
	fmt.Fprintf(w, "%-*s  %7s  %7s  %10s\n", width, "FAULT", "MUTANTS", "NOTICED", "EQUIVALENT")
	for _, kind := range mutate.Kinds() {
		for _, k := range r.Kinds {
			if k.Kind == kind {
				fmt.Fprintf(w, "%-*s  %7d  %7d  %10d\n", width, k.Kind, k.Mutants, k.Noticed, k.Equivalent)
			}
		}
	}
	if len(r.Survivors) > 0 {
		fmt.Fprintf(w, "\nNot noticed:\n")
	}
	for i := range r.Survivors {
		s := &r.Survivors[i]
		fmt.Fprintf(w, "  %s in %s, line %d of the PTX: %s\n", printableLine(s.Where()), printableLine(s.Kernel), s.Line, s.Kind)
		fmt.Fprintf(w, "    %s\n    %s\n", printableLine(s.Old), printableLine(s.New))
		guess := "not equivalent"
		if s.Equivalent {
			guess = "equivalent"
		}
		if s.Why != "" {
			fmt.Fprintf(w, "    guess: %s: %s\n", guess, printableLine(strings.TrimSpace(s.Why)))
		}
	}
	fmt.Fprintf(w, "\n%s of %s noticed, %s of the others equivalent by the guess: %.1f %% of the rest, in %.1fs.\n",
		words.Number(r.Noticed), words.Count(r.Mutants, "mutant"), words.Number(r.Equivalent), 100*r.Part(), took.Seconds())
}
