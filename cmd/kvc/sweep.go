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
	"path/filepath"
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
	tried                       func() // called after each load that --max-load tries
	shard, dir                  string
	pp                          int
	workers                     int
	out                         sweepOutput
}

// sweepOutput says how outcomes are printed and to which files they are written.
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
		Long: `Sweep makes one projection, as kvc sim does, for every combination of the values that
its flags list, in parallel on all cores. It prints a table of throughput, latencies and
costs, and marks the Pareto front of throughput per card against latency. The output is
the same to the byte on any number of cores.

MODEL and CARD are as for kvc sim. Memory is one of
  0.9            a fraction of each card's memory
  20GB, 18.5GiB  of each card
  300000tokens   a cache for this many tokens uncompressed, whatever the card's memory
Compression is one of
  none           plain vLLM, without KV-Compress's metadata
  rate:0.25      KV-Compress: keep this fraction of the KVs that may be evicted
  tokens:1024    KV-Compress: keep this many KVs per head on average
  METHOD, METHOD:rate:R, METHOD:tokens:C
                 another of kvc methods, with its --rate or --max-cache-tokens, or with
                 its own options only; kvc methods NAME says what each means
A method's own options are the same in all projections: --set METHOD.KEY=VALUE. For
methods with heads that keep everything (razor, duo-attention), give the number of these
heads: --set razor.map=FILE, a map that kvc heads wrote, or --set razor.full_share=0.15.
Equal --memory compares methods at equal memory. Quality is not projected.
Loads are factors of the arrival rate: with 2, requests arrive twice as often.

With --max-load each combination's load is instead the largest at which the fraction
--slo-attainment of the requests meets the objectives, found by bisection.

Many machines can share a sweep: each runs the same command with --shard I/N (or auto/N,
which takes I from JOB_COMPLETION_INDEX or SLURM_ARRAY_TASK_ID) and -o DIR on a shared
disk. kvc sweep merge DIR joins their files. A shard that was stopped is resumed by the
same command. docs/planning.md has manifests.

Exit code 2 if no point has a result: the model fits none of the cards, say, or with
--max-load no point meets the objectives at any load.
Ctrl-C prints the finished outcomes, marked partial, and writes no file: exit code 130.`,
		Example: `  kvc sweep --requests code.csv --model llama-3.1-8b --gpu l4,h100 --compression none,rate:0.5,rate:0.25 --max-num-batched-tokens 8192
  kvc sweep --requests code.csv --model llama-3.1-8b --gpu l4 --memory 0.85,0.9,0.95 --max-num-seqs 16,64,256 --html sweep.html
  kvc sweep --requests code.csv --model llama-3.1-8b --gpu h100 --max-load --slo-ttft 2s --slo-tpot 50ms --price h100=2.50
  kvc sweep --requests code.csv --model llama-3.1-8b --gpu l4 --memory 0.9 --compression none,snapkv:tokens:1024,streaming-llm:tokens:1024,razor \
      --set razor.full_share=0.15 --set snapkv.window=64 --interval 16 --max-num-batched-tokens 8192
  kvc sweep … --shard auto/8 -o results && kvc sweep merge results --html sweep.html`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	f.addRequests(fs)
	fs.StringSliceVar(&f.models, "model", nil, "`models` to serve")
	f.addPoints(fs)
	fs.IntSliceVar(&f.replicas, "replicas", []int{1}, "`numbers` of equal servers behind a router")
	fs.IntSliceVar(&f.prefill, "prefill-replicas", nil, "`numbers` of servers that prefill and send the KVs to the servers that decode; needs --decode-replicas; in place of --replicas, or in addition if it is given")
	fs.IntSliceVar(&f.decode, "decode-replicas", nil, "`numbers` of servers that decode; needs --prefill-replicas")
	f.link.add(fs)
	fs.BoolVar(&f.maxLoad, "max-load", false, "find the largest load within the objectives")
	addObjectives(fs, &f.settings.SLO)
	f.addPrices(fs)
	f.addSettings(cmd)
	fs.StringVar(&f.shard, "shard", "", "run only shard `I/N`, with I from 0, or auto/N, or auto; needs -o")
	fs.StringVarP(&f.dir, "out", "o", "", "`folder` to keep outcomes in, and to resume from")
	fs.IntVar(&f.workers, "workers", 0, "`number` of projections at a time; 0 is one for each core")
	f.out.add(cmd)
	writes(cmd, outputFolder, "out")
	reads(cmd, "profile", "json")
	reads(cmd, "requests")
	suggestOrFile(cmd, "model", modelNames()...)
	suggestOrFile(cmd, "gpu", cardNames()...)
	cmd.AddCommand(newSweepMergeCmd())
	return cmd
}

