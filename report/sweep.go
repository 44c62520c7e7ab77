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
	"unicode/utf8"

	"kvcompress/internal/words"
	"kvcompress/sim/stats"
	"kvcompress/sim/sweep"
)

// Sweep is the outcomes of many projections, and their inputs.
type Sweep struct {
	Inputs   []Input         // in the order of the report
	Points   int             // of the whole sweep
	Outcomes []sweep.Outcome // those of the sweep, in order
	SLO      stats.SLO
	Latency  string // the latency of the Pareto front: see Latencies
	Engine   string // the scheduler of all projections
	Searched bool   // whether each load is the largest that meets the objectives

	MaxModelLen int // tokens of the longest request; 0 is each model's context
	Footer      Footer
}

// Input is one input of a result.
type Input struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Partial reports whether outcomes are missing.
func (s *Sweep) Partial() bool { return len(s.Outcomes) < s.Points }

// Latencies returns the names of the latencies that a Pareto front can have as its axis; all are
// 99th percentiles.
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

// sweepColumn is one column of a sweep's table.
type sweepColumn struct {
	header string // for the text, in up to two lines
	name   string // for the CSV
	input  bool   // it is part of the point, not of its outcome
	left   bool
	rank   int                         // if a table is too wide, columns of the highest rank are left out first; 0: never
	cell   func(*sweep.Outcome) string // the value in the text
	value  func(*sweep.Outcome) string // the value in the CSV
}

// The ranks of columns.
const (
	always = iota
	telling1
	telling2
	telling3
	telling4
	telling5
)

// columnFormat returns a column's unit, for its header, and the format of its values.
type columnFormat func(values []float64) (unitName string, text func(float64) string)

func asInput(values []float64) (string, func(float64) string) { return "", inputUnit(values).text }
func plainly(values []float64) (string, func(float64) string) { return "", plainUnit(values).text }
func inDollars(values []float64) (string, func(float64) string) {
	u := plainUnit(values)
	u.decimals = max(2, u.decimals)
	return "", u.text
}
func wholly([]float64) (string, func(float64) string)      { return "", whole }
func whollyOrDot([]float64) (string, func(float64) string) { return "", wholeOrDot }
func inPercent([]float64) (string, func(float64) string)   { return "", words.ShareColumn }
func asFactor([]float64) (string, func(float64) string)    { return "", times }

