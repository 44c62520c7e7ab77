package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/internal/output"
	"kvcompress/internal/words"
	"kvcompress/journal"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/report"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/sim/stats"
	"kvcompress/sim/sweep"
	"kvcompress/trace"
)

// sweepFlags are the flags of kvc sweep.
type sweepFlags struct {
	requests, profile           string
	limit                       int
	models, gpus                []string
	tp, seqs                    []int
	memory, compression, prices []string
	utilization                 []string
	loads                       []float64
	concurrency, replicas       []int
	prefill, decode             []int // replicas of each kind
	link                        linkFlags
	send                        sendFlags
	method                      sweepMethod
	spread                      string
	prefix, chunked, verify     bool
	settings                    sweep.Settings
	options                     *binder
	engine                      schedulerFlags
	set                         []string
	maxLoad                     bool
	tried                       func() // is called after each load that --max-load has tried
	shard, dir                  string
	pp                          int
	workers                     int
	out                         sweepOutput
}

// sweepOutput is where the outcomes go beside the terminal.
type sweepOutput struct {
	asJSON                bool
	html, csvFile, figure string
	latency               string
}

func newSweepCmd() *cobra.Command {
	f := sweepFlags{settings: sweep.DefaultSettings()}
	cmd := &cobra.Command{
		Use:   "sweep --requests TRACE --model MODEL,… --gpu CARD,…",
		Short: "Project every combination of models, cards, memory, compression, batch limits and loads",
		Long: `Sweep makes one projection, as kvc sim does, for every combination of what its
flags list, on all cores, and prints them as a table: throughput, latencies, what they
cost, and which are the best trade of throughput for a card against latency. What it
prints is the same to the byte on any number of cores.

MODEL and CARD are as for kvc sim. Memory is one of
  0.9            a part of each card's memory
  20GB, 18.5GiB  of each card
  300000tokens   a cache for so many tokens uncompressed, whatever the card has
Compression is one of
  none           as plain vLLM, without KV-Compress's metadata
  rate:0.25      KV-Compress: keep this part of what may be evicted
  tokens:1024    KV-Compress: keep so many KVs of each head on average
  METHOD, METHOD:rate:R, METHOD:tokens:C
                 another of kvc methods, with its --rate or --max-cache-tokens, or as
                 its own options have it; kvc methods NAME says what each means
The own options of a method are the same in all projections: --set METHOD.KEY=VALUE.
Where heads keep everything (razor, duo-attention), a plan has to know of how many:
--set razor.map=FILE, a map that kvc heads made, or --set razor.full_share=0.15.
Equal --memory compares methods at equal memory. Quality is not projected.
Loads are factors of how often the requests come: 2 is twice as often.

With --max-load, each combination's load is instead the largest under which
--slo-attainment of the requests keep the objectives, found by bisection.

Many machines can share a sweep: each runs the same command with --shard I/N (or
auto/N, which takes I from JOB_COMPLETION_INDEX or SLURM_ARRAY_TASK_ID), and -o DIR on
a disk that all see; kvc sweep merge DIR joins their files. Whatever ends a shard in
the middle, the same command goes on from there. docs/planning.md has manifests.

Exit code 2 if no point can be projected, as where the model fits none of the cards.
Ctrl-C prints what is finished, marked partial, and writes no file: exit code 130.`,
		Example: `  kvc sweep --requests code.csv --model llama-3.1-8b --gpu l4,h100 --compression none,rate:0.5,rate:0.25
  kvc sweep --requests code.csv --model llama-3.1-8b --gpu l4 --memory 0.7,0.8,0.9 --max-num-seqs 16,64,256 --html sweep.html
  kvc sweep --requests code.csv --model llama-3.1-8b --gpu h100 --max-load --slo-ttft 2s --slo-tpot 50ms --price h100=2.50
  kvc sweep --requests code.csv --model llama-3.1-8b --gpu l4 --memory 0.9 --compression none,snapkv:tokens:1024,streaming-llm:tokens:1024,razor \
      --set razor.full_share=0.15 --set snapkv.window=64 --interval 16
  kvc sweep … --shard auto/8 -o results && kvc sweep merge results --html sweep.html`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	f.addRequests(fs)
	fs.StringSliceVar(&f.models, "model", nil, "`models`, with commas between")
	f.addPoints(fs)
	fs.IntSliceVar(&f.replicas, "replicas", []int{1}, "`numbers` of such servers behind a router")
	fs.IntSliceVar(&f.prefill, "prefill-replicas", nil, "`numbers` of servers that prefill, and send the KVs to --decode-replicas others; in place of --replicas, or beside those that are given")
	fs.IntSliceVar(&f.decode, "decode-replicas", nil, "`numbers` of servers that decode what --prefill-replicas have computed")
	f.link.add(fs)
	fs.BoolVar(&f.maxLoad, "max-load", false, "find the largest load within the objectives")
	addObjectives(fs, &f.settings.SLO)
	f.addPrices(fs)
	f.addSettings(cmd)
	fs.StringVar(&f.shard, "shard", "", "run the part `I/N` only, with I from 0, or auto/N, or auto; needs -o")
	fs.StringVarP(&f.dir, "out", "o", "", "`folder` to keep outcomes in, and to resume from")
	fs.IntVar(&f.workers, "workers", 0, "`number` of projections at a time; 0 is one for each core")
	f.out.add(cmd)
	writes(cmd, outputFolder, "out")
	for _, err := range []error{
		cmd.MarkFlagFilename("profile", "json"), cmd.MarkFlagFilename("requests"),
		cmd.RegisterFlagCompletionFunc("model", cobra.FixedCompletions(modelNames(), cobra.ShellCompDirectiveDefault)),
		cmd.RegisterFlagCompletionFunc("gpu", cobra.FixedCompletions(cardNames(), cobra.ShellCompDirectiveDefault)),
	} {
		if err != nil {
			panic(err) // a flag that was not defined above
		}
	}
	cmd.AddCommand(newSweepMergeCmd())
	return cmd
}

// addRequests, addPoints, addPrices and addSettings add the flags that kvc plan has too.
func (f *sweepFlags) addRequests(fs *pflag.FlagSet) {
	fs.StringVar(&f.requests, "requests", "", "`trace` or log of requests")
	fs.IntVar(&f.limit, "limit", 0, "serve the first `number` of requests only")
}

func (f *sweepFlags) addPoints(fs *pflag.FlagSet) {
	fs.StringSliceVar(&f.gpus, "gpu", nil, "`cards`")
	fs.IntSliceVar(&f.tp, "tensor-parallel", []int{1}, "`cards` that each hold a part of every layer")
	fs.IntVar(&f.pp, "pipeline-parallel", 1, "`stages` of so many cards that each hold some of the layers, in all projections")
	fs.StringSliceVar(&f.memory, "memory", []string{"0.9"}, "memory `budgets`")
	fs.StringSliceVar(&f.utilization, "gpu-memory-utilization", nil, "`parts` of each card's memory, as kvc sim has them, in place of --memory")
	fs.StringSliceVar(&f.compression, "compression", []string{"none"}, "`compressions`")
	f.method.add(fs)
	fs.IntSliceVar(&f.seqs, "max-num-seqs", []int{256}, "`sequences` that run at a time")
	fs.Float64SliceVar(&f.loads, "load", []float64{1}, "`factors` of how often the requests come")
	fs.IntSliceVar(&f.concurrency, "concurrency", nil, "`clients` that send the requests in their order, each one at a time, whatever their times of arrival")
}

func (f *sweepFlags) addPrices(fs *pflag.FlagSet) {
	fs.StringSliceVar(&f.prices, "price", nil, "dollars for an hour of a card, `CARD=DOLLARS`, as h100=2.50")
	fs.StringArrayVar(&f.set, "set", nil, "one of a method's own options, as `METHOD.KEY=VALUE`, or KEY=VALUE with --method: kvc methods NAME lists them")
}

func (f *sweepFlags) addSettings(cmd *cobra.Command) {
	fs := cmd.Flags()
	f.options = newBinder(fs, planOptions())
	f.options.addBatch()
	fs.StringVar(&f.settings.Weights, "weights", f.settings.Weights, "`format` of the weights: "+weightNames()+" (default: the model's)")
	f.options.addPages()
	f.options.addBlocks()
	f.options.addEviction()
	f.options.addWindow()
	f.options.addSchedule()
	f.options.addRules()
	f.engine.add(fs)
	fs.BoolVar(&f.prefix, "enable-prefix-caching", false, "as for kvc sim: keep the blocks of prompts for later ones that begin alike; vllm-v1 does unless told otherwise, where nothing is compressed")
	fs.BoolVar(&f.chunked, "enable-chunked-prefill", false, "as for kvc sim: prefill prompts in parts; vllm-v1 does unless told otherwise")
	fs.StringVar(&f.spread, "spread", "spared", "which `heads` lose what is evicted: spared, even, or a file that kvc run --profile wrote")
	f.send.add(cmd)
	fs.BoolVar(&f.verify, "check", false, "check that each run keeps to the scheduler's rules: time, blocks and tokens")
	fs.StringVar(&f.profile, "profile", "", "`file` that kvc calibrate wrote, or the shipped fits to a server: vllm-v1, vllm-v0, sglang or trtllm")
}

// compresses reports whether anything in the sweep is compressed: then all is projected on
// one server, so that it can be compared.
func (f *sweepFlags) compresses() bool {
	list, err := f.method.list(f.compression)
	return err == nil && slices.ContainsFunc(list, sweep.Compression.Enabled)
}

// applySettings sets in the settings what the flags of all commands say.
func (f *sweepFlags) applySettings() error {
	o := planOptions()
	if err := f.options.apply(&o); err != nil {
		return err
	}
	s, c := &f.settings, &o.Compression
	if f.pp < 1 || f.pp > cost.MaxPP {
		return usagef("--pipeline-parallel %d: want 1 to %d", f.pp, cost.MaxPP)
	}
	if f.pp > 1 { // 1 is left out of what is kept
		s.PP = f.pp
	}
	s.MaxNumBatchedTokens, s.Watermark, s.BlockSize, s.KV = o.Limits.MaxNumBatchedTokens, o.Limits.Watermark, o.BlockSize, o.DType.String()
	s.MaxModelLen = o.Limits.MaxModelLen
	s.ProtectedWindow, s.Sinks, s.EvenLayers, s.ControlLayers, s.Uniform = c.ProtectedWindow, c.Sinks, c.EvenLayers, c.ControlLayers, c.Uniform
	s.Once, s.Interval, s.NewTokenLimit, s.MaxKVPerCompression = o.Schedule.Once, o.Schedule.Interval, o.Schedule.NewTokenLimit, o.Schedule.MaxKVPerCompression
	s.OwnInterval = !f.engine.fs.Changed("interval")
	if f.options.fs.Changed("window") {
		s.Window = o.Metric.Window
	}
	s.Blocks = o.Blocks
	s.DropOutgrown, s.HoldAfterPreemption, s.Strict, s.UntilFree = o.Limits.DropOutgrown, o.Limits.HoldAfterPreemption, o.Schedule.Strict, o.Schedule.UntilFree
	var err error
	if s.Turns, s.Router, err = f.send.parse(); err != nil {
		return err
	}
	scheduler, usage, err := f.engine.server(f.compresses())
	if err != nil {
		return err
	}
	s.Scheduler, s.V1, s.Chunked = scheduler, nil, f.chunked
	if f.compresses() && (f.prefix || f.chunked) && scheduler != sim.VLLMV1 {
		return usagef("--enable-prefix-caching and --enable-chunked-prefill do not go with compression, unless with --engine %s", sim.VLLMV1)
	}
	if scheduler == sim.VLLMV1 {
		v1 := f.engine.v1
		if fs := f.engine.fs; fs.Changed("enable-prefix-caching") {
			v1.Prefixes = f.prefix
		}
		v1.WholePrompts = f.engine.fs.Changed("enable-chunked-prefill") && !f.chunked
		s.V1, s.Usage, s.Watermark = &v1, usage, 0
		if !f.engine.fs.Changed("max-num-batched-tokens") {
			s.MaxNumBatchedTokens = 0
		}
	}
	s.Set, err = f.method.setOptions(f.set)
	return err
}

// engineOf returns the engine that measures the memory of all points, so that they are
// compared on one.
func engineOf(points []sweep.Point) cost.Engine {
	if slices.ContainsFunc(points, func(p sweep.Point) bool { return p.Compression.Enabled() }) {
		return cost.KVCompress
	}
	return cost.VLLMV1
}

// checkMethods refuses options of methods that are not in the sweep, and methods that can be
// planned of none of its models: of some of them, those points say why they are not projected.
func (f *sweepFlags) checkMethods(cmd *cobra.Command, points []sweep.Point) error {
	used := map[string]bool{}
	type planned struct {
		model string
		sweep.Compression
	}
	checked := map[planned]bool{}
	possible := map[sweep.Compression]bool{}
	var impossible []struct {
		of  sweep.Compression
		err error
	}
	for _, p := range points {
		used[p.Compression.MethodName()] = true
		if key := (planned{p.Model, p.Compression}); p.Compression.Enabled() && !checked[key] {
			checked[key] = true
			model, err := catalog.FindModel(p.Model)
			if err == nil {
				err = f.settings.CheckMethod(model, p.Compression)
			}
			if err == nil {
				possible[p.Compression] = true
			} else {
				impossible = append(impossible, struct {
					of  sweep.Compression
					err error
				}{p.Compression, usagef("--compression %s, %s: %w", p.Compression, p.Model, err)})
			}
		}
	}
	for _, not := range impossible {
		if !possible[not.of] {
			return not.err
		}
	}
	for _, method := range slices.Sorted(maps.Keys(f.settings.Set)) {
		if !used[method] {
			return usagef("--set %s.…: no --compression has this method", method)
		}
	}
	for _, name := range kvCompressFlags {
		if cmd.Flags().Changed(name) && !used[ref.KVCompress] && len(used) > 0 && !(len(used) == 1 && used["none"]) {
			return usagef("--%s is an option of %s, which no --compression has: rate:R or tokens:C", name, ref.KVCompress)
		}
	}
	return nil
}

func (o *sweepOutput) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVar(&o.asJSON, "json", false, "print the outcomes as JSON")
	fs.StringVar(&o.csvFile, "csv", "", "write a row for each projection to a `file`")
	fs.StringVar(&o.html, "html", "", "write one self-contained page to a `file`")
	fs.StringVar(&o.figure, "plots", "", "draw the plots to a `folder`, as SVG and PNG")
	fs.StringVar(&o.latency, "latency", "e2e", "`latency` that the front is against, its 99th percentile: e2e, ttft, tpot or itl")
	// The only error is a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("latency", cobra.FixedCompletions(report.Latencies(), cobra.ShellCompDirectiveNoFileComp))
	writes(cmd, outputFile, "html", "html")
	writes(cmd, outputFile, "csv", "csv")
	writes(cmd, outputFolder, "plots")
}

