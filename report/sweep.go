package report

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"kvcompress/sim/stats"
	"kvcompress/sim/sweep"
)

// Sweep is the outcomes of many projections, and what they were made from.
type Sweep struct {
	Inputs   []Input         // in the order in which they are shown
	Points   int             // of the whole sweep
	Outcomes []sweep.Outcome // those that there are, in their order
	SLO      stats.SLO
	Latency  string // that the Pareto front is against: see Latencies
	Searched bool   // whether the load of each is the largest within the objectives

	MaxModelLen int // tokens of the longest request; 0 is each model's context
}

// Input is one of the things that a result follows from.
type Input struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Partial reports whether outcomes are missing.
func (s *Sweep) Partial() bool { return len(s.Outcomes) < s.Points }

// Latencies names the latencies that a Pareto front can be against; all are the 99th
// percentile.
func Latencies() []string { return []string{"e2e", "ttft", "tpot", "itl"} }

// LatencyOf returns one of Latencies of an outcome, in seconds.
func LatencyOf(name string) func(*sweep.Outcome) float64 {
	return func(o *sweep.Outcome) float64 {
		switch name {
		case "ttft":
			return o.Metrics.TTFT.P99
		case "tpot":
			return o.Metrics.TPOT.P99
		case "itl":
			return o.Metrics.ITL.P99
		}
		return o.Metrics.E2E.P99
	}
}

// SweepJSON writes a sweep as one indented JSON object: schema_version, partial,
// points, inputs, slo, and outcomes, each with the names of a shard's file.
func SweepJSON(w io.Writer, s *Sweep) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		SchemaVersion int             `json:"schema_version"`
		Partial       bool            `json:"partial"`
		Points        int             `json:"points"`
		Inputs        []Input         `json:"inputs"`
		SLO           stats.SLO       `json:"slo"`
		Outcomes      []sweep.Outcome `json:"outcomes"`
	}{schemaVersion, s.Partial(), s.Points, s.Inputs, s.SLO, append([]sweep.Outcome{}, s.Outcomes...)})
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// sweepColumn is one thing that a sweep's table says of an outcome.
type sweepColumn struct {
	header string // of the table, in two lines
	name   string // of the CSV
	input  bool   // it says which point it is
	left   bool
	cell   func(*sweep.Outcome) string // for reading
	value  func(*sweep.Outcome) string // for the CSV
}