// addRequests, addPoints, addPrices and addSettings add the flags that kvc sweep and kvc plan
// share.
func (f *sweepFlags) addRequests(fs *pflag.FlagSet) {
	fs.StringVar(&f.requests, "requests", "", "`trace` or log of requests")
	fs.IntVar(&f.limit, "limit", 0, "serve only the first `number` of requests; 0 is all")
}

func (f *sweepFlags) addPoints(fs *pflag.FlagSet) {
	fs.StringSliceVar(&f.gpus, "gpu", nil, "`cards` to serve on")
	fs.IntSliceVar(&f.tp, "tensor-parallel", []int{1}, "numbers of `cards` over which every layer is split")
	fs.IntVar(&f.pp, "pipeline-parallel", 1, "number of `stages` over which the layers are divided, each of --tensor-parallel cards, in all projections")
	fs.StringSliceVar(&f.memory, "memory", []string{"0.9"}, "memory `budgets`")
	fs.StringSliceVar(&f.utilization, "gpu-memory-utilization", nil, "`fractions` of each card's memory, in place of --memory")
	fs.StringSliceVar(&f.compression, "compression", []string{"none"}, "`compressions`")
	f.method.add(fs)
	fs.IntSliceVar(&f.seqs, "max-num-seqs", []int{256}, "most `sequences` that run at a time; with vllm-v1, unless given, vLLM's default for the card")
	fs.Float64SliceVar(&f.loads, "load", []float64{1}, "`factors` of the arrival rate")
	fs.IntSliceVar(&f.concurrency, "concurrency", nil, "numbers of `clients` (closed loop): each sends the next request when its previous one has finished, and arrival times are ignored")
}

func (f *sweepFlags) addPrices(fs *pflag.FlagSet) {
	fs.StringSliceVar(&f.prices, "price", nil, "dollars per hour of a card, `CARD=DOLLARS`, such as h100=2.50")
	fs.StringArrayVar(&f.set, "set", nil, "one of a method's own options, `METHOD.KEY=VALUE`, or KEY=VALUE with --method, as kvc methods NAME lists them; may be repeated")
}

func (f *sweepFlags) addSettings(cmd *cobra.Command) {
	fs := cmd.Flags()
	f.options = newBinder(fs, planOptions())
	f.options.addBatch()
	enumVar(fs, weights()...)(&f.settings.Weights, "weights", "", "format of the weights: "+weightNames()+" (default: the model's)")
	f.options.addPages()
	f.options.addBlocks()
	f.options.addEviction()
	f.options.addWindow()
	f.options.addSchedule()
	f.options.addRules()
	f.engine.add(fs)
	fs.BoolVar(&f.prefix, "enable-prefix-caching", false, "reuse the blocks of a common prefix, by the requests' prefix hashes; on by default with vllm-v1, without compression")
	fs.BoolVar(&f.chunked, "enable-chunked-prefill", false, "prefill prompts in chunks, in the same steps as decoding sequences; on by default with vllm-v1")
	fs.StringVar(&f.spread, "spread", "spared", "`model` of how evicted KVs are spread over heads: spared, even, or a file that kvc run --profile wrote")
	f.send.add(cmd)
	fs.BoolVar(&f.verify, "check", false, "check that every step keeps the scheduler's invariants of time, blocks and tokens")
	fs.StringVar(&f.profile, "profile", "", "`file` that kvc calibrate wrote, or the shipped fits to a server: vllm-v1, vllm-v0, sglang or trtllm")
}

// compresses reports whether any point of the sweep has compression. Then all points are
// projected with one server's scheduler, so that they can be compared.
func (f *sweepFlags) compresses() bool {
	list, err := f.method.list(f.compression)
	return err == nil && slices.ContainsFunc(list, sweep.Compression.Enabled)
}

