package report

import (
	"fmt"
	"io"

	"gonum.org/v1/plot/plotter"

	"kvcompress/internal/words"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/sim/project"
	"kvcompress/sim/stats"
)

// Projection is one projection, and its inputs.
type Projection struct {
	Title    string
	Inputs   []Input
	Result   *project.Result
	Timeline []stats.Bucket
	SLO      stats.SLO
	Footer   Footer
}

// memoryEntries are the entries of a card's memory ledger, in GB.
func memoryEntries(m *cost.Memory) []Input {
	gb := func(n int64) string { return fmt.Sprintf("%.2f", float64(n)/1e9) }
	return []Input{
		{"card", gb(m.Card)}, {"left free", gb(m.Reserved)}, {"weights", gb(m.Weights)}, {"activations", gb(m.Activations)},
		{"fixed", gb(m.Fixed)}, {"CUDA\ngraphs", gb(m.Graphs)}, {"scratch", gb(m.Scratch + m.Compressor)}, {"metadata", gb(m.Metadata)}, {"keys and\nvalues", gb(m.KV)}, {"unused", gb(m.Unused)},
	}
}

// Concurrency says how many of the longest requests fit the cache uncompressed, as vLLM prints
// it.
func Concurrency(m *cost.Memory) string {
	whole := "at most " + words.Count(int(m.Concurrency), "request")
	if m.Concurrency < 1 {
		whole = "not one request"
	}
	if m.MaxModelLen >= catalog.Unbounded { // a request holds a bounded number of KVs, whatever its length
		return whole + " of any length at once"
	}
	length := words.Number(m.MaxModelLen)
	text := fmt.Sprintf("%s of %s tokens at once. Maximum concurrency for %s tokens per request: %s", whole, length, length, times(m.Concurrency))
	if m.Longest < m.MaxModelLen {
		text += fmt.Sprintf(".\n  Without compression a server needs --max-model-len %d or less", m.Longest)
	}
	return text
}

// LatencyTable returns the latencies of a run as a table: a column for each latency, with one unit and
// one number of decimals, and a row for the mean and each percentile, which begins with its name.
func LatencyTable(m *stats.Summary) (header []string, rows [][]string) {
	rows = [][]string{{"mean"}, {"p50"}, {"p90"}, {"p95"}, {"p99"}, {"max"}}
	header = []string{""}
	for _, l := range []struct {
		name string
		of   *stats.Latency
	}{
		{"first token\n(TTFT)", &m.TTFT}, {"each further\ntoken (TPOT)", &m.TPOT}, {"between\ntokens (ITL)", &m.ITL}, {"in the\nqueue", &m.Queue}, {"end to end", &m.E2E},
	} {
		values := []float64{l.of.Mean, l.of.P50, l.of.P90, l.of.P95, l.of.P99, l.of.Max}
		u := timeUnit(values, 3)
		header = append(header, l.name+", "+u.name)
		for i, v := range values {
			rows[i] = append(rows[i], u.text(v))
		}
	}
	return header, rows
}

// latencySection has the latencies of a run.
func latencySection(m *stats.Summary) section {
	header, rows := LatencyTable(m)
	columns := []column{{"", left}}
	for _, name := range header[1:] {
		columns = append(columns, column{name, right})
	}
	s := section{Title: "Latency", Table: newPageTable(columns, rows)}
	s.Text = append(s.Text, fmt.Sprintf("Of %s, %s between tokens, and %s with further tokens.",
		words.Count(m.TTFT.Count, "first token"), words.Count(m.ITL.Count, "gap"), words.Count(m.TPOT.Count, "request")))
	if m.ITL.Error > 0 || m.TTFT.Error > 0 {
		s.Text = append(s.Text, fmt.Sprintf("Of more than %s different times, percentiles are within %.1g %%.", words.Number(stats.ExactValues), 100*stats.RelativeError))
	}
	return s
}

// TimelineFigures plots a run over time: tokens per second, running and waiting sequences, and
// allocated blocks.
func TimelineFigures(timeline []stats.Bucket, blocks int) []*Figure {
	from, unit, of := 0.0, "s", 1.0
	if n := len(timeline); n > 0 {
		from = timeline[0].Start
		switch span := timeline[n-1].End - from; {
		case span > 2*86400:
			unit, of = "h", 3600
		case span > 1200:
			unit, of = "min", 60
		}
	}
	x := unit + " from the first step"
	over := func(name string, f func(*stats.Bucket) float64) curve {
		c := curve{name: name, line: true}
		for i := range timeline {
			b := &timeline[i]
			v := f(b)
			c.points = append(c.points, plotter.XY{X: (b.Start - from) / of, Y: v}, plotter.XY{X: (b.End - from) / of, Y: v})
		}
		return c
	}
	rate := func(n func(*stats.Bucket) int64) func(*stats.Bucket) float64 {
		return func(b *stats.Bucket) float64 {
			if b.End <= b.Start {
				return 0
			}
			return float64(n(b)) / (b.End - b.Start)
		}
	}
	usage := over("in use", func(b *stats.Bucket) float64 { return 100 * b.Blocks.Mean / float64(max(1, blocks)) })
	usage.fill = true
	figures := []*Figure{
		newFigure("tokens", "Tokens per second", x, "tokens/s", "Tokens of prompts and of outputs, over time.", []curve{
			over("prompts", rate(func(b *stats.Bucket) int64 { return b.Prompt })),
			over("outputs", rate(func(b *stats.Bucket) int64 { return b.Generated })),
		}),
		newFigure("requests", "Requests", x, "requests", "Requests that run and that wait, and those in a step's batch, on average over each span.", []curve{
			over("running", func(b *stats.Bucket) float64 { return b.Running.Mean }),
			over("waiting", func(b *stats.Bucket) float64 { return b.Waiting.Mean }),
			over("in the batch", func(b *stats.Bucket) float64 { return b.Batch.Mean }),
		}),
		newFigure("cache", "KV cache in use", x, "% of the blocks", "Blocks in use, on average over each span.", []curve{
			usage, over("at most", func(b *stats.Bucket) float64 { return 100 * float64(b.Blocks.Max) / float64(max(1, blocks)) }),
		}),
	}
	for i := range timeline {
		if timeline[i].Preemptions > 0 {
			figures = append(figures, newFigure("preemptions", "Preemptions", x, "preemptions/s", "Requests sent back to be computed again.", []curve{
				over("", rate(func(b *stats.Bucket) int64 { return b.Preemptions })),
			}))
			break
		}
	}
	return figures
}