func sweepColumns(s *Sweep) []sweepColumn {
	text := func(header, name string, f func(*sweep.Outcome) string) sweepColumn {
		return sweepColumn{header, name, true, true, f, f}
	}
	number := func(header, name string, f func(*sweep.Outcome) float64, format func(float64) string) sweepColumn {
		return sweepColumn{header, name, false, false,
			func(o *sweep.Outcome) string { return format(f(o)) },
			func(o *sweep.Outcome) string { return strconv.FormatFloat(f(o), 'g', -1, 64) },
		}
	}
	input := func(header, name string, f func(*sweep.Outcome) float64, format func(float64) string) sweepColumn {
		c := number(header, name, f, format)
		c.input = true
		return c
	}
	m := func(f func(*stats.Summary) float64) func(*sweep.Outcome) float64 {
		return func(o *sweep.Outcome) float64 { return f(&o.Metrics) }
	}
	columns := []sweepColumn{
		{"front", "pareto", false, true,
			func(o *sweep.Outcome) string { return map[bool]string{true: "★"}[o.Pareto] },
			func(o *sweep.Outcome) string { return strconv.FormatBool(o.Pareto) }},
		text("model", "model", func(o *sweep.Outcome) string { return o.Model }),
		text("GPU", "gpu", func(o *sweep.Outcome) string { return o.Card }),
		input("cards", "tensor_parallel", func(o *sweep.Outcome) float64 { return float64(o.TP) }, whole),
		text("memory", "memory_budget", func(o *sweep.Outcome) string { return o.Budget.String() }),
		text("compression", "compression", func(o *sweep.Outcome) string { return o.Compression.String() }),
		input("batch\nlimit", "max_num_seqs", func(o *sweep.Outcome) float64 { return float64(o.MaxNumSeqs) }, whole),
		input("load", "load", func(o *sweep.Outcome) float64 { return o.Load }, short),
		number("requests/s\noffered", "offered_request_rate", m(func(m *stats.Summary) float64 { return m.OfferedRate }), short),
		number("requests/s\nserved", "request_throughput", m(func(m *stats.Summary) float64 { return m.RequestThroughput }), short),
		number("tokens/s", "total_token_throughput", m(func(m *stats.Summary) float64 { return m.TotalThroughput }), whole),
		number("output\ntokens/s", "output_throughput", m(func(m *stats.Summary) float64 { return m.OutputThroughput }), whole),
		number("tokens/s\na card", "total_token_throughput_per_gpu", func(o *sweep.Outcome) float64 { return o.ThroughputPerCard }, whole),
		number("TTFT\np50", "ttft_p50", m(func(m *stats.Summary) float64 { return m.TTFT.P50 }), duration),
		number("TTFT\np99", "ttft_p99", m(func(m *stats.Summary) float64 { return m.TTFT.P99 }), duration),
		number("TPOT\np50", "tpot_p50", m(func(m *stats.Summary) float64 { return m.TPOT.P50 }), duration),
		number("TPOT\np99", "tpot_p99", m(func(m *stats.Summary) float64 { return m.TPOT.P99 }), duration),
		number("end to end\np99", "e2e_p99", m(func(m *stats.Summary) float64 { return m.E2E.P99 }), duration),
		number("largest\nbatch", "max_decode_batch", m(func(m *stats.Summary) float64 { return float64(m.MaxDecodeBatch) }), whole),
		number("cache\nin use", "kv_cache_usage_max", m(func(m *stats.Summary) float64 { return m.KVUsage.Max }), percentShort),
		number("at once, of\n"+comma(s.MaxModelLen)+" tokens", "max_concurrency", func(o *sweep.Outcome) float64 { return o.Memory.Concurrency }, times),
		number("pre-\nempted", "num_preemptions", m(func(m *stats.Summary) float64 { return float64(m.Preemptions) }), wholeOrDot),
		number("refused", "refused", m(func(m *stats.Summary) float64 { return float64(m.Refused) }), wholeOrDot),
		number("within\nSLOs", "slo_attainment", m(func(m *stats.Summary) float64 { return m.GoodShare }), percentShort),
		number("goodput\nrequests/s", "request_goodput", m(func(m *stats.Summary) float64 { return m.Goodput }), short),
		number("$ a million\noutput tokens", "usd_per_million_output_tokens", func(o *sweep.Outcome) float64 { return o.USDPerMillion }, dollars),
	}
	return slices.DeleteFunc(columns, func(c sweepColumn) bool {
		switch c.name {
		case "total_token_throughput_per_gpu":
			return !slices.ContainsFunc(s.Outcomes, func(o sweep.Outcome) bool { return o.TP > 1 })
		case "max_concurrency":
			return s.MaxModelLen == 0
		case "slo_attainment", "request_goodput":
			return !s.SLO.Set()
		case "usd_per_million_output_tokens":
			return !slices.ContainsFunc(s.Outcomes, func(o sweep.Outcome) bool { return o.USDPerMillion > 0 })
		}
		return false
	})
}

