package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/internal/words"
	"kvcompress/internal/work"
	"kvcompress/kernels/devices"
	"kvcompress/kernels/ptx"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/sim"
	"kvcompress/traces"
	"kvcompress/validate"
)

// validateFlags are the flags of `kvc validate`.
type validateFlags struct {
	cases     string
	asJSON    bool
	dump      string
	replay    string
	random    int
	seed      uint64
	method    string
	coverage  bool
	complete  bool
	mutate    int
	least     float64
	tolerance validate.Tolerance
	engine    engineFlags
}

func newValidateCmd() *cobra.Command {
	flags := validateFlags{engine: engineFlags{device: deviceFlags{name: devices.Auto, options: ptx.Options{Checks: ptx.AllChecks()}}}}
	cmd := &cobra.Command{
		Use:   "validate [TRACE…]",
		Short: "Hold the CUDA engine against the reference, to the bit",
		Long: `Validate replays each trace, the bundled ones with all their methods if none is named,
through the scheduler on the reference engine and on the CUDA engine at once, and
compares all that the two hold after every stage of every step: block tables, context
lengths, the free list, positions, metrics, keys and values, attention outputs, evicted
KVs, moves. It makes every decision of the reference a second time besides, by the
method's specification: of KV-Compress by walking all candidates in order of cost, as the
paper does. All must agree in every value, to the bit; a trace ends at the first stage in
which they do not.

The kernels run on a GPU where the program was built with -tags cuda and there is one,
and else on a machine that executes the same PTX on the CPU, under checkers.

NAME/METHOD is a trace with the options of one of its methods, NAME/... the trace and all
of them. Methods that the CUDA engine does not run are left out, and listed; one that is
named is an error.

With --dump, what the stage that differs starts from is written to a folder, as
safetensors and JSON; --replay runs that stage again, alone. Of several traces that
differ, it is the first's.

--kernel puts someone else's kernel, with the same parameters, in the place of one of
the engine's: docs/kernels.md has them all. For a kernel that sums in another order,
--ulp or --rtol say how far metrics and outputs may lie from the reference's. The
engine is then given the reference's state after each operation in which some did,
so that each stage is judged by itself and no decision turns on what was tolerated.

With --random, it runs random pipelines in the place of traces: small, awkward ones,
with NaN in all that no head holds, a third of KV-Compress and the others of every
method that the engine runs (--method: of one). One that fails is shrunk and printed;
--dump and --replay do with it as with a stage.

With --coverage it says besides which instructions of which kernel were executed, and
which directions of branches, by kernel, and what was not by line of the .cu files: by
the traces, and with --random by as many random pipelines after them.

With --mutate, it plants small faults in the kernels' PTX, one at a time (an operand, a
constant by one, a dropped barrier, …), and runs random pipelines that execute the
mutated instruction. It prints how many mutants were noticed, and lists the survivors by
line of the .cu files, each with a guess whether it is equivalent. kvc ptx mutate does it
for any kernel and any check.

With --cases it replays recorded decisions and results of other implementations, from
a file or from every .json file of a folder: a JSON array of eviction decisions (which
blocks and KVs of every head are evicted, and the moves that follow: equal to the last
index) or of prefill metrics (equal to 1e-5, relative), or the recorded cases of a
method, METHOD.json with its tensors in METHOD.safetensors, or schedules, step by step,
of a server. Cases of a method that is not implemented are counted apart.

Exit code 1 if anything disagrees, 2 if something cannot be read.`,
		Example: `  kvc validate
  kvc validate recall/snapkv mha
  kvc validate recall/...
  kvc validate six-stories --json
  kvc validate story --kernel attend_combine=mine.ptx:combine --ulp 4 --dump found
  kvc validate --replay found --kernel attend_combine=mine.ptx:combine
  kvc validate --random 1000 --shuffle 7
  kvc validate --random 100 --method streaming-llm
  kvc validate --coverage --random 200
  kvc validate --mutate 100 --seed 7
  kvc validate --cases eviction.json
  kvc validate --cases recorded --json`,
		ValidArgsFunction: completeReplays,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runValidate(cmd, args, &flags)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	flags.engine.add(fs)
	addTolerance(fs, &flags.tolerance)
	fs.StringVar(&flags.dump, "dump", "", "write what the first stage that differs starts from to a `folder`")
	writes(cmd, outputFolder, "dump")
	fs.StringVar(&flags.replay, "replay", "", "run what such a `folder` holds again")
	fs.IntVar(&flags.random, "random", 0, "run this many random pipelines")
	fs.Uint64Var(&flags.seed, "seed", 1, "seed of the first of them; the next has the next; of faults, which are drawn")
	fs.StringVar(&flags.method, "method", "", "random pipelines of this method alone, a `name` of kvc methods")
	fs.BoolVar(&flags.coverage, "coverage", false, "say which instructions of the kernels were executed, and which were not")
	fs.BoolVar(&flags.complete, "complete", false, "with --coverage, fail if an instruction was not executed that is not known not to be")
	fs.IntVar(&flags.mutate, "mutate", 0, "plant this many faults in the kernels, one at a time, and say how many are noticed; --seed says which")
	fs.Float64Var(&flags.least, "least", 0, "with --mutate, fail if less than this `part` of the faults is noticed, without those that are guessed to make no difference")
	fs.StringVar(&flags.cases, "cases", "", "recorded decisions and results of other implementations, a JSON `file` or a folder of them")
	fs.BoolVar(&flags.asJSON, "json", false, "print the results as JSON")
	return cmd
}

// addTolerance binds how far metrics and outputs may lie from the expected ones.
func addTolerance(fs *pflag.FlagSet, t *validate.Tolerance) {
	fs.Uint64Var(&t.ULPs, "ulp", 0, "metrics and outputs agree if they are at most this many ulp apart")
	fs.Float64Var(&t.RTol, "rtol", 0, "metrics and outputs agree if they differ by at most this part of the expected one")
	fs.Float64Var(&t.ATol, "atol", 0, "metrics and outputs agree if they differ by at most this much; with --rtol, by at most the sum")
}

// checkTolerance returns a usageError for a tolerance that cannot be meant.
func checkTolerance(t *validate.Tolerance) error {
	if !(t.RTol >= 0 && t.RTol < 1) {
		return usageError{fmt.Errorf("--rtol %v is not in [0, 1)", t.RTol)}
	}
	if !(t.ATol >= 0 && t.ATol <= math.MaxFloat32) {
		return usageError{fmt.Errorf("--atol %v is not a number of at least 0", t.ATol)}
	}
	return nil
}

// runValidate does what the flags ask for: one of four things.
func runValidate(cmd *cobra.Command, names []string, flags *validateFlags) error {
	var asked []string
	for _, name := range []string{"cases", "replay", "random", "mutate"} {
		if cmd.Flags().Changed(name) {
			asked = append(asked, "--"+name)
		}
	}
	if len(names) > 0 {
		asked = append(asked, "traces")
	}
	if flags.complete && !flags.coverage {
		return usageError{errors.New("--complete goes with --coverage")}
	}
	if flags.coverage {
		asked = append(slices.DeleteFunc(asked, func(s string) bool { return s == "--random" || s == "traces" }), "--coverage")
	}
	if len(asked) > 1 {
		return usageError{fmt.Errorf("%s and %s exclude each other", asked[0], asked[1])}
	}
	if cmd.Flags().Changed("dump") && (cmd.Flags().Changed("cases") || cmd.Flags().Changed("replay")) {
		return usageError{errors.New("--dump goes with traces, or with --random")}
	}
	if err := checkTolerance(&flags.tolerance); err != nil {
		return err
	}
	if cmd.Flags().Changed("method") && !cmd.Flags().Changed("random") && !cmd.Flags().Changed("mutate") {
		return usageError{errors.New("--method goes with --random: a trace's options say its method")}
	}
	if cmd.Flags().Changed("least") && !cmd.Flags().Changed("mutate") {
		return usageError{errors.New("--least goes with --mutate")}
	}
	if cmd.Flags().Changed("mutate") {
		return validateMutate(cmd, flags)
	}
	if cmd.Flags().Changed("cases") { // if to nothing, then by mistake
		return validateCases(cmd, flags.cases, flags.asJSON)
	}
	if flags.coverage {
		return validateCoverage(cmd, names, flags)
	}
	if cmd.Flags().Changed("random") {
		flags.engine.device.options.Budget = randomBudget
	}
	engines, err := flags.engine.open(cmd.Context())
	if err != nil {
		return err
	}
	if cmd.Flags().Changed("random") || cmd.Flags().Changed("replay") {
		engines.strict()
	}
	run := validate.Run{Engine: engines.make, Tolerance: flags.tolerance}
	switch {
	case cmd.Flags().Changed("replay"):
		return validateReplay(cmd, flags, engines, run)
	case cmd.Flags().Changed("random"):
		r, err := validateRandom(cmd, flags, engines, run)
		return errors.Join(flags.print(cmd, r), err)
	default:
		r, err := validateTraces(cmd, names, flags, engines, run)
		return errors.Join(flags.print(cmd, r), err)
	}
}

// print prints a result as JSON, if that is what the flags ask for. There may be none.
func (f *validateFlags) print(cmd *cobra.Command, result any) error {
	if !f.asJSON || reflect.ValueOf(result).IsNil() {
		return nil
	}
	return printJSON(cmd.OutOrStdout(), result)
}

// text is where text goes: nowhere, if JSON is asked for.
func (f *validateFlags) text(cmd *cobra.Command) io.Writer {
	if f.asJSON {
		return io.Discard
	}
	return cmd.OutOrStdout()
}

// randomBudget bounds the instructions of a launch in a random pipeline, so that one
// with an endless loop can be shrunk. Those of seeds 1 to 1000 stay within it.
const randomBudget = 1 << 22

// strict has engines do what small pipelines need to show faults: see kernels.Options.
func (e *engines) strict() {
	e.options.PrefillBytes = randomPrefill
	e.options.FreshBuffers = e.flags.device.name != devices.CUDA // where each would take long
}

// randomPrefill has the prompts of random pipelines, which are short, take several launches,
// as long ones do.
const randomPrefill = 256 << 10

// validation is what `kvc validate --json` prints.
type validation struct {
	Device string `json:"device"` // on which the kernels ran
	Traces int    `json:"traces"`
	Steps  int    `json:"steps"`
	validate.Tally
	Mismatches int                  `json:"mismatches"` // values, at the stages at which traces ended
	First      *validate.Divergence `json:"first_divergence,omitempty"`

	Results []validate.TraceResult `json:"results"`
	NotRun  []notRun               `json:"not_run"` // of methods that the engine does not run
}

// notRun is a replay of a method that the engine under test does not run.
type notRun struct {
	Trace string `json:"trace"`
	Why   string `json:"why"`
}

func (v *validation) add(r validate.TraceResult) {
	v.Traces++
	v.Steps += r.Steps
	v.Tally.Add(r.Tally)
	v.Mismatches += r.Mismatches()
	if v.First == nil {
		v.First = r.Divergence
	}
	v.Results = append(v.Results, r)
}

func validateTraces(cmd *cobra.Command, names []string, flags *validateFlags, engines *engines, run validate.Run) (*validation, error) {
	bundles, err := openTraces(cmd.Context(), names)
	if err != nil {
		return nil, err
	}
	all := &validation{Device: engines.device, Results: []validate.TraceResult{}, NotRun: []notRun{}}
	var failed error // of traces that could not be replayed; the others are
	out := flags.text(cmd)
	bar := newTracesBar(cmd.ErrOrStderr(), bundles)
	run.Progress = bar.progress
	width := len("TRACE")
	for _, b := range bundles {
		width = max(width, len(b.Name))
	}
	const row = "%-*s  %6v  %6v  %9v  %15v  %8s  %s\n"
	fmt.Fprintf(out, row, width, "TRACE", "STEPS", "STAGES", "DECISIONS", "VALUES COMPARED", "TIME", "RESULT")
	differ := -1 // the first trace that does
	for i, done := range replayAll(cmd.Context(), bundles, run) {
		r := <-done
		b := bundles[i]
		if why := unsupported(names, r.err); why != nil {
			all.NotRun = append(all.NotRun, notRun{b.Name, why.Error()})
			continue
		}
		if r.err != nil {
			if cmd.Context().Err() != nil {
				failed = errors.Join(failed, fmt.Errorf("trace %s: %w", b.Name, r.err))
				break
			}
			failed = errors.Join(failed, foundBy(fmt.Errorf("trace %s: %w", b.Name, r.err)))
			continue
		}
		all.add(r.TraceResult)
		result := "agree"
		if r.Stages == 0 && r.Divergence == nil {
			result = "nothing compared"
			failed = errors.Join(failed, fmt.Errorf("trace %s: no request fits the cache: there is nothing to compare", b.Name))
		}
		if d := r.Divergence; d != nil {
			result = fmt.Sprintf("%d differ at step %d, %s", r.Mismatches(), d.Step, d.Stage)
			if differ < 0 {
				differ = i
			}
		}
		bar.clear()
		fmt.Fprintf(out, row, width, b.Name, r.Steps, r.Stages, r.Decisions, r.Values, fmt.Sprintf("%.2fs", r.Seconds), result)
	}
	bar.clear()
	sayNotRun(out, all.NotRun)
	disagree := 0
	for _, r := range all.Results {
		if r.Divergence != nil {
			disagree++
			fmt.Fprintf(out, "\n%s", printable(r.Divergence.String()))
		}
	}
	if differ >= 0 && flags.dump != "" {
		b := bundles[differ]
		if err := validate.Dump(cmd.Context(), flags.dump, b.Trace, b.Options, all.First); err != nil {
			failed = errors.Join(failed, err)
		} else {
			sayDumped(cmd, "What that stage starts from", flags.dump)
		}
	}
	if disagree > 0 {
		failed = errors.Join(failed, failure{errors.New(words.OfAll(disagree, all.Traces, "trace", "disagree"))})
	}
	if failed == nil {
		failed = engines.unused()
	}
	if failed != nil {
		return all, failed
	}
	fmt.Fprintf(out, "\n%s agree in all %d values of %s%s.\n", engines, all.Values, words.Count(all.Traces, "trace"), tolerated(all.Tally))
	return all, nil
}

// foundBy makes a failure of an error in which a checker has found something.
func foundBy(err error) error {
	if len(findingsOf(err)) > 0 {
		return failure{err}
	}
	return err
}

// unsupported returns why an engine does not run a replay's method, if that is what the
// error says and the replay was not named, but is one of all, or of NAME/... .
func unsupported(names []string, err error) error {
	var u *ref.UnsupportedError
	several := len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, "/...") })
	if several && errors.As(err, &u) {
		return u
	}
	return nil
}