func (o *sweepOutput) check() error {
	if !slices.Contains(report.Latencies(), o.latency) {
		return usagef("--latency %s: want one of %s", o.latency, strings.Join(report.Latencies(), ", "))
	}
	return nil
}

// points are the combinations that the flags ask for.
func (f *sweepFlags) points() ([]sweep.Point, error) {
	a := sweep.Axes{Models: f.models, Cards: f.gpus, TP: f.tp, MaxNumSeqs: f.seqs, Loads: f.loads, Concurrency: f.concurrency, Replicas: f.replicas, Prefill: f.prefill, Decode: f.decode}
	for _, n := range f.concurrency {
		if err := checkConcurrency(f.engine.fs, n); err != nil {
			return nil, err
		}
	}
	for _, n := range f.replicas {
		if err := checkReplicas(n); err != nil {
			return nil, err
		}
	}
	for name, numbers := range map[string][]int{"prefill-replicas": f.prefill, "decode-replicas": f.decode} {
		for _, n := range numbers {
			if n < 1 || n > sim.MaxReplicas {
				return nil, usagef("--%s %d: want 1 to %d", name, n, sim.MaxReplicas)
			}
		}
	}
	budgets, flag := f.memory, "memory"
	if len(f.utilization) > 0 {
		if budgets, flag = f.utilization, "gpu-memory-utilization"; f.engine.fs.Changed("memory") {
			return nil, usagef("--gpu-memory-utilization and --memory exclude each other")
		}
	}
	for _, s := range budgets {
		b, err := sweep.ParseBudget(s)
		if err != nil {
			return nil, usagef("--%s: %w", flag, err)
		}
		a.Budgets = append(a.Budgets, b)
	}
	var err error
	if a.Compressions, err = f.method.list(f.compression); err != nil {
		return nil, err
	}
	for _, n := range f.tp {
		if n < 1 || n > cost.MaxTP {
			return nil, usagef("--tensor-parallel %d: want 1 to %d", n, cost.MaxTP)
		}
	}
	for _, n := range f.seqs {
		if n < 1 {
			return nil, usagef("--max-num-seqs %d: want at least 1", n)
		}
	}
	points, err := a.Points()
	if err != nil {
		return nil, usageError{err}
	}
	if f.settings.Scheduler == sim.VLLMV1 && !f.engine.fs.Changed("max-num-seqs") {
		err = f.settings.OwnMaxNumSeqs(points)
	}
	return points, err
}

