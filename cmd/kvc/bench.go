package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kvcompress/bench"
	"kvcompress/bench/live"
	"kvcompress/bench/models"
	"kvcompress/bench/task"
	"kvcompress/internal/output"
	"kvcompress/internal/words"
	"kvcompress/journal"
	"kvcompress/kernels/devices"
	"kvcompress/kernels/ptx"
	"kvcompress/ref"
	"kvcompress/report"
	"kvcompress/strictjson"
)

// benchFlags are the flags of kvc bench.
type benchFlags struct {
	plan    bench.Plan
	tasks   taskFlags
	budgets []string
	modes   []string

	shard, dir string
	knobs      bool
	sample     int
	engine     engineFlags
	out        benchOutput
}

func newBenchCmd(parsed *ptx.Cache) *cobra.Command {
	f := newBenchFlags(bench.DefaultPlan(), parsed)
	f.sample = 3
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the quality of each method by category of task, at equal bytes",
		Long: `Bench runs models live through compressed caches and scores their answers. Each method
has a knob (--knobs), an option that is set for each budget so that the blocks that the
method holds over a generation take on average no more than this fraction of the full
cache's bytes, with whatever the method stores beside K and V. If a method cannot reach
a budget, the table says what it needs.

Seven categories of tasks are asked in two modes: with the question in the prompt, so
that the method may observe it (query-aware), and after the compression (query-agnostic).
The score is the fraction of the answer's tokens that are right. The divergence is that of
the next-token distribution from the full cache's, in nats, up to the first token that
differs.

--tasks asks a model of your own in texts, encoded by its tokenizer: needles and similar
tasks made of its own words (text), or the tasks of a file in LongBench's form, scored by
LongBench's metrics. With a file, --prompts is the number of tasks of each dataset, and
--length the longest prompt; the middle of a longer context is cut out (default: as long
as the model has positions for). --sample is then 0 unless it is given.

Without flags it runs two bundled models of 418,656 parameters on 12 contexts of 512
tokens each, at 1/2, 1/4, 1/8 and 1/16, with every method that runs: some 34,000
generations, in some two minutes on two cores. Results do not depend on the number
of cores. A few generations are repeated on the CUDA engine, and every logit is compared
(--sample). With -o, finished contexts are kept, and the same command resumes. Ctrl-C
prints the table of the finished contexts, marked partial, if it can within half a second,
and writes no file: exit code 130.`,
		Example: `  kvc bench
  kvc bench --methods snapkv,kv-compress,razor --budgets 1/4 --prompts 4 --show 1/4
  kvc bench --knobs --models recall-0
  kvc bench --models ./Llama-3.2-1B --tasks text --digits 64 --length 4000 --prompts 4
  kvc bench --models ./Llama-3.2-1B --tasks hotpotqa.jsonl --length 3500 --prompts 20
  kvc bench -o results --html bench.html --csv bench.csv
  kvc bench needle --html needle.html        # a heat map by length and depth
  kvc bench -o results --shard 0/8           # on one of eight machines; then:
  kvc bench merge results --html bench.html`,
		Args: cobra.NoArgs,
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.IntVar(&f.plan.Length, "length", f.plan.Length, "`tokens` of a context")
	fs.IntVar(&f.plan.Prompts, "prompts", f.plan.Prompts, "contexts for each model")
	fs.StringSliceVar(&f.plan.Categories, "categories", f.plan.Categories, "`names` of categories: "+strings.Join(task.Categories(), ", "))
	f.tasks.add(cmd)
	f.plan.Methods = nil
	fs.StringSliceVar(&f.plan.Methods, "methods", nil, "`names` of methods, as --knobs lists them (default: all that run)")
	f.add(cmd)
	cmd.AddCommand(newBenchMergeCmd(), newBenchNeedleCmd(parsed))
	return cmd
}

