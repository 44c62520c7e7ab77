package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"kvcompress/sim/cost"
	"kvcompress/sim/project"
	"kvcompress/sim/stats"
	"kvcompress/sim/sweep"
)

// sampleSweep has two batch limits, two budgets and two compressions, one of which does not fit.
func sampleSweep() *Sweep {
	s := &Sweep{Points: 9, Latency: "ttft", Engine: "kv-compress", Inputs: []Input{{"requests", "<script>alert(1)</script>"}}, SLO: stats.SLO{TTFT: 2e9}}
	for _, budget := range []float64{0.8, 0.9} {
		for _, compression := range []sweep.Compression{{}, {Rate: 0.25}} {
			for _, seqs := range []int{8, 64} {
				o := sweep.Outcome{Index: len(s.Outcomes), Point: sweep.Point{
					Model: "llama-3.1-8b", Card: "l4", TP: 1, Budget: sweep.Budget{Utilization: budget}, Compression: compression, MaxNumSeqs: seqs, Load: 1,
				}}
				o.Memory = cost.Memory{Card: 24e9, Reserved: int64(24e9 * (1 - budget)), Weights: 16e9, Blocks: 1000, Tokens: 10_000}
				o.Metrics.Finished, o.Metrics.TotalThroughput = 10, 1000*budget*float64(seqs)
				o.Metrics.TTFT.P99, o.Metrics.GoodShare = float64(seqs)/10, 0.5
				o.ThroughputPerCard = o.Metrics.TotalThroughput
				o.USDPerMillion = 1 / float64(seqs)
				o.Reading = "Memory-bound."
				s.Outcomes = append(s.Outcomes, o)
			}
		}
	}
	s.Outcomes[3].Error = "it does not fit"
	sweep.MarkPareto(s.Outcomes, LatencyOf(s.Latency))
	return s
}