func (f *sweepFlags) check() error {
	switch {
	case f.requests == "":
		return usagef("--requests is missing: a trace or log of requests")
	case len(f.models) == 0:
		return usagef("--model is missing: one or more of %s, or a config.json", strings.Join(modelNames(), ", "))
	case len(f.gpus) == 0:
		return usagef("--gpu is missing: one or more of %s, or a JSON file", strings.Join(cardNames(), ", "))
	case f.maxLoad && !f.settings.SLO.Set():
		return usagef("--max-load needs an objective: --slo-ttft, --slo-tpot or --slo-e2e")
	case f.maxLoad && len(f.concurrency) > 0:
		return usagef("--max-load is of requests that arrive by their own times, and --concurrency of clients that send them one after the other")
	case len(f.concurrency) > 0 && f.engine.fs.Changed("load"):
		return usagef("--load is of requests that arrive by their own times, and --concurrency of clients that send them one after the other")
	case f.maxLoad && len(f.loads) > 1:
		return usagef("--max-load finds the load: --load has only one to begin from")
	case f.shard != "" && f.dir == "":
		return usagef("--shard needs a folder for its file: -o DIR")
	case f.limit < 0:
		return usagef("--limit %d: want at least 1, or 0 for all", f.limit)
	case f.workers < 0:
		return usagef("--workers %d: want at least 1, or 0 for one for each core", f.workers)
	}
	if err := errors.Join(checkObjectives(f.engine.fs, &f.settings.SLO), f.checkPools()); err != nil {
		return err
	}
	f.settings.Prices = map[string]float64{}
	for _, p := range f.prices {
		card, text, _ := strings.Cut(p, "=")
		usd, err := strconv.ParseFloat(text, 64)
		if err != nil || card == "" {
			return usagef("--price %q: want CARD=DOLLARS for an hour, as h100=2.50", p)
		}
		name, err := f.cardOf(card)
		if err != nil {
			return err
		}
		if before, given := f.settings.Prices[name]; given && before != usd {
			return usagef("--price: %s has two prices: a card of a file that is priced by itself wants a name of its own", name)
		}
		f.settings.Prices[name] = usd
	}
	if err := f.applySettings(); err != nil {
		return err
	}
	if err := f.settings.Check(); err != nil {
		return usageError{err}
	}
	return f.out.check()
}