// sayNotRun lists the replays that were left out.
func sayNotRun(out io.Writer, left []notRun) {
	if len(left) == 0 {
		return
	}
	names := make([]string, len(left))
	for i, n := range left {
		names[i] = n.Trace
	}
	fmt.Fprintf(out, "\nNot run, as there are no kernels for their methods:\n")
	for _, line := range wrap(strings.Join(names, ", "), 90) {
		fmt.Fprintf(out, "  %s\n", line)
	}
}

// sayDumped says where a dump is, and what runs it again.
func sayDumped(cmd *cobra.Command, what, dir string) {
	fmt.Fprintf(cmd.ErrOrStderr(), "\n%s is in %s. Run it again with:\n  kvc validate --replay %s%s\n", what, dir, quoted(dir),
		command(cmd.Flags(), "device", "checks", "shuffle", "kernel", "allow-approx", "ulp", "rtol", "atol"))
}

// tolerated says how many values have other bits, if any may.
func tolerated(t validate.Tally) string {
	if t.Tolerated == 0 {
		return ""
	}
	return fmt.Sprintf(", %d of them within the tolerance, by %d ulp at most", t.Tolerated, t.MaxULPs)
}

// replayed is the result of a trace, or why there is none.
type replayed struct {
	validate.TraceResult
	err error
}