func sweepColumns(s *Sweep) []sweepColumn {
	text := func(header, name string, f func(*sweep.Outcome) string) sweepColumn {
		return sweepColumn{header, name, true, true, always, f, f}
	}
	number := func(rank int, header, name string, f func(*sweep.Outcome) float64, format columnFormat) sweepColumn {
		var values []float64
		for i := range s.Outcomes {
			if s.Outcomes[i].Error == "" {
				values = append(values, f(&s.Outcomes[i]))
			}
		}
		unitName, write := format(values)
		return sweepColumn{header + unitName, name, false, false, rank,
			func(o *sweep.Outcome) string { return write(f(o)) },
			func(o *sweep.Outcome) string { return strconv.FormatFloat(f(o), 'g', -1, 64) },
		}
	}
	input := func(header, name string, f func(*sweep.Outcome) float64, format columnFormat) sweepColumn {
		c := number(always, header, name, f, format)
		c.input = true
		return c
	}
	m := func(f func(*stats.Summary) float64) func(*sweep.Outcome) float64 {
		return func(o *sweep.Outcome) float64 { return f(&o.Metrics) }
	}
	// Columns of the same latency have the same unit.
	inTime := func(of func(*stats.Summary) *stats.Latency) columnFormat {
		var values []float64
		for i := range s.Outcomes {
			if o := &s.Outcomes[i]; o.Error == "" {
				values = append(values, of(&o.Metrics).P50, of(&o.Metrics).P99)
			}
		}
		u := timeUnit(values, 2)
		return func([]float64) (string, func(float64) string) { return ", " + u.name, u.text }
	}
	ttft := inTime(func(m *stats.Summary) *stats.Latency { return &m.TTFT })
	tpot := inTime(func(m *stats.Summary) *stats.Latency { return &m.TPOT })
	e2e := inTime(func(m *stats.Summary) *stats.Latency { return &m.E2E })
	columns := []sweepColumn{
		{"front", "pareto", false, true, always,
			func(o *sweep.Outcome) string { return map[bool]string{true: "★"}[o.Pareto] },
			func(o *sweep.Outcome) string { return strconv.FormatBool(o.Pareto) }},
		text("model", "model", func(o *sweep.Outcome) string { return o.Model }),
		{"GPU", "gpu", true, true, always, func(o *sweep.Outcome) string { return o.CardName() }, func(o *sweep.Outcome) string { return o.CardName() }},
		input("cards", "tensor_parallel", func(o *sweep.Outcome) float64 { return float64(o.TP) }, wholly),
		input("repli-\ncas", "replicas", func(o *sweep.Outcome) float64 { return float64(o.Servers()) }, wholly),
		input("prefill\nreplicas", "prefill_replicas", func(o *sweep.Outcome) float64 { return float64(o.Prefill) }, whollyOrDot),
		input("decode\nreplicas", "decode_replicas", func(o *sweep.Outcome) float64 { return float64(o.Decode) }, whollyOrDot),
		text("memory", "memory_budget", func(o *sweep.Outcome) string { return o.Budget.String() }),
		text("compression", "compression", func(o *sweep.Outcome) string { return o.Compression.String() }),
		input("batch\nlimit", "max_num_seqs", func(o *sweep.Outcome) float64 { return float64(o.MaxNumSeqs) }, wholly),
		input("load", "load", func(o *sweep.Outcome) float64 { return o.Load }, asInput),
		input("clients", "concurrency", func(o *sweep.Outcome) float64 { return float64(o.Concurrency) }, whollyOrDot),
		number(telling5, "offered\nrequests/s", "offered_request_rate", m(func(m *stats.Summary) float64 { return m.OfferedRate }), plainly),
		number(telling4, "served\nrequests/s", "request_throughput", m(func(m *stats.Summary) float64 { return m.RequestThroughput }), plainly),
		number(telling1, "tokens/s", "total_token_throughput", m(func(m *stats.Summary) float64 { return m.TotalThroughput }), wholly),
		number(telling3, "output\ntokens/s", "output_throughput", m(func(m *stats.Summary) float64 { return m.OutputThroughput }), wholly),
		number(telling2, "tokens/s\na card", "total_token_throughput_per_gpu", func(o *sweep.Outcome) float64 { return o.ThroughputPerCard }, wholly),
		number(telling3, "TTFT\np50", "ttft_p50", m(func(m *stats.Summary) float64 { return m.TTFT.P50 }), ttft),
		number(telling1, "TTFT\np99", "ttft_p99", m(func(m *stats.Summary) float64 { return m.TTFT.P99 }), ttft),
		number(telling3, "TPOT\np50", "tpot_p50", m(func(m *stats.Summary) float64 { return m.TPOT.P50 }), tpot),
		number(telling1, "TPOT\np99", "tpot_p99", m(func(m *stats.Summary) float64 { return m.TPOT.P99 }), tpot),
		number(telling2, "end to end\np99", "e2e_p99", m(func(m *stats.Summary) float64 { return m.E2E.P99 }), e2e),
		number(telling4, "largest\nbatch", "max_decode_batch", m(func(m *stats.Summary) float64 { return float64(m.MaxDecodeBatch) }), wholly),
		number(telling5, "peak\ncache", "kv_cache_usage_max", m(func(m *stats.Summary) float64 { return m.KVUsage.Max }), inPercent),
		number(telling2, "at once, of\n"+words.Number(s.MaxModelLen)+" tokens", "max_concurrency", func(o *sweep.Outcome) float64 { return o.Memory.Concurrency }, asFactor),
		number(telling5, "pre-\nempted", "num_preemptions", m(func(m *stats.Summary) float64 { return float64(m.Preemptions) }), whollyOrDot),
		number(telling1, "refused", "refused", m(func(m *stats.Summary) float64 { return float64(m.Refused) }), whollyOrDot),
		number(always, "within\nSLOs", "slo_attainment", m(func(m *stats.Summary) float64 { return m.GoodShare }), inPercent),
		number(telling1, "goodput\nrequests/s", "request_goodput", m(func(m *stats.Summary) float64 { return m.Goodput }), plainly),
		number(always, "$ a million\noutput tokens", "usd_per_million_output_tokens", func(o *sweep.Outcome) float64 { return o.USDPerMillion }, inDollars),
	}
	any := func(of func(*sweep.Outcome) bool) bool {
		return slices.ContainsFunc(s.Outcomes, func(o sweep.Outcome) bool { return of(&o) })
	}
	return slices.DeleteFunc(columns, func(c sweepColumn) bool {
		switch c.name {
		case "total_token_throughput_per_gpu":
			return !any(func(o *sweep.Outcome) bool { return o.TP > 1 || o.Servers() > 1 })
		case "replicas":
			return !any(func(o *sweep.Outcome) bool { return o.Servers() > 1 })
		case "prefill_replicas", "decode_replicas":
			return !any(func(o *sweep.Outcome) bool { return o.Disaggregated() })
		case "concurrency":
			return !any(func(o *sweep.Outcome) bool { return o.Concurrency > 0 })
		case "load", "offered_request_rate":
			return any(func(o *sweep.Outcome) bool { return o.Concurrency > 0 })
		case "max_concurrency":
			return s.MaxModelLen == 0
		case "slo_attainment", "request_goodput":
			return !s.SLO.Set()
		case "usd_per_million_output_tokens":
			return !any(func(o *sweep.Outcome) bool { return o.USDPerMillion > 0 })
		}
		return false
	})
}