// add adds the flags that every bench has.
func (f *benchFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringSliceVar(&f.plan.Models, "models", f.plan.Models, "bundled models ("+strings.Join(models.Names(), ", ")+"), or `paths` of Hugging Face folders with the bundled models' vocabulary or, with --tasks, with a tokenizer")
	fs.Uint64Var(&f.plan.Seed, "seed", f.plan.Seed, "seed of the first context")
	fs.StringSliceVar(&f.budgets, "budgets", f.budgets, "`fractions` of the full cache's bytes, 1/n, the largest first")
	fs.StringSliceVar(&f.modes, "modes", f.modes, "query-aware, query-agnostic, or both")
	fs.IntVar(&f.plan.BlockSize, "block-size", f.plan.BlockSize, "KVs per block: 1, 2, 4, 8, 16 or 32")
	fs.BoolVar(&f.knobs, "knobs", false, "print the setting of each method's knob for each budget, and run nothing")
	fs.IntVar(&f.sample, "sample", f.sample, "`generations` to repeat on the CUDA engine; 0 is none")
	fs.StringVar(&f.shard, "shard", "", "run only shard `I/N`, with I from 0, or auto/N, or auto; needs -o")
	fs.StringVarP(&f.dir, "out", "o", "", "`folder` to keep results in, and to resume from")
	writes(cmd, outputFolder, "out")
	f.out.add(cmd)
	f.engine.device.add(fs)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return f.run(cmd) }
}

// newBenchFlags returns flags whose defaults are a plan's.
func newBenchFlags(plan bench.Plan, parsed *ptx.Cache) *benchFlags {
	f := &benchFlags{plan: plan, engine: engineFlags{device: deviceFlags{name: devices.PTX, options: ptx.Options{Cache: parsed}}}}
	for _, b := range plan.Budgets {
		f.budgets = append(f.budgets, b.String())
	}
	for _, m := range plan.Modes {
		f.modes = append(f.modes, string(m))
	}
	return f
}

func newBenchNeedleCmd(parsed *ptx.Cache) *cobra.Command {
	f := newBenchFlags(bench.DefaultNeedlePlan(), parsed)
	f.sample = 0
	g := f.plan.Grid
	cmd := &cobra.Command{
		Use:   "needle",
		Short: "Needle in a haystack: a heat map by length and depth",
		Long: `Needle puts a passkey at each depth of contexts of each length, and draws the score of each
method as a heat map, with lengths across and depths down, for each budget and mode.
Passkeys have 5, 6 and 7 digits in turn. Budgets are fractions of the full cache's bytes
at each length, as in kvc bench.

The default is 10 lengths from 128 to 1,280 tokens × 10 depths × 3 passkeys, for a bundled
model and five methods at 1/4, in some two minutes on two cores. -o, --shard and
kvc bench merge work as for kvc bench. With --tasks text the needles are in words of the
tokenizer of a model of your own, and have up to 64 digits.`,
		Example: `  kvc bench needle --html needle.html
  kvc bench needle --methods snapkv,keydiff --budgets 1/4,1/8 --modes query-agnostic --plots maps
  kvc bench needle --lengths 256,512 --depths 5 --prompts 1 --digits 7
  kvc bench needle --models ./Llama-3.2-1B --tasks text --lengths 1000,2000,4000 --digits 64`,
		Args: cobra.NoArgs,
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.IntSliceVar(&g.Lengths, "lengths", g.Lengths, "`tokens` of contexts, the shortest first")
	fs.IntVar(&g.Depths, "depths", g.Depths, "number of depths, evenly from the beginning of a context to its end")
	fs.IntVar(&f.plan.Prompts, "prompts", f.plan.Prompts, "passkeys for each model, length and depth")
	fs.IntSliceVar(&g.Digits, "digits", g.Digits, "`numbers` of digits of the passkeys, used in turn")
	f.tasks.addNeedle(cmd)
	fs.StringSliceVar(&f.plan.Methods, "methods", f.plan.Methods, "`names` of methods, as kvc bench --knobs lists them")
	f.add(cmd)
	return cmd
}

// benchOutput says where the table goes.
type benchOutput struct {
	asJSON                    bool
	html, csv, parquet, plots string
	relative                  bool
	show                      []string
}

func (o *benchOutput) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringSliceVar(&o.show, "show", []string{"1/4"}, "`budgets` for which a table of all categories is printed, or all")
	fs.BoolVar(&o.relative, "relative", false, "print scores as fractions of the full cache's")
	fs.StringVar(&o.csv, "csv", "", "write a row for each cell to a `file`")
	fs.StringVar(&o.parquet, "parquet", "", "write the same rows to a Parquet `file`")
	fs.StringVar(&o.html, "html", "", "write one self-contained page to a `file`")
	fs.StringVar(&o.plots, "plots", "", "draw the plots to a `folder`, as SVG and PNG")
	fs.BoolVar(&o.asJSON, "json", false, "print the table as JSON")
	writes(cmd, outputFile, "csv", "csv")
	writes(cmd, outputFile, "parquet", "parquet")
	writes(cmd, outputFile, "html", "html")
	writes(cmd, outputFolder, "plots")
}

