package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/internal/words"
	"kvcompress/kernels"
	"kvcompress/kernels/capture"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/trace"
)

// captureFlags are the flags of `kvc ptx capture`.
type captureFlags struct {
	trace        string
	step, launch int
	out          string
}

func newPTXCaptureCmd(parsed *ptx.Cache) *cobra.Command {
	var flags captureFlags
	cmd := &cobra.Command{
		Use:   "capture KERNEL --trace TRACE --step N -o DIR",
		Short: "Write one launch of the pipeline to files, with its results",
		Long: `Capture runs a trace on the PTX machine up to a step of the scheduler, counted from 0 as
in kvc validate, and writes one launch of a kernel in this step to a new folder: the PTX,
the buffers before the launch, the changed buffers after it, and a script that launches
the kernel again and compares. To check a kernel of your own, replace the kernel in the
script.

KERNEL is a name of docs/kernels.md, with or without the format of keys and values.`,
		Example: `  kvc ptx capture attend_combine --trace story --step 9 -o case
  kvc ptx script case/launch.txt`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return ptxCapture(cmd, args[0], &flags, parsed) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&flags.trace, "trace", "", "a bundled trace, or a `folder` with one")
	fs.IntVar(&flags.step, "step", 0, "the scheduler's step, from 0 on")
	fs.IntVar(&flags.launch, "launch", 0, "which of the kernel's launches in that step, from 0 on")
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "output" {
			name = "out" // the flag's old name
		}
		return pflag.NormalizedName(name)
	})
	fs.StringVarP(&flags.out, "out", "o", "", "the new `folder`")
	writes(cmd, outputNew, "out")
	return cmd
}

func ptxCapture(cmd *cobra.Command, name string, flags *captureFlags, parsed *ptx.Cache) error {
	for _, needed := range []string{"trace", "step", "out"} {
		if !cmd.Flags().Changed(needed) {
			return usageError{fmt.Errorf("--%s is needed", needed)}
		}
	}
	if flags.step < 0 || flags.launch < 0 {
		return usageError{errors.New("--step and --launch count from 0")}
	}
	if err := kernels.CheckName(name); err != nil {
		return usageError{err}
	}
	bundles, err := openTraces(cmd.Context(), []string{flags.trace})
	if err != nil {
		return err
	}
	if len(bundles) != 1 {
		return usageError{fmt.Errorf("--trace %s: that is %s: want one", flags.trace, words.Count(len(bundles), "trace"))}
	}
	b := bundles[0]
	opt := b.Options
	opt.Fill(b.Trace.Meta, b.Trace.Requests())

	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	step, seen := 0, 0
	var others []string // kernels that the step launches
	dev := ptx.New(ptx.Options{Checks: ptx.AllChecks(), Cache: parsed})
	recorder := capture.NewRecorder(dev, func(entry string) bool {
		if step != flags.step {
			return false
		}
		if !kernels.IsKernel(entry, name) {
			if !slices.Contains(others, entry) {
				others = append(others, entry)
			}
			return false
		}
		seen++
		if seen != flags.launch+1 {
			return false
		}
		stop() // end the replay after this operation
		return true
	})
	_, err = sim.ReplayOn(ctx, b.Trace, opt, sim.Hooks{Step: func(*sim.Step) {
		if step++; step > flags.step {
			stop()
		}
	}}, func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), _ func(ref.Event)) (sim.Engine, error) {
		return kernels.New(recorder, cfg, open, nil, kernels.Options{Context: cmd.Context()})
	})
	l := recorder.Launch()
	switch {
	case cmd.Context().Err() != nil:
		return errors.New("interrupted: no file is written")
	case err != nil && !errors.Is(err, context.Canceled):
		return fmt.Errorf("trace %s: %w", b.Name, err)
	case l == nil && step <= flags.step:
		return fmt.Errorf("trace %s has %s: there is no step %d", b.Name, words.Count(step, "step"), flags.step)
	case l == nil && seen > 0:
		return fmt.Errorf("%s is launched %s in step %d of %s: there is no launch %d", name, words.Count(seen, "time"), flags.step, b.Name, flags.launch)
	case l == nil:
		return fmt.Errorf("%s is not launched in step %d of %s, which launches %s", name, flags.step, b.Name, strings.Join(others, ", "))
	}
	says := fmt.Sprintf("%s in step %d of the trace %s: grid %s, block %s.", l.Entry, flags.step, b.Name, shortDim(l.Grid), shortDim(l.Block))
	if err := l.Write(cmd.Context(), flags.out, says, ptx.Options{Checks: ptx.AllChecks()}); err != nil {
		return err
	}
	changed := 0
	for i := range l.Buffers {
		if l.Buffers[i].Changed {
			changed++
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s\nWritten to %s: %s, %d of them changed by the launch. Check with\n  kvc ptx script %s\n",
		says, printableLine(flags.out), words.Count(len(l.Buffers), "buffer"), changed, quoted(filepath.Join(flags.out, capture.ScriptName)))
	return nil
}