// applySettings sets the settings by the flags that kvc sweep and kvc plan share.
func (f *sweepFlags) applySettings() error {
	o := planOptions()
	if err := f.options.apply(&o); err != nil {
		return err
	}
	s, c := &f.settings, &o.Compression
	if f.pp < 1 || f.pp > cost.MaxPP {
		return usagef("--pipeline-parallel %d: want 1 to %d", f.pp, cost.MaxPP)
	}
	if f.pp > 1 { // 1 is the zero value, so that it is left out of files
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
		switch {
		case !f.engine.fs.Changed("max-num-batched-tokens"):
			s.MaxNumBatchedTokens = 0 // V1's own for each card
		case s.MaxNumBatchedTokens < 1:
			return usagef("--max-num-batched-tokens %d: want at least 1", s.MaxNumBatchedTokens)
		}
	}
	s.Set, err = f.method.setOptions(f.set)
	return err
}

// engineOf returns the engine whose memory profiling is followed for all points, so that they can
// be compared.
func engineOf(points []sweep.Point) cost.Engine {
	if slices.ContainsFunc(points, func(p sweep.Point) bool { return p.Compression.Enabled() }) {
		return cost.KVCompress
	}
	return cost.VLLMV1
}

// checkMethods refuses options of methods that are not in the sweep, and methods that can be
// projected for none of its models. If a method cannot be projected for some of the models,
// those points have an error.
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
			return usagef("--set %s.…: this method is not in --compression", method)
		}
	}
	for _, name := range kvCompressFlags {
		if cmd.Flags().Changed(name) && !used[ref.KVCompress] && len(used) > 0 && !(len(used) == 1 && used["none"]) {
			return usagef("--%s is an option of %s, which is not in --compression: add rate:R or tokens:C", name, ref.KVCompress)
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
	fs.StringVar(&o.latency, "latency", "e2e", "`latency` of the Pareto front, at its 99th percentile: e2e, ttft, tpot or itl")
	suggest(cmd, "latency", report.Latencies()...)
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

// points returns the combinations that the flags list.
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
		return usagef("--model is missing: %s", wantModel())
	case len(f.gpus) == 0:
		return usagef("--gpu is missing: one or more of %s, or a JSON file", strings.Join(cardNames(), ", "))
	case f.maxLoad && !f.settings.SLO.Set():
		return usagef("--max-load needs an objective: --slo-ttft, --slo-tpot or --slo-e2e")
	case f.maxLoad && len(f.concurrency) > 0:
		return usagef("--max-load and --concurrency exclude each other: with --concurrency the load follows from the clients")
	case len(f.concurrency) > 0 && f.engine.fs.Changed("load"):
		return usagef("--load and --concurrency exclude each other: with --concurrency the load follows from the clients")
	case f.maxLoad && len(f.loads) > 1:
		return usagef("--max-load needs a single --load, from which the search starts")
	case f.shard != "" && f.dir == "":
		return usagef("--shard needs -o, the folder of the shards' results")
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
			return usagef("--price %q: want CARD=DOLLARS per hour, such as h100=2.50", p)
		}
		name, err := f.cardOf(card)
		if err != nil {
			return err
		}
		if before, given := f.settings.Prices[name]; given && before != usd {
			return usagef("--price: %s has two prices: give the card of a file another name", name)
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

// disaggregates reports whether prefill and decode servers are given.
func (f *sweepFlags) disaggregates() bool { return len(f.prefill) > 0 || len(f.decode) > 0 }

// checkPools refuses flags that do not go with prefill and decode servers.
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
		return usagef("%s: neither --concurrency nor --turns goes with it: with these want %s", by, none)
	}
	return nil
}

