package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"kvcompress/internal/words"
	"kvcompress/kv"
	"kvcompress/report"
	"kvcompress/trace"
	"kvcompress/traces"
)

func newTraceCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Import, record, make, check and describe traces",
		Long: `A trace is a folder with requests: their arrival times and numbers of tokens, and for some
of them the queries, keys and values of every token, recorded from a model or generated
by a recipe. docs/trace-format.md has the format.`,
		Example: `  kvc trace info six-stories
  kvc trace check ./my-trace
  kvc trace import AzureLLMInferenceTrace_code.csv -o code
  kvc trace generate --requests 1000 --prompt 512 --output 128 --arrivals poisson:20/s -o load
  kvc trace synth --model llama-3.1-8b --requests 4 --prompt 6000 --output 200 -o long
  kvc trace record --model stories260K.bin --tokenizer tok512.bin --prompt "Once upon a time" -o my-story`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTraceInfoCmd(), newTraceCheckCmd(), newTraceImportCmd(), newTraceGenerateCmd(), newTraceSynthCmd(), newTraceRecordCmd())
	return cmd
}

// traceInfo is what `kvc trace info --json` prints.
type traceInfo struct {
	trace.Info
	// RateOverTime is left out if all requests arrive at once, or if there are few.
	RateOverTime *trace.RateOverTime `json:"rate_over_time,omitempty"`
}

// By default the rate over time is shown in mostWindows windows, or in fewer, so that each has
// leastPerWindow requests on average.
const (
	mostWindows    = 24
	leastPerWindow = 8
)

func newTraceInfoCmd() *cobra.Command {
	var asJSON bool
	var windows int
	cmd := &cobra.Command{
		Use:   "info TRACE",
		Short: "Say what a trace holds and where it comes from",
		Long: `Info describes a bundled trace, or one in a folder: its shape, its requests' lengths
and arrivals, the rate over time in equal windows, its size, and what a KV cache
without compression would take for it.
It reads no tensors; kvc trace check does.`,
		Example: `  kvc trace info six-stories
  kvc trace info ./my-trace --windows 60
  kvc trace info ./my-trace --json | jq .kv_bytes`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeTraces,
		RunE: func(cmd *cobra.Command, args []string) error {
			if given := cmd.Flag("windows").Changed; given && windows < 1 || windows > trace.MaxWindows {
				return usagef("--windows is %d: want 1 to %d", windows, trace.MaxWindows)
			}
			info, err := readTraceInfo(cmd, args[0], func(requests int) int {
				if windows > 0 {
					return windows
				}
				return min(mostWindows, requests/leastPerWindow)
			})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), info)
			}
			return printTraceInfo(cmd.OutOrStdout(), info)
		},
	}
	cmd.Flags().IntVar(&windows, "windows", 0, "show the request rate over time in this `number` of windows (default 24, fewer of less than 192 requests)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// readTraceInfo describes a trace. windows returns the number of windows of the rate over time
// for a number of requests.
func readTraceInfo(cmd *cobra.Command, name string, windows func(requests int) int) (info traceInfo, err error) {
	files, dir, err := traces.Find(name)
	if err != nil {
		return info, usageError{err}
	}
	bar := newBar(cmd.ErrOrStderr(), -1, "requests read", progressbar.OptionShowCount())
	defer func() { _ = bar.Clear() }() // fails only if the terminal is gone
	info.Info, info.RateOverTime, err = trace.StreamInfo(cmd.Context(), files, dir, windows, func(requests int) { _ = bar.Set(requests) })
	return info, err
}

// printTraceInfo prints one fact per line, and the distributions as a table.
func printTraceInfo(w io.Writer, info traceInfo) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	optional := func(name, text string) {
		if text != "" {
			row(name, "%s", printableLine(text))
		}
	}
	optional("name", info.Name)
	optional("model", info.Model)
	requestsOnly := info.Shape == kv.Shape{}
	if s := info.Shape; !requestsOnly {
		row("shape", "%d layers × %d KV heads × %d, %d query heads each, %s", s.Layers, s.KVHeads, s.HeadSize, s.Group, info.DType)
	}
	if r := info.Rope; r != nil {
		row("rope", "base %.12g, %d of a head's %s, pairing %s%s", r.Base, r.RotarySize, words.Count(info.Shape.HeadSize, "element"), r.Pairing, scalingText(r.Scaling))
	}
	row("source", "%s", info.Source.Kind)
	optional("", info.Source.Description)
	optional("licence", info.Source.Licence)
	for i, h := range info.Heads {
		name := ""
		if i == 0 {
			name = "heads"
		}
		row(name, "%d %v", h.Heads, h.Kind)
	}
	row("requests", "%s, %s of them with tensors", words.Number(info.Requests), words.Number(info.WithTensors))
	if info.Sessions > 0 {
		row("sessions", "%s", words.Number(info.Sessions))
	}
	switch {
	case info.WithPrefixes > 0 && info.PrefixBlockTokens > 0:
		row("prefixes", "of %s, in blocks of %s", words.Count(info.WithPrefixes, "request"), words.Count(info.PrefixBlockTokens, "token"))
	case info.WithPrefixes > 0:
		row("prefixes", "of %s, in blocks of unknown size", words.Count(info.WithPrefixes, "request"))
	}
	if info.WithCompression > 0 {
		row("compression", "%s with options of their own", words.Count(info.WithCompression, "request"))
	}
	row("tokens", "%s", words.Number(info.Tokens))
	a := info.Arrivals
	span := time.Duration(a.LastNS - a.FirstNS)
	switch {
	case info.Requests == 1:
		row("arrival", "at %v", time.Duration(a.FirstNS))
	case a.Rate == nil:
		row("arrivals", "all at %v", time.Duration(a.FirstNS))
	default:
		row("arrivals", "over %v, %.4g a second; standard deviation of the gaps / mean %.2f", span, *a.Rate, *a.GapCV)
	}
	if info.Files > 0 {
		row("on disk", "%s in %s", byteSize(info.DiskBytes), words.Count(info.Files, "file"))
	}
	if !requestsOnly {
		row("KV cache", "%s, uncompressed (%s a token; largest request %s)",
			byteSize(info.KVBytes), byteSize(info.KVBytesPerToken), byteSize(info.KVBytesLargestRequest))
	}
	if err := table.Flush(); err != nil {
		return err
	}

	fmt.Fprintln(w)
	table = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tmin\tp50\tmean\tp90\tp99\tmax\t")
	for _, d := range []struct {
		name string
		d    trace.Distribution
	}{{"prompt tokens", info.Prompt}, {"output tokens", info.Output}} {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", d.name, words.Number(d.d.Min), words.Number(d.d.P50), words.Decimal(d.d.Mean, 1), words.Number(d.d.P90), words.Number(d.d.P99), words.Number(d.d.Max))
	}
	if g := a.Gaps; a.Rate != nil {
		ns := func(n int64) time.Duration { return roundDuration(time.Duration(n)) }
		fmt.Fprintf(table, "time between arrivals\t%v\t%v\t%v\t%v\t%v\t%v\t\n", ns(g.Min), ns(g.P50), ns(int64(g.Mean)), ns(g.P90), ns(g.P99), ns(g.Max))
	}
	if err := table.Flush(); err != nil || info.RateOverTime == nil {
		return err
	}
	return printRate(w, info.RateOverTime, info.Arrivals)
}