func TestSweepText(t *testing.T) {
	var out bytes.Buffer
	if err := SweepText(&out, sampleSweep(), TextOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"8 projections of 9: partial", "All have model llama-3.1-8b, GPU l4, cards 1, load 1 and engine kv-compress.", "★", "rate:0.25", "57,600",
		"Not projected (1 point): it does not fit.", "50.0 %", "0.125",
		"No projection is within TTFT ≤ 2 s for 99 % of the requests, so none is recommended. Nearest, for",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestSweepObjectives: only points that meet the objectives are recommended, even if another is
// cheaper or faster.
func TestSweepObjectives(t *testing.T) {
	s := sampleSweep()
	s.SLO.Part = 0.9
	s.Outcomes[0].Metrics.GoodShare, s.Outcomes[6].Metrics.GoodShare = 0.9, 0.95
	text := strings.Join(sweepReading(s), "\n")
	for _, want := range []string{
		"2 of 8 projections within TTFT ≤ 2 s for 90 % of the requests.",
		"Most throughput for a card of those within the objectives: 7,200 tokens/s, with llama-3.1-8b on 1 × l4, memory 0.9, compression rate:0.25, batch limit 8",
		"Cheapest of those within the objectives: $0.12 a million output tokens",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	s.SLO = stats.SLO{}
	if text := strings.Join(sweepReading(s), "\n"); !strings.Contains(text, "Cheapest: $0.016 a million output tokens, with llama-3.1-8b on 1 × l4, memory 0.8, compression none, batch limit 64") {
		t.Errorf("without objectives:\n%s", text)
	}
}

// TestSweepWidth: every line of a sweep with prices fits the width, and all values of a column
// have the same number of decimals.
func TestSweepWidth(t *testing.T) {
	s := sampleSweep()
	for i := range s.Outcomes {
		o := &s.Outcomes[i]
		o.Card, o.Load, o.TP = []string{"l4", "rtx-pro-6000"}[i%2], float64(1+i), 1+i%2
		o.Metrics.TTFT.P50, o.Metrics.Goodput, o.Metrics.OfferedRate, o.Metrics.Preemptions = 0.1234, 1.5, 2, 3
		o.Metrics.TPOT.P99, o.Metrics.E2E.P99, o.Metrics.Refused = 0.02*float64(1+i), 100, 1
	}
	for _, width := range []int{0, 80, 120, 400} {
		var out bytes.Buffer
		if err := SweepText(&out, s, TextOptions{Width: width}); err != nil {
			t.Fatal(err)
		}
		limit := width
		if width == 0 {
			limit = 120
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > limit && limit >= 120 {
				t.Errorf("width %d: a line of %d: %s", width, n, line)
			}
		}
		if !strings.Contains(out.String(), "$ a million") || !strings.Contains(out.String(), "SLOs") {
			t.Errorf("width %d: no prices or objectives in\n%s", width, out.String())
		}
		if shown := !strings.Contains(out.String(), "Not shown"); shown != (width == 400) {
			t.Errorf("width %d: that all is shown is %v", width, shown)
		}
	}
}

func TestUnits(t *testing.T) {
	for _, c := range []struct {
		values []float64
		name   string
		want   []string
	}{
		{[]float64{0.1, 0.25, 0.0123}, "ms", []string{"100", "250", "12"}},
		{[]float64{0.0015, 0.002, 0.003}, "ms", []string{"1.5", "2.0", "3.0"}},
		{[]float64{1.5, 2000, 30, 0}, "s", []string{"1.5", "2,000.0", "30.0", "0.0"}},
		{[]float64{15e-6, 20e-6}, "µs", []string{"15", "20"}},
		{[]float64{0, math.NaN(), math.Inf(1)}, "s", []string{"0", "–", "–"}},
		{nil, "s", nil},
	} {
		u := timeUnit(c.values, 2)
		for i, v := range c.values {
			if got := u.text(v); u.name != c.name || got != c.want[i] {
				t.Errorf("%v: %s %s, want %s %s", c.values, got, u.name, c.want[i], c.name)
			}
		}
	}
	if got := plainUnit([]float64{-1234.5}).text(-1234.5); got != "-1,234" && got != "-1,235" {
		t.Error(got)
	}
}

func TestSweepCSVAndJSON(t *testing.T) {
	var out bytes.Buffer
	if err := SweepCSV(&out, sampleSweep()); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 9 || rows[0][0] != "index" || rows[4][len(rows[4])-1] != "it does not fit" {
		t.Errorf("%v, %v", rows, err)
	}
	// A point without a projection has no figures, not zeros.
	throughput := slices.Index(rows[0], "total_token_throughput")
	if got := rows[4][throughput]; got != "" || rows[1][throughput] == "" {
		t.Errorf("throughputs %q and %q, want the second only", got, rows[1][throughput])
	}
	if err := SweepJSON(&out, sampleSweep()); err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil || doc["partial"] != true || len(doc["outcomes"].([]any)) != 8 {
		t.Errorf("%v, %v", doc, err)
	}
}

// A page is complete HTML that loads nothing, and text from outside is escaped.
func TestPages(t *testing.T) {
	timeline := []stats.Bucket{{Start: 5, End: 6, Prompt: 10, Running: stats.Level{Mean: 1, Max: 2}, Preemptions: 1}, {Start: 6, End: 7, Generated: 7}}
	for name, write := range map[string]func(io.Writer) error{
		"sweep": func(w io.Writer) error { return SweepHTML(w, sampleSweep()) },
		"empty": func(w io.Writer) error { return SweepHTML(w, &Sweep{Points: 3, Inputs: sampleSweep().Inputs}) },
		"one run": func(w io.Writer) error {
			return ProjectionHTML(w, &Projection{Title: "a & b", Inputs: sampleSweep().Inputs, Result: &project.Result{Partial: true}, Timeline: timeline})
		},
		"a run of nothing": func(w io.Writer) error {
			return ProjectionHTML(w, &Projection{Inputs: sampleSweep().Inputs, Result: &project.Result{Partial: true}})
		},
	} {
		var out bytes.Buffer
		if err := write(&out); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		page := out.String()
		if n := strings.Count(page, "<script"); n != 1 || strings.Count(page, "<script>\"use strict\";") != 1 {
			t.Errorf("%s: the page has %d scripts", name, n)
		}
		for _, bad := range []string{"alert(1)</script", "http://", "https://", "<link", "ZgotmplZ", "NaN"} {
			// The names of SVG's namespaces are addresses, but nothing is loaded from them.
			if strings.Contains(strings.NewReplacer(`xmlns="http://www.w3.org/2000/svg"`, "", `xmlns:xlink="http://www.w3.org/1999/xlink"`, "").Replace(page), bad) {
				t.Errorf("%s: the page has %s", name, bad)
			}
		}
		for _, want := range []string{"Partial.", "viewport", "&lt;script&gt;", "</html>"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: the page has no %s", name, want)
			}
		}
	}
}

func TestSweepFigures(t *testing.T) {
	figures := SweepFigures(sampleSweep())
	names := map[string]bool{}
	for _, f := range figures {
		names[f.Name] = true
	}
	// The point that does not fit leaves a curve with a single batch limit.
	if len(figures) != 5 || !names["front"] || len(names) != 5 {
		t.Errorf("figures %v", names)
	}
	dir := filepath.Join(t.TempDir(), "plots")
	paths, err := WriteFigures(dir, figures)
	if err != nil || len(paths) != 10 {
		t.Fatalf("%v, %v", paths, err)
	}
	again, err := WriteFigures(filepath.Join(t.TempDir(), "again"), SweepFigures(sampleSweep()))
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range paths {
		picture, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if other, err := os.ReadFile(again[i]); err != nil || !bytes.Equal(picture, other) {
			t.Errorf("%s is another the second time: %v", path, err)
		}
		if filepath.Ext(path) == ".svg" {
			for d := xml.NewDecoder(bytes.NewReader(picture)); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%s: %v", path, err)
				}
			}
		}
	}
	if f := SweepFigures(&Sweep{}); len(f) != 0 {
		t.Errorf("%d figures of nothing", len(f))
	}
}

