package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/internal/words"
	"kvcompress/report"
	"kvcompress/sim"
	"kvcompress/sim/cost"
)

// caseForm is a form of file that kvc sim --cases takes.
type caseForm struct {
	what    string   // what its rows are
	columns []string // required columns; no file of another form has all of them
	flags   []string // flags that go with it, beside cases and json
	run     func(f *simFlags, cmd *cobra.Command, text []byte, name string) error
}

// caseForms returns the forms, in the order in which a file is matched with them.
func caseForms() []caseForm {
	memory, _ := cost.MemoryColumns()
	throughput, _ := cost.ThroughputColumns()
	serving, _ := cost.ServingColumns()
	log, _ := cost.LogColumns()
	return []caseForm{
		{"sizes of KV caches on servers", memory, nil, (*simFlags).runMemoryCases},
		{"serving runs of a closed loop or a batch", serving, []string{"profile", "gpu"}, (*simFlags).runServingCases},
		{"a log of measured requests", log, []string{"profile", "model", "gpu", "tensor-parallel", "max-num-seqs", "max-num-batched-tokens", "num-gpu-blocks", "gpu-memory-utilization"}, (*simFlags).runLog},
		{"runs of a throughput benchmark", throughput, []string{"profile", "spread", "plot", "engine"}, (*simFlags).runThroughputCases},
	}
}

// formOf returns the form of a file by the columns of its first line. The error says which
// columns each form has.
func formOf(text []byte, name string) (caseForm, error) { return formAmong(caseForms(), text, name) }

// formAmong is formOf for some of the forms.
func formAmong(forms []caseForm, text []byte, name string) (caseForm, error) {
	header, err := csv.NewReader(bytes.NewReader(text)).Read()
	if err == io.EOF {
		return caseForm{}, fmt.Errorf("%s: no rows: want a header and at least one row", name)
	}
	if err != nil {
		if json.Valid(text) {
			err = errors.New("it is JSON: want a CSV file; kvc validate --cases compares recorded decisions and schedules in JSON")
		}
		return caseForm{}, fmt.Errorf("%s: %w", name, err)
	}
	for i, c := range header {
		header[i] = strings.TrimSpace(strings.TrimPrefix(c, "\ufeff"))
	}
	var known []string
	for _, form := range forms {
		if !slices.ContainsFunc(form.columns, func(c string) bool { return !slices.Contains(header, c) }) {
			return form, nil
		}
		known = append(known, fmt.Sprintf("\n  %s: %s", form.what, strings.Join(form.columns, ", ")))
	}
	return caseForm{}, fmt.Errorf("%s: the columns of its first line match no known form. The known forms, and the columns that each must have:%s", name, strings.Join(known, ""))
}

// runCases projects each row of a file and compares it with what was measured.
func (f *simFlags) runCases(cmd *cobra.Command) error {
	var any []string
	for _, form := range caseForms() {
		any = append(any, form.flags...)
	}
	if err := onlyFlags(cmd, any, "its file, and the setup of what was published, say all of each run"); err != nil {
		return err
	}
	if f.plot != "" {
		if err := report.CheckPlot(f.plot); err != nil {
			return usageError{fmt.Errorf("--plot: %w", err)}
		}
	}
	text, err := readSmall(f.cases)
	if err != nil {
		return err
	}
	name := filepath.Base(f.cases)
	form, err := formOf(text, name)
	if err != nil {
		return err
	}
	if err := onlyFlags(cmd, form.flags, "the rows of "+name+" are "+form.what); err != nil {
		return err
	}
	return form.run(f, cmd, text, name)
}

// onlyFlags refuses flags that do not go with --cases.
func onlyFlags(cmd *cobra.Command, allowed []string, why string) error {
	var wrong error
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if wrong == nil && flag.Name != "cases" && flag.Name != "json" && !slices.Contains(allowed, flag.Name) {
			wrong = usagef("--%s does not go with --cases: %s", flag.Name, why)
		}
	})
	return wrong
}

// runThroughputCases compares runs of a throughput benchmark. Rows without compression are of
// vLLM 0.6.0, rows with compression of KV-Compress's server.
func (f *simFlags) runThroughputCases(cmd *cobra.Command, text []byte, name string) error {
	scheduler, _, err := f.engine.server(true)
	if err != nil {
		return err
	}
	if scheduler == sim.VLLMV1 {
		return usagef("--engine %s: the rows of %s are projected with %s without compression and with %s with compression", scheduler, name, sim.VLLM06, sim.KVCompressServer)
	}
	profile, err := readProfile(f.profile)
	if err != nil {
		return err
	}
	list, err := cost.ReadMeasurements(bytes.NewReader(text), name)
	if err != nil {
		return err
	}
	bar := newBar(cmd.ErrOrStderr(), int64(len(list)), "runs projected")
	cases, err := cost.NewCases(cmd.Context(), list, name, f.spreadOf, func() { _ = bar.Add(1) }) // errors of the bar are ignored
	_ = bar.Clear()
	if err != nil {
		return interrupted(err, "nothing is written")
	}
	for _, c := range cases {
		if err := c.Predict(profile); err != nil {
			return err
		}
	}
	if f.plot != "" {
		if err := report.Cases(f.plot, cases); err != nil {
			return err
		}
	}
	summary := cost.Summarize(cases)
	out := cmd.OutOrStdout()
	if f.asJSON {
		return printJSON(out, struct {
			Cases   []*cost.Case `json:"cases"`
			Summary cost.Summary `json:"summary"`
		}{cases, summary})
	}
	printCases(out, cases)
	fmt.Fprintln(out)
	for of := range factorsOf(cases) {
		fmt.Fprintf(out, "Time by %s.\n", printableLine(of))
	}
	fmt.Fprintf(out, "rows                  %d\nbatch_exact           %d of %d with a measured one\nbatch_max_error       %d\nthroughput_mape       %s\nthroughput_max_error  %s\n",
		summary.Rows, summary.BatchExact, summary.BatchRows, summary.BatchMaxError, known(summary.ThroughputMAPE), known(summary.ThroughputMaxError))
	return nil
}

