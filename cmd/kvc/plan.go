package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kvcompress/internal/output"
	"kvcompress/report"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/sim/plan"
	"kvcompress/sim/sweep"
	"kvcompress/trace"
)

// planFlags are the flags of kvc plan.
type planFlags struct {
	sweepFlags
	replicas, most int
	disaggregate   bool
	asJSON         bool
	html           string
	quality        qualityFlags
}

// ownEngine is the value of --engine by which each candidate is projected on the server that
// supports it.
const ownEngine = "own"

func newPlanCmd() *cobra.Command {
	f := planFlags{sweepFlags: sweepFlags{settings: sweep.DefaultSettings()}}
	cmd := &cobra.Command{
		Use:   "plan --requests TRACE --model MODEL --gpu CARD,…",
		Short: "Find the cheapest cards and compression that serve requests within objectives",
		Long: `Plan finds the cheapest way to serve the requests within the objectives. It projects
them, as kvc sim does, on every combination of the cards, tensor parallelism and
compressions that its flags list, each with the fewest replicas behind a router that meet
the objectives. The first line is the answer. A table below has every candidate, and why
it fails: which objective it misses and by how much, that the model does not fit, that
requests are too long, or that the engine does not support the method.

The objectives are limits of latency. The fraction --slo-attainment of all requests must
meet all of them; a refused request meets none. Prices are dollars per hour of a card, by
--price or a card's JSON file. Without prices the fewest cards are best.

All candidates are projected on one engine, vllm-v1 unless --engine says otherwise, as if
the methods were ported to it. With --engine own each is projected on the server that
supports it, and the first line says that the engines differ.

The number of replicas is the fewest that meet the objectives, up to --max-replicas, or
--replicas. If requests miss them even one at a time, no number helps. --disaggregate adds
candidates in which some servers prefill and the others decode: the fewest in all that
meet the objectives, up to --max-replicas of each kind, or --replicas in all.

MODEL, CARD, memory and compressions are as for kvc sweep. Quality is not projected. With
--quality and --min-quality a candidate must keep a fraction of the full cache's score in
the results of a kvc bench, at the fraction of the bytes that it holds over the mean
request; the answer names the bench. --quality longctx_bench:MODEL uses the published
scores of LongChat-7B, Llama-3-8B or Mistral-7B instead (KIVI, FlexGen, StreamingLLM,
InfLLM and LLMLingua-2 on LongBench). With --compression bench every method of the bench
is a candidate at each of its budgets, and --html draws throughput against quality, with
their Pareto front.
Exit code 1 if no candidate meets the objectives.`,
		Example: `  kvc plan --requests code.csv --model llama-3.1-8b --gpu l4,l40s,h100 --price l4=0.70,l40s=1.50,h100=3 --slo-ttft 2s --slo-tpot 100ms
  kvc plan --requests code.csv --model llama-3.1-70b --gpu a100,h100 --tensor-parallel 2,4,8 --compression none,rate:0.5,snapkv:tokens:1024 \
      --price a100=1.80,h100=3 --slo-ttft 5s --slo-tpot 80ms --slo-attainment 0.95 --html plan.html
  kvc plan --requests chat --model llama-3.1-8b --gpu h100 --slo-e2e 20s --load 2
  kvc plan --requests chat --model llama-3.1-70b --gpu h100 --tensor-parallel 4 --slo-ttft 1s --slo-tpot 20ms --disaggregate
  kvc plan --requests chat --model llama-3.1-8b --gpu l4 --compression none,snapkv:rate:0.5 --quality bench.json --min-quality 0.95
  kvc plan --requests chat --model llama-3.1-8b --gpu l4 --compression none,bench --quality bench.json --min-quality 0.8 --html front.html
  kvc plan --requests chat --model llama-3-8b --gpu l4 --compression none,kivi,flexgen --quality longctx_bench:Llama-3-8B --min-quality 0.97`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	f.addRequests(fs)
	fs.StringSliceVar(&f.models, "model", nil, "`model` to serve")
	f.addPoints(fs)
	addObjectives(fs, &f.settings.SLO)
	f.addPrices(fs)
	fs.IntVar(&f.replicas, "replicas", 0, "`number` of replicas of every candidate; 0 is the fewest that meet the objectives")
	fs.IntVar(&f.most, "max-replicas", 64, "largest `number` of replicas to try")
	fs.BoolVar(&f.disaggregate, "disaggregate", false, "add for each candidate one with separate prefill and decode servers")
	f.link.add(fs)
	f.addSettings(cmd)
	engine := fs.Lookup("engine")
	engine.Usage = "`server` that all candidates are projected on: " + choices(sim.Schedulers()) + "; or " + ownEngine + ", for each the one that has it (default vllm-v1)"
	router := fs.Lookup("router")
	router.DefValue = string(sim.LeastOutstanding)
	f.send.router = router.DefValue
	f.quality.add(fs)
	fs.IntVar(&f.workers, "workers", 0, "`number` of projections at a time; 0 is one for each core")
	fs.BoolVar(&f.asJSON, "json", false, "print the answer as JSON")
	fs.StringVar(&f.html, "html", "", "write one self-contained page to a `file`")
	writes(cmd, outputFile, "html", "html")
	reads(cmd, "profile", "json")
	reads(cmd, "requests")
	suggestOrFile(cmd, "model", modelNames()...)
	suggestOrFile(cmd, "gpu", cardNames()...)
	return cmd
}

func (f *planFlags) run(cmd *cobra.Command) error {
	f.out.latency = "e2e"
	own := f.engine.scheduler == ownEngine
	switch {
	case own:
		f.engine.scheduler = ""
	case f.engine.scheduler == "":
		f.engine.scheduler = string(sim.VLLMV1)
	}
	if len(f.models) > 1 {
		return usagef("--model: kvc plan compares ways to serve one model; kvc sweep takes several")
	}
	if len(f.loads) > 1 || len(f.concurrency) > 1 {
		return usagef("--load and --concurrency: kvc plan compares ways to serve one load; kvc sweep takes several")
	}
	switch changed := cmd.Flags().Changed; {
	case f.replicas < 0 || f.replicas > sim.MaxReplicas:
		return usagef("--replicas %d: want 1 to %d, or 0 for the fewest that meet the objectives", f.replicas, sim.MaxReplicas)
	case f.most < 1 || f.most > sim.MaxReplicas:
		return usagef("--max-replicas %d: want 1 to %d", f.most, sim.MaxReplicas)
	case f.replicas > 0 && changed("max-replicas"):
		return usagef("--max-replicas and --replicas exclude each other: --replicas %d is the number of every candidate, and none is searched for", f.replicas)
	}
	if f.disaggregate {
		f.prefill, f.decode = []int{1}, []int{1} // placeholders: the numbers are searched
		if f.engine.fs.Changed("replicas") && f.replicas == 1 {
			return usagef("--disaggregate needs at least two servers, and --replicas is 1")
		}
	}
	if err := f.quality.read(); err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	var requests []trace.Request
	var name string
	load := func() (err error) {
		if requests, name, err = f.load(cmd); err != nil {
			return err
		}
		f.quality.count(requests)
		return f.limitTo(requests)
	}
	early := f.quality.needsRequests(f.compression)
	if early {
		if err := load(); err != nil {
			return err
		}
	}
	var err error
	if f.compression, err = f.quality.candidates(f.compression); err != nil {
		return err
	}
	f.sweepFlags.replicas = []int{1} // how many is searched for
	points, err := f.points()
	if err != nil {
		return err
	}
	if err := f.checkOptions(cmd, points); err != nil {
		return err
	}
	if err := f.checkPrices(points); err != nil {
		return err
	}
	profile, err := readProfile(f.profile)
	if err != nil {
		return err
	}
	if !early {
		if err := load(); err != nil {
			return err
		}
	}
	spread, _, err := f.readSpread()
	if err != nil {
		return err
	}
	projectors, err := f.projectors(points, own, &sweep.Projector{
		Profile: profile, Spread: spread, Check: f.verify, Requests: func() iter.Seq2[trace.Request, error] { return each(requests) },
	})
	if err != nil {
		return err
	}
	of := func(p *sweep.Point) *sweep.Projector { return projectors[own && p.Compression.Enabled()] }
	for i := range points {
		if err := checkPointLimits(&of(&points[i]).Settings, points[i:i+1]); err != nil {
			return err
		}
	}
	q := plan.Question{Objectives: f.settings.SLO, Replicas: f.replicas, Most: f.most}
	if !q.Objectives.Set() && q.Replicas == 0 {
		q.Replicas = 1
	}
	project := q.Search(func(ctx context.Context, p sweep.Point) (sweep.Outcome, error) { return of(&p).Project(ctx, p) })
	bar := newBar(cmd.ErrOrStderr(), int64(len(points)), "candidates")
	outcomes, err := sweep.Run(cmd.Context(), points, sweep.All(len(points)), f.workersOrCores(), project, func(*sweep.Outcome) error {
		_ = bar.Add(1) // fails only if the terminal is gone
		return nil
	})
	_ = bar.Clear()
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	if len(outcomes) == 0 {
		return interrupted(err, "no candidate is done, and no file is written")
	}
	if err != nil {
		f.html = "" // the file may have the results of a complete run
	}
	answer := plan.NewAnswer(q, outcomes, plan.Count(slices.Values(requests)), func(p *sweep.Point) plan.Facts {
		facts := f.facts(of(p), p, profile)
		facts.Quality = f.quality.of(of(p), p)
		return facts
	})
	if err := f.print(cmd, answer, name, len(requests), len(points)); err != nil {
		return err
	}
	switch {
	case err != nil:
		return interrupted(err, printedBefore+", and no file is written")
	case answer.Best() == nil:
		return failure{errors.New("no candidate meets the objectives")}
	}
	return nil
}

func (f *planFlags) workersOrCores() int {
	if f.workers > 0 {
		return f.workers
	}
	return runtime.GOMAXPROCS(0)
}

// checkOptions refuses options of methods that no candidate has. Methods that cannot be
// projected are not refused: their candidates fail.
func (f *planFlags) checkOptions(cmd *cobra.Command, points []sweep.Point) error {
	model, err := catalog.FindModel(f.models[0])
	if err != nil {
		return usageError{err}
	}
	possible := slices.DeleteFunc(slices.Clone(points), func(p sweep.Point) bool {
		return p.Compression.Enabled() && f.settings.CheckMethod(model, p.Compression) != nil
	})
	if len(possible) == 0 {
		possible = points
	}
	return f.checkMethods(cmd, possible)
}

// checkPrices returns an error unless all cards have prices or none has.
func (f *planFlags) checkPrices(points []sweep.Point) error {
	var without []string
	priced := false
	for _, p := range points {
		card, err := catalog.FindCard(p.Card)
		if err != nil {
			return usageError{err}
		}
		usd, given := f.settings.Prices[card.Name]
		if !given {
			usd = card.PriceUSD
		}
		switch {
		case usd > 0:
			priced = true
		case !slices.Contains(without, card.Name):
			without = append(without, card.Name)
		}
	}
	if priced && len(without) > 0 {
		return usagef("%s has no price: want --price %s=DOLLARS per hour, or no prices at all", strings.Join(without, " and "), without[0])
	}
	return nil
}

// limitTo sets the servers' maximum length to the longest of the requests, or to the model's
// context or what the cache holds if that is less; longer requests are refused.
func (f *planFlags) limitTo(requests []trace.Request) error {
	model, err := catalog.FindModel(f.models[0])
	if err != nil {
		return usageError{err}
	}
	if f.settings.MaxModelLen == 0 && model.MaxLen < catalog.Unbounded {
		longest := 0
		for i := range requests {
			longest = max(longest, requests[i].PromptTokens+requests[i].OutputTokens)
		}
		f.settings.MaxModelLen, f.settings.FitModelLen = min(longest, model.MaxLen), true
	}
	return nil
}

// projectors returns the projectors of candidates without compression (false) and with it (true).
// They are the same unless each candidate is projected on its own engine.
func (f *planFlags) projectors(points []sweep.Point, own bool, base *sweep.Projector) (map[bool]*sweep.Projector, error) {
	of := map[bool]*sweep.Projector{}
	for _, compressed := range []bool{false, true} {
		if compressed && !own {
			break
		}
		j := *base
		if own {
			f.engine.scheduler = string(map[bool]sim.Scheduler{false: sim.VLLMV1, true: sim.KVCompressServer}[compressed])
			prefixes, most, fit := f.settings.V1, f.settings.MaxModelLen, f.settings.FitModelLen
			if err := f.applySettings(); err != nil {
				return nil, err
			}
			f.settings.MaxModelLen, f.settings.FitModelLen = most, fit
			if f.settings.V1 != nil && prefixes != nil {
				f.settings.V1.PrefixTokens = prefixes.PrefixTokens
			}
		}
		j.Settings = f.settings
		j.Engine = f.engine.memory(j.Scheduler)
		of[compressed] = &j
	}
	if own && !f.engine.fs.Changed("max-num-seqs") {
		uncompressed := of[false].Settings
		for i := range points {
			if !points[i].Compression.Enabled() {
				if err := uncompressed.OwnMaxNumSeqs(points[i : i+1]); err != nil {
					return nil, err
				}
			}
		}
	}
	return of, nil
}

// facts returns the scheduler, the number of cards, the context and the error to expect of a
// candidate's projection.
func (f *planFlags) facts(j *sweep.Projector, p *sweep.Point, profile *cost.Profile) plan.Facts {
	facts := plan.Facts{Scheduler: j.Scheduler, Cards: p.TP * max(1, j.PP)}
	model, err := catalog.FindModel(p.Model)
	if err != nil {
		return facts
	}
	card, err := catalog.FindCard(p.Card)
	if err != nil {
		return facts
	}
	facts.Context = model.MaxLen
	d := cost.New(model, card)
	d.Weights = cmp.Or(catalog.Weights(j.Weights), d.Weights)
	facts.Expected = plan.Expect(profile, &d, j.Scheduler)
	return facts
}

// print prints the answer and writes the page.
func (f *planFlags) print(cmd *cobra.Command, a *plan.Answer, requests string, count, points int) error {
	inputs := sweepInputs{Requests: requests, Count: count, Settings: f.settings}
	list := inputs.list()
	list = slices.DeleteFunc(list, func(in report.Input) bool { return in.Value == "" })
	list = append(list, report.Input{Name: "model", Value: f.models[0]}, report.Input{Name: "router", Value: f.send.router})
	p := &report.Plan{Answer: a, Inputs: list, Candidates: points, Footer: newFooter(commandLine(cmd))}
	if f.html != "" {
		if err := output.Write(f.html, func(w io.Writer) error { return report.PlanHTML(w, p) }); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Written to %s.\n", f.html)
	}
	out := cmd.OutOrStdout()
	if f.asJSON {
		return report.PlanJSON(out, p)
	}
	return report.PlanText(out, p, textOptions(out))
}
