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
	"kvcompress/bench/task"
	"kvcompress/internal/output"
	"kvcompress/internal/words"
	"kvcompress/journal"
	"kvcompress/ref"
	"kvcompress/report"
)

// benchFlags are the flags of kvc bench.
type benchFlags struct {
	plan    bench.Plan
	budgets []string
	modes   []string

	shard, dir string
	knobs      bool
	sample     int
	engine     engineFlags
	out        benchOutput
}

func newBenchCmd() *cobra.Command {
	f := benchFlags{plan: bench.DefaultPlan(), engine: engineFlags{device: deviceFlags{name: "ptx"}}}
	for _, b := range f.plan.Budgets {
		f.budgets = append(f.budgets, b.String())
	}
	for _, m := range f.plan.Modes {
		f.modes = append(f.modes, string(m))
	}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "What each method loses, by category of task, at equal bytes",
		Long: `Bench runs models live through caches that methods compress, and scores what they
still answer. Each method is brought to each budget by its own knob (--knobs), so that
the blocks it really holds over a generation take on average no more than that part of
the full cache's bytes; what the method keeps of each KV counts. Where a method cannot
reach a budget, the table says what it needs.

Seven categories of tasks are asked in two modes: with the question in the prompt, which
the method may then watch (query-aware), and after the compression (query-agnostic).
Scores are parts of the answer's tokens that are decoded right; the divergence is that of
the next-token distribution from the full cache's, in nats, as long as both say the same.

Without flags it runs two bundled models of 418,656 parameters on contexts of 512 tokens,
12 for each, at 1/2, 1/4, 1/8 and 1/16, with every method that runs: some 27,000
generations, in a minute or two on two cores. Results do not depend on the number of
cores. A few generations are repeated on the CUDA engine, and every logit compared
(--sample). With -o, what is finished is kept, and the same command goes on from there;
Ctrl-C prints the table of the contexts that are finished, if it can within half a
second: exit code 130.`,
		Example: `  kvc bench
  kvc bench --methods snapkv,kv-compress,razor --budgets 1/4 --prompts 4 --show 1/4
  kvc bench --knobs --models recall-0
  kvc bench -o results --html bench.html --csv bench.csv
  kvc bench -o results --shard 0/8           # on one of eight machines; then:
  kvc bench merge results --html bench.html`,
		Args: cobra.NoArgs,
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringSliceVar(&f.plan.Models, "models", f.plan.Models, "bundled models, or `paths` of Hugging Face folders with the same vocabulary")
	fs.IntVar(&f.plan.Length, "length", f.plan.Length, "`tokens` of a context")
	fs.IntVar(&f.plan.Prompts, "prompts", f.plan.Prompts, "contexts for each model")
	fs.Uint64Var(&f.plan.Seed, "seed", f.plan.Seed, "seed of the first context")
	fs.StringSliceVar(&f.plan.Categories, "categories", f.plan.Categories, "`names` of categories: "+strings.Join(task.Categories(), ", "))
	fs.StringSliceVar(&f.plan.Methods, "methods", nil, "`names` of methods, as --knobs lists them (default: all that run)")
	fs.StringSliceVar(&f.budgets, "budgets", f.budgets, "`parts` of the full cache's bytes, 1/n, the largest first")
	fs.StringSliceVar(&f.modes, "modes", f.modes, "query-aware, query-agnostic, or both")
	fs.IntVar(&f.plan.BlockSize, "block-size", f.plan.BlockSize, "KVs of one block: 1, 2, 4, 8, 16 or 32")
	fs.BoolVar(&f.knobs, "knobs", false, "print where each method's knob stands for each budget, and run nothing")
	fs.IntVar(&f.sample, "sample", 3, "`generations` to repeat on the CUDA engine; 0 is none")
	fs.StringVar(&f.shard, "shard", "", "run the part `I/N` only, with I from 0, or auto/N, or auto; needs -o")
	fs.StringVarP(&f.dir, "out", "o", "", "`folder` to keep results in, and to resume from")
	writes(cmd, outputFolder, "out")
	f.out.add(cmd)
	f.engine.device.add(fs)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return f.run(cmd) }
	cmd.AddCommand(newBenchMergeCmd())
	return cmd
}

// benchOutput says where the table goes.
type benchOutput struct {
	asJSON           bool
	html, csv, plots string
	show             []string
}

func (o *benchOutput) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringSliceVar(&o.show, "show", []string{"1/4"}, "`budgets` of which all categories are printed, or all")
	fs.StringVar(&o.csv, "csv", "", "write a row for each cell to a `file`")
	fs.StringVar(&o.html, "html", "", "write one self-contained page to a `file`")
	fs.StringVar(&o.plots, "plots", "", "draw the plots to a `folder`, as SVG and PNG")
	fs.BoolVar(&o.asJSON, "json", false, "print the table as JSON")
	writes(cmd, outputFile, "csv", "csv")
	writes(cmd, outputFile, "html", "html")
	writes(cmd, outputFolder, "plots")
}

// shown returns the budgets of which the text has all categories.
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

// complete reads what the flags say into the plan.
func (f *benchFlags) complete() error {
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
	if err := f.plan.Check(); err != nil {
		return usageError{err}
	}
	switch {
	case f.shard != "" && f.dir == "":
		return usagef("--shard needs -o, a folder that the shards' results are kept in")
	case f.sample < 0:
		return usagef("--sample %d: want 0 or more", f.sample)
	}
	_, err = f.out.shown(&f.plan)
	return err
}