// disaggregates reports whether there are servers that prefill and others that decode.
func (f *sweepFlags) disaggregates() bool { return len(f.prefill) > 0 || len(f.decode) > 0 }

// checkPools refuses what does not go with servers that prefill and others that decode.
func (f *sweepFlags) checkPools() error {
	fs := f.engine.fs
	by, none := poolNames, "--replicas"
	if fs.Lookup("disaggregate") != nil {
		by, none = "--disaggregate", "no --disaggregate"
	}
	f.settings.Link, f.settings.LinkLatency = f.link.bandwidth, int64(f.link.latency)
	if err := f.link.check(fs, f.disaggregates(), by); err != nil || !f.disaggregates() {
		return err
	}
	switch {
	case len(f.prefill) == 0 || len(f.decode) == 0:
		return usagef("%s go together: want at least one of each", by)
	case len(f.concurrency) > 0 || f.send.turns != string(sim.TurnsAsRecorded):
		return usagef("%s: requests arrive by their own times there; with --concurrency or --turns want %s", by, none)
	}
	return nil
}

// cardOf returns the name of that card of the sweep which a price is for.
func (f *sweepFlags) cardOf(price string) (string, error) {
	priced, err := catalog.FindCard(price)
	if err != nil {
		return "", usagef("--price: %w", err)
	}
	for _, gpu := range f.gpus {
		if card, err := catalog.FindCard(gpu); err == nil && card.Name == priced.Name {
			return card.Name, nil
		}
	}
	return "", usagef("--price %s: no such card is in --gpu %s", price, strings.Join(f.gpus, ","))
}