// SweepCSV writes a row for each outcome. Figures of a point that could not be projected are empty.
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
			value := ""
			if c.input || o.Error == "" {
				value = c.value(o)
			}
			row = append(row, value)
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

// sweepTable is the table of a sweep without the parameters that all points have in common, and a
// sentence with these.
type sweepTable struct {
	columns []column
	ranks   []int // of the columns
	rows    [][]string
	common  string
}

func newSweepTable(s *Sweep) *sweepTable {
	t := &sweepTable{}
	var same []string
	shown := slices.DeleteFunc(sweepColumns(s), func(c sweepColumn) bool {
		for i := range s.Outcomes {
			first, this := c.cell(&s.Outcomes[0]), c.cell(&s.Outcomes[i])
			if c.input && this != first || !c.input && this != "·" && this != "" && s.Outcomes[i].Error == "" {
				return false
			}
		}
		if c.input && len(s.Outcomes) > 0 {
			same = append(same, strings.ReplaceAll(strings.ReplaceAll(c.header, "-\n", ""), "\n", " ")+" "+c.cell(&s.Outcomes[0]))
		}
		return true
	})
	for _, c := range shown {
		align := right
		if c.left {
			align = left
		}
		t.columns = append(t.columns, column{c.header, align})
		t.ranks = append(t.ranks, c.rank)
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
		t.rows = append(t.rows, row)
	}
	if s.Engine != "" {
		same = append(same, "engine "+s.Engine)
	}
	if len(same) > 0 {
		t.common = "All have " + list(same) + "."
	}
	return t
}

// tableWidth is the default width of a table.
const tableWidth = 120

// gone returns which columns are left out to make the table fit the width, if possible: those of
// the highest rank first, from the right.
func (t *sweepTable) gone(width, gap int) []bool {
	widths := columnWidths(t.columns, t.rows)
	total := -gap
	for _, w := range widths {
		total += w + gap
	}
	gone := make([]bool, len(t.columns))
	for total > width {
		last := -1
		for i, rank := range t.ranks {
			if !gone[i] && rank > always && (last < 0 || rank >= t.ranks[last]) {
				last = i
			}
		}
		if last < 0 {
			break
		}
		gone[last] = true
		total -= widths[last] + gap
	}
	return gone
}