// replayAll replays traces side by side, as many at a time as there are processors,
// and returns where the result of each will be.
func replayAll(ctx context.Context, bundles []*traces.Bundle, run validate.Run) []chan replayed {
	results := make([]chan replayed, len(bundles))
	for i := range results {
		results[i] = make(chan replayed, 1)
	}
	next := make(chan int)
	for range min(len(bundles), runtime.GOMAXPROCS(0)) {
		go func() {
			for i := range next {
				b := bundles[i]
				start := time.Now()
				r, err := func() (r validate.TraceResult, err error) {
					defer work.Recover(&err)
					if err := checkOptions(b, b.Options); err != nil {
						return r, err
					}
					return validate.Trace(ctx, b.Name, b.Trace, b.Options, run)
				}()
				r.Seconds = time.Since(start).Seconds()
				results[i] <- replayed{r, err}
			}
		}()
	}
	go func() {
		for i := range bundles {
			next <- i
		}
		close(next)
	}()
	return results
}

// newTracesBar shows how far the replay of traces on two engines is.
func newTracesBar(w io.Writer, bundles []*traces.Bundle) replayBar {
	if _, tty := terminal(w); !tty {
		return replayBar{}
	}
	rows := int64(0)
	for _, b := range bundles {
		rows += 2 * sim.Rows(b.Trace)
	}
	bar := newBar(w, rows, "rows of KVs")
	bar.StartWithoutRender()
	return replayBar{bar}
}

