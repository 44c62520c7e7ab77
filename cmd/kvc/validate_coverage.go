package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"kvcompress/internal/words"
	"kvcompress/kernels/coverage"
	"kvcompress/kernels/devices"
	"kvcompress/kernels/ptx"
	"kvcompress/validate"
)

// coverageResult is what `kvc validate --coverage --json` prints.
type coverageResult struct {
	*coverage.Report
	Validation *validation            `json:"validation"`
	Random     *validate.RandomResult `json:"random,omitempty"`
}

// validateCoverage replays traces, runs the random pipelines of --random, and prints which
// instructions of the kernels were executed.
func validateCoverage(cmd *cobra.Command, names []string, flags *validateFlags) error {
	dev := &flags.engine.device
	if dev.name == devices.CUDA {
		return usageError{errors.New("--coverage needs the PTX machine: --device ptx")}
	}
	dev.name = devices.PTX
	dev.options.Coverage = new(ptx.Coverage)
	if err := coverage.AddEngine(dev.options.Coverage, dev.options.Cache); err != nil {
		return err
	}
	engines, err := flags.engine.open(cmd.Context())
	if err != nil {
		return err
	}
	run := validate.Run{Engine: engines.make, Tolerance: flags.tolerance}
	var result coverageResult
	var failed, disagree error
	result.Validation, failed = validateTraces(cmd, names, flags, engines, run)
	if cmd.Flags().Changed("random") && (failed == nil || errors.As(failed, new(failure))) {
		dev.options.Budget = randomBudget
		engines.strict()
		fmt.Fprintln(flags.text(cmd))
		result.Random, disagree = validateRandom(cmd, flags, engines, run)
	}
	if failed = errors.Join(failed, disagree); failed != nil && !errors.As(failed, new(failure)) {
		return failed
	}
	result.Report = coverage.Of(dev.options.Coverage)
	if err := result.Expect(); err != nil {
		return err
	}
	out := flags.text(cmd)
	fmt.Fprintln(out)
	result.Write(out)
	if flags.complete {
		if n := result.Unexpected(); n > 0 {
			failed = errors.Join(failed, failure{fmt.Errorf("%s not executed, though expected to be", words.Count(n, "instruction"))})
		}
	}
	return errors.Join(flags.print(cmd, &result), failed)
}