func (f *sweepFlags) run(cmd *cobra.Command) error {
	if f.disaggregates() && !cmd.Flags().Changed("replicas") {
		f.replicas = nil // all points have some that prefill and others that decode
	}
	if err := f.check(); err != nil {
		return err
	}
	points, err := f.points()
	if err != nil {
		return err
	}
	if err := f.checkMethods(cmd, points); err != nil {
		return err
	}
	if f.settings.Engine = f.engine.memory(f.settings.Scheduler); f.settings.Engine == "" {
		f.settings.Engine = engineOf(points)
	}
	shard := journal.Whole()
	if f.shard != "" {
		if shard, err = journal.ParseShard(f.shard, os.Getenv); err != nil {
			return usageError{err}
		}
	}
	profile, err := readProfile(f.profile)
	if err != nil {
		return err
	}
	requests, name, err := f.load(cmd)
	if err != nil {
		return err
	}
	spread, spreadDigest, err := f.readSpread()
	if err != nil {
		return err
	}
	inputs := sweepInputs{
		Requests: name, Count: len(requests), Digest: digest(requests), Settings: f.settings, Profile: factorsFor(profile, points, f.settings.Scheduler),
		MaxLoad: f.maxLoad, Spread: spreadDigest, Command: commandLine(cmd),
	}
	header, err := newHeader(&inputs, points, profile)
	if err != nil {
		return err
	}
	project := sweep.Project((&sweep.Projector{
		Settings: f.settings, Profile: profile, Spread: spread, Check: f.verify, Requests: func() iter.Seq2[trace.Request, error] { return each(requests) },
	}).Project)
	if f.maxLoad {
		if last := requests[len(requests)-1].ArrivalNS; last == requests[0].ArrivalNS {
			return usagef("--max-load: the requests of %s all come at once, so that no load is larger than another; kvc trace import --arrivals gives them times", name)
		}
		at := project
		project = sweep.LargestLoad(func(ctx context.Context, p sweep.Point) (sweep.Outcome, error) {
			defer f.tried()
			return at(ctx, p)
		}, func(o *sweep.Outcome) bool { return o.Metrics.Meets(f.settings.SLO) })
	}
	outcomes, runErr := f.project(cmd, points, shard, header, project)
	if runErr != nil && !errors.Is(runErr, context.Canceled) {
		return runErr
	}
	if shard.N > 1 {
		if runErr != nil {
			return interrupted(runErr, fmt.Sprintf("%d of %s of shard %s are done; the same command goes on", len(outcomes), words.Count(len(shard.Indices(len(points))), "point"), shard))
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Shard %s is done: %s. When all are: kvc sweep merge %s\n", shard, words.Count(len(outcomes), "projection"), f.dir)
		return nil
	}
	if runErr != nil {
		f.out.noFiles()
	}
	if err := f.out.print(cmd, &inputs, len(points), outcomes); err != nil {
		return err
	}
	if runErr != nil {
		return interrupted(runErr, printedBefore+", and no file is written")
	}
	return noneProjected(outcomes)
}

// noneProjected returns an error where no point could be projected, as kvc sim does of its one.
func noneProjected(outcomes []sweep.Outcome) error {
	for i := range outcomes {
		if outcomes[i].Error == "" || outcomes[i].Metrics.Finished > 0 {
			return nil
		}
	}
	if len(outcomes) == 0 {
		return nil
	}
	return fmt.Errorf("no point could be projected, the first because %s", strings.TrimPrefix(outcomes[0].Error, "sim: "))
}

// project makes the shard's projections that are not there yet.
func (f *sweepFlags) project(cmd *cobra.Command, points []sweep.Point, shard journal.Shard, header sweep.Header, project sweep.Project) ([]sweep.Outcome, error) {
	indices := shard.Indices(len(points))
	var kept *sweep.Journal
	if f.dir != "" {
		var err error
		if kept, err = sweep.OpenJournal(f.dir, shard, header); err != nil {
			return nil, err
		}
		defer kept.Close()
		before := len(indices)
		indices = slices.DeleteFunc(indices, func(i int) bool { return kept.Done(i) != nil })
		if n := before - len(indices); n > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s of %d there already.\n", words.Count(n, "projection"), before)
		}
	}
	bar := newBar(cmd.ErrOrStderr(), int64(len(indices)), "projections")
	var loads atomic.Int64
	f.tried = func() { bar.Describe(fmt.Sprintf("largest loads, %s tried", words.Count(int(loads.Add(1)), "load"))) }
	outcomes, err := sweep.Run(cmd.Context(), points, indices, f.workers, project, func(o *sweep.Outcome) error {
		_ = bar.Add(1) // of a terminal that is gone
		if kept != nil {
			return kept.Add(o)
		}
		return nil
	})
	_ = bar.Clear()
	if kept == nil {
		return outcomes, err
	}
	if err == nil {
		_, err = kept.Finish()
	}
	return kept.Items(), err
}