// validateReplay runs what a dump holds again.
func validateReplay(cmd *cobra.Command, flags *validateFlags, engines *engines, run validate.Run) error {
	if stat, err := os.Stat(flags.replay); err != nil || !stat.IsDir() {
		return usageError{fmt.Errorf("--replay %s: not a folder", flags.replay)}
	}
	r, err := validate.Replay(cmd.Context(), os.DirFS(flags.replay), run)
	if err != nil {
		return fmt.Errorf("%s: %w", flags.replay, err)
	}
	out := cmd.OutOrStdout()
	if flags.asJSON {
		if err := printJSON(out, r); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(out, r.What)
		if r.Found != "" {
			fmt.Fprintf(out, "found: %s\n", printableLine(r.Found))
		}
		fmt.Fprintln(out)
	}
	if r.Divergence != nil {
		if !flags.asJSON {
			fmt.Fprintf(out, "now:   %s\n", printable(r.Divergence.String()))
		}
		return failure{fmt.Errorf("%s %s", words.Count(r.Mismatches(), "value"), words.Do(r.Mismatches(), "differ"))}
	}
	if err := engines.unused(); err != nil { // a stage does not need all kernels
		fmt.Fprintf(cmd.ErrOrStderr(), "kvc: %v\n", err)
	}
	if !flags.asJSON {
		fmt.Fprintf(out, "%s now agree in all %d values%s.\n", engines, r.Values, tolerated(r.Tally))
	}
	return nil
}