// factorsOf yields the measurements to which the cases' factors were fitted, each once.
func factorsOf(cases []*cost.Case) iter.Seq[string] {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for _, c := range cases {
			if !seen[c.Calibrated] && !yield(c.Calibrated) {
				return
			}
			seen[c.Calibrated] = true
		}
	}
}

// runLog compares a log of measured requests. The flags describe the server.
func (f *simFlags) runLog(cmd *cobra.Command, text []byte, name string) error {
	s := servingSetup{model: f.model, gpu: f.gpu, tp: f.tp, blocks: f.gpuBlocks}
	if s.model == "" || s.gpu == "" {
		return usagef("%s is a log of requests, which does not say what served them: want --model and --gpu", name)
	}
	flags := cmd.Flags()
	for _, limit := range []struct {
		name string
		to   *int
	}{{"max-num-seqs", &s.seqs}, {"max-num-batched-tokens", &s.tokens}} {
		if flags.Changed(limit.name) {
			var err error
			if *limit.to, err = flags.GetInt(limit.name); err != nil {
				return err
			}
			if *limit.to < 1 {
				return usagef("--%s %d: want at least 1", limit.name, *limit.to)
			}
		}
	}
	if flags.Changed("gpu-memory-utilization") {
		s.utilization = f.memory
	}
	return f.runLogCases(cmd, text, name, s)
}

// runMemoryCases compares the sizes of KV caches on servers.
func (f *simFlags) runMemoryCases(cmd *cobra.Command, text []byte, name string) error {
	list, err := cost.ReadMemoryMeasurements(bytes.NewReader(text), name)
	if err != nil {
		return err
	}
	cases := make([]*cost.MemoryCase, len(list))
	for i, m := range list {
		if err := checkLimits(fmt.Sprintf("%s:%d", name, m.Line), m.MaxSeqs, m.MaxTokens); err != nil {
			return err
		}
		cases[i] = cost.NewMemoryCase(m)
	}
	summary := cost.SummarizeMemory(cases)
	out := cmd.OutOrStdout()
	if f.asJSON {
		err = printJSON(out, struct {
			Cases   []*cost.MemoryCase `json:"cases"`
			Summary cost.MemorySummary `json:"summary"`
		}{cases, summary})
	} else {
		printMemoryCases(out, cases, &summary)
	}
	if err == nil && summary.Refused > 0 {
		err = fmt.Errorf("%s of %s cannot be projected", words.Count(summary.Refused, "row"), name)
	}
	return err
}

// printMemoryCases prints projected and measured sizes side by side, in blocks if blocks were
// measured.
func printMemoryCases(w io.Writer, cases []*cost.MemoryCase, s *cost.MemorySummary) {
	gib := func(v float64) string {
		if v == 0 {
			return "–"
		}
		return fmt.Sprintf("%.2f", v)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "line\tmodel\tcards\tengine\tsettings\tweights\tmeasured\tpeak\tmeasured\tof\tcache\tmeasured\toff\t")
	for _, c := range cases {
		head := fmt.Sprintf("%d\t%s\t%d × %s", c.Line, printableLine(c.Model), c.TP, printableLine(c.Card))
		if c.Error != "" {
			fmt.Fprintf(table, "%s\trefused\t–\t–\t–\t–\t–\t–\t–\t–\t–\t\n", head)
			continue
		}
		settings := "some"
		if c.Settings {
			settings = "all"
		}
		cache, measured := gib(c.PredictedKVGiB)+" GiB", gib(c.KVGiB)
		if c.Blocks > 0 {
			cache, measured = words.Count(c.PredictedBlocks, "block"), words.Number(c.Blocks)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", head, c.Engine, settings,
			gib(c.PredictedWeightsGiB), gib(c.WeightsGiB), gib(c.PredictedActivationGiB), gib(c.ActivationGiB), c.Memory.Peak, cache, measured, percentage("%+.2f", c.Off))
	}
	table.Flush()
	fmt.Fprintln(w, "\nWeights and peak are of one card, in GiB.")
	for _, c := range cases {
		if c.Error != "" {
			fmt.Fprintf(w, "Line %d cannot be projected: %s\n", c.Line, printableLine(c.Error))
		}
	}
	fmt.Fprintf(w, "%s, of which %d are measured. The cache is off by %s on average, %s with its sign, and at most by %s:\n",
		words.Count(s.Rows, "row"), s.Measured, percentage("%.2f", s.KVMAPE), percentage("%+.2f", s.KVMean), percentage("%.2f", s.KVMaxError))
	fmt.Fprintf(w, "  %s where version and card's memory are stated: %s\n  %s elsewhere: %s\n",
		percentage("%.2f", s.StatedMaxError), words.Count(s.StatedRows, "row"), percentage("%.2f", s.OtherMaxError), words.Count(s.Measured-s.StatedRows, "row"))
}