// load reads the requests into memory, where all projections read them.
func (f *sweepFlags) load(cmd *cobra.Command) ([]trace.Request, string, error) {
	source, err := openKnownRequests(cmd, f.requests)
	if err != nil {
		return nil, "", err
	}
	defer source.close()
	var requests []trace.Request
	for r, err := range withBar(cmd.ErrOrStderr(), -1, first(f.limit, source.requests)) {
		if err == nil && len(requests)%1024 == 0 {
			err = cmd.Context().Err()
		}
		if err != nil {
			return nil, "", interrupted(err, "nothing is projected")
		}
		if f.settings.V1 == nil && !f.prefix {
			r.PrefixHashes = nil
		}
		requests = append(requests, r)
	}
	if len(requests) == 0 {
		return nil, "", source.none()
	}
	switch {
	case f.prefix && source.prefixBlock() == 0:
		return nil, "", usagef("--enable-prefix-caching: %s has no prefix hashes", source.name)
	case f.settings.V1 != nil:
		f.settings.V1.PrefixTokens = source.prefixBlock()
	case f.prefix:
		f.settings.PrefixTokens = source.prefixBlock()
	}
	return requests, source.name, nil
}

// readSpread returns what --spread says, and a digest of its file.
func (f *sweepFlags) readSpread() (func(kv.Shape) (sim.Spread, error), string, error) {
	f.settings.Spread = ""
	if f.spread != "spared" {
		f.settings.Spread = f.spread
	}
	of := simFlags{spread: f.spread}
	if f.spread == "spared" || f.spread == "even" {
		return of.spreadOf, "", nil
	}
	text, err := readSmall(f.spread)
	if err != nil {
		return nil, "", fmt.Errorf("--spread: %w", err)
	}
	sum := sha256.Sum256(text)
	return of.spreadOf, hex.EncodeToString(sum[:]), nil
}

func each(requests []trace.Request) iter.Seq2[trace.Request, error] {
	return func(yield func(trace.Request, error) bool) {
		for i := range requests {
			if !yield(requests[i], nil) {
				return
			}
		}
	}
}