// validateRandom runs random pipelines.
func validateRandom(cmd *cobra.Command, flags *validateFlags, engines *engines, run validate.Run) (*validate.RandomResult, error) {
	if flags.random < 1 {
		return nil, usageError{fmt.Errorf("--random %d is not at least 1", flags.random)}
	}
	methods, err := randomMethods(cmd, flags.method)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	bar := newBar(cmd.ErrOrStderr(), int64(flags.random), "pipelines")
	r, err := validate.Random(cmd.Context(), flags.seed, flags.random, methods, run, func() { _ = bar.Add(1) })
	_ = bar.Clear()
	if unsupported := (*ref.UnsupportedError)(nil); errors.As(err, &unsupported) {
		return nil, usageError{err}
	}
	if err != nil && r.Failed == nil {
		return nil, err
	}
	out := flags.text(cmd)
	if r.Failed != nil {
		fmt.Fprintln(out, printable(r.Failed.String()))
		if flags.dump != "" {
			if err := r.Failed.Dump(flags.dump); err != nil {
				return &r, err
			}
			sayDumped(cmd, "That pipeline", flags.dump)
		}
		return &r, failure{fmt.Errorf("the pipeline of seed %d disagrees", r.Failed.Seed)}
	}
	if err := engines.unused(); err != nil {
		return &r, err
	}
	printPipelines(out, r.Methods)
	fmt.Fprintf(out, "%s agree in all %d values of %s, %s%s, in %.1fs.\n",
		engines, r.Values, edgesText(r), words.Count(r.Operations, "operation"), tolerated(r.Tally), time.Since(start).Seconds())
	return &r, nil
}

// edgesText counts random pipelines, and those of edges.
func edgesText(r validate.RandomResult) string {
	if r.Edges == 0 {
		return words.Count(r.Pipelines, "random pipeline")
	}
	return fmt.Sprintf("%s and %d at edges", words.Count(r.Pipelines, "random pipeline"), r.Edges)
}

// randomMethods returns the methods of random pipelines: all that can run, or one.
func randomMethods(cmd *cobra.Command, name string) ([]*draw.Method, error) {
	if !cmd.Flags().Changed("method") {
		methods, _, err := draw.Methods()
		return methods, err
	}
	m, err := draw.Find(name)
	if err != nil {
		return nil, usageError{fmt.Errorf("--method: %w", err)}
	}
	return []*draw.Method{m}, nil
}

// printPipelines says how many random pipelines were of each method.
func printPipelines(out io.Writer, methods []validate.MethodPipelines) {
	width := len("METHOD")
	for _, m := range methods {
		width = max(width, len(m.Method))
	}
	fmt.Fprintf(out, "%-*s  %9s\n", width, "METHOD", "PIPELINES")
	for _, m := range methods {
		why := ""
		if m.Refused > 0 {
			why = fmt.Sprintf("  %d more not run: %s", m.Refused, printableLine(m.Why))
		}
		fmt.Fprintf(out, "%-*s  %9d%s\n", width, m.Method, m.Pipelines, why)
	}
	fmt.Fprintln(out)
}
