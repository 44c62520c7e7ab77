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

func newValidateCmd(parsed *ptx.Cache) *cobra.Command {
	flags := validateFlags{engine: engineFlags{device: deviceFlags{name: devices.Auto, options: ptx.Options{Checks: ptx.AllChecks(), Cache: parsed}}}}
	cmd := &cobra.Command{
		Use:   "validate [TRACE…]",
		Short: "Compare the CUDA engine with the reference, to the bit",
		Long: `Validate replays each trace (if none is named, the bundled ones with all their methods)
on the reference engine and on the CUDA engine in lock-step. After every stage of every
step it compares their states: block tables, context lengths, the free list, positions,
metrics, keys and values, attention outputs, evicted KVs, moves. It also compares every
decision of the reference with the method's specification; that of KV-Compress walks all
candidates in order of cost, as the paper does. All values must agree to the bit. A trace
ends at the first stage that differs.

The kernels run on a GPU if the program was built with -tags cuda and there is one, or
else on a machine that executes the same PTX on the CPU, under checkers.

NAME/METHOD is a trace with the options of one of its methods; NAME/... is the trace with
its own options and those of all its methods. Methods that the CUDA engine does not
support are skipped and listed; it is an error to name one.

--dump writes the state before the first stage that differs to a folder, as safetensors
and JSON; --replay runs this stage alone. If several traces differ, it is that of the
first.

--kernel replaces one of the engine's kernels by another with the same parameters, which
docs/kernels.md lists. If it sums in another order, allow metrics and outputs to differ
with --ulp or --rtol. After an operation with such differences the engine gets the state
of the reference, so that each stage is judged by itself and tolerated differences affect
no decision.

--random runs random pipelines instead of traces: small ones with edge cases, and NaN in
all memory that no head holds. A third of them are of KV-Compress, the others of every
method that the engine supports (or of --method). A pipeline that fails is shrunk and
printed; --dump and --replay work as for a stage.

--coverage also prints for each kernel which instructions and branch directions were
executed by the traces and by the pipelines of --random, and lists the others by line of
the .cu files.

--mutate plants small faults in the kernels' PTX, one at a time (a changed operand, an
off-by-one constant, a dropped barrier, …), and runs random pipelines that execute the
mutated instruction. It prints how many mutants were noticed, and lists the survivors by
line of the .cu files, with a guess whether each is equivalent. kvc ptx mutate does the
same for any kernel and check.

--cases replays recorded decisions and results of other implementations, from a file or
from every .json file of a folder: a JSON array of eviction decisions (the blocks and KVs
that each head loses and the moves, compared exactly) or of prefill metrics (compared to
1e-5, relative), or the recorded cases of a method (METHOD.json with tensors in
METHOD.safetensors), or the schedules of a server, step by step. Cases of methods that are
not implemented are counted separately.

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
	fs.StringVar(&flags.dump, "dump", "", "write the state before the first stage that differs to a `folder`")
	writes(cmd, outputFolder, "dump")
	fs.StringVar(&flags.replay, "replay", "", "run the stage or pipeline of such a `folder` again")
	fs.IntVar(&flags.random, "random", 0, "run this many random pipelines")
	fs.Uint64Var(&flags.seed, "seed", 1, "seed of the first random pipeline (each further one has the next seed), or of the faults of --mutate")
	fs.StringVar(&flags.method, "method", "", "run random pipelines of this method only, a `name` of kvc methods")
	fs.BoolVar(&flags.coverage, "coverage", false, "print which instructions of the kernels were executed, and which were not")
	fs.BoolVar(&flags.complete, "complete", false, "with --coverage, fail if an instruction was not executed, except those that are known to be unreachable")
	fs.IntVar(&flags.mutate, "mutate", 0, "plant this many faults in the kernels, one at a time, and print how many are noticed")
	fs.Float64Var(&flags.least, "least", 0, "with --mutate, fail if less than this `fraction` of the faults is noticed, not counting those guessed to be equivalent")
	fs.StringVar(&flags.cases, "cases", "", "compare with recorded decisions and results of other implementations, a JSON `file` or a folder of them")
	fs.BoolVar(&flags.asJSON, "json", false, "print the results as JSON")
	needs(fs, "seed", "random", "mutate")
	needs(fs, "method", "random", "mutate")
	needs(fs, "complete", "coverage")
	needs(fs, "least", "mutate")
	return cmd
}

// addTolerance binds the differences that metrics and outputs may have from the expected ones.
func addTolerance(fs *pflag.FlagSet, t *validate.Tolerance) {
	fs.Uint64Var(&t.ULPs, "ulp", 0, "metrics and outputs agree if they are at most this many ulp apart")
	fs.Float64Var(&t.RTol, "rtol", 0, "metrics and outputs agree if they differ by at most this fraction of the expected one")
	fs.Float64Var(&t.ATol, "atol", 0, "metrics and outputs agree if they differ by at most this much; with --rtol, by at most the sum")
}

// checkTolerance returns a usageError for an invalid tolerance.
func checkTolerance(t *validate.Tolerance) error {
	if !(t.RTol >= 0 && t.RTol < 1) {
		return usageError{fmt.Errorf("--rtol %v: want at least 0 and less than 1", t.RTol)}
	}
	if !(t.ATol >= 0 && t.ATol <= math.MaxFloat32) {
		return usageError{fmt.Errorf("--atol %v: want a finite number of at least 0", t.ATol)}
	}
	return nil
}

// runValidate replays traces, or runs what the flags --cases, --replay, --random, --coverage or
// --mutate ask for.
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
	if cmd.Flags().Changed("mutate") {
		return validateMutate(cmd, flags)
	}
	if cmd.Flags().Changed("cases") { // also --cases "", which is a mistake
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

// print prints a result as JSON if --json is given. The result may be nil.
func (f *validateFlags) print(cmd *cobra.Command, result any) error {
	if !f.asJSON || reflect.ValueOf(result).IsNil() {
		return nil
	}
	return printJSON(cmd.OutOrStdout(), result)
}

// text returns the writer of text, which is discarded with --json.
func (f *validateFlags) text(cmd *cobra.Command) io.Writer {
	if f.asJSON {
		return io.Discard
	}
	return cmd.OutOrStdout()
}

// randomBudget bounds the instructions of a launch in a random pipeline, so that one
// with an endless loop can be shrunk. Those of seeds 1 to 1000 stay within it.
const randomBudget = 1 << 22

// strict sets engine options with which small pipelines show faults: see kernels.Options.
func (e *engines) strict() {
	e.options.PrefillBytes = randomPrefill
	e.options.FreshBuffers = e.flags.device.name != devices.CUDA // on a GPU, fresh buffers would take long
}

// randomPrefill makes the short prompts of random pipelines take several launches, as long ones
// do.
const randomPrefill = 256 << 10

// validation is what `kvc validate --json` prints.
type validation struct {
	Device string `json:"device"` // on which the kernels ran
	Traces int    `json:"traces"`
	Steps  int    `json:"steps"`
	validate.Tally
	Mismatches int                  `json:"mismatches"` // values that differ, at the stages where traces ended
	First      *validate.Divergence `json:"first_divergence,omitempty"`

	Results []validate.TraceResult `json:"results"`
	NotRun  []notRun               `json:"not_run"` // replays of methods that the engine does not support
}

// notRun is a replay of a method that the engine under test does not support.
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
	var failed error // errors of traces that could not be replayed; the others are replayed nonetheless
	out := flags.text(cmd)
	bar := newTracesBar(cmd.ErrOrStderr(), bundles)
	run.Progress = bar.progress
	width := len("TRACE")
	for _, b := range bundles {
		width = max(width, len(b.Name))
	}
	const row = "%-*s  %6v  %6v  %9v  %15v  %8s  %s\n"
	fmt.Fprintf(out, row, width, "TRACE", "STEPS", "STAGES", "DECISIONS", "VALUES COMPARED", "TIME", "RESULT")
	differ := -1 // the first trace that differs
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
			result = fmt.Sprintf("%s differ at step %d, %s", words.Number(r.Mismatches()), d.Step, d.Stage)
			if differ < 0 {
				differ = i
			}
		}
		bar.clear()
		fmt.Fprintf(out, row, width, b.Name, words.Number(r.Steps), words.Number(r.Stages), words.Number(r.Decisions), words.Number(r.Values), fmt.Sprintf("%.2fs", r.Seconds), result)
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
	fmt.Fprintf(out, "\n%s agree in all %s values of %s%s.\n", engines, words.Number(all.Values), words.Count(all.Traces, "trace"), tolerated(all.Tally))
	return all, nil
}

// foundBy makes an error with a checker's finding a failure.
func foundBy(err error) error {
	if len(findingsOf(err)) > 0 {
		return failure{err}
	}
	return err
}

// unsupported returns why the engine does not support a replay's method, if that is the error
// and the replay was not named itself, but is one of all replays or of NAME/... .
func unsupported(names []string, err error) error {
	var u *ref.UnsupportedError
	several := len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, "/...") })
	if several && errors.As(err, &u) {
		return u
	}
	return nil
}

// sayNotRun lists the replays that were skipped.
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

// sayDumped prints the folder of a dump and the command that runs it again.
func sayDumped(cmd *cobra.Command, what, dir string) {
	fmt.Fprintf(cmd.ErrOrStderr(), "\n%s is in %s. Run it again with:\n  kvc validate --replay %s%s\n", what, dir, quoted(dir),
		command(cmd.Flags(), "device", "checks", "shuffle", "kernel", "allow-approx", "ulp", "rtol", "atol"))
}

// tolerated returns the number of values with tolerated differences, in words; "" without a
// tolerance.
func tolerated(t validate.Tally) string {
	if t.Tolerated == 0 {
		return ""
	}
	return fmt.Sprintf(", %s of them within the tolerance, by %s ulp at most", words.Number(t.Tolerated), words.Number(t.MaxULPs))
}

// replayed is the result of a trace, or its error.
type replayed struct {
	validate.TraceResult
	err error
}

// replayAll replays traces in parallel, one on each processor, and returns a channel for the
// result of each.
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

// newTracesBar shows the progress of replaying traces on two engines.
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

// validateReplay runs the stage or pipeline of a dump again.
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
	if err := engines.unused(); err != nil { // a single stage may not launch the replaced kernel
		fmt.Fprintf(cmd.ErrOrStderr(), "kvc: %v\n", err)
	}
	if !flags.asJSON {
		fmt.Fprintf(out, "%s now agree in all %s values%s.\n", engines, words.Number(r.Values), tolerated(r.Tally))
	}
	return nil
}

// validateRandom runs random pipelines.
func validateRandom(cmd *cobra.Command, flags *validateFlags, engines *engines, run validate.Run) (*validate.RandomResult, error) {
	if flags.random < 1 {
		return nil, usageError{fmt.Errorf("--random %d: want at least 1", flags.random)}
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
	fmt.Fprintf(out, "%s agree in all %s values of %s, %s%s, in %.1fs.\n",
		engines, words.Number(r.Values), edgesText(r), words.Count(r.Operations, "operation"), tolerated(r.Tally), time.Since(start).Seconds())
	return &r, nil
}

// edgesText returns the numbers of random pipelines and of those with edge cases, in words.
func edgesText(r validate.RandomResult) string {
	if r.Edges == 0 {
		return words.Count(r.Pipelines, "random pipeline")
	}
	return fmt.Sprintf("%s and %s at edges", words.Count(r.Pipelines, "random pipeline"), words.Number(r.Edges))
}

// randomMethods returns the methods of random pipelines: that of --method, or all that can run.
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

// printPipelines prints the number of random pipelines of each method.
func printPipelines(out io.Writer, methods []validate.MethodPipelines) {
	width := len("METHOD")
	for _, m := range methods {
		width = max(width, len(m.Method))
	}
	fmt.Fprintf(out, "%-*s  %9s\n", width, "METHOD", "PIPELINES")
	for _, m := range methods {
		why := ""
		if m.Refused > 0 {
			why = fmt.Sprintf("  %s more not run: %s", words.Number(m.Refused), printableLine(m.Why))
		}
		fmt.Fprintf(out, "%-*s  %9s%s\n", width, m.Method, words.Number(m.Pipelines), why)
	}
	fmt.Fprintln(out)
}