// shown returns the budgets for which a table of all categories is printed.
func (o *benchOutput) shown(plan *bench.Plan) ([]bench.Budget, error) {
	if slices.Equal(o.show, []string{"all"}) {
		return plan.Budgets, nil
	}
	var shown []bench.Budget
	for _, text := range o.show {
		b, err := bench.ParseBudget(text)
		if err != nil {
			return nil, usagef("--show: %w", err)
		}
		if slices.Contains(plan.Budgets, b) {
			shown = append(shown, b)
		}
	}
	return shown, nil
}

// complete completes the plan by the flags. changed reports whether a flag was given.
func (f *benchFlags) complete(changed func(flag string) bool) error {
	f.plan.Budgets, f.plan.Modes = nil, nil
	for _, text := range f.budgets {
		b, err := bench.ParseBudget(text)
		if err != nil {
			return usagef("--budgets: %w", err)
		}
		f.plan.Budgets = append(f.plan.Budgets, b)
	}
	for _, m := range f.modes {
		f.plan.Modes = append(f.plan.Modes, bench.Mode(m))
	}
	rows, err := bench.FindRows(f.plan.Methods)
	if err != nil {
		return usagef("--methods: %w", err)
	}
	f.plan.Methods = nil
	for _, r := range rows {
		f.plan.Methods = append(f.plan.Methods, r.Name)
	}
	if err := f.tasks.apply(&f.plan, changed); err != nil {
		return err
	}
	if err := f.plan.Check(); err != nil {
		return usageError{err}
	}
	if f.plan.Texts != nil && !changed("sample") {
		f.sample = 0 // the PTX machine takes hours for a large model
	}
	switch {
	case f.shard != "" && f.dir == "":
		return usagef("--shard needs -o, the folder of the shards' results")
	case f.sample < 0:
		return usagef("--sample %d: want 0 or more", f.sample)
	}
	_, err = f.out.shown(&f.plan)
	return err
}

func (f *benchFlags) run(cmd *cobra.Command) error {
	if err := f.complete(cmd.Flags().Changed); err != nil {
		return err
	}
	shard := journal.Whole()
	if f.shard != "" {
		var err error
		if shard, err = journal.ParseShard(f.shard, os.Getenv); err != nil {
			return usageError{err}
		}
	}
	b, err := bench.New(cmd.Context(), f.plan)
	if err != nil {
		return stopped(err)
	}
	if f.knobs {
		return printKnobs(cmd, b, f.out.asJSON)
	}
	results, runErr := f.results(cmd, b, shard)
	if runErr != nil && !errors.Is(runErr, context.Canceled) {
		return runErr
	}
	if shard.N > 1 {
		part := len(shard.Indices(b.Plan.Units()))
		if runErr != nil {
			return failure{fmt.Errorf("interrupted: %d of %s of shard %s are done; run the same command again to continue", len(results), words.Count(part, "context"), shard)}
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Shard %s is done: %s. When all are: kvc bench merge %s\n", shard, words.Count(len(results), "context"), f.dir)
		return nil
	}
	if runErr != nil {
		f.out.noFiles()
	}
	if runErr == nil && f.sample > 0 {
		if err := f.compare(cmd, b); err != nil {
			return err
		}
	}
	if err := f.out.print(cmd, b, results, commandLine(cmd)); err != nil {
		return err
	}
	if runErr != nil {
		return failure{fmt.Errorf("interrupted: %d of %s are finished, and the table has only these; no file is written", len(results), words.Count(b.Plan.Units(), "context"))}
	}
	return nil
}

// noFiles keeps an interrupted run from writing its files: they may have the results of a
// complete run.
func (o *benchOutput) noFiles() { o.html, o.csv, o.parquet, o.plots = "", "", "", "" }

// stopped makes an interruption a failure.
func stopped(err error) error {
	if errors.Is(err, context.Canceled) {
		return failure{errors.New("interrupted")}
	}
	return err
}

// results runs the shard's units that have no results yet, and returns all results.
func (f *benchFlags) results(cmd *cobra.Command, b *bench.Bench, shard journal.Shard) ([]bench.Result, error) {
	units := shard.Indices(b.Plan.Units())
	var kept *bench.Journal
	var results []bench.Result
	if f.dir != "" {
		var err error
		if kept, err = b.OpenJournal(f.dir, shard); err != nil {
			return nil, err
		}
		defer kept.Close()
		before := len(units)
		units = slices.DeleteFunc(units, func(i int) bool { return kept.Done(i) != nil })
		if n := before - len(units); n > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s of %s there already.\n", words.Count(n, "context"), words.Number(before))
		}
	}
	runs := 0
	for _, u := range units {
		runs += b.Runs(u)
	}
	bar := newBar(cmd.ErrOrStderr(), int64(runs), "generations")
	err := b.Run(cmd.Context(), units, func(r *bench.Result) error {
		results = append(results, *r)
		if kept != nil {
			return kept.Add(r)
		}
		return nil
	}, func(n int) { _ = bar.Add(n) }) // fails only if the terminal is gone
	_ = bar.Clear()
	if kept == nil {
		return results, err
	}
	if err == nil {
		_, err = kept.Finish()
	}
	return kept.Items(), err
}

