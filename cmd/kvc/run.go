package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kvcompress/internal/output"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/report"
	"kvcompress/sim"
	"kvcompress/traces"
)

// runFlags are the flags of `kvc run` besides the options of the replay.
type runFlags struct {
	json     bool
	plot     string
	plotKept string
	profile  string
	steps    stepCount
	byHead   bool
}

func newRunCmd() *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "run [TRACE]",
		Short: "Replay a trace: what is evicted, and the memory step by step",
		Long: `Run serves the requests of a trace on the reference engine, with a scheduler that
admits, compresses and preempts as vLLM with KV-Compress does. It prints the memory of
the cache step by step (the memory ledger), the requests, and the fraction of its KVs that
each head keeps.

TRACE is a folder or the name of a bundled trace, ` + traces.Default + ` if none is given:
` + strings.Join(traces.Names(), ", ") + `.
The options are those of the trace's options.json, or the defaults below if it has
none; flags override them. TRACE/METHOD takes those of one of the trace's methods,
methods/METHOD/options.json.

A request that can never fit is refused, and the others are served: exit code 0.
Ctrl-C prints the finished steps: exit code 130.`,
		Example: `  kvc run
  kvc run story --max-cache-tokens 64
  kvc run recall/snapkv --plot-kept kept.svg
  kvc run story --method streaming-llm --max-cache-tokens 64 --set sinks=2
  kvc run llama-heads --rate 0.25 --sinks 4 --by-head
  kvc run ./my-trace --no-compression --steps all
  kvc run six-stories --blocks 200 --plot kept.svg
  kvc run six-stories --json | jq .totals
  kvc run llama-heads --profile heads.json`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return completeReplays(cmd, args, prefix)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.BoolVar(&flags.json, "json", false, "print the report as JSON, in full")
	fs.StringVar(&flags.plot, "plot", "", "draw what each head kept, and the blocks over time, to a .png or .svg `file`")
	fs.StringVar(&flags.plotKept, "plot-kept", "", "draw, for the first request at its last step, the tokens whose KVs each head holds, to a .png or .svg `file`")
	fs.StringVar(&flags.profile, "profile", "", "write which part of its KVs each head keeps, by how much is kept, to a `file` for kvc sim")
	fs.Var(&flags.steps, "steps", "rows of the memory ledger at most, or all (default 30)")
	fs.BoolVar(&flags.byHead, "by-head", false, "add a table by layer and head; with --json, what every head holds after each step")
	override := addOptionFlags(fs)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := traces.Bundled(traces.Default)
		if len(args) > 0 {
			b, err = openTrace(cmd.Context(), args[0])
		}
		if err != nil {
			return err
		}
		return runTrace(cmd, b, override, &flags)
	}
	writes(cmd, outputFile, "plot", "png", "svg")
	writes(cmd, outputFile, "plot-kept", "png", "svg")
	writes(cmd, outputFile, "profile", "json")
	readsOptions(cmd)
	suggest(cmd, "steps", "all")
	return cmd
}

