package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/report"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/sim/project"
	"kvcompress/sim/stats"
	"kvcompress/trace"
)

// simFlags are the flags of kvc sim.
type simFlags struct {
	requests, cases, profile string
	spread, plot             string
	asJSON, check            bool
	limit                    int

	model, gpu string
	tp         int
	weights    catalog.Weights
	kv         dtype.DType
	memory     float64 // utilisation
	blocks     int
	blockSize  int

	compression     ref.Compression
	schedule        sim.Schedule
	limits          sim.Limits
	prefix, chunked bool
	slo             stats.SLO
	files           simFiles
}

func newSimCmd() *cobra.Command {
	var f simFlags
	cmd := &cobra.Command{
		Use:   "sim --requests TRACE --model MODEL --gpu CARD",
		Short: "Project what serving recorded requests would be like",
		Long: `Sim serves the requests of a trace or log by the scheduler of kvc run, on a ledger
that counts blocks instead of an engine that fills them, in the memory of a card and
at the pace of a cost model: throughput, latencies and batch size, with or without
compression, and what limits them.

TRACE is a log of requests in any format that kvc trace import reads, the folder of
a trace, or a bundled one. MODEL is of the catalogue below or the path of a Hugging
Face config.json; CARD likewise, or the path of a JSON file:
  models  ` + strings.Join(modelNames(), ", ") + `
  cards   ` + strings.Join(cardNames(), ", ") + `

With --cases, each run of a CSV in the form of kvc calibrate is projected and, where
it was measured, compared.

Without --profile the cost model has its defaults, and the output says so.
docs/cost-model.md says what is counted, and how well it does.`,
		Example: `  kvc sim --requests AzureLLMInferenceTrace_code.csv --model llama-3.1-8b --gpu l4
  kvc sim --requests code.csv --model llama-3.1-8b --gpu l4 --max-cache-tokens 512
  kvc sim --requests code.csv --model llama-3.1-70b-fp8 --gpu h100 --tensor-parallel 2 --rate 0.25
  kvc sim --cases kv-compress.csv --profile profile.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.requests, "requests", "", "`trace` or log of requests")
	flags.StringVar(&f.cases, "cases", "", "or a CSV `file` of runs to project and compare")
	flags.StringVar(&f.profile, "profile", "", "`file` that kvc calibrate wrote")
	flags.StringVar(&f.plot, "plot", "", "with --cases, draw what was measured beside what is projected to a .png or .svg `file`")
	flags.BoolVar(&f.asJSON, "json", false, "print the projection as JSON")
	flags.BoolVar(&f.check, "check", false, "check that the run keeps to the scheduler's rules: time, blocks and tokens")
	flags.IntVar(&f.limit, "limit", 0, "serve the first `number` of requests only")
	flags.StringVar(&f.spread, "spread", "spared", "which `heads` lose what is evicted: spared, a stated model (docs/cost-model.md), even, or a file that kvc run --profile wrote")
	f.addDeployment(flags)
	f.addCompression(flags)
	flags.IntVar(&f.limits.MaxNumSeqs, "max-num-seqs", sim.DefaultLimits().MaxNumSeqs, "sequences that run at a time")
	flags.IntVar(&f.limits.MaxNumBatchedTokens, "max-num-batched-tokens", sim.DefaultLimits().MaxNumBatchedTokens, "tokens of one prefill batch")
	flags.Float64Var(&f.limits.Watermark, "watermark", sim.DefaultLimits().Watermark, "part of the blocks that an admission leaves free")
	flags.BoolVar(&f.prefix, "enable-prefix-caching", false, "keep the blocks of prompts for later ones that begin alike, as the requests' prefix hashes say; not with compression")
	flags.BoolVar(&f.chunked, "enable-chunked-prefill", false, "prefill prompts in parts, beside sequences that decode; not with compression")
	flags.DurationVar(&f.slo.TTFT, "slo-ttft", 0, "objective that a request keeps to count for goodput: `time` to the first token")
	flags.DurationVar(&f.slo.TPOT, "slo-tpot", 0, "objective: `time` for each output token after the first, on average")
	flags.DurationVar(&f.slo.E2E, "slo-e2e", 0, "objective: `time` from arrival to the last token")
	f.files.add(cmd)
	for _, name := range []string{"requests", "cases"} {
		// The only error is a flag that does not exist, here and below.
		_ = cmd.MarkFlagFilename(name)
	}
	_ = cmd.MarkFlagFilename("profile", "json")
	_ = cmd.MarkFlagFilename("plot", "png", "svg")
	_ = cmd.RegisterFlagCompletionFunc("model", cobra.FixedCompletions(modelNames(), cobra.ShellCompDirectiveDefault))
	_ = cmd.RegisterFlagCompletionFunc("gpu", cobra.FixedCompletions(cardNames(), cobra.ShellCompDirectiveDefault))
	return cmd
}

func (f *simFlags) addDeployment(flags *pflag.FlagSet) {
	flags.StringVar(&f.model, "model", "", "`model` to serve")
	flags.StringVar(&f.gpu, "gpu", "", "`card` to serve it on")
	flags.IntVar(&f.tp, "tensor-parallel", 1, "`cards` that each hold a part of every layer, 1 to 8")
	enumVar(flags, catalog.AllWeights()...)(&f.weights, "weights", "", "format of the weights: bf16, f16, fp8, int8 or int4 (default: the model's)")
	f.kv = dtype.F16
	enumVar(flags, dtype.F16, dtype.BF16, dtype.E4M3, dtype.E5M2)(&f.kv, "kv-dtype", dtype.F16, "format of keys and values in the cache: f16, bf16, fp8_e4m3 or fp8_e5m2")
	flags.Float64Var(&f.memory, "gpu-memory-utilization", 0.9, "part of each card's memory that the server may take")
	flags.IntVar(&f.blocks, "blocks", 0, "blocks of one head each in the cache; 0 is as many as the memory holds")
	flags.IntVar(&f.blockSize, "block-size", 16, "KVs of one block: 1, 2, 4, 8, 16 or 32")
}

func (f *simFlags) addCompression(flags *pflag.FlagSet) {
	c, s := &f.compression, &f.schedule
	flags.IntVar(&c.MaxCacheTokens, "max-cache-tokens", 0, "compress to this many KVs a head on average")
	flags.Float64Var(&c.Rate, "rate", 0, "compress to this part, in (0, 1], of the KVs before the protected window")
	flags.IntVar(&c.ProtectedWindow, "protected-window", ref.Default().Compression.ProtectedWindow, "never evict this many of the newest tokens")
	flags.IntVar(&c.Sinks, "sinks", 0, "never evict this many of the oldest tokens")
	flags.BoolVar(&c.EvenLayers, "even-layers", false, "evict as many blocks from every layer")
	flags.BoolVar(&c.Uniform, "uniform", false, "evict as many blocks from every head")
	flags.BoolVar(&s.Once, "compress-once", false, "compress each sequence a single time")
	flags.IntVar(&s.Interval, "interval", sim.DefaultSchedule().Interval, "decode steps between compressions; with 0, only a prefill or a full cache forces one")
	flags.IntVar(&s.NewTokenLimit, "new-token-limit", 0, "compress when more tokens than this have entered; 0 is no limit")
	flags.IntVar(&s.MaxKVPerCompression, "max-kv-per-compression", 5_000_000, "slots that one compression sorts at most; 0 is no limit")
}

func modelNames() []string {
	var names []string
	for _, m := range catalog.Models() {
		names = append(names, m.Name)
	}
	return names
}

func cardNames() []string {
	var names []string
	for _, c := range catalog.Cards() {
		names = append(names, c.Name)
	}
	return names
}

func (f *simFlags) run(cmd *cobra.Command) error {
	switch {
	case f.cases != "" && f.requests != "":
		return usagef("--cases and --requests exclude each other")
	case f.cases != "":
		var wrong error
		cmd.Flags().Visit(func(flag *pflag.Flag) {
			if wrong == nil && !slices.Contains([]string{"cases", "profile", "spread", "plot", "json"}, flag.Name) {
				wrong = usagef("--%s does not go with --cases: its file, and the setup of what was published, say all of each run", flag.Name)
			}
		})
		if wrong != nil {
			return wrong
		}
		if f.plot != "" {
			if err := report.CheckPlot(f.plot); err != nil {
				return usageError{fmt.Errorf("--plot: %w", err)}
			}
		}
		return f.runCases(cmd)
	case f.plot != "":
		return usagef("--plot draws the runs of --cases; kvc sweep draws projections of requests")
	case f.requests == "":
		return usagef("--requests is missing: a trace or log of requests; or --cases, a CSV of runs\nsee: %s --help", cmd.CommandPath())
	case f.model == "":
		return usagef("--model is missing: one of %s, or a config.json", strings.Join(modelNames(), ", "))
	case f.gpu == "":
		return usagef("--gpu is missing: one of %s, or a JSON file", strings.Join(cardNames(), ", "))
	case f.limit < 0:
		return usagef("--limit %d: want at least 1, or 0 for all", f.limit)
	case f.slo.TTFT < 0 || f.slo.TPOT < 0 || f.slo.E2E < 0:
		return usagef("--slo-ttft, --slo-tpot and --slo-e2e: want no negative time")
	case f.compression.Rate != 0 && f.compression.MaxCacheTokens != 0:
		return usagef("--rate and --max-cache-tokens exclude each other")
	}
	for _, name := range []string{"rate", "max-cache-tokens"} {
		if cmd.Flags().Changed(name) && cmd.Flags().Lookup(name).Value.String() == "0" {
			return usagef("--%s 0: to compress nothing, leave it out", name)
		}
	}
	if compress := f.compression.Enabled(); compress && (f.prefix || f.chunked) {
		return usagef("--enable-prefix-caching and --enable-chunked-prefill do not go with compression: KV-Compress has neither, its blocks belong to one head of one sequence, and it needs a whole prompt's metrics before it evicts")
	}
	if err := f.files.check(); err != nil {
		return err
	}
	return f.runRequests(cmd)
}

// runCases projects each row of a file and compares.
func (f *simFlags) runCases(cmd *cobra.Command) error {
	profile, err := readProfile(f.profile)
	if err != nil {
		return err
	}
	text, err := readSmall(f.cases)
	if err != nil {
		return err
	}
	name := filepath.Base(f.cases)
	list, err := cost.ReadMeasurements(bytes.NewReader(text), name)
	if err != nil {
		return err
	}
	bar := newBar(cmd.ErrOrStderr(), int64(len(list)), "runs projected")
	cases, err := cost.NewCases(cmd.Context(), list, name, f.spreadOf, func() { _ = bar.Add(1) }) // a bar that cannot be drawn is no reason to stop
	_ = bar.Clear()
	if err != nil {
		return interrupted(err)
	}
	for _, c := range cases {
		if err := c.Predict(profile); err != nil {
			return err
		}
	}
	if f.plot != "" {
		if err := report.Cases(f.plot, cases); err != nil {
			return err
		}
	}
	summary := cost.Summarize(cases)
	out := cmd.OutOrStdout()
	if f.asJSON {
		return printJSON(out, struct {
			Cases   []*cost.Case `json:"cases"`
			Summary cost.Summary `json:"summary"`
		}{cases, summary})
	}
	printCases(out, cases)
	fmt.Fprintln(out)
	for of := range factorsOf(cases) {
		fmt.Fprintf(out, "Time by %s.\n", printableLine(of))
	}
	fmt.Fprintf(out, "rows                  %d\nbatch_exact           %d of %d with a measured one\nbatch_max_error       %d\nthroughput_mape       %s\nthroughput_max_error  %s\n",
		summary.Rows, summary.BatchExact, summary.BatchRows, summary.BatchMaxError, percent(summary.ThroughputMAPE), percent(summary.ThroughputMaxError))
	return nil
}

// factorsOf yields what the cases' factors were fitted to, each once.
func factorsOf(cases []*cost.Case) iter.Seq[string] {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for _, c := range cases {
			if !seen[c.Calibrated] && !yield(c.Calibrated) {
				return
			}
			seen[c.Calibrated] = true
		}
	}
}

// simInputs is what was projected, as --json has it.
type simInputs struct {
	Requests    string                 `json:"requests"`
	Model       string                 `json:"model"`
	GPU         string                 `json:"gpu"`
	TP          int                    `json:"tensor_parallel"`
	Weights     catalog.Weights        `json:"weights"`
	KV          dtype.DType            `json:"kv_dtype"`
	BlockSize   int                    `json:"block_size"`
	Utilization float64                `json:"gpu_memory_utilization"`
	Compression sim.CompressionOptions `json:"compression"`
	Spread      string                 `json:"spread"`
	Limits      sim.Limits             `json:"limits"`
	Prefixes    bool                   `json:"enable_prefix_caching"`
	Chunked     bool                   `json:"enable_chunked_prefill"`
	ModelSource string                 `json:"model_source"`
	GPUSource   string                 `json:"gpu_source"`
}

func (f *simFlags) runRequests(cmd *cobra.Command) error {
	model, err := catalog.FindModel(f.model)
	if err != nil {
		return usageError{err}
	}
	card, err := catalog.FindCard(f.gpu)
	if err != nil {
		return usageError{err}
	}
	profile, err := readProfile(f.profile)
	if err != nil {
		return err
	}
	d := cost.New(model, card)
	d.TP, d.KV, d.Utilization, d.BlockSize, d.BlocksGiven, d.MaxTokens = f.tp, f.kv, f.memory, f.blockSize, f.blocks, f.limits.MaxNumBatchedTokens
	if f.weights != "" {
		d.Weights = f.weights
	}
	compression, schedule := f.compression, f.schedule
	if f.compression.Rate == 0 && f.compression.MaxCacheTokens == 0 {
		compression, schedule = ref.Compression{}, sim.Schedule{}
	}
	spread, err := f.spreadOf(model.Shape)
	if err != nil {
		return err
	}
	cfg := d.Config()
	cfg.Blocks, cfg.Compression = 1, compression
	if err := errors.Join(d.Validate(), f.limits.Validate(), schedule.Validate(), cfg.Validate()); err != nil {
		return usageError{err}
	}
	source, err := openKnownRequests(cmd.Context(), f.requests)
	if err != nil {
		return err
	}
	defer source.close()

	config := project.Config{Deployment: d, Compression: compression, Schedule: schedule, Limits: f.limits, Profile: profile, Spread: spread, Check: f.check, SLO: f.slo}
	config.ChunkedPrefill = f.chunked
	if f.prefix {
		if config.PrefixTokens = source.block; source.block == 0 {
			return usagef("--enable-prefix-caching: %s has no prefix hashes", source.name)
		}
	}
	bar := newBar(cmd.ErrOrStderr(), -1, "requests done")
	done := 0
	if err := f.files.open(); err != nil {
		return err
	}
	defer f.files.close()
	config.Step = f.files.step
	config.Done = func(r *sim.Result) {
		f.files.request(r)
		if done++; done%1024 == 0 {
			_ = bar.Set(done)
		}
	}
	result, err := project.Run(cmd.Context(), config, first(f.limit, source.requests))
	_ = bar.Clear()
	if result == nil {
		return err
	}
	if m := &result.Metrics; err == nil && m.Finished+m.Refused+m.Unfinished == 0 {
		return fmt.Errorf("%s has no requests", source.name)
	}
	inputs := simInputs{source.name, model.Name, card.Name, d.TP, d.Weights, d.KV, d.BlockSize, d.Utilization, sim.CompressionOptions{Compression: compression, Schedule: schedule}, f.spread, f.limits, f.prefix, f.chunked, model.Source, card.Source}
	if err := f.files.finish(cmd, &inputs, f.slo, result); err != nil {
		return err
	}
	if f.asJSON {
		if err := printJSON(cmd.OutOrStdout(), struct {
			Inputs simInputs `json:"inputs"`
			*project.Result
		}{inputs, result}); err != nil {
			return err
		}
	} else {
		printProjection(cmd.OutOrStdout(), &inputs, result)
	}
	return interrupted(err)
}

// spreadOf returns what --spread says for a model.
func (f *simFlags) spreadOf(shape kv.Shape) (sim.Spread, error) {
	switch f.spread {
	case "spared":
		return cost.Spared{}, nil
	case "even":
		return sim.Even(), nil
	}
	text, err := readSmall(f.spread)
	if err != nil {
		return nil, fmt.Errorf("--spread: %w", err)
	}
	heads, err := sim.ReadHeadProfile(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("--spread: %s: %w", f.spread, err)
	}
	return heads.Spread(shape)
}

// first returns the first n requests; all if n is 0.
func first(n int, requests iter.Seq2[trace.Request, error]) iter.Seq2[trace.Request, error] {
	if n <= 0 {
		return requests
	}
	return func(yield func(trace.Request, error) bool) {
		left := n
		for r, err := range requests {
			if !yield(r, err) {
				return
			}
			if left--; left == 0 {
				return
			}
		}
	}
}

// interrupted makes a failure of Ctrl-C.
func interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return failure{errors.New("interrupted: what is printed is of the time before")}
	}
	return err
}