// compare repeats a few generations on the CUDA engine.
func (f *benchFlags) compare(cmd *cobra.Command, b *bench.Bench) error {
	engines, err := f.engine.open(cmd.Context())
	if err != nil {
		return err
	}
	sampled, err := b.Sample(cmd.Context(), f.sample, func(cfg ref.Config) (live.Engine, func() error, error) {
		e, err := engines.live(cfg)
		if err != nil {
			return nil, nil, err
		}
		return live.CUDA(e.Engine), e.Close, nil
	})
	if err != nil {
		return failure{err}
	}
	logits := 0
	var names []string
	for _, s := range sampled {
		logits += s.Logits
		if s.Skipped == "" {
			names = append(names, fmt.Sprintf("%s at %v", s.Row, s.Budget))
		}
	}
	if len(names) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "No generation was repeated on the CUDA engine: none of these methods runs on it, or only the full cache does.")
		return nil
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "The CUDA engine (%s) gives the same %s, to the bit, in %s: %s.\n",
		engines.device, words.Count(logits, "logit"), words.Count(len(names), "generation"), strings.Join(names, ", "))
	return nil
}

// print prints the table and writes the files that the flags name.
func (o *benchOutput) print(cmd *cobra.Command, b *bench.Bench, results []bench.Result, command string) error {
	shown, err := o.shown(&b.Plan)
	if err != nil {
		return err
	}
	rows, err := bench.FindRows(b.Plan.Methods)
	if err != nil {
		return err
	}
	table := &report.Bench{Table: b.NewTable(results), Rows: rows, Inputs: benchInputs(&b.Plan), Shown: shown, Of: b, Relative: o.relative, Footer: newFooter(command)}
	for _, f := range []struct {
		path  string
		write func(io.Writer, *report.Bench) error
	}{{o.html, report.BenchHTML}, {o.csv, report.BenchCSV}, {o.parquet, report.BenchParquet}} {
		if f.path == "" {
			continue
		}
		if err := output.Write(f.path, func(w io.Writer) error { return f.write(w, table) }); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Written to %s.\n", f.path)
	}
	if o.plots != "" {
		figures, err := report.BenchFigures(table)
		if err != nil {
			return err
		}
		paths, err := report.WriteFigures(o.plots, figures)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Drawn to %s: %s.\n", o.plots, words.Count(len(paths), "file"))
	}
	out := cmd.OutOrStdout()
	if o.asJSON {
		return printJSON(out, table.Table)
	}
	return report.BenchText(out, table, textOptions(out))
}

