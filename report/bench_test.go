package report

import (
	"bytes"
	"strings"
	"testing"

	"kvcompress/bench"
)

// benched is a partial table of a grid of 2 lengths and 2 depths, with one method that
// reaches 1/4 and one that does not.
func benched() *Bench {
	p := bench.DefaultNeedlePlan()
	p.Models, p.Modes, p.Methods = []string{"a", "b"}, []bench.Mode{bench.Aware}, []string{bench.Full, "snapkv", "razor"}
	p.Grid = &bench.Grid{Lengths: []int{128, 1024}, Depths: 2, Digits: []int{5}}
	rows, err := bench.FindRows(p.Methods)
	if err != nil {
		panic(err)
	}
	full := bench.Ranked{Row: bench.Full, Score: 0.8, Bytes: 1, Peak: 1}
	return &Bench{
		Table: &bench.Table{
			Plan: p, Done: 3, Partial: true,
			Cells: []bench.Cell{
				{Mode: bench.Aware, Budget: 1, Row: bench.Full, Category: "needle", N: 3, Score: 0.8, Relative: new(1.0)},
				{Mode: bench.Aware, Budget: 4, Row: "snapkv", Category: "needle", N: 3, Score: 0.4, Relative: new(0.5)},
			},
			Rankings: []bench.Ranking{{Mode: bench.Aware, Budget: 4, Full: full, Rows: []bench.Ranked{
				{Row: "snapkv", Score: 0.4, Low: new(0.3), High: new(0.5), Relative: new(0.5), Bytes: 0.249, Peak: 0.26, Host: 0.75, P: new(1.0), Tied: true, ByModel: []float64{0.1, 0.7}},
				{Row: "knorm", Score: 0.2},
				{Row: "random", Score: 0.1, Low: new(0.0), High: new(0.2), Relative: new(0.1), Bytes: 0.245, Peak: 0.245, P: new(0.0001), ByModel: []float64{0.05, 0.15}},
			}}},
			Unmet: []bench.Unmet{{Row: "razor", Budget: 4, Needs: 0.0316}, {Row: "kivi", Budget: 4, Why: "no group"}, {Row: "flexgen", Budget: 4, Why: "no group"}, {Row: "tova", Budget: 2, Why: "too long"}},
			Heats: []bench.Heat{{Mode: bench.Aware, Budget: 4, Row: "snapkv", N: [][]int{{1, 2}, {0, 1}}, Score: [][]float64{{1, 0.25}, {0, 0.5}}}},
		},
		Rows: rows, Shown: []bench.Budget{4},
	}
}

// The text has scores or fractions of the full cache's score, what a method needs, each model's
// score, which differences are significant, and the heat map, with empty places where no prompt was
// run.
func TestBenchText(t *testing.T) {
	for _, c := range []struct {
		relative bool
		want     []string
	}{
		{false, []string{"PARTIAL: 3 of 24", "Score by budget", "snapkv 0.40 =", "razor needs 0.032", "No score for kivi and flexgen: no group.", "snapkv also holds 0.75 of the full cache's bytes in the host's memory, which no budget counts.", "2 knorm 0.20 – – – unknown", "1 snapkv 0.40 0.30 0.50 – – 0.10 0.70",
			"3 random 0.10 0.00 0.20 < 0.001 yes 0.05 0.15", "depth 128 1,024", "0 % 1.00 –", "100 % 0.25 0.50", "snapkv 0.40 0.40 0.10 0.50 0.00 0.249 0.260"}},
		{true, []string{"Part of the full cache's score by budget", "full 1.00", "snapkv 0.50 =", "snapkv 0.50 0.50"}},
	} {
		b := benched()
		b.Relative = c.relative
		var out bytes.Buffer
		if err := BenchText(&out, b, TextOptions{Width: 200}); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(out.String()), " ")
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in %s", want, out.String())
			}
		}
	}
}

// The page has the same content, and a heat map without cells at places where no prompt was run.
func TestBenchHTML(t *testing.T) {
	b := benched()
	var out bytes.Buffer
	if err := BenchHTML(&out, b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"3 of 24", "Without a score", "In the host&#39;s memory", "No score for kivi and flexgen: no group.", `<figure class="map">`, "Mean over the lengths and depths", "Ranking at 1/4", "&lt; 0.001", "Part of the full cache", `aria-label="snapkv at 1/4, query-aware. `, "; 0.58 on average"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if strings.Contains(out.String(), `class="l"></th>`) {
		t.Error("a heading is empty")
	}
	count := func() int {
		f, err := heatFigure(b.Plan.Grid, &b.Heats[0])
		if err != nil {
			t.Fatal(err)
		}
		svg, err := f.svg(false)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(svg, []byte("<path"))
	}
	without := count()
	b.Heats[0].N[1][0] = 1
	if with := count(); with <= without {
		t.Errorf("%d paths of 3 places, %d of 4", without, with)
	}
}

func TestBenchCSVOfAGrid(t *testing.T) {
	var out bytes.Buffer
	if err := BenchCSV(&out, benched()); err != nil {
		t.Fatal(err)
	}
	if want := "query-aware,1/4,snapkv,1024,1,1,0.5\n"; strings.Count(out.String(), "\n") != 5 || !strings.HasSuffix(out.String(), want) {
		t.Errorf("%s does not end with %s", out.String(), want)
	}
}