// printRate prints the rate over time, one line per window.
func printRate(w io.Writer, r *trace.RateOverTime, a trace.ArrivalInfo) error {
	from := func(ns int64) time.Duration { return roundDuration(time.Duration(ns - a.FirstNS)) }
	fmt.Fprintf(w, "\nRequest rate over time, in windows of %v: mean %.4g requests a second, peak %.4g (%.2f times the mean) from %v on; CV of the gaps %.2f\n\n",
		roundDuration(time.Duration(r.WindowNS)), r.Mean, r.Peak, r.PeakOverMean, from(r.PeakNS), *a.GapCV)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "from\trequests\ta second\tprompt tokens/s\toutput tokens/s\t")
	seconds := r.WindowNS / 1e9
	columns := make([][3]float64, len(r.Windows))
	var most [3]float64
	for i, x := range r.Windows {
		columns[i] = [3]float64{x.PerSecond, float64(x.PromptTokens) / seconds, float64(x.OutputTokens) / seconds}
		for c, v := range columns[i] {
			most[c] = max(most[c], v)
		}
	}
	for i, x := range r.Windows {
		fmt.Fprintf(table, "%v\t%s\t", from(x.FromNS), words.Number(x.Requests))
		for c, v := range columns[i] {
			fmt.Fprintf(table, "%s\t", words.Decimal(v, decimals(most[c])))
		}
		if bar := report.Bar(x.PerSecond / r.Peak); bar != "" {
			fmt.Fprintf(table, "  %s", bar)
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}

// decimals returns the number of decimals that gives about four digits to a column with the
// largest number most.
func decimals(most float64) int {
	n := 0
	for limit := 1000.0; n < 6 && most < limit; limit /= 10 {
		n++
	}
	return n
}

// scalingText describes RoPE scaling in one line.
func scalingText(s *trace.RopeScaling) string {
	if s == nil {
		return ""
	}
	switch s.Type {
	case trace.Llama3:
		return fmt.Sprintf("; scaled as %s: factor %g, low and high frequency factors %g and %g, %d original positions",
			s.Type, s.Factor, s.LowFreqFactor, s.HighFreqFactor, s.OriginalPositions)
	case trace.YaRN:
		return fmt.Sprintf("; scaled as %s: factor %g, betas %g and %g, %d original positions, magnitude %.6g",
			s.Type, s.Factor, s.BetaFast, s.BetaSlow, s.OriginalPositions, s.AttentionFactor)
	default:
		return fmt.Sprintf("; scaled as %s: factor %g", s.Type, s.Factor)
	}
}

// roundDuration rounds to about four digits.
func roundDuration(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 10_000 {
		unit *= 10
	}
	return d.Round(unit)
}

// byteSize formats a size in the largest binary unit that gives at least 1.
func byteSize(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	x, unit := float64(n)/1024, 0
	for x >= 1024 && unit < len(units)-1 {
		x, unit = x/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", x, units[unit])
}