// benchInputs lists the inputs that the results depend on.
func benchInputs(p *bench.Plan) []report.Input {
	var budgets []string
	for _, b := range p.Budgets {
		budgets = append(budgets, b.String())
	}
	contexts := []report.Input{
		{Name: "tokens of a context", Value: strconv.Itoa(p.Length)},
		{Name: "contexts for each model", Value: strconv.Itoa(p.Prompts)},
	}
	if g := p.Grid; g != nil {
		numbers := func(list []int) string {
			return strings.Join(strings.Fields(strings.Trim(fmt.Sprint(list), "[]")), ", ")
		}
		contexts = []report.Input{
			{Name: "tokens of contexts", Value: numbers(g.Lengths)},
			{Name: "depths", Value: strconv.Itoa(g.Depths)},
			{Name: "passkeys of each length and depth for each model", Value: strconv.Itoa(p.Prompts)},
			{Name: "digits of passkeys, by turns", Value: numbers(g.Digits)},
		}
	}
	return slices.Concat([]report.Input{
		{Name: "models", Value: strings.Join(p.Models, ", ")},
		{Name: "tasks", Value: taskNames(p)},
	}, contexts, []report.Input{
		{Name: "seed of the first", Value: strconv.FormatUint(p.Seed, 10)},
		{Name: "budgets", Value: strings.Join(budgets, ", ")},
		{Name: "block size", Value: strconv.Itoa(p.BlockSize)},
	})
}

// knobLine is a line of kvc bench --knobs.
type knobLine struct {
	Model    string       `json:"model"`
	Method   string       `json:"method"`
	Fixed    string       `json:"fixed"`
	Budget   bench.Budget `json:"budget"`
	Mode     bench.Mode   `json:"mode"`
	Category string       `json:"category"`
	Length   int          `json:"length,omitempty"` // tokens of the context, with a grid
	Digits   int          `json:"digits,omitempty"` // of the passkey, with a grid
	Setting  string       `json:"setting,omitempty"`
	Bytes    float64      `json:"bytes,omitempty"` // expected mean over the steps
	Needs    float64      `json:"needs,omitempty"` // least fraction of the full cache's bytes, if there is no setting
	Why      string       `json:"why,omitempty"`
}

// printKnobs prints the settings. The text has those of the plan's first category only; those of
// the others differ because their answers have other numbers of tokens.
func printKnobs(cmd *cobra.Command, b *bench.Bench, asJSON bool) error {
	fixed := map[string]string{}
	for _, r := range bench.Rows() {
		fixed[r.Name] = r.Fixed
	}
	lines := []knobLine{}
	for _, model := range b.Plan.Models {
		for _, k := range b.Knobs(model) {
			l := knobLine{Model: model, Method: k.Row, Fixed: fixed[k.Row], Budget: k.Budget, Mode: k.Mode, Category: k.Category, Length: k.Length, Digits: k.Digits}
			if k.Setting != nil {
				l.Setting, l.Bytes = k.Setting.Text, k.Setting.Bytes
			} else {
				l.Needs, l.Why = k.Missed.Needs, k.Missed.Why
			}
			lines = append(lines, l)
		}
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), lines)
	}
	return report.KnobText(cmd.OutOrStdout(), b)
}

func newBenchMergeCmd() *cobra.Command {
	var out benchOutput
	var partial bool
	cmd := &cobra.Command{
		Use:   "merge DIR | FILE…",
		Short: "Join the shards of a bench, and check that none is missing",
		Long: `Merge reads the files that the shards of a bench have written, checks that they are of
the same bench and that every context is there, and prints what one machine would have
printed. If contexts are missing it says which shards lack them: exit code 2. With
--partial it prints the contexts that there are, unfinished shards included.`,
		Example: `  kvc bench merge results --html bench.html
  kvc bench merge results/shard-*.jsonl --json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return mergeBench(cmd, args, &out, partial) },
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&partial, "partial", false, "print the table even if contexts are missing")
	out.add(cmd)
	return cmd
}

func mergeBench(cmd *cobra.Command, args []string, out *benchOutput, partial bool) error {
	paths, err := shardFiles(args, "bench", partial)
	if err != nil {
		return err
	}
	var files []*bench.File
	for _, path := range paths {
		f, err := bench.ReadFile(path)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	merged, err := bench.Merge(files)
	var missing *journal.IncompleteError
	if err != nil && !(errors.As(err, &missing) && partial) {
		return ofShards(args, err)
	}
	var plan bench.Plan
	if err := json.Unmarshal(merged.Header.Inputs, &plan); err != nil {
		return fmt.Errorf("%s: its plan cannot be read: %w", paths[0], strictjson.Plain(err))
	}
	b, err := bench.New(cmd.Context(), plan)
	if err != nil {
		return ofShards(args, stopped(err))
	}
	if err := out.print(cmd, b, merged.Items, commandLine(cmd)); err != nil {
		return err
	}
	if missing != nil {
		return ofShards(args, missing)
	}
	return nil
}
