package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"kvcompress/trace"
	"kvcompress/trace/requestlog"
)

// generateFlags are the flags of kvc trace generate.
type generateFlags struct {
	requests                       int
	prompt, output, like, arrivals string
	seed                           uint64
	out, name, description         string
	asJSON                         bool
}

func newTraceGenerateCmd() *cobra.Command {
	var f generateFlags
	cmd := &cobra.Command{
		Use:     "generate -o DIR",
		Aliases: []string{"load"},
		Short:   "Make a trace of synthetic requests, without tensors",
		Long: `Generate writes a trace of synthetic requests, without tensors: a number of requests with
lengths and arrival times drawn from distributions. The same flags and seed give the same
bytes on every platform.

Lengths are one of
  N                      all the same
  LOW-HIGH               uniformly distributed
  lognormal:MEDIAN,P99   mostly short and some very long, as in real logs; kvc trace
                         info prints the median and P99 of a trace
or, with --like, pairs of prompt and output lengths drawn from a trace or log.

Arrivals are one of
  fixed:TIME             one request every TIME
  poisson:TIME           a Poisson process with a mean gap of TIME
  gamma:TIME,CV          gamma-distributed gaps with a mean of TIME; CV is their standard
                         deviation over the mean: 1 is poisson, more gives bursts. vLLM's
                         burstiness is 1/CV²
TIME may be a rate, such as 20/s. Without a rule all requests arrive at once.`,
		Example: `  kvc trace generate --requests 100000 --prompt 512 --output 128 --arrivals poisson:20/s -o steady
  kvc trace generate --requests 5000 --prompt lognormal:800,7000 --output lognormal:150,900 --arrivals gamma:4/s,2.5 -o bursts
  kvc trace generate --requests 1000000 --like code --arrivals poisson:10/s -o like-code`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVar(&f.requests, "requests", 1000, "`number` of requests")
	flags.StringVar(&f.prompt, "prompt", "512", "`tokens` of each prompt")
	flags.StringVar(&f.output, "output", "128", "`tokens` of each output")
	flags.StringVar(&f.like, "like", "", "or lengths drawn from this `trace` or log")
	flags.StringVar(&f.arrivals, "arrivals", "", "`rule` by which they arrive (default: all at once)")
	flags.Uint64Var(&f.seed, "seed", 1, "seed of all random numbers, a `number`")
	flags.StringVarP(&f.out, "out", "o", "", "the trace's `folder`")
	writes(cmd, outputFolder, "out")
	flags.StringVar(&f.name, "name", "", "the trace's name (default: that of its folder)")
	flags.StringVar(&f.description, "description", "", "`text` that the trace stores")
	flags.BoolVar(&f.asJSON, "json", false, "print what was made as JSON")
	return cmd
}

func (f *generateFlags) run(cmd *cobra.Command) error {
	load, err := f.load(cmd)
	if err != nil {
		return err
	}
	meta := func() trace.Meta {
		m := trace.Meta{Name: f.name}
		if m.Name == "" {
			m.Name = folderName(f.out)
		}
		m.Source = trace.Source{Kind: trace.Generated, Description: f.sourceDescription(cmd)}
		return m
	}
	written, err := writeRequests(cmd.Context(), f.out, meta, withBar(cmd.ErrOrStderr(), int64(load.Requests), load.All()))
	if err != nil {
		return err
	}
	if f.asJSON {
		return printJSON(cmd.OutOrStdout(), written)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), printableLine(written.String()))
	return err
}

func (f *generateFlags) load(cmd *cobra.Command) (trace.Load, error) {
	load := trace.Load{Seed: f.seed, Requests: f.requests}
	if f.out == "" {
		return load, usagef("-o is missing: the folder to write the trace to")
	}
	if err := trace.CheckFree(f.out); errors.Is(err, trace.ErrTaken) {
		return load, usageError{err}
	}
	var err error
	if load.Prompt, err = trace.ParseLengths(f.prompt); err != nil {
		return load, usagef("--prompt: %w", err)
	}
	if load.Output, err = trace.ParseLengths(f.output); err != nil {
		return load, usagef("--output: %w", err)
	}
	if load.Arrivals, err = parseArrivals(f.arrivals); err != nil {
		return load, usagef("--arrivals: %w", err)
	}
	if err := load.Check(); err != nil {
		return load, usageError{err}
	}
	if !cmd.Flags().Changed("like") {
		return load, nil
	}
	if cmd.Flags().Changed("prompt") || cmd.Flags().Changed("output") {
		return load, usagef("--like gives the lengths: leave out --prompt and --output")
	}
	source, err := openRequests(cmd.Context(), f.like, requestlog.Options{})
	if err != nil {
		return load, err
	}
	defer source.close()
	for r, err := range withBar(cmd.ErrOrStderr(), -1, source.requests) {
		if err == nil && len(load.Like)%1024 == 0 {
			err = cmd.Context().Err()
		}
		if err != nil {
			return load, err
		}
		load.Like = append(load.Like, trace.Tokens{Prompt: int32(r.PromptTokens), Output: int32(r.OutputTokens)})
	}
	if len(load.Like) == 0 {
		return load, fmt.Errorf("%s has no requests", f.like)
	}
	return load, nil
}

// sourceDescription returns the text about the source for the trace to keep.
func (f *generateFlags) sourceDescription(cmd *cobra.Command) string {
	text := "made by: " + cmd.CommandPath() + givenFlags(cmd, "out", "name", "description", "json")
	if f.description != "" {
		text = f.description + "; " + text
	}
	return text
}
