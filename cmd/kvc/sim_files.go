package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"kvcompress/internal/output"
	"kvcompress/internal/words"
	"kvcompress/ref"
	"kvcompress/report"
	"kvcompress/report/export"
	"kvcompress/sim"
	"kvcompress/sim/project"
	"kvcompress/sim/stats"
	"kvcompress/sim/sweep"
)

// simFiles are the files that kvc sim writes.
type simFiles struct {
	html, plots, chrome, perRequest, perStep string

	timeline  stats.Timeline
	exporters []export.Exporter
	files     []*output.File
}

// timelineSpans is the number of spans of a timeline; with more, a plot shows only noise.
const timelineSpans = 240

func (f *simFiles) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.html, "html", "", "write one self-contained page to a `file`")
	flags.StringVar(&f.plots, "plots", "", "draw what happened over time to a `folder`, as SVG and PNG")
	flags.StringVar(&f.chrome, "chrome-trace", "", "write a trace that ui.perfetto.dev opens to a `file`")
	flags.StringVar(&f.perRequest, "per-request", "", "write a row for each request to a `file`: .csv, .jsonl or .parquet")
	flags.StringVar(&f.perStep, "per-step", "", "write a row for each step to a `file`: .csv, .jsonl or .parquet")
	for name, exts := range map[string][]string{
		"html": {"html"}, "chrome-trace": {"json"}, "per-request": {"csv", "jsonl", "parquet"}, "per-step": {"csv", "jsonl", "parquet"},
	} {
		writes(cmd, outputFile, name, exts...)
	}
	writes(cmd, outputFolder, "plots")
}

// check refuses file names without a known extension.
func (f *simFiles) check() error {
	for flag, path := range map[string]string{"per-request": f.perRequest, "per-step": f.perStep} {
		if path == "" {
			continue
		}
		if err := export.CheckName(path); err != nil {
			return usagef("--%s: %w", flag, err)
		}
	}
	return nil
}

// open creates the files that are written during the run. clientNS is the time, in ns, that
// clients and the API server add to the time to first token.
func (f *simFiles) open(clientNS int64) error {
	for _, x := range []struct {
		path string
		new  func(io.Writer) (export.Exporter, error)
	}{
		{f.perRequest, func(w io.Writer) (export.Exporter, error) {
			return export.New(w, f.perRequest, export.Requests, clientNS)
		}},
		{f.perStep, func(w io.Writer) (export.Exporter, error) { return export.New(w, f.perStep, export.Steps, clientNS) }},
		{f.chrome, func(w io.Writer) (export.Exporter, error) { return export.NewChromeTrace(w), nil }},
	} {
		if x.path == "" {
			continue
		}
		file, err := output.Create(x.path)
		if err != nil {
			return err
		}
		f.files = append(f.files, file)
		e, err := x.new(file)
		if err != nil {
			return err
		}
		f.exporters = append(f.exporters, e)
	}
	return nil
}

func (f *simFiles) step(s *sim.Step) {
	if f.html != "" || f.plots != "" {
		e := stats.FromStep(s)
		f.timeline.Add(&e)
	}
	for _, x := range f.exporters {
		x.Step(s)
	}
}

func (f *simFiles) request(r *sim.Result) {
	for _, x := range f.exporters {
		x.Request(r)
	}
}

// discard removes the files of a run that has no result. After commit it does nothing.
func (f *simFiles) discard() {
	for _, file := range f.files {
		file.Discard()
	}
}