// digest is a digest of what of the requests a projection depends on.
func digest(requests []trace.Request) string {
	h := sha256.New()
	var line []byte
	for i := range requests {
		r := &requests[i]
		line = strconv.AppendInt(line[:0], r.ArrivalNS, 10)
		line = strconv.AppendInt(append(line, ' '), int64(r.PromptTokens), 10)
		line = strconv.AppendInt(append(line, ' '), int64(r.OutputTokens), 10)
		line = strconv.AppendQuote(append(line, ' '), r.Session)
		for _, hash := range r.PrefixHashes {
			line = strconv.AppendUint(append(line, ' '), hash, 16)
		}
		h.Write(append(line, '\n')) // never fails
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sweepInputs is what the outcomes of a sweep follow from, beside its points.
type sweepInputs struct {
	Requests string         `json:"requests"`
	Count    int            `json:"request_count"`
	Digest   string         `json:"request_sha256"`
	Settings sweep.Settings `json:"settings"`
	Profile  string         `json:"factors_of"`
	MaxLoad  bool           `json:"max_load"`
	Spread   string         `json:"spread_sha256,omitempty"` // of a file
	Command  string         `json:"command"`
}

// factorsFor says of each of the points' cards what its factors were fitted to, and the error
// to expect.
func factorsFor(profile *cost.Profile, points []sweep.Point, scheduler sim.Scheduler) string {
	server := cmp.Or(scheduler, sim.KVCompressServer)
	var of []string
	for i := range points {
		name := points[i].Card
		if i > 0 && name == points[i-1].Card {
			continue
		}
		card, err := catalog.FindCard(name)
		if err != nil { // the point will say so
			continue
		}
		fit := profile.For(&card, server)
		text := card.Name + ": "
		if other := fit.Suits(&card, server); other != "" {
			text += "a fit to " + other + ", "
		}
		text += fit.Of + "; error to expect: " + fit.Expected(&card, server)
		if !slices.Contains(of, text) {
			of = append(of, text)
		}
	}
	return strings.Join(of, ". ")
}

// newHeader names the sweep by a digest of all its inputs.
func newHeader(in *sweepInputs, points []sweep.Point, profile *cost.Profile) (sweep.Header, error) {
	shown, err := json.Marshal(in)
	if err != nil {
		return sweep.Header{}, err
	}
	h := sha256.New()
	h.Write(shown) // never fails
	if err := json.NewEncoder(h).Encode(points); err != nil {
		return sweep.Header{}, err
	}
	// What models and cards are, too: some are given by files, which may have changed.
	var last sweep.Point
	for _, p := range points {
		if p.Model == last.Model && p.Card == last.Card {
			continue
		}
		last = p
		model, err := catalog.FindModel(p.Model)
		if err != nil {
			return sweep.Header{}, err
		}
		card, err := catalog.FindCard(p.Card)
		if err != nil {
			return sweep.Header{}, err
		}
		if err := json.NewEncoder(h).Encode([]any{model, card}); err != nil {
			return sweep.Header{}, err
		}
	}
	if err := profile.Write(h); err != nil {
		return sweep.Header{}, err
	}
	return sweep.Header{Digest: hex.EncodeToString(h.Sum(nil)), Items: len(points), Inputs: shown}, nil
}

// list are the inputs as the report shows them.
func (in *sweepInputs) list() []report.Input {
	s := &in.Settings
	slo := "none"
	if s.SLO.Set() {
		slo = fmt.Sprintf("%s; for %g of the requests", sloWords(s.SLO), s.SLO.Required())
	}
	link := "each card's network"
	if s.Link > 0 {
		link = fmt.Sprintf("%.4g GB/s a card", s.Link/1e9)
	}
	list := []report.Input{
		{Name: "requests", Value: fmt.Sprintf("%s: %s", in.Requests, words.Count(in.Count, "request"))},
		{Name: "requests, SHA-256", Value: in.Digest[:min(16, len(in.Digest))]},
		{Name: "time of the terms", Value: in.Profile},
		{Name: "objectives", Value: slo},
		{Name: "batches as formed by", Value: string(s.Scheduler)},
		{Name: "tokens of one batch", Value: batchTokens(s)},
		{Name: "memory as measured by", Value: string(s.Engine)},
		{Name: "block size", Value: strconv.Itoa(s.BlockSize)},
		{Name: "KV cache", Value: s.KV},
		{Name: "watermark", Value: strconv.FormatFloat(s.Watermark, 'g', -1, 64)},
		{Name: "protected window", Value: strconv.Itoa(s.ProtectedWindow)},
		{Name: "decode steps between compressions", Value: stepsBetween(s)},
		{Name: "slots sorted in one compression", Value: strconv.Itoa(s.MaxKVPerCompression)},
	}
	for _, o := range []struct {
		on          bool
		name, value string
	}{
		{s.Turns != "" && s.Turns != sim.TurnsAsRecorded, "turns of a session", string(s.Turns)},
		{s.Blocks > 0, "blocks of one head", strconv.Itoa(s.Blocks)},
		{s.Chunked && s.Scheduler != sim.VLLMV1, "chunked prefill", "on"}, {s.PrefixTokens > 0, "prefix caching", "on"},
		{s.V1 != nil && s.V1.WholePrompts, "chunked prefill", "off"}, {s.V1 != nil && !s.V1.Prefixes, "prefix caching", "off"},
		{s.Window > 0, "queries of a prompt that are watched", strconv.Itoa(s.Window)},
		{s.Link > 0 || s.LinkLatency > 0, "link from prefill to decode replicas", fmt.Sprintf("%s and %v", link, time.Duration(s.LinkLatency))},
		{s.Spread != "", "which heads lose what is evicted", s.Spread},
	} {
		if o.on {
			list = append(list, report.Input{Name: o.name, Value: o.value})
		}
	}
	if s.PP > 1 {
		list = append(list, report.Input{Name: "stages of a pipeline", Value: strconv.Itoa(s.PP)})
	}
	if s.MaxModelLen > 0 {
		list = append(list, report.Input{Name: "tokens of the longest request", Value: strconv.Itoa(s.MaxModelLen)})
	}
	if s.Weights != "" {
		list = append(list, report.Input{Name: "weights", Value: s.Weights})
	}
	for _, o := range []struct {
		on   bool
		name string
		of   any
	}{
		{s.EvenLayers, "as many blocks from every layer, but for layers", s.ControlLayers}, {s.Uniform, "as many blocks from every head", "yes"},
		{s.Once, "compressed a single time", "yes"}, {s.NewTokenLimit > 0, "tokens after which a compression is due", s.NewTokenLimit},
	} {
		if o.on {
			list = append(list, report.Input{Name: o.name, Value: fmt.Sprint(o.of)})
		}
	}
	for _, method := range slices.Sorted(maps.Keys(s.Set)) {
		for _, key := range slices.Sorted(maps.Keys(s.Set[method])) {
			list = append(list, report.Input{Name: method + ": " + key, Value: string(s.Set[method][key])})
		}
	}
	if in.MaxLoad {
		list = append(list, report.Input{Name: "load", Value: fmt.Sprintf("the largest under which %g of the requests keep the objectives", in.Settings.SLO.Required())})
	}
	for _, card := range slices.Sorted(maps.Keys(s.Prices)) {
		list = append(list, report.Input{Name: "price of " + card, Value: fmt.Sprintf("$%g an hour", s.Prices[card])})
	}
	return list
}

// batchTokens says how many tokens a batch may have.
func batchTokens(s *sweep.Settings) string {
	if s.MaxNumBatchedTokens == 0 {
		return "vllm-v1's own by card, as " + string(s.Usage)
	}
	return strconv.Itoa(s.MaxNumBatchedTokens)
}

func sloWords(s stats.SLO) string {
	var words []string
	for _, o := range []struct {
		name  string
		limit time.Duration
	}{{"first token within", s.TTFT}, {"each further token within", s.TPOT}, {"the last within", s.E2E}} {
		if o.limit > 0 {
			words = append(words, fmt.Sprintf("%s %v", o.name, o.limit))
		}
	}
	return strings.Join(words, ", ")
}

// noFiles leaves the files of a run that is interrupted unwritten: what they hold may be of
// a whole one.
func (o *sweepOutput) noFiles() { o.html, o.csvFile, o.figure = "", "", "" }

// print marks the front, and writes the outcomes wherever they are wanted.
func (o *sweepOutput) print(cmd *cobra.Command, in *sweepInputs, points int, outcomes []sweep.Outcome) error {
	sweep.MarkPareto(outcomes, report.LatencyOf(o.latency))
	s := &report.Sweep{Inputs: in.list(), Points: points, Outcomes: outcomes, SLO: in.Settings.SLO, Latency: o.latency, Searched: in.MaxLoad, MaxModelLen: in.Settings.MaxModelLen,
		Footer: newFooter(in.Command),
	}
	for _, f := range []struct {
		path  string
		write func(io.Writer, *report.Sweep) error
	}{{o.html, report.SweepHTML}, {o.csvFile, report.SweepCSV}} {
		if f.path == "" {
			continue
		}
		if err := output.Write(f.path, func(w io.Writer) error { return f.write(w, s) }); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Written to %s.\n", f.path)
	}
	if o.figure != "" {
		paths, err := report.WriteFigures(o.figure, report.SweepFigures(s))
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Drawn to %s: %s.\n", o.figure, words.Count(len(paths), "file"))
	}
	out := cmd.OutOrStdout()
	if o.asJSON {
		return report.SweepJSON(out, s)
	}
	width, tty := terminal(out)
	opt := report.TextOptions{Width: width}
	if tty {
		opt.Color = report.ColorOf(os.Getenv)
	}
	return report.SweepText(out, s, opt)
}

// stepsBetween says after how many decode steps sequences are compressed.
func stepsBetween(s *sweep.Settings) string {
	if s.OwnInterval {
		return "each method's own: 1, and KV-Compress after prefills and where blocks lack"
	}
	return strconv.Itoa(s.Interval)
}