// columnWidths returns the width of each column.
func columnWidths(columns []column, rows [][]string) []int {
	widths := make([]int, len(columns))
	for i, c := range columns {
		for line := range strings.SplitSeq(c.header, "\n") {
			widths[i] = max(widths[i], utf8.RuneCountInString(line))
		}
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	return widths
}

// without returns the table without the given columns, and their names.
func (t *sweepTable) without(gone []bool) (columns []column, rows [][]string, names []string) {
	for i, c := range t.columns {
		if gone[i] {
			names = append(names, strings.ReplaceAll(strings.ReplaceAll(c.header, "-\n", ""), "\n", " "))
		} else {
			columns = append(columns, c)
		}
	}
	for _, row := range t.rows {
		var kept []string
		for i, text := range row {
			if !gone[i] {
				kept = append(kept, text)
			}
		}
		rows = append(rows, kept)
	}
	return columns, rows, names
}

// SweepText writes a sweep as text: its table, the best points and the points that could not be
// projected.
func SweepText(w io.Writer, s *Sweep, opt TextOptions) error {
	if opt.Width <= 0 {
		opt.Width = tableWidth
	}
	p := &printer{w: bufio.NewWriter(w), opt: opt, gap: 2}
	t := newSweepTable(s)
	columns, rows, names := t.without(t.gone(opt.Width, p.gap))
	p.printf("%s", p.opt.Color.bold(words.Count(len(s.Outcomes), "projection")))
	if s.Partial() {
		p.printf(" of %s: partial", words.Number(s.Points))
	}
	p.printf("\n")
	if t.common != "" {
		p.sentences(t.common)
	}
	p.printf("\n")
	p.table(columns, rows)
	if len(names) > 0 {
		p.printf("\n")
		p.sentences("Not shown, to fit the width: " + list(names) + ". --csv, --json and --html have them.")
	}
	for _, sentence := range slices.Concat(sweepReading(s), sweepTime(s.Outcomes)) {
		p.printf("\n")
		p.sentences(sentence)
	}
	return p.end()
}

// noteList collects the notes of projections, each once.
type noteList struct {
	notes   []string
	methods [][]string // the methods whose projections have the note
}

func (l *noteList) add(method string, notes []string) {
	for _, note := range notes {
		i := slices.Index(l.notes, note)
		if i < 0 {
			i = len(l.notes)
			l.notes, l.methods = append(l.notes, note), append(l.methods, nil)
		}
		if !slices.Contains(l.methods[i], method) {
			l.methods[i] = append(l.methods[i], method)
		}
	}
}

// texts returns one text for all notes that the same methods share, which begins with their names, and
// after these the notes about projections without a method, or about all of several methods.
func (l *noteList) texts() []string {
	var own, general []string
	all := map[string]bool{}
	for _, methods := range l.methods {
		for _, m := range methods {
			all[m] = true
		}
	}
	at := map[string]int{} // place of the methods' notes in own
	for i, note := range l.notes {
		methods := l.methods[i]
		if len(methods) > 1 && len(methods) == len(all) || slices.Contains(methods, (sweep.Compression{}).MethodName()) {
			general = append(general, note)
			continue
		}
		names := strings.Join(methods, ", ")
		if _, ok := at[names]; !ok {
			at[names] = len(own)
			own = append(own, names+":")
		}
		own[at[names]] += " " + note
	}
	return append(own, general...)
}

// sweepReading describes the results of a sweep in sentences.
func sweepReading(s *Sweep) []string {
	var text []string
	var nearest *sweep.Outcome
	var meeting, priced []*sweep.Outcome
	var notes noteList
	var failed failures
	ahead, unbounded := 0, 0
	for i := range s.Outcomes {
		o := &s.Outcomes[i]
		switch {
		case o.Error != "":
			failed.add(o)
			continue
		case o.Metrics.Finished == 0:
			continue
		}
		notes.add(o.Compression.MethodName(), o.Notes)
		if o.Pareto {
			ahead++
		}
		if o.LoadUnbounded {
			unbounded++
		}
		if s.SLO.Set() && !o.Metrics.Meets(s.SLO) { // points that miss the objectives are not recommended
			if nearest == nil || o.Metrics.GoodShare > nearest.Metrics.GoodShare {
				nearest = o
			}
			continue
		}
		meeting = append(meeting, o)
		if o.USDPerMillion > 0 {
			priced = append(priced, o)
		}
	}
	of := ""
	switch {
	case s.SLO.Set() && len(meeting) > 0:
		of = " of those within the objectives"
		text = append(text, fmt.Sprintf("%s of %s within %s for %s of the requests.", words.Number(len(meeting)), words.Count(len(s.Outcomes), "projection"), sloText(s.SLO), words.Required(s.SLO.Required())))
	case nearest != nil:
		why := ""
		if w := nearest.Metrics.Worst(); w != nil {
			why = fmt.Sprintf(" %s %s.", shortObjective(w.Name), ObjectiveText(w, s.SLO))
		}
		text = append(text, fmt.Sprintf("No projection is within %s for %s of the requests, so none is recommended. Nearest, for %s: %s.%s",
			sloText(s.SLO), words.Required(s.SLO.Required()), words.Share(nearest.Metrics.GoodShare), nearest.Point.String(), why))
	}
	best, equal := preferred(meeting, throughputPerCard)
	if best != nil {
		text = append(text, fmt.Sprintf("Most throughput for a card%s: %s tokens/s, with %s. %s%s", of, whole(best.ThroughputPerCard), best.Point.String(), best.Reading, tieText(best, equal, s.Searched)))
	}
	switch cheapest, equal := preferred(priced, perDollar); {
	case cheapest == nil:
	case cheapest == best:
		text = append(text, fmt.Sprintf("Cheapest%s: the same, %s a million output tokens.", of, dollars(cheapest.USDPerMillion)))
	default:
		text = append(text, fmt.Sprintf("Cheapest%s: %s a million output tokens, with %s.%s", of, dollars(cheapest.USDPerMillion), cheapest.Point.String(), tieText(cheapest, equal, s.Searched)))
	}
	if ahead > 0 {
		text = append(text, fmt.Sprintf("★ marks the front, %s: of those that finish most requests of their model, no other has at least as much throughput for a card at no higher 99th percentile of %s.",
			words.Count(ahead, "projection"), latencyTitle(s.Latency)))
	}
	if s.Searched {
		text = append(text, "The load of each is the largest within the objectives, found by bisection to about 1 %.")
		if unbounded > 0 {
			text = append(text, fmt.Sprintf("Not so of %s: there no load that was tried was too large, and the largest one is shown. Want stricter objectives, or more requests.", words.Count(unbounded, "projection")))
		}
	}
	text = append(text, notes.texts()...)
	return append(text, failed.texts()...)
}

// failures groups the points without a projection by the reason. All points of a model on a card that do not fit its
// memory have one reason, since their error messages differ in figures only.
type failures struct {
	order []any
	of    map[any][]*sweep.Outcome
}

func (f *failures) add(o *sweep.Outcome) {
	var why any = o.Error
	if o.NoRoom {
		why = [2]string{o.Model, o.CardName()}
	}
	if f.of == nil {
		f.of = map[any][]*sweep.Outcome{}
	}
	if f.of[why] == nil {
		f.order = append(f.order, why)
	}
	f.of[why] = append(f.of[why], o)
}

// texts returns a sentence for each reason. Of several that lack memory it has the figures of the first with
// the most cards, which lacks the least.
func (f *failures) texts() []string {
	var text []string
	for _, why := range f.order {
		points := f.of[why]
		shown := points[0]
		more := ""
		var cards []string
		for _, o := range points {
			if o.TP > shown.TP {
				shown = o
			}
			if o.Error != points[0].Error {
				more = "; figures of the most"
			}
			if n := words.Number(o.TP); !slices.Contains(cards, n) {
				cards = append(cards, n)
			}
		}
		if len(cards) < 2 && more != "" {
			more = "; figures of the first"
		}
		if len(cards) > 1 {
			more = fmt.Sprintf(", on %s cards%s", list(cards), more)
		}
		text = append(text, fmt.Sprintf("Not projected (%s%s): %s.", words.Count(len(points), "point"), more, shown.Error))
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

// sloText returns the objectives in words.
func sloText(s stats.SLO) string {
	var parts []string
	for _, part := range []struct {
		name  string
		limit time.Duration
	}{{"TTFT", s.TTFT}, {"TPOT", s.TPOT}, {"end to end", s.E2E}} {
		if part.limit > 0 {
			parts = append(parts, part.name+" ≤ "+words.Time(part.limit))
		}
	}
	if parts == nil {
		return "none"
	}
	return list(parts)
}