// commit closes the files that were written during the run and moves them to their names.
func (f *simFiles) commit() error {
	for _, x := range f.exporters {
		if err := x.Close(); err != nil {
			return err
		}
	}
	for _, file := range f.files {
		if err := file.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// finish closes the files that were written step by step, and writes the files that need the whole run.
func (f *simFiles) finish(cmd *cobra.Command, in *simInputs, slo stats.SLO, r *project.Result) error {
	if err := f.commit(); err != nil {
		return err
	}
	timeline := f.timeline.Buckets(timelineSpans)
	if f.html != "" {
		p := &report.Projection{Title: in.title(), Inputs: in.list(slo), Result: r, Timeline: timeline, SLO: slo, Footer: newFooter(commandLine(cmd))}
		if err := output.Write(f.html, func(w io.Writer) error { return report.ProjectionHTML(w, p) }); err != nil {
			return err
		}
	}
	if f.plots != "" {
		if _, err := report.WriteFigures(f.plots, report.TimelineFigures(timeline, r.Memory.Blocks)); err != nil {
			return err
		}
	}
	for _, path := range []string{f.html, f.plots, f.chrome, f.perRequest, f.perStep} {
		if path != "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "Written to %s.\n", path)
		}
	}
	return nil
}

// title returns a one-line title of a projection.
func (in *simInputs) title() string {
	return fmt.Sprintf("%s by %s on %d × %s, compression %s", in.Requests, in.Model, in.cards(), in.GPU, in.compression())
}

// compression returns the compression as a point of a sweep has it.
func (in *simInputs) compression() sweep.Compression {
	c := sweep.Compression{Rate: in.Compression.Rate, MaxCacheTokens: in.Compression.MaxCacheTokens}
	if in.Method != ref.KVCompress && in.Method != "none" {
		c.Method = in.Method
	}
	return c
}

// list returns the inputs as a page shows them.
func (in *simInputs) list(slo stats.SLO) []report.Input {
	objectives := "none"
	if slo.Set() {
		objectives = sloWords(slo)
	}
	c := &in.Compression
	list := []report.Input{
		{Name: "requests", Value: in.Requests},
		{Name: "model", Value: in.Model}, {Name: "model's figures", Value: in.ModelSource},
		{Name: "GPU", Value: fmt.Sprintf("%d × %s", in.cards(), in.GPU)}, {Name: "GPU's figures", Value: in.GPUSource},
		{Name: "weights", Value: string(in.Weights)}, {Name: "KV cache", Value: fmt.Sprint(in.KV)}, {Name: "block size", Value: words.Number(in.BlockSize)},
		{Name: "part of the memory", Value: fmt.Sprint(in.Utilization)},
		{Name: "sequences that run at a time", Value: words.Number(in.Limits.MaxNumSeqs)},
		{Name: "batches as formed by", Value: string(in.Scheduler)},
		{Name: "tokens of one batch", Value: words.Number(in.Limits.MaxNumBatchedTokens)},
		{Name: "watermark", Value: fmt.Sprint(in.Limits.Watermark)},
		{Name: "memory as measured by", Value: string(in.Engine)},
		{Name: "compression", Value: in.compression().String()},
		{Name: "objectives", Value: objectives},
	}
	if in.Limits.MaxModelLen > 0 {
		list = append(list, report.Input{Name: "tokens of the longest request", Value: words.Number(in.Limits.MaxModelLen)})
	}
	for _, key := range slices.Sorted(maps.Keys(in.Set)) {
		list = append(list, report.Input{Name: in.Method + ": " + key, Value: string(in.Set[key])})
	}
	if in.Method == ref.KVCompress {
		list = append(list, report.Input{Name: "protected window", Value: words.Number(c.ProtectedWindow)})
	}
	if in.Method != "none" {
		list = append(list,
			report.Input{Name: "decode steps between compressions", Value: words.Number(c.Interval)},
			report.Input{Name: "slots sorted in one compression", Value: words.Number(c.MaxKVPerCompression)},
			report.Input{Name: "which heads lose what is evicted", Value: in.Spread})
	}
	if in.Concurrency > 0 {
		list = append(list, report.Input{Name: "clients, each with one request at a time", Value: words.Number(in.Concurrency)})
	}
	if in.Turns != sim.TurnsAsRecorded {
		list = append(list, report.Input{Name: "turns of a session", Value: string(in.Turns)})
	}
	if in.Replicas > 1 {
		list = append(list, report.Input{Name: "replicas", Value: fmt.Sprintf("%d, %s", in.Replicas, in.Router)})
	}
	if p := in.Pools; p != nil {
		list = append(list, report.Input{Name: "replicas", Value: fmt.Sprintf("%d that prefill and %d that decode, %s", p.Prefill, p.Decode, in.Router)},
			report.Input{Name: "link between them", Value: fmt.Sprintf("%.3g GB/s and %v", p.BytesPerSecond/1e9, time.Duration(p.LatencyNS))})
	}
	if in.Prefixes {
		list = append(list, report.Input{Name: "prefix caching", Value: "on"})
	}
	if in.Chunked {
		list = append(list, report.Input{Name: "chunked prefill", Value: "on"})
	}
	return list
}