// cardOf returns the name of the sweep's card that a price is for. A card that a file describes may also be
// named by the file.
func (f *sweepFlags) cardOf(price string) (string, error) {
	name := price
	if c, err := catalog.FindCard(price); err == nil { // price may be another name of a card
		name = c.Name
	}
	byFile := ""
	var names []string
	for _, gpu := range f.gpus {
		card, err := catalog.FindCard(gpu)
		if err != nil {
			return "", usageError{err}
		}
		if strings.EqualFold(card.Name, name) {
			return card.Name, nil
		}
		if base := filepath.Base(gpu); price == base || price == strings.TrimSuffix(base, ".json") {
			byFile = card.Name
		}
		names = append(names, card.Name)
	}
	if byFile == "" {
		return "", usagef("--price %s: no such card is in --gpu, which has %s", price, strings.Join(names, ", "))
	}
	return byFile, nil
}

func (f *sweepFlags) run(cmd *cobra.Command) error {
	if f.disaggregates() && !cmd.Flags().Changed("replicas") {
		f.replicas = nil // all points have prefill and decode servers
	}
	if err := f.check(); err != nil {
		return err
	}
	points, err := f.points()
	if err != nil {
		return err
	}
	if err := cmp.Or(f.checkMethods(cmd, points), checkPointLimits(&f.settings, points)); err != nil {
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
			return usagef("--max-load: the requests of %s all arrive at once, so their load cannot be scaled; kvc trace import --arrivals gives them arrival times", name)
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
			return interrupted(runErr, fmt.Sprintf("%s of %s of shard %s are done; run the same command again to continue", words.Number(len(outcomes)), words.Count(len(shard.Indices(len(points))), "point"), shard))
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
	return withoutResult(outcomes)
}

// withoutResult returns an error if no point has a result: none could be projected or, with
// --max-load, the objectives are met at no load.
func withoutResult(outcomes []sweep.Outcome) error {
	projected := false
	for i := range outcomes {
		if outcomes[i].Error == "" {
			return nil
		}
		projected = projected || outcomes[i].Metrics.Finished > 0
	}
	switch {
	case len(outcomes) == 0:
		return nil
	case projected:
		return errors.New("no point has a load that meets the objectives: want looser ones, faster cards or shorter requests")
	}
	return fmt.Errorf("no point could be projected, the first because %s", strings.TrimPrefix(outcomes[0].Error, "sim: "))
}

// project makes the shard's projections that have no outcome yet, and returns all outcomes.
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
			fmt.Fprintf(cmd.ErrOrStderr(), "%s of %s there already.\n", words.Count(n, "projection"), words.Number(before))
		}
	}
	bar := newBar(cmd.ErrOrStderr(), int64(len(indices)), "projections")
	var loads atomic.Int64
	f.tried = func() { bar.Describe(fmt.Sprintf("largest loads, %s tried", words.Count(int(loads.Add(1)), "load"))) }
	outcomes, err := sweep.Run(cmd.Context(), points, indices, f.workers, project, func(o *sweep.Outcome) error {
		_ = bar.Add(1) // fails only if the terminal is gone
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

// load reads the requests into memory, from which all projections read them.
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
			return nil, "", interrupted(err, "nothing was projected")
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

// readSpread returns the spread of --spread, and the digest of its file.
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

// digest returns a digest of the fields of the requests that a projection depends on.
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
		h.Write(append(line, '\n')) // a hash never returns an error
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sweepInputs are the inputs of a sweep other than its points.
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

// factorsFor returns for each of the points' cards the measurements that its factors were fitted
// to, and the error to expect.
func factorsFor(profile *cost.Profile, points []sweep.Point, scheduler sim.Scheduler) string {
	server := cmp.Or(scheduler, sim.KVCompressServer)
	var of []string
	for i := range points {
		name := points[i].Card
		if i > 0 && name == points[i-1].Card {
			continue
		}
		card, err := catalog.FindCard(name)
		if err != nil { // the point's outcome has the error
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

// newHeader returns the header of the sweep's files, which identifies it by a digest of its
// inputs.
func newHeader(in *sweepInputs, points []sweep.Point, profile *cost.Profile) (sweep.Header, error) {
	shown, err := json.Marshal(in)
	if err != nil {
		return sweep.Header{}, err
	}
	h := sha256.New()
	h.Write(shown) // a hash never returns an error
	if err := json.NewEncoder(h).Encode(points); err != nil {
		return sweep.Header{}, err
	}
	// The contents of models and cards too, since those given by files may have changed.
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

// list returns the inputs as the report shows them.
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
		{Name: "block size", Value: words.Number(s.BlockSize)},
		{Name: "KV cache", Value: s.KV},
		{Name: "watermark", Value: strconv.FormatFloat(s.Watermark, 'g', -1, 64)},
		{Name: "protected window", Value: words.Number(s.ProtectedWindow)},
		{Name: "decode steps between compressions", Value: stepsBetween(s)},
		{Name: "slots sorted in one compression", Value: words.Number(s.MaxKVPerCompression)},
	}
	for _, o := range []struct {
		on          bool
		name, value string
	}{
		{s.Turns != "" && s.Turns != sim.TurnsAsRecorded, "turns of a session", string(s.Turns)},
		{s.Blocks > 0, "blocks of one head", words.Number(s.Blocks)},
		{s.Chunked && s.Scheduler != sim.VLLMV1, "chunked prefill", "on"}, {s.PrefixTokens > 0, "prefix caching", "on"},
		{s.V1 != nil && s.V1.WholePrompts, "chunked prefill", "off"}, {s.V1 != nil && !s.V1.Prefixes, "prefix caching", "off"},
		{s.Window > 0, "queries of a prompt that are watched", words.Number(s.Window)},
		{s.Link > 0 || s.LinkLatency > 0, "link from prefill to decode replicas", fmt.Sprintf("%s and %v", link, time.Duration(s.LinkLatency))},
		{s.Spread != "", "which heads lose what is evicted", s.Spread},
	} {
		if o.on {
			list = append(list, report.Input{Name: o.name, Value: o.value})
		}
	}
	if s.PP > 1 {
		list = append(list, report.Input{Name: "stages of a pipeline", Value: words.Number(s.PP)})
	}
	if s.MaxModelLen > 0 {
		list = append(list, report.Input{Name: "tokens of the longest request", Value: words.Number(s.MaxModelLen)})
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
		{s.Once, "compressed a single time", "yes"}, {s.NewTokenLimit > 0, "tokens after which a compression is due", words.Number(s.NewTokenLimit)},
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
		list = append(list, report.Input{Name: "price of " + card, Value: "$" + hourly(s.Prices[card]) + " an hour"})
	}
	return list
}

// hourly returns a price with all of its digits, at least to the cent.
func hourly(usd float64) string {
	_, cents, _ := strings.Cut(strconv.FormatFloat(usd, 'f', -1, 64), ".")
	return words.Decimal(usd, max(2, len(cents)))
}

// batchTokens returns the most tokens of a batch, in words.
func batchTokens(s *sweep.Settings) string {
	if s.MaxNumBatchedTokens == 0 {
		return "vllm-v1's own by card, as " + string(s.Usage)
	}
	return words.Number(s.MaxNumBatchedTokens)
}

func sloWords(s stats.SLO) string {
	var parts []string
	for _, o := range []struct {
		name  string
		limit time.Duration
	}{{"first token within", s.TTFT}, {"each further token within", s.TPOT}, {"the last within", s.E2E}} {
		if o.limit > 0 {
			parts = append(parts, o.name+" "+words.Time(o.limit))
		}
	}
	return strings.Join(parts, ", ")
}

// noFiles keeps an interrupted run from writing its files: they may have the results of a
// complete run.
func (o *sweepOutput) noFiles() { o.html, o.csvFile, o.figure = "", "", "" }

// print marks the Pareto front, prints the outcomes and writes the files that the flags name.
func (o *sweepOutput) print(cmd *cobra.Command, in *sweepInputs, points int, outcomes []sweep.Outcome) error {
	sweep.MarkPareto(outcomes, report.LatencyOf(o.latency))
	s := &report.Sweep{Inputs: in.list(), Points: points, Outcomes: outcomes, SLO: in.Settings.SLO, Latency: o.latency, Engine: string(in.Settings.Scheduler), Searched: in.MaxLoad, MaxModelLen: in.Settings.MaxModelLen,
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
	return report.SweepText(out, s, textOptions(out))
}

// stepsBetween returns the number of decode steps between compressions, in words.
func stepsBetween(s *sweep.Settings) string {
	if s.OwnInterval {
		return "each method's own: 1, and KV-Compress after prefills and where blocks lack"
	}
	return words.Number(s.Interval)
}