func (f *benchFlags) run(cmd *cobra.Command) error {
	if err := f.complete(); err != nil {
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
			return failure{fmt.Errorf("interrupted: %d of %s of shard %s are done; the same command goes on", len(results), words.Count(part, "context"), shard)}
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Shard %s is done: %s. When all are: kvc bench merge %s\n", shard, words.Count(len(results), "context"), f.dir)
		return nil
	}
	if len(results) == 0 && runErr != nil {
		return failure{errors.New("interrupted: no context is finished")}
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
		return failure{errors.New("interrupted: the table is of the contexts that are finished")}
	}
	return nil
}

// stopped makes a failure of an interruption.
func stopped(err error) error {
	if errors.Is(err, context.Canceled) {
		return failure{errors.New("interrupted")}
	}
	return err
}

// results runs the shard's units that are not there yet.
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
			fmt.Fprintf(cmd.ErrOrStderr(), "%s of %d there already.\n", words.Count(n, "context"), before)
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
	}, func(n int) { _ = bar.Add(n) }) // of a terminal that is gone
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
		if s.Left == "" {
			names = append(names, fmt.Sprintf("%s at %v", s.Row, s.Budget))
		}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "The CUDA engine (%s) gives the same %s, to the bit, in %s: %s.\n",
		engines.device, words.Count(logits, "logit"), words.Count(len(names), "generation"), strings.Join(names, ", "))
	return nil
}

// print writes the table wherever it is wanted.
func (o *benchOutput) print(cmd *cobra.Command, b *bench.Bench, results []bench.Result, command string) error {
	shown, err := o.shown(&b.Plan)
	if err != nil {
		return err
	}
	rows, err := bench.FindRows(b.Plan.Methods)
	if err != nil {
		return err
	}
	table := &report.Bench{Table: b.NewTable(results), Rows: rows, Inputs: benchInputs(&b.Plan), Shown: shown, Footer: newFooter(command)}
	for _, f := range []struct {
		path  string
		write func(io.Writer, *report.Bench) error
	}{{o.html, report.BenchHTML}, {o.csv, report.BenchCSV}} {
		if f.path == "" {
			continue
		}
		if err := output.Write(f.path, func(w io.Writer) error { return f.write(w, table) }); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Written to %s.\n", f.path)
	}
	if o.plots != "" {
		paths, err := report.WriteFigures(o.plots, report.BenchFigures(table))
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Drawn to %s: %s.\n", o.plots, words.Count(len(paths), "file"))
	}
	out := cmd.OutOrStdout()
	if o.asJSON {
		return printJSON(out, table.Table)
	}
	width, tty := terminal(out)
	opt := report.TextOptions{Width: width}
	if tty {
		opt.Color = report.ColorOf(os.Getenv)
	}
	return report.BenchText(out, table, opt)
}

// benchInputs lists what the results follow from.
func benchInputs(p *bench.Plan) []report.Input {
	var budgets []string
	for _, b := range p.Budgets {
		budgets = append(budgets, b.String())
	}
	return []report.Input{
		{Name: "models", Value: strings.Join(p.Models, ", ")},
		{Name: "tokens of a context", Value: strconv.Itoa(p.Length)},
		{Name: "contexts for each model", Value: strconv.Itoa(p.Prompts)},
		{Name: "seed of the first", Value: strconv.FormatUint(p.Seed, 10)},
		{Name: "budgets", Value: strings.Join(budgets, ", ")},
		{Name: "block size", Value: strconv.Itoa(p.BlockSize)},
	}
}

// knobLine is a line of kvc bench --knobs.
type knobLine struct {
	Model    string       `json:"model"`
	Method   string       `json:"method"`
	Fixed    string       `json:"fixed"`
	Budget   bench.Budget `json:"budget"`
	Mode     bench.Mode   `json:"mode"`
	Category string       `json:"category"`
	Setting  string       `json:"setting,omitempty"`
	Bytes    float64      `json:"bytes,omitempty"` // as was found in advance
	Needs    float64      `json:"needs,omitempty"` // part of the full cache's bytes, where there is no setting
	Why      string       `json:"why,omitempty"`
}

// printKnobs prints where knobs stand: as text for the plan's first category, of which the
// others differ by the tokens of their answers.
func printKnobs(cmd *cobra.Command, b *bench.Bench, asJSON bool) error {
	fixed := map[string]string{}
	for _, r := range bench.Rows() {
		fixed[r.Name] = r.Fixed
	}
	lines := []knobLine{}
	for _, model := range b.Plan.Models {
		for _, k := range b.Knobs(model) {
			l := knobLine{Model: model, Method: k.Row, Fixed: fixed[k.Row], Budget: k.Budget, Mode: k.Mode, Category: k.Category}
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
		Long: `Merge reads the files that shards of one bench have written, checks that they are of
the same bench and that every context is there, and prints what one machine would have
printed. If contexts are missing it says which shards lack them: exit code 2. With
--partial it prints what there is nonetheless, of unfinished shards too.`,
		Example: `  kvc bench merge results --html bench.html
  kvc bench merge results/shard-*.jsonl --json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return mergeBench(cmd, args, &out, partial) },
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&partial, "partial", false, "print what there is, though contexts are missing")
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
		return err
	}
	var plan bench.Plan
	if err := json.Unmarshal(merged.Header.Inputs, &plan); err != nil {
		return fmt.Errorf("%s: its plan cannot be read: %w", paths[0], err)
	}
	b, err := bench.New(cmd.Context(), plan)
	if err != nil {
		return stopped(err)
	}
	if err := out.print(cmd, b, merged.Items, commandLine(cmd)); err != nil {
		return err
	}
	if missing != nil {
		return missing
	}
	return nil
}
