package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"kvcompress/internal/output"
	"kvcompress/internal/words"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/trace/regular"
)

// calibrateFlags are the flags of kvc calibrate.
type calibrateFlags struct {
	measurements []string
	out, gpu     string
	start        string // a profile, as in --profile of kvc sim
	asJSON       bool
}

func newCalibrateCmd() *cobra.Command {
	var f calibrateFlags
	cmd := &cobra.Command{
		Use:   "calibrate --measurements FILE.csv -o PROFILE.json",
		Short: "Fit the cost model to measurements",
		Long: `Calibrate fits the factors of the cost model to measurements: for each term of a step's
time how close the card comes to its peak, and how long the host takes. It prints each
fit, its error and the factors that the rows do not determine, and writes a profile for
kvc sim --profile and kvc sweep --profile. The form of FILE.csv is known by its columns:

Serving runs without compression, a row for each run:
  model, gpu (or card; card_gib tells cards of one name apart), isl, osl
  concurrency (clients that each send one request after another), or batch
      (requests that all arrive at the start)
  at least one of ttft_ms, tpot_ms, latency_s, total_tokens_per_s
  and if they are known: tensor_parallel (or tp), weights, kv_dtype, max_num_seqs,
      max_num_batched_tokens, chunked_prefill, gpu_memory_utilization, num_requests,
      backend, version; prefill_first (true: waiting prompts go before decode steps),
      length_spread (0.1: lengths vary by ±10 % around isl and osl), distinct_prompts
      (of which each request has one at random, and the server has prefix caching)

A log of measured requests of vLLM V1, a row for each request:
  arrival_s, input_tokens, output_tokens, and any of ttft_ms, tpot_ms, e2e_s
Settings of the server follow the name of the file, as in
  --measurements log.csv,model=llama-3.1-8b,gpu=rtx-4090,num-gpu-blocks=2588
with the keys model, gpu, tensor-parallel, max-num-seqs, max-num-batched-tokens,
num-gpu-blocks, gpu-memory-utilization, engine and server. gpu, the two limits and the
utilization may also follow the name of a file of serving runs. engine=vllm-0.6 says
that a file was measured on this older server: then only the factors of the card are
used, for vLLM V1. server=vllm-v0, sglang or trtllm names the server of runs without
columns backend or version. Each server is fitted by itself.

Several files of these two forms are fitted together, to TTFT, TPOT and throughput at
once: first to all rows, for cards without measurements, and then to each card's rows.
Factors of a peak are at least 1, and times at least 0. What the rows do not determine
stays near where the fit starts: with --start vllm-v1 at the shipped fit to the card or,
without one, to several. This helps with a few rows of one's own.

Throughputs of KV-Compress's server and of vLLM 0.6.0, a row for each run of
num_requests equal requests that all arrive at the start:
  gpu, model, input_len, output_len, num_requests, compression_rate,
  max_cache_tokens, max_decoding_batch, total_tokens_per_s
max_cache_tokens is empty without compression. Fitted by non-negative least squares,
for each card by itself; the output has the error of each row.

Timings of kernels, each the total time of one or several launches of a size:
  gpu, model, term, units, microseconds, and tensor_parallel if it is not 1
docs/cost-model.md has the terms and their units.`,
		Example: `  kvc calibrate --measurements kv-compress.csv -o profile.json
  kvc calibrate --measurements kv-compress.csv --gpu l4 -o l4.json
  kvc calibrate --measurements closed-loop.csv --measurements log.csv,model=llama-3.1-8b,gpu=rtx-4090 -o serving.json
  kvc calibrate --measurements own-runs.csv --start vllm-v1 -o own.json
  kvc sim --cases kv-compress.csv --profile profile.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&f.measurements, "measurements", nil, "CSV `file` of measurements; may be repeated for serving runs and logs")
	flags.StringVarP(&f.out, "out", "o", "", "`file` to write the profile to")
	flags.StringVar(&f.gpu, "gpu", "", "use the rows of this `card` only")
	flags.StringVar(&f.start, "start", "", "start fits to serving runs from those of a `profile`, or of vllm-v1, vllm-v0, sglang or trtllm: for a few rows of one's own")
	flags.BoolVar(&f.asJSON, "json", false, "print the fit as JSON")
	// It fails only for a flag that does not exist.
	reads(cmd, "measurements", "csv")
	reads(cmd, "start", "json")
	writes(cmd, outputFile, "out", "json")
	return cmd
}

// fittedForms returns the forms of a file that a profile can be fitted to.
func fittedForms() []caseForm {
	serving, _ := cost.ServingColumns()
	log, _ := cost.LogColumns()
	throughput, _ := cost.ThroughputColumns()
	return []caseForm{
		{what: "serving runs of a closed loop or a batch", columns: serving}, {what: "a log of measured requests", columns: log},
		{what: "runs of a throughput benchmark", columns: throughput}, {what: "timings of kernels", columns: []string{"gpu", "model", "term", "units", "microseconds"}},
	}
}

func (f *calibrateFlags) run(cmd *cobra.Command) error {
	switch {
	case len(f.measurements) == 0:
		return usagef("--measurements is missing: a CSV of measurements")
	case f.out == "":
		return usagef("-o is missing: the file that the profile goes to")
	}
	var texts [][]byte
	var names []string
	var setups []servingSetup
	for _, value := range f.measurements {
		path, setup, err := measurementFile(value)
		if err != nil {
			return err
		}
		text, err := readSmall(path)
		if err != nil {
			return err
		}
		texts, names, setups = append(texts, text), append(names, filepath.Base(path)), append(setups, setup)
	}
	serving := func(text []byte) bool { return isServing(text) || isLog(text) }
	if !slices.ContainsFunc(texts, func(text []byte) bool { return !serving(text) }) {
		ctx, clear := watched(cmd, "runs projected")
		defer clear()
		return f.serving(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr(), texts, names, setups, clear)
	}
	if f.start != "" {
		return usagef("--start is for serving runs and logs of requests: fits to other measurements do not start from a profile")
	}
	if len(texts) > 1 {
		return usagef("--measurements: several files are fitted together where all are of serving runs or logs of requests")
	}
	if setups[0] != (servingSetup{}) {
		return usagef("--measurements: %s says all of its runs itself", names[0])
	}
	text, name := texts[0], names[0]
	header, _, _ := strings.Cut(string(text), "\n")
	if cost.IsTimings(header) {
		return f.timings(cmd, text, name)
	}
	if _, err := formAmong(fittedForms(), text, name); err != nil {
		return err
	}
	list, err := cost.ReadMeasurements(bytes.NewReader(text), name)
	if err != nil {
		return err
	}
	if list, err = ofCard(list, f.gpu); err != nil {
		return err
	}
	ctx, clear := watched(cmd, "runs projected")
	profile, cases, err := cost.Calibrate(ctx, list, name)
	clear()
	if err != nil {
		return interrupted(err, "nothing is written")
	}
	if err := output.Write(f.out, profile.Write); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if f.asJSON {
		return printJSON(out, struct {
			Profile *cost.Profile `json:"profile"`
			Cases   []*cost.Case  `json:"cases"`
			Summary cost.Summary  `json:"summary"`
		}{profile, cases, cost.Summarize(cases)})
	}
	printCases(out, cases)
	printFits(out, profile)
	fmt.Fprintf(out, "\nWritten to %s.\n", printableLine(f.out))
	return nil
}

func (f *calibrateFlags) timings(cmd *cobra.Command, text []byte, name string) error {
	if f.gpu != "" {
		return usagef("--gpu chooses among rows of throughputs: %s has timings of kernels, whose cards are fitted each by itself", name)
	}
	list, err := cost.ReadTimings(bytes.NewReader(text), name)
	if err != nil {
		return err
	}
	profile, err := cost.CalibrateTimings(list, name)
	if err != nil {
		return err
	}
	if err := output.Write(f.out, profile.Write); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if f.asJSON {
		return printJSON(out, struct {
			Profile *cost.Profile `json:"profile"`
		}{profile})
	}
	printFits(out, profile)
	fmt.Fprintf(out, "\nWritten to %s.\n", printableLine(f.out))
	return nil
}

// ofCard returns the measurements of a card, or all if gpu is "".
func ofCard(list []cost.Measurement, gpu string) ([]cost.Measurement, error) {
	if gpu == "" {
		return list, nil
	}
	want, err := catalog.FindCard(gpu)
	if err != nil {
		return nil, usageError{err}
	}
	var of []cost.Measurement
	for _, m := range list {
		card, err := catalog.FindCard(m.GPU)
		if err != nil {
			return nil, err
		}
		if card.Name == want.Name {
			of = append(of, m)
		}
	}
	if len(of) == 0 {
		return nil, fmt.Errorf("no row has the card %s", want.Name)
	}
	return of, nil
}

// maxSmallFile bounds files that are read into memory, in bytes.
const maxSmallFile = 64 << 20

func readSmall(path string) ([]byte, error) {
	text, err := regular.ReadFile(path, maxSmallFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

// readProfile returns the profile of a file, or the shipped fits to a server by its name; the
// default profile if path is "".
func readProfile(path string) (*cost.Profile, error) {
	if path == "" {
		return cost.DefaultProfile(), nil
	}
	if server := sim.Scheduler(path); slices.Contains(cost.Servers(), server) {
		return cost.ShippedProfile(server), nil
	}
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	p, err := cost.ReadProfile(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// printCases prints measured and projected values side by side.
func printCases(w io.Writer, cases []*cost.Case) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "card\tinput\toutput\trequests\tcompression\tKVs a head\tblocks\tbatch\tmeasured\ttokens/s\tmeasured\toff\t")
	for _, c := range cases {
		keep, batch, measured, off := "all", "–", "–", "–"
		if c.Compressed() {
			keep = words.Number(c.MaxCacheTokens)
		}
		if c.MaxDecodingBatch > 0 {
			batch = words.Number(c.MaxDecodingBatch)
			if c.Batch != c.MaxDecodingBatch {
				batch += fmt.Sprintf(" (%+d)", c.Batch-c.MaxDecodingBatch)
			}
		}
		if c.Off != nil {
			measured, off = words.Decimal(c.TokensPerS, 1), fmt.Sprintf("%+.1f %%", 100**c.Off)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n",
			printableLine(c.GPU), words.Number(c.InputLen), words.Number(c.OutputLen), words.Number(c.NumRequests), printableLine(c.CompressionRate), keep,
			words.Number(c.Memory.Blocks), words.Number(c.Batch), batch, words.Decimal(c.Throughput, 1), measured, off)
	}
	table.Flush()
}

// leastShown is the time, in µs, below which an overhead is not printed.
const leastShown = 0.01

// printFits prints the factors of a profile and their errors.
func printFits(w io.Writer, p *cost.Profile) {
	fits := p.Fits
	if p.All != nil {
		fits = append(fits[:len(fits):len(fits)], *p.All)
	}
	for i := range fits {
		f := &fits[i]
		fmt.Fprintf(w, "\nFitted to %s:\n", printableLine(f.Of))
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, t := range cost.Terms() {
			v, source := f.Factors[t.ID], "default"
			switch {
			case slices.Contains(f.Fitted, t.ID):
				source = "fitted"
			case p.Start != "":
				source = "as at the start"
			case f.Like(t.ID) != "" && v == f.Factors[f.Like(t.ID)]:
				source = "as " + f.Like(t.ID)
			case v != t.Default:
				source = "as on other cards"
			}
			value := "nothing"
			switch {
			case t.Overhead && v < leastShown, v == 0:
			case t.Overhead:
				value = words.Decimal(v, 2) + " µs"
			default:
				value = fmt.Sprintf("%.1f %% of the peak", 100/v)
			}
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", t.ID, value, source, t.What)
		}
		table.Flush()
		q := f.Quality
		if f.Overlap {
			printServingQuality(w, f)
			continue
		}
		if untimed := f.Untimed(); untimed != "" {
			fmt.Fprintf(w, "  off the timings by %s on average, at most %s; how far off a run will be is not known\n", known(q.MAPE), known(q.MaxError))
			if len(f.AtBound) > 0 {
				fmt.Fprintf(w, "  at the card's peak, though its timings are faster, so check the unit of their work: %s\n", words.List(f.AtBound))
			}
			fmt.Fprintf(w, "  %s\n", untimed)
			continue
		}
		fmt.Fprintf(w, "  off by %s on average, at most %s", known(q.MAPE), known(q.MaxError))
		if q.CompressedMAPE != nil && q.VanillaMAPE != nil {
			fmt.Fprintf(w, "; compressed %s, vanilla %s", known(q.CompressedMAPE), known(q.VanillaMAPE))
		}
		if q.CrossMAPE != nil {
			fmt.Fprintf(w, "\n  leaving each input length out: %s on average, at most %s", known(q.CrossMAPE), known(q.CrossMaxError))
		}
		fmt.Fprintln(w)
	}
}

// percentage writes a part as a percentage, and – where it is not known.
func percentage(format string, part *float64) string {
	if part == nil {
		return "–"
	}
	return fmt.Sprintf(format+" %%", 100**part)
}

func known(part *float64) string { return percentage("%.1f", part) }

func signed(part *float64) string { return percentage("%+.1f", part) }

func percent(part float64) string {
	if math.IsNaN(part) {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*part)
}