// SweepCSV writes a row for each outcome.
func SweepCSV(w io.Writer, s *Sweep) error {
	columns := sweepColumns(s)
	out := csv.NewWriter(w)
	row := []string{"index"}
	for _, c := range columns {
		row = append(row, c.name)
	}
	row = append(row, "error")
	if err := out.Write(row); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	for i := range s.Outcomes {
		o := &s.Outcomes[i]
		row = append(row[:0], strconv.Itoa(o.Index))
		for _, c := range columns {
			row = append(row, c.value(o))
		}
		row = append(row, o.Error)
		if err := out.Write(row); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// sweepTable returns the table of a sweep without the inputs that all have in
// common, and these in a sentence.
func sweepTable(s *Sweep) (columns []column, rows [][]string, common string) {
	var same []string
	shown := slices.DeleteFunc(sweepColumns(s), func(c sweepColumn) bool {
		for i := range s.Outcomes {
			first, this := c.cell(&s.Outcomes[0]), c.cell(&s.Outcomes[i])
			if c.input && this != first || !c.input && this != "·" && this != "" && s.Outcomes[i].Error == "" {
				return false
			}
		}
		if c.input && len(s.Outcomes) > 0 {
			same = append(same, strings.ReplaceAll(c.header, "\n", " ")+" "+c.cell(&s.Outcomes[0]))
		}
		return true
	})
	for _, c := range shown {
		align := right
		if c.left {
			align = left
		}
		columns = append(columns, column{c.header, align})
	}
	for i := range s.Outcomes {
		o := &s.Outcomes[i]
		var row []string
		for _, c := range shown {
			switch {
			case o.Error == "" || c.input:
				row = append(row, c.cell(o))
			default:
				row = append(row, "–")
			}
		}
		rows = append(rows, row)
	}
	if len(same) > 0 {
		common = "All have " + list(same) + "."
	}
	return columns, rows, common
}

// SweepText writes a sweep for a person to read: its table, what the best points are
// and what could not be projected.
func SweepText(w io.Writer, s *Sweep, opt TextOptions) error {
	if opt.Width <= 0 {
		opt.Width = defaultWidth
	}
	p := &printer{w: bufio.NewWriter(w), opt: opt, gap: 2}
	columns, rows, common := sweepTable(s)
	p.printf("%s", p.opt.Color.bold(count(len(s.Outcomes), "projection")))
	if s.Partial() {
		p.printf(" of %s: partial", comma(s.Points))
	}
	p.printf("\n")
	if common != "" {
		p.sentences(common)
	}
	p.printf("\n")
	p.table(columns, rows)
	for _, sentence := range slices.Concat(sweepReading(s), sweepTime(s.Outcomes)) {
		p.printf("\n")
		p.sentences(sentence)
	}
	if p.err == nil {
		p.err = p.w.Flush()
	}
	if p.err != nil {
		return fmt.Errorf("report: %w", p.err)
	}
	return nil
}

// methodNotes says what is taken for granted because of the methods, once for each.
func methodNotes(s *Sweep) []string {
	type note struct{ method, text string }
	said := map[note]bool{}
	var order []string
	notes := map[string][]string{}
	for i := range s.Outcomes {
		o := &s.Outcomes[i]
		for _, text := range o.Notes {
			n := note{o.Compression.MethodName(), text}
			if said[n] {
				continue
			}
			said[n] = true
			if notes[n.method] == nil {
				order = append(order, n.method)
			}
			notes[n.method] = append(notes[n.method], text)
		}
	}
	var text []string
	for _, method := range order {
		text = append(text, method+": "+strings.Join(notes[method], " "))
	}
	return text
}

// sweepReading says in sentences what a sweep shows.
func sweepReading(s *Sweep) []string {
	var text []string
	var best, cheapest *sweep.Outcome
	failed := map[string]int{}
	var order []string
	ahead, unbounded := 0, 0
	for i := range s.Outcomes {
		o := &s.Outcomes[i]
		switch {
		case o.Error != "":
			if failed[o.Error] == 0 {
				order = append(order, o.Error)
			}
			failed[o.Error]++
			continue
		case o.Metrics.Finished == 0:
			continue
		}
		if o.Pareto {
			ahead++
		}
		if o.LoadUnbounded {
			unbounded++
		}
		if best == nil || o.ThroughputPerCard > best.ThroughputPerCard {
			best = o
		}
		if o.USDPerMillion > 0 && (cheapest == nil || o.USDPerMillion < cheapest.USDPerMillion) {
			cheapest = o
		}
	}
	if best != nil {
		text = append(text, fmt.Sprintf("Most throughput for a card: %s tokens/s, with %s. %s", whole(best.ThroughputPerCard), best.Point.String(), best.Reading))
	}
	if ahead > 0 {
		text = append(text, fmt.Sprintf("★ marks the front: %s, than which no other of its model has more throughput for a card at a lower 99th percentile of %s.",
			count(ahead, "projection"), latencyTitle(s.Latency)))
	}
	if cheapest != nil {
		text = append(text, fmt.Sprintf("Cheapest: %s a million output tokens, with %s.", dollars(cheapest.USDPerMillion), cheapest.Point.String()))
	}
	if s.Searched {
		text = append(text, "The load of each is the largest within the objectives, found by bisection to about 1 %.")
		if unbounded > 0 {
			text = append(text, fmt.Sprintf("Not so of %s: there no load that was tried was too large, and the largest one is shown. Want stricter objectives, or more requests.", count(unbounded, "projection")))
		}
	}
	text = append(text, methodNotes(s)...)
	for _, why := range order {
		text = append(text, fmt.Sprintf("Not projected (%s): %s.", count(failed[why], "point"), why))
	}
	return text
}

func latencyTitle(name string) string {
	switch name {
	case "ttft":
		return "the time to the first token"
	case "tpot":
		return "the time for each output token"
	case "itl":
		return "the time between tokens"
	}
	return "the time from arrival to the last token"
}

// sloText says the objectives in words.
func sloText(s stats.SLO) string {
	var parts []string
	for _, part := range []struct {
		name  string
		limit time.Duration
	}{{"TTFT", s.TTFT}, {"TPOT", s.TPOT}, {"end to end", s.E2E}} {
		if part.limit > 0 {
			parts = append(parts, fmt.Sprintf("%s ≤ %v", part.name, part.limit))
		}
	}
	if parts == nil {
		return "none"
	}
	return list(parts)
}