// ProjectionHTML writes one projection as a self-contained page.
func ProjectionHTML(w io.Writer, r *Projection) error {
	o, m := r.Result, &r.Result.Metrics
	p := page{Title: r.Title, Footer: r.Footer}
	p.Footer.expected = TimeSource(o)
	if o.Partial {
		p.Partial = "It was ended before all requests were served: the figures are of the time until then."
	}
	p.Lead = append([]string{o.Reading}, o.Notes...)
	p.Cards = []Input{
		{"tokens/s, input and output", whole(m.TotalThroughput)}, {"output tokens/s", whole(m.OutputThroughput)}, {"requests/s", short(m.RequestThroughput)},
		{"TTFT, p50", duration(m.TTFT.P50)}, {"TTFT, p99", duration(m.TTFT.P99)}, {"TPOT, p50", duration(m.TPOT.P50)},
		{"largest decoding batch", words.Number(m.MaxDecodeBatch)}, {"of the cache in use at most", percentShort(m.KVUsage.Max)},
	}
	if r.SLO.Set() {
		p.Cards = append(p.Cards, Input{"requests within " + sloText(r.SLO), words.Share(m.GoodShare)}, Input{"goodput, requests/s", short(m.Goodput)})
	}
	figures, err := newPageFigures(TimelineFigures(r.Timeline, o.Memory.Blocks))
	if err != nil {
		return err
	}
	p.Sections = append(p.Sections, latencySection(m), section{Title: "Over time", Figures: figures}, timeSection(o), memoryOf(&o.Memory), countsSection(m), inputsSection(r.Inputs))
	return p.write(w)
}

// timeSection says what the steps' time was spent on.
func timeSection(r *project.Result) section {
	var rows [][]string
	var seconds []float64
	for _, s := range r.Time {
		seconds = append(seconds, s.Seconds)
	}
	u := timeUnit(seconds, 2)
	for _, s := range r.Time {
		rows = append(rows, []string{s.Term, u.text(s.Seconds), percent(s.Share), s.What()})
	}
	return section{Title: "Where the time goes", Text: TimeSource(r), Table: newPageTable([]column{{"term", left}, {"time, " + u.name, right}, {"part", right}, {"what", left}}, rows)}
}

func memoryOf(m *cost.Memory) section {
	var rows [][]string
	for _, e := range memoryEntries(m) {
		rows = append(rows, []string{join(e.Name), e.Value})
	}
	return section{
		Title: "Memory of each card",
		Text: []string{
			fmt.Sprintf("%s blocks in all, which hold %s tokens uncompressed: %s", words.Number(m.Blocks), words.Number(m.Tokens), Concurrency(m)),
			fmt.Sprintf("As %s measures it; the activations are those of the %s. In GB of 10⁹ bytes.", m.Engine, m.Peak),
		},
		Table: newPageTable([]column{{"what", left}, {"GB", right}}, rows),
	}
}

func countsSection(m *stats.Summary) section {
	var rows [][]string
	for _, c := range []struct {
		name string
		n    int64
	}{
		{"requests finished", m.Finished}, {"requests refused", m.Refused}, {"requests unfinished", m.Unfinished}, {"steps", m.Steps}, {"steps that prefill", m.PrefillSteps},
		{"prompt tokens", m.PromptTokens}, {"output tokens", m.GenerationTokens}, {"preemptions", m.Preemptions}, {"tokens recomputed", m.Recomputed}, {"tokens found in the cache", m.Cached},
	} {
		rows = append(rows, []string{c.name, words.Number(c.n)})
	}
	text := fmt.Sprintf("Over %s, %s of them in steps.", duration(m.Duration), percent(m.Busy))
	return section{Title: "Counts", Text: []string{text}, Table: newPageTable([]column{{"what", left}, {"number", right}}, rows)}
}

// join joins the two lines of a header.
func join(header string) string {
	out := []byte(header)
	for i, c := range out {
		if c == '\n' {
			out[i] = ' '
		}
	}
	return string(out)
}