func TestNumbers(t *testing.T) {
	for want, got := range map[string]string{
		"0": short(0), "0.5": short(0.5), "12.3": short(12.34), "123": short(123.4), "1,234": short(1234.4), "0.012": short(0.0123), "1": short(0.9999),
		"·": duration(0), "850 µs": duration(850e-6), "1 ms": duration(0.9996e-3), "20.0 ms": duration(0.02), "1 s": duration(0.9999), "1.5 s": duration(1.5), "10.0 min": duration(600), "10.0 h": duration(36000),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for _, span := range [][2]float64{{0, 1}, {0, 0.003}, {5, 1e9}, {1.7e9, 1.7e9 + 5}, {0, math.Inf(1)}, {3, 3}, {math.NaN(), 1}} {
		if ticks := roundTicks(span[0], span[1]); len(ticks) > 12 || span[1]-span[0] > 0 && !math.IsInf(span[1], 0) && len(ticks) < 3 {
			t.Errorf("%v: %v", span, ticks)
		}
	}
}

// TestNoteList: notes of the same methods are said together, after their names; notes of projections
// without a method, and of all methods, without names. Each is said once.
func TestNoteList(t *testing.T) {
	var l noteList
	l.add("none", []string{"Experts.", "Link."})
	l.add("snapkv", []string{"SnapKV is not there.", "Link."})
	l.add("quest", []string{"Experts.", "Quest is not there.", "Both."})
	l.add("snapkv", []string{"It acts once.", "Both.", "SnapKV is not there."})
	want := []string{"snapkv: SnapKV is not there. It acts once.", "quest: Quest is not there.", "quest, snapkv: Both.", "Experts.", "Link."}
	if got := l.texts(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	var all noteList
	all.add("snapkv", []string{"Kernels.", "Own."})
	all.add("quest", []string{"Kernels."})
	if got, want := all.texts(), []string{"snapkv: Own.", "Kernels."}; !slices.Equal(got, want) {
		t.Errorf("without a projection without a method: %q, want %q", got, want)
	}
}