func runTrace(cmd *cobra.Command, b *traces.Bundle, override func(*sim.Options) error, flags *runFlags) error {
	for name, file := range map[string]string{"plot": flags.plot, "plot-kept": flags.plotKept} {
		if !cmd.Flags().Changed(name) {
			continue
		}
		if err := report.CheckPlot(file); err != nil {
			return usageError{fmt.Errorf("--%s: %w", name, err)}
		}
	}
	opt := b.Options
	if err := override(&opt); err != nil {
		return err
	}
	overridden := !reflect.DeepEqual(opt, b.Options)
	opt.Fill(b.Trace.Meta, b.Trace.Requests())
	if err := opt.Validate(); err != nil {
		if !overridden {
			return fmt.Errorf("%s: %s: %w", b.Name, traces.OptionsFile, err)
		}
		return usageError{ofOptionsFile(cmd.Flags(), err)}
	}
	if !opt.Compresses() && !cmd.Flags().Changed("no-compression") {
		fmt.Fprintln(cmd.ErrOrStderr(), "Nothing will be evicted: neither the trace's options nor the flags ask for compression. Try --rate 0.5, or --max-cache-tokens 64.")
	}

	bar := newReplayBar(cmd.ErrOrStderr(), b.Trace)
	hooks := sim.Hooks{Progress: bar.progress, ByHead: flags.byHead}
	method, err := opt.NewMethod()
	if err != nil {
		return err
	}
	meter, held := sim.NewHeadMeter(opt.Shape), sim.NewHeldMeter(0, method)
	hooks.Event = func(e ref.Event) {
		if flags.profile != "" {
			meter.Observe(e)
		}
		if flags.plotKept != "" {
			held.Observe(e)
		}
	}
	r, runErr := sim.Replay(cmd.Context(), b.Trace, opt, hooks)
	bar.clear()
	stopped := errors.Is(runErr, context.Canceled)
	if runErr != nil && !stopped {
		return runErr
	}
	r.Trace = b.Name
	if stopped { // the results are not complete
		partial := *flags
		partial.plot = ""
		return errors.Join(printReport(cmd, r, &partial), interrupted(runErr, "the report is of the steps before, and no file is written"))
	}
	if err := printReport(cmd, r, flags); err != nil {
		return err
	}
	if flags.profile != "" {
		if err := writeHeadProfile(cmd, flags.profile, meter, b.Name); err != nil {
			return err
		}
	}
	if flags.plotKept != "" {
		if err := writeHeld(cmd, flags.plotKept, b.Name, opt.Shape, held.Held()); err != nil {
			return err
		}
	}
	return nil
}

// writeHeld draws which KVs of a request the heads hold.
func writeHeld(cmd *cobra.Command, file, name string, shape kv.Shape, held *sim.Held) error {
	picture, err := report.HeldPlot(file, name, shape, held)
	if err != nil {
		return fmt.Errorf("--plot-kept: %w", err)
	}
	if err := output.WriteBytes(file, picture); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Drawn to %s: the KVs that heads hold.\n", filepath.Clean(file))
	return nil
}

// writeHeadProfile writes the fractions of KVs that heads kept in a replay.
func writeHeadProfile(cmd *cobra.Command, file string, meter *sim.HeadMeter, name string) error {
	profile, err := meter.Profile(name)
	if err != nil {
		return fmt.Errorf("--profile: %w", err)
	}
	if err := output.Write(file, profile.Write); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Written to %s: what heads keep.\n", filepath.Clean(file))
	return nil
}

func printReport(cmd *cobra.Command, r *sim.Report, flags *runFlags) error {
	out := cmd.OutOrStdout()
	if flags.json {
		if err := report.JSON(out, r); err != nil {
			return err
		}
	} else {
		opt := textOptions(out)
		opt.Steps, opt.ByHead = int(flags.steps), flags.byHead
		if err := report.Text(out, r, opt); err != nil {
			return err
		}
	}
	if flags.plot == "" {
		return nil
	}
	if err := report.HeatMap(flags.plot, r); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Drawn to %s.\n", filepath.Clean(flags.plot))
	return nil
}

// stepCount is the value of --steps: 0 for the default, −1 for all.
type stepCount int

func (n *stepCount) Set(s string) error {
	if s == "all" {
		*n = -1
		return nil
	}
	v, err := strconv.Atoi(s)
	if err != nil || v < 1 {
		return errors.New("want a number of at least 1, or all")
	}
	*n = stepCount(v)
	return nil
}

func (n *stepCount) String() string {
	switch *n {
	case 0:
		return ""
	case -1:
		return "all"
	}
	return strconv.Itoa(int(*n))
}

// Type returns the name of the value in --help.
func (n *stepCount) Type() string { return "N|all" }
