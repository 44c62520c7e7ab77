package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/trace"
)

// synthFlags are the flags of kvc trace synth.
type synthFlags struct {
	model, shape, heads, dtype, name, out string
	prompt, output, arrivals              string
	layers, requests                      int
	seed                                  uint64
	asJSON                                bool
}

func newTraceSynthCmd() *cobra.Command {
	var f synthFlags
	var models []string
	for _, m := range trace.Models() {
		models = append(models, m.Name)
	}
	cmd := &cobra.Command{
		Use:   "synth -o DIR",
		Short: "Make a trace with attention heads of stated kinds",
		Long: `Synth writes a trace whose queries, keys and values are made by a recipe. The
trace stores the recipe only, a few lines whatever the lengths, and it expands to
the same bytes on every platform.

The heads' kinds are
  sink          attends to the first 4 tokens
  local:WINDOW  attends to the last WINDOW tokens (128 if left out)
  retrieval     finds a few tokens far back by their content
  uniform       attends to all tokens nearly alike
and mixes of the first three, as in sink+local:64. Heads are separated by commas
and layers by slashes; both lists repeat as often as the shape demands.

Models whose shape is known: ` + strings.Join(models, ", ") + `.`,
		Example: `  kvc trace synth --model llama-3.1-8b --requests 4 --prompt 6000 --output 200 \
      --heads sink,local,retrieval,uniform -o mixed

  # 4 layers, 8 KV heads, group 4, head size 128; odd layers look further than even ones
  kvc trace synth --shape 4,8,4,128 --heads sink,local:64/sink+local:512,retrieval -o layers

  # a hundred requests of different lengths, on average one every 250 ms
  kvc trace synth --requests 100 --prompt 100-8000 --output 10-500 --arrivals poisson:250ms -o load`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.model, "model", "llama-3.1-8b", "take the shape of this `model`")
	flags.StringVar(&f.shape, "shape", "", "or this shape: layers, KV heads, query heads of each, head size, as `L,H,G,D`")
	flags.IntVar(&f.layers, "layers", 0, "take only this `number` of layers")
	flags.StringVar(&f.heads, "heads", "sink,local,retrieval,uniform", "`kinds` of heads, by layer")
	flags.StringVar(&f.dtype, "dtype", "f16", "`format` that values are rounded to: f32, f16 or bf16")
	flags.IntVar(&f.requests, "requests", 1, "`number` of requests")
	flags.StringVar(&f.prompt, "prompt", "512", "`tokens` of each prompt: N, LOW-HIGH to draw from, or lognormal:MEDIAN,P99")
	flags.StringVar(&f.output, "output", "128", "`tokens` of each output, likewise")
	flags.StringVar(&f.arrivals, "arrivals", "", "when requests arrive, by a `rule`: fixed:TIME, poisson:TIME or gamma:TIME,CV, where TIME is the mean time between two, or a rate as in 20/s (default: all at 0)")
	flags.Uint64Var(&f.seed, "seed", 1, "`number` that all that is random follows from")
	flags.StringVar(&f.name, "name", "", "the trace's name (default: that of its folder)")
	flags.StringVarP(&f.out, "out", "o", "", "the trace's `folder`")
	writes(cmd, outputFolder, "out")
	flags.BoolVar(&f.asJSON, "json", false, "print what was made as JSON")
	complete := func(flag string, values ...string) {
		// The only error is a flag that does not exist.
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	complete("model", models...)
	complete("dtype", "f32", "f16", "bf16")
	complete("heads", "sink", "local:", "retrieval", "uniform", "sink+local:")
	complete("arrivals", "fixed:", "poisson:", "gamma:")
	return cmd
}

func (f *synthFlags) run(cmd *cobra.Command) error {
	if f.out == "" {
		return usagef("say where the trace shall go: -o DIR")
	}
	if cmd.Flags().Changed("model") && cmd.Flags().Changed("shape") {
		return usagef("--model and --shape exclude each other")
	}
	if cmd.Flags().Changed("shape") && f.shape == "" {
		return usagef("--shape is empty: want four numbers, L,H,G,D")
	}
	meta, err := f.meta()
	if err != nil {
		return usageError{err}
	}
	if err := meta.Check(); err != nil {
		return usageError{err}
	}
	load, err := f.load()
	if err != nil {
		return usageError{err}
	}
	if err := load.Check(); err != nil {
		return usageError{err}
	}
	if _, err := writeRequests(cmd.Context(), f.out, func() trace.Meta { return meta }, withBar(cmd.ErrOrStderr(), int64(load.Requests), load.All())); err != nil {
		return err
	}
	info, err := readTraceInfo(cmd, f.out, func(int) int { return 0 })
	if err != nil {
		return err
	}
	if f.asJSON {
		return printJSON(cmd.OutOrStdout(), info.Info)
	}
	return printTraceInfo(cmd.OutOrStdout(), info)
}

func (f *synthFlags) meta() (trace.Meta, error) {
	meta := trace.Meta{FormatVersion: trace.FormatVersion, Name: f.name}
	if meta.Name == "" {
		meta.Name = folderName(f.out)
	}
	description := "heads of stated kinds in a shape of one's own"
	if f.shape != "" {
		shape, err := parseShape(f.shape)
		if err != nil {
			return meta, fmt.Errorf("--shape %q: %w", f.shape, err)
		}
		meta.Shape = shape
	} else {
		m, err := trace.FindModel(f.model)
		if err != nil {
			return meta, fmt.Errorf("--model: %w", err)
		}
		meta.Model, meta.Shape = m.Name, m.Shape
		description = "heads of stated kinds in the shape of " + m.Name + " (" + m.Source + ")"
	}
	if f.layers != 0 {
		if f.layers < 0 || f.layers > meta.Shape.Layers {
			return meta, fmt.Errorf("--layers %d: want 1 to %d", f.layers, meta.Shape.Layers)
		}
		meta.Shape.Layers = f.layers
	}
	format, err := dtype.Parse(f.dtype)
	if err != nil {
		return meta, fmt.Errorf("--dtype: %w", err)
	}
	layers, err := trace.ParseLayers(f.heads)
	if err != nil {
		return meta, fmt.Errorf("--heads: %w", err)
	}
	meta.DType = format
	meta.Source = trace.Source{Kind: trace.Synthetic, Description: description}
	meta.Synth = &trace.Recipe{Seed: f.seed, Layers: layers}
	return meta, nil
}

func parseShape(s string) (kv.Shape, error) {
	parts := strings.Split(s, ",")
	if len(parts) != 4 {
		return kv.Shape{}, errors.New("want four numbers, L,H,G,D")
	}
	var n [4]int
	for i, p := range parts {
		var err error
		if n[i], err = strconv.Atoi(strings.TrimSpace(p)); err != nil {
			return kv.Shape{}, fmt.Errorf("%q is no number", p)
		}
	}
	shape := kv.Shape{Layers: n[0], KVHeads: n[1], Group: n[2], HeadSize: n[3]}
	return shape, shape.Check()
}

func (f *synthFlags) load() (trace.Load, error) {
	load := trace.Load{Seed: f.seed, Requests: f.requests}
	var err error
	if load.Prompt, err = trace.ParseLengths(f.prompt); err != nil {
		return load, fmt.Errorf("--prompt: %w", err)
	}
	if load.Output, err = trace.ParseLengths(f.output); err != nil {
		return load, fmt.Errorf("--output: %w", err)
	}
	if load.Arrivals, err = parseArrivals(f.arrivals); err != nil {
		return load, fmt.Errorf("--arrivals: %w", err)
	}
	return load, nil
}

// parseArrivals reads --arrivals; where it is left out, all come at once.
func parseArrivals(s string) (trace.Arrivals, error) {
	if s == "" {
		return trace.Arrivals{}, nil
	}
	return trace.ParseArrivals(s)
}

// folderName returns what a folder is called, though its path be "." or end in "..".
func folderName(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return filepath.Base(dir)
}
