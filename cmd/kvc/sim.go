package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/sim/project"
	"kvcompress/sim/stats"
	"kvcompress/sim/sweep"
	"kvcompress/trace"
)

// simFlags are the flags of kvc sim.
type simFlags struct {
	requests, cases, profile string
	gpuBlocks                int // of a measured server
	spread, plot             string
	asJSON, check            bool
	limit                    int

	model, gpu string
	tp, pp     int
	weights    catalog.Weights
	memory     float64 // utilisation

	options         *binder
	engine          schedulerFlags
	prefix, chunked bool
	slo             stats.SLO
	send            sendFlags
	concurrency     int
	replicas        int
	pools           poolFlags
	files           simFiles
}

func newSimCmd() *cobra.Command {
	var f simFlags
	cmd := &cobra.Command{
		Use:   "sim --requests TRACE --model MODEL --gpu CARD",
		Short: "Project what serving recorded requests would be like",
		Long: `Sim serves the requests of a trace or log by a server's scheduler (--engine), on a
ledger that counts blocks instead of an engine that fills them, in the memory of a card
and at the pace of a cost model: throughput, latencies and batch size, with or without
compression, by any method of kvc methods, and what limits them.

TRACE is a log of requests in any format that kvc trace import reads, the folder of
a trace, or a bundled one. MODEL is of the catalogue below or the path of a Hugging
Face config.json, or of its folder; CARD likewise, or the path of a JSON file:
` + listed("models", modelNames()) + listed("cards", cardNames()) + `
A config.json may be of a mixture of experts, of multi-head latent attention, of layers
with windows, or of linear-time layers, and quantized as its quantization_config or a
hf_quant_config.json beside it says. What is not modelled is an error that names it.

What a method holds, moves, ranks and watches is counted; what its kernels take is that
of KV-Compress's, which were measured, and the output says so. Where heads keep
everything (razor, duo-attention), a plan has to know of how many: --set map=FILE, a map
that kvc heads made, or --set full_share=0.15, a part of the heads. quest, which no
engine here runs, is planned: --max-cache-tokens is what each query head reads.
Quality is not projected.

With --prefill-replicas and --decode-replicas, prompts are computed on one kind of server
and their KVs sent to the other, which decodes.

With --cases, each row of a CSV is projected and, where it was measured, compared. What
the rows are is known by the columns: serving runs of a closed loop or a batch, a log of
measured requests (with --model, --gpu and what else served them), or runs of a
throughput benchmark, each in the form of kvc calibrate; or how much KV cache servers found room for (model, card, card_gib, tp,
utilization, max_num_batched_tokens, max_num_seqs, vllm, and of what was measured
weights_gib, activation_gib, kv_gib, gpu_blocks_of_16).

Time is by the fit of --profile that is nearest to the server and the card, or else by
those that are shipped. The output says which it is, in what it is of another card or
server, and the error to expect. docs/cost-model.md says what is counted, and how well
it does.`,
		Example: `  kvc sim --requests AzureLLMInferenceTrace_code.csv --model llama-3.1-8b --gpu l4
  kvc sim --requests code.csv --model llama-3.1-8b --gpu l4 --max-cache-tokens 512
  kvc sim --requests code.csv --model llama-3.1-8b --gpu l4 --method snapkv --max-cache-tokens 1024 --set window=64
  kvc sim --requests code.csv --model llama-3.1-8b --gpu l4 --method streaming-llm --max-cache-tokens 1024 --interval 64
  kvc sim --requests code.csv --model llama-3.1-8b --gpu l4 --method razor --set full_share=0.15
  kvc sim --requests code.csv --model llama-3.1-70b-fp8 --gpu h100 --tensor-parallel 2 --rate 0.25
  kvc sim --requests code.csv --model llama-3.1-8b --gpu h100 --prefill-replicas 2 --decode-replicas 1
  kvc sim --cases kv-compress.csv --profile profile.json
  kvc sim --cases memory-vllm.csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.requests, "requests", "", "`trace` or log of requests")
	flags.StringVar(&f.cases, "cases", "", "or a CSV `file` of runs to project and compare")
	flags.StringVar(&f.profile, "profile", "", "`file` that kvc calibrate wrote, or the shipped fits to a server: vllm-v1, vllm-v0, sglang or trtllm")
	flags.IntVar(&f.gpuBlocks, "num-gpu-blocks", 0, "with --cases and a log of measured requests, the `blocks` of 16 tokens that the server printed; 0 is as many as fit")
	flags.StringVar(&f.plot, "plot", "", "with --cases, draw what was measured beside what is projected to a .png or .svg `file`")
	flags.BoolVar(&f.asJSON, "json", false, "print the projection as JSON")
	flags.BoolVar(&f.check, "check", false, "check that the run keeps to the scheduler's rules: time, blocks and tokens")
	flags.IntVar(&f.limit, "limit", 0, "serve the first `number` of requests only")
	flags.StringVar(&f.spread, "spread", "spared", "which `heads` lose what is evicted: spared, a stated model (docs/cost-model.md), even, or a file that kvc run --profile wrote")
	f.addDeployment(flags)
	f.options = newBinder(flags, planOptions())
	f.options.addPages()
	f.options.addBlocks()
	f.options.addMethod()
	f.options.addEviction()
	f.options.addWindow()
	f.options.addSchedule()
	f.options.addSequences()
	f.options.addBatch()
	f.options.addRules()
	f.engine.add(flags)
	flags.BoolVar(&f.prefix, "enable-prefix-caching", false, "keep the blocks of prompts for later ones that begin alike, as the requests' prefix hashes say; not with compression; vllm-v1 does unless told otherwise")
	flags.BoolVar(&f.chunked, "enable-chunked-prefill", false, "prefill prompts in parts, beside sequences that decode; not with compression but on vllm-v1, which does unless told otherwise")
	addObjectives(flags, &f.slo)
	flags.IntVar(&f.concurrency, "concurrency", 0, "`clients` that send the requests in their order, each one at a time, whatever their times of arrival")
	f.send.add(cmd)
	flags.IntVar(&f.replicas, "replicas", 1, "`number` of such servers behind a router")
	f.pools.add(flags)
	f.files.add(cmd)
	for _, name := range []string{"requests", "cases"} {
		// The only error is a flag that does not exist, here and below.
		_ = cmd.MarkFlagFilename(name)
	}
	_ = cmd.MarkFlagFilename("profile", "json")
	writes(cmd, outputFile, "plot", "png", "svg")
	_ = cmd.RegisterFlagCompletionFunc("model", cobra.FixedCompletions(modelNames(), cobra.ShellCompDirectiveDefault))
	_ = cmd.RegisterFlagCompletionFunc("gpu", cobra.FixedCompletions(cardNames(), cobra.ShellCompDirectiveDefault))
	return cmd
}

func (f *simFlags) addDeployment(flags *pflag.FlagSet) {
	flags.StringVar(&f.model, "model", "", "`model` to serve")
	flags.StringVar(&f.gpu, "gpu", "", "`card` to serve it on")
	flags.IntVar(&f.tp, "tensor-parallel", 1, fmt.Sprintf("`cards` that each hold a part of every layer, 1 to %d", cost.MaxTP))
	flags.IntVar(&f.pp, "pipeline-parallel", 1, fmt.Sprintf("`stages` of so many cards that each hold some of the layers, 1 to %d", cost.MaxPP))
	enumVar(flags, catalog.AllWeights()...)(&f.weights, "weights", "", "format of the weights: "+weightNames()+" (default: the model's)")
	flags.Float64Var(&f.memory, "gpu-memory-utilization", 0.9, "part of each card's memory that the server may take")
}

// planOptions are the defaults of what is planned: those of a replay, but for the limit of
// slots that a compression sorts, which is that of KV-Compress as it was measured.
func planOptions() sim.Options {
	o := sim.DefaultOptions()
	o.Schedule.MaxKVPerCompression = sweep.DefaultSettings().MaxKVPerCompression
	return o
}

func modelNames() []string { return catalog.ModelNames() }

// listed lists names under a title, on lines of at most 84 characters.
func listed(title string, names []string) string {
	line := fmt.Sprintf("  %-7s ", title)
	var b strings.Builder
	for i, name := range names {
		if i < len(names)-1 {
			name += ","
		}
		if len(line)+len(name) > 84 {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = "          "
		}
		line += name + " "
	}
	return b.String() + strings.TrimRight(line, " ") + "\n"
}

// weights are the names of the formats of weights.
func weights() []string { return words(catalog.AllWeights()) }

// weightNames lists the formats of weights, in words.
func weightNames() string {
	names := weights()
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
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
	case (f.replicas > 1 || f.pools.set()) && (f.files.chrome != "" || f.files.perStep != ""):
		return usagef("--chrome-trace and --per-step are of one server: want --replicas 1")
	}
	if err := errors.Join(checkObjectives(cmd.Flags(), &f.slo), checkReplicas(f.replicas), checkConcurrency(cmd.Flags(), f.concurrency)); err != nil {
		return usageError{err}
	}
	o := planOptions()
	if err := f.options.apply(&o); err != nil {
		return err
	}
	scheduler, _, err := f.engine.server(o.Compresses() || o.Method != "")
	if err != nil {
		return err
	}
	if o.Compresses() && (f.prefix || f.chunked && scheduler != sim.VLLMV1) {
		return usagef("--enable-prefix-caching and --enable-chunked-prefill do not go with compression: a compressed sequence keeps KVs of its own choice, in blocks that no other can share, and methods see a whole prompt before they evict")
	}
	if !cmd.Flags().Changed("interval") {
		o.Schedule.Interval = sweep.OwnInterval(&o.Config)
	}
	if o.Compresses() && scheduler == sim.VLLM06 {
		return usagef("--engine %s compresses nothing: --engine %s does", scheduler, sim.KVCompressServer)
	}
	if err := f.files.check(); err != nil {
		return err
	}
	return f.runRequests(cmd, &o)
}

// simInputs is what was projected, as --json has it.
type simInputs struct {
	Requests    string                 `json:"requests"`
	Model       string                 `json:"model"`
	GPU         string                 `json:"gpu"`
	TP          int                    `json:"tensor_parallel"`
	PP          int                    `json:"pipeline_parallel"`
	Weights     catalog.Weights        `json:"weights"`
	KV          dtype.DType            `json:"kv_dtype"`
	BlockSize   int                    `json:"block_size"`
	Utilization float64                `json:"gpu_memory_utilization"`
	Scheduler   sim.Scheduler          `json:"scheduler"` // that forms the batches
	V1          *sim.V1                `json:"vllm_v1,omitempty"`
	Method      string                 `json:"method"`
	Set         ref.Settings           `json:"set,omitempty"`
	Compression sim.CompressionOptions `json:"compression"`
	Spread      string                 `json:"spread"`
	Limits      sim.Limits             `json:"limits"`
	Prefixes    bool                   `json:"enable_prefix_caching"`
	Chunked     bool                   `json:"enable_chunked_prefill"`
	Concurrency int                    `json:"concurrency,omitempty"`
	Turns       sim.Turns              `json:"turns,omitempty"`
	Replicas    int                    `json:"replicas"`
	Router      sim.Router             `json:"router,omitempty"` // of several replicas
	Pools       *simPools              `json:"disaggregation,omitempty"`
	SLO         stats.SLO              `json:"slo"`
	ModelSource string                 `json:"model_source"`
	GPUSource   string                 `json:"gpu_source"`
	Engine      cost.Engine            `json:"engine"` // that measures the memory
}

func (f *simFlags) runRequests(cmd *cobra.Command, o *sim.Options) error {
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
	scheduler, usage, err := f.engine.server(o.Compresses() || o.Method != "")
	if err != nil {
		return err
	}
	o.Limits = f.engine.limits(o.Limits, scheduler, card, usage)
	d := cost.New(model, card)
	d.PP = f.pp
	d.TP, d.KV, d.Utilization, d.BlockSize, d.BlocksGiven = f.tp, o.DType, f.memory, o.BlockSize, o.Blocks
	d.MaxTokens, d.MaxSeqs, d.MaxModelLen = o.Limits.MaxNumBatchedTokens, o.Limits.MaxNumSeqs, o.Limits.MaxModelLen
	d.Engine = f.engine.memory(scheduler)
	if f.weights != "" {
		d.Weights = f.weights
	}
	if o.Compresses() {
		d.Method = o.Config
	}
	schedule := o.Schedule
	if !d.Compresses() {
		schedule = sim.Schedule{}
	}
	if err := errors.Join(d.Validate(), o.Limits.Validate(), schedule.Validate()); err != nil {
		return usageError{err}
	}
	cfg := d.Config()
	spread, err := f.spreadOf(cfg.Shape)
	if err != nil {
		return err
	}
	source, err := openKnownRequests(cmd, f.requests)
	if err != nil {
		return err
	}
	defer source.close()

	turns, router, err := f.send.parse()
	if err != nil {
		return err
	}
	config := project.Config{Deployment: d, Schedule: schedule, Limits: o.Limits, Profile: profile, Spread: spread, Check: f.check, SLO: f.slo}
	config.Concurrency, config.Turns, config.Replicas, config.Router = f.concurrency, turns, f.replicas, router
	if config.Disaggregation, err = f.pools.parse(cmd.Flags(), &card, &config, scheduler); err != nil {
		return err
	}
	if f.replicas == 1 && config.Disaggregation == nil {
		router = ""
	}
	if f.prefix && source.prefixBlock() == 0 {
		return usagef("--enable-prefix-caching: %s has no prefix hashes", source.name)
	}
	if config.Scheduler = scheduler; scheduler == sim.VLLMV1 {
		config.V1 = f.v1(cmd.Flags(), d.Compresses() || d.Selection() != nil || d.Layout() != nil, source.prefixBlock())
		f.prefix, f.chunked = config.V1.Prefixes, !config.V1.WholePrompts
	} else if config.ChunkedPrefill = f.chunked; f.prefix {
		config.PrefixTokens = source.prefixBlock()
	}
	bar := newBar(cmd.ErrOrStderr(), -1, "requests done")
	done := 0
	defer f.files.discard()
	fit := profile.For(&card, scheduler)
	if err := f.files.open(fit.ClientNS()); err != nil {
		return err
	}
	defer context.AfterFunc(cmd.Context(), f.files.discard)() // before what may take a while
	config.Step = f.files.step
	config.Done = func(r *sim.Result) {
		if cmd.Context().Err() == nil { // a run that is interrupted leaves no files
			f.files.request(r)
		}
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
		return source.none()
	}
	inputs := simInputs{
		source.name, model.Name, card.Name, d.TP, d.PP, d.Weights, d.KV, d.BlockSize, d.Utilization, scheduler, nil,
		compressionOf(&d.Method).MethodName(), d.Method.Set, sim.CompressionOptions{Compression: d.Method.Compression, Schedule: schedule},
		f.spread, o.Limits, f.prefix, f.chunked, f.concurrency, turns, f.replicas, router, f.pools.inputs(config.Disaggregation), f.slo, model.Source, card.Source, d.Server(),
	}
	if scheduler == sim.VLLMV1 {
		inputs.V1 = &config.V1
	}
	if err == nil {
		if err := f.files.finish(cmd, &inputs, f.slo, result); err != nil {
			return err
		}
	}
	if f.asJSON {
		if err := printJSON(cmd.OutOrStdout(), struct {
			Inputs  simInputs `json:"inputs"`
			Checked bool      `json:"checked,omitempty"` // --check has found nothing
			*project.Result
		}{inputs, f.check && err == nil, result}); err != nil {
			return err
		}
	} else {
		printProjection(cmd.OutOrStdout(), &inputs, result)
		if f.check && err == nil { // or the run would have ended with an error
			fmt.Fprintf(cmd.OutOrStdout(), "\nChecked: every step keeps to the scheduler's rules of time, blocks and tokens.\n")
		}
	}
	return interrupted(err, printedBefore+", and no file is written")
}

// v1 returns how vLLM V1 schedules requests whose prefix hashes stand for prefixTokens
// tokens each: prompts in chunks and prefixes shared, unless flags say otherwise, or blocks
// cannot be shared.
func (f *simFlags) v1(fs *pflag.FlagSet, unshared bool, prefixTokens int) sim.V1 {
	c := f.engine.v1
	c.PrefixTokens = prefixTokens
	c.Prefixes = !unshared
	if fs.Changed("enable-prefix-caching") {
		c.Prefixes = f.prefix
	}
	c.WholePrompts = fs.Changed("enable-chunked-prefill") && !f.chunked
	return c
}

// compressionOf returns the compression of a method as a sweep has it.
func compressionOf(m *ref.Config) sweep.Compression {
	return sweep.Compression{Method: m.Method, Rate: m.Compression.Rate, MaxCacheTokens: m.Compression.MaxCacheTokens}
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

// printedBefore says of an interrupted projection what its output is.
const printedBefore = "what is printed is of the time before"
