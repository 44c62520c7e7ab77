package main

import (
	"bytes"
	"cmp"
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
	gpuBlocks                int // blocks that a measured server printed
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
		Short: "Project throughput and latencies of serving recorded requests",
		Long: `Sim simulates a server (--engine) that serves the requests of a trace or log: its
scheduler, the blocks of its KV cache in the memory of a card, and by a cost model the
time of each step. It projects throughput, latencies and batch size, with or without
compression by a method of kvc methods, and what limits them.

TRACE is a log of requests in any format that kvc trace import reads, the folder of
a trace, or a bundled one. MODEL is of the catalogue below or the path of a Hugging
Face config.json, or of its folder; CARD is one of those below or the path of a JSON file:
` + listed("models", modelNames()) + listed("cards", cardNames()) + `
A config.json may describe a mixture of experts, multi-head latent attention, sliding
windows or linear-time layers, and quantization by its quantization_config or by a
hf_quant_config.json beside it. A feature that is not modelled is an error that names it.

For each method the KVs that it holds, moves, ranks and observes are counted. The times of
its kernels are those of KV-Compress's, which were measured; the output says so. For
methods with heads that keep everything (razor, duo-attention), give the number of these
heads: --set map=FILE, a map that kvc heads wrote, or --set full_share=0.15, a fraction of
the heads. quest is projected though no engine here runs it: --max-cache-tokens is the
number of KVs that each query head reads. Quality is not projected.

With --prefill-replicas and --decode-replicas some servers compute prompts and send the
KVs to the others, which decode.

With --cases each row of a CSV is projected and, if it was measured, compared. The form is
known by the columns. Serving runs, a log of measured requests (with --model, --gpu and
other settings of its server) and runs of a throughput benchmark are as for kvc calibrate.
Serving runs that do not name their server are taken for vLLM V1, or for another server
if its fit is less than half as far off; the output says how far off each is.
Sizes of KV caches have model, card, card_gib, tp, utilization, max_num_batched_tokens,
max_num_seqs and vllm, and if measured weights_gib, activation_gib, kv_gib and
gpu_blocks_of_16.

Times are by the fit of --profile that is nearest to the server and the card, or else by
the shipped fits. The output names the fit, says whether it is one to another card or
server, and the error to expect. docs/cost-model.md has the model and its accuracy.`,
		Example: `  kvc sim --requests AzureLLMInferenceTrace_code.csv --model llama-3.1-8b --gpu l4
  kvc sim --requests code.csv --model llama-3.1-8b --gpu l4 --max-num-batched-tokens 8192 --max-cache-tokens 512
  kvc sim --requests code.csv --model llama-3.1-8b --gpu l4 --max-num-batched-tokens 8192 --method snapkv --max-cache-tokens 1024 --set window=64
  kvc sim --requests code.csv --model llama-3.1-8b --gpu l4 --max-num-batched-tokens 8192 --method streaming-llm --max-cache-tokens 1024 --interval 64
  kvc sim --requests code.csv --model llama-3.1-8b --gpu l4 --max-num-batched-tokens 8192 --method razor --set full_share=0.15
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
	flags.StringVar(&f.cases, "cases", "", "in place of --requests, a CSV `file` of runs to project and compare")
	flags.StringVar(&f.profile, "profile", "", "`file` that kvc calibrate wrote, or the shipped fits to a server: vllm-v1, vllm-v0, sglang or trtllm")
	flags.IntVar(&f.gpuBlocks, "num-gpu-blocks", 0, "with --cases and a log of measured requests, number of `blocks` of 16 tokens that the server printed; 0 is the number that fits")
	needs(flags, "num-gpu-blocks", "cases")
	flags.StringVar(&f.plot, "plot", "", "with --cases, draw measured and projected values to a .png or .svg `file`")
	flags.BoolVar(&f.asJSON, "json", false, "print the projection as JSON")
	flags.BoolVar(&f.check, "check", false, "check that every step keeps the scheduler's invariants of time, blocks and tokens")
	flags.IntVar(&f.limit, "limit", 0, "serve only the first `number` of requests; 0 is all")
	flags.StringVar(&f.spread, "spread", "spared", "`model` of how evicted KVs are spread over heads: spared (docs/cost-model.md), even, or a file that kvc run --profile wrote")
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
	flags.BoolVar(&f.prefix, "enable-prefix-caching", false, "reuse the blocks of a common prefix, by the requests' prefix hashes; not with compression; on by default with vllm-v1")
	flags.BoolVar(&f.chunked, "enable-chunked-prefill", false, "prefill prompts in chunks, in the same steps as decoding sequences; with compression only on vllm-v1; on by default with vllm-v1")
	addObjectives(flags, &f.slo)
	flags.IntVar(&f.concurrency, "concurrency", 0, "number of `clients` (closed loop): each sends the next request when its previous one has finished, and arrival times are ignored")
	f.send.add(cmd)
	flags.IntVar(&f.replicas, "replicas", 1, "`number` of equal servers behind a router")
	f.pools.add(flags)
	f.files.add(cmd)
	reads(cmd, "requests")
	reads(cmd, "cases")
	reads(cmd, "profile", "json")
	writes(cmd, outputFile, "plot", "png", "svg")
	suggestOrFile(cmd, "model", modelNames()...)
	suggestOrFile(cmd, "gpu", cardNames()...)
	return cmd
}

func (f *simFlags) addDeployment(flags *pflag.FlagSet) {
	flags.StringVar(&f.model, "model", "", "`model` to serve")
	flags.StringVar(&f.gpu, "gpu", "", "`card` to serve it on")
	flags.IntVar(&f.tp, "tensor-parallel", 1, fmt.Sprintf("number of `cards` over which every layer is split, 1 to %d", cost.MaxTP))
	flags.IntVar(&f.pp, "pipeline-parallel", 1, fmt.Sprintf("number of `stages` over which the layers are divided, each of --tensor-parallel cards, 1 to %d", cost.MaxPP))
	enumVar(flags, catalog.AllWeights()...)(&f.weights, "weights", "", "format of the weights: "+weightNames()+" (default: the model's)")
	flags.Float64Var(&f.memory, "gpu-memory-utilization", 0.9, "fraction of each card's memory that the server may use")
}

// planOptions returns the default options of projections: those of a replay, except for the
// limit of slots that a compression sorts, which is that of the measured KV-Compress.
func planOptions() sim.Options {
	o := sim.DefaultOptions()
	o.Schedule.MaxKVPerCompression = sweep.DefaultSettings().MaxKVPerCompression
	return o
}

// wantModel says what names a model.
func wantModel() string {
	return fmt.Sprintf("want a name such as %s, of the %d that kvc sim --help lists, or a config.json", modelNames()[0], len(modelNames()))
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

// weights returns the names of the formats of weights.
func weights() []string { return asStrings(catalog.AllWeights()) }

// weightNames returns the same as a list in words.
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
		return usagef("--model is missing: %s", wantModel())
	case f.gpu == "":
		return usagef("--gpu is missing: one of %s, or a JSON file", strings.Join(cardNames(), ", "))
	case f.pp < 1 || f.pp > cost.MaxPP:
		return usagef("--pipeline-parallel %d: want 1 to %d", f.pp, cost.MaxPP)
	case f.limit < 0:
		return usagef("--limit %d: want at least 1, or 0 for all", f.limit)
	case (f.replicas > 1 || f.pools.set()) && (f.files.chrome != "" || f.files.perStep != ""):
		return usagef("--chrome-trace and --per-step need a single server: --replicas 1")
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
		return usagef("--enable-prefix-caching and --enable-chunked-prefill do not go with compression: the blocks of a compressed sequence have other KVs than those of a sequence with the same prefix, and methods need the whole prompt before they evict")
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

// simInputs are the inputs of a projection, as --json prints them.
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
	Scheduler   sim.Scheduler          `json:"scheduler"`
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
	Engine      cost.Engine            `json:"engine"` // whose memory profiling is followed
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
	d := cost.New(model, card)
	d.PP, d.MaxModelLen = f.pp, o.Limits.MaxModelLen
	o.Limits = f.engine.limits(o.Limits, scheduler, card, usage, d.LongestRequest(), f.whole(cmd.Flags()))
	d.TP, d.KV, d.Utilization, d.BlockSize, d.BlocksGiven = f.tp, o.DType, f.memory, o.BlockSize, o.Blocks
	d.MaxTokens, d.MaxSeqs = o.Limits.MaxNumBatchedTokens, o.Limits.MaxNumSeqs
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
	// Each has bounds of the limits, those of the deployment are the narrower ones.
	if err := cmp.Or(d.Validate(), o.Limits.Validate(), schedule.Validate(), checkLimits("", o.Limits.MaxNumSeqs, o.Limits.MaxNumBatchedTokens)); err != nil {
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
		config.V1 = f.v1(cmd.Flags(), !d.SharesPrefixes(), source.prefixBlock())
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
	defer context.AfterFunc(cmd.Context(), f.files.discard)()
	config.Step = f.files.step
	config.Done = func(r *sim.Result) {
		if cmd.Context().Err() == nil { // an interrupted run leaves no files
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
			Checked bool      `json:"checked,omitempty"` // --check found no violation
			*project.Result
		}{inputs, f.check && err == nil, result}); err != nil {
			return err
		}
	} else {
		printProjection(cmd.OutOrStdout(), &inputs, result)
		if f.check && err == nil { // a violation would have ended the run with an error
			fmt.Fprintf(cmd.OutOrStdout(), "\nChecked: every step keeps to the scheduler's rules of time, blocks and tokens.\n")
		}
	}
	return interrupted(err, printedBefore+", and no file is written")
}

// v1 returns the options of vLLM V1's scheduler for requests whose prefix hashes stand for
// prefixTokens tokens each. Chunked prefill and prefix caching are on unless flags turn them off,
// or blocks cannot be shared.
func (f *simFlags) v1(fs *pflag.FlagSet, unshared bool, prefixTokens int) sim.V1 {
	c := f.engine.v1
	c.PrefixTokens = prefixTokens
	c.Prefixes = !unshared
	if fs.Changed("enable-prefix-caching") {
		c.Prefixes = f.prefix
	}
	c.WholePrompts = f.whole(fs)
	return c
}

// whole reports whether chunked prefill is turned off by a flag.
func (f *simFlags) whole(fs *pflag.FlagSet) bool {
	return fs.Changed("enable-chunked-prefill") && !f.chunked
}

// compressionOf returns the compression of these options as a point of a sweep has it.
func compressionOf(m *ref.Config) sweep.Compression {
	return sweep.Compression{Method: m.Method, Rate: m.Compression.Rate, MaxCacheTokens: m.Compression.MaxCacheTokens}
}

// spreadOf returns the spread of --spread for a model.
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

// printedBefore returns the error of an interrupted projection, which says what was printed.
const printedBefore = "what is printed is of the time before"
