package sweep

import (
	"context"
	"errors"
	"iter"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvcompress/sim"
	"kvcompress/sim/stats"
	"kvcompress/trace"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func axes() Axes {
	return Axes{
		Models: []string{"Llama-3.1-8B-Instruct"}, Cards: []string{"NVIDIA L4", "h100"}, TP: []int{1},
		Budgets:      []Budget{must(ParseBudget("0.9")), must(ParseBudget("20GB"))},
		Compressions: []Compression{{}, {Rate: 0.25}, {MaxCacheTokens: 256}},
		MaxNumSeqs:   []int{8, 64}, Loads: []float64{1},
	}
}

func TestPoints(t *testing.T) {
	a := axes()
	points := must(a.Points())
	if len(points) != 24 {
		t.Fatalf("%d points", len(points))
	}
	seen := map[Point]bool{}
	for _, p := range points {
		if seen[p] || p.Model != "llama-3.1-8b" || p.Card != "l4" && p.Card != "h100" {
			t.Errorf("%v", &p)
		}
		seen[p] = true
	}
	for name, spoil := range map[string]func(*Axes){
		"unknown model": func(a *Axes) { a.Models = append(a.Models, "gpt-9") },
		"no load":       func(a *Axes) { a.Loads = nil },
		"load NaN":      func(a *Axes) { a.Loads[0] = math.NaN() },
		"more than":     func(a *Axes) { a.MaxNumSeqs, a.TP = make([]int, 1e5), make([]int, 1e5) },
	} {
		a := axes()
		spoil(&a)
		if _, err := a.Points(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"0.9": "0.9", "90%": "0.9", "20GB": "20GB", "18.5GiB": "18.5GiB", "512MB": "0.512GB", "300000tokens": "300000tokens", "1": "1",
		"0": "", "-1": "", "1.2": "", "NaN": "", "1e99GB": "", "tokens": "", "0tokens": "", "9999999999999999tokens": "", "": "", "GB": "",
	} {
		b, err := ParseBudget(in)
		if (err != nil) != (want == "") || err == nil && (b.String() != want || must(ParseBudget(want)) != b) {
			t.Errorf("%q: %v, %v; want %q", in, b, err, want)
		}
	}
	for in, want := range map[string]string{
		"none": "none", "rate:0.25": "rate:0.25", "rate:1": "rate:1", "tokens:128": "tokens:128",
		"": "", "none:1": "", "rate:0": "", "rate:2": "", "rate:NaN": "", "tokens:0": "", "tokens:1.5": "", "half": "",
	} {
		c, err := ParseCompression(in)
		if (err != nil) != (want == "") || err == nil && c.String() != want {
			t.Errorf("%q: %v, %v; want %q", in, c, err, want)
		}
	}
}

// fake is a projection with a throughput computed from the point.
func fake(_ context.Context, p Point) (Outcome, error) {
	o := Outcome{Point: p}
	if p.Card == "l4" && p.MaxNumSeqs == 64 {
		o.Error = "it does not fit"
		return o, nil
	}
	o.Metrics.Finished = 10
	o.ThroughputPerCard = float64(p.MaxNumSeqs) / (1 + p.Compression.Rate)
	o.Metrics.TTFT.P99 = float64(p.MaxNumSeqs)
	return o, nil
}

// The result is the same for any number of workers, in whatever order they end.
func TestRunIsDeterministic(t *testing.T) {
	a := axes()
	points := must(a.Points())
	want := must(Run(t.Context(), points, All(len(points)), 1, fake, nil))
	if len(want) != len(points) {
		t.Fatalf("%d outcomes", len(want))
	}
	for workers := range 9 {
		slow := func(ctx context.Context, p Point) (Outcome, error) {
			time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
			return fake(ctx, p)
		}
		got := must(Run(t.Context(), points, All(len(points)), workers, slow, nil))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%d workers: %s", workers, diff)
		}
	}
}

func TestRunStops(t *testing.T) {
	a := axes()
	points := must(a.Points())
	broken := errors.New("broken")
	_, err := Run(t.Context(), points, All(len(points)), 3, func(ctx context.Context, p Point) (Outcome, error) {
		return Outcome{}, broken
	}, nil)
	if !errors.Is(err, broken) {
		t.Errorf("a projection that fails: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var n atomic.Int32
	got, err := Run(ctx, points, All(len(points)), 1, fake, func(*Outcome) error {
		if n.Add(1) == 5 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || len(got) != 5 {
		t.Errorf("cancelled after 5: %d outcomes, %v", len(got), err)
	}
}

func TestLargestLoad(t *testing.T) {
	for _, limit := range []float64{0.01, 0.3, 0.999, 1, 1.5, 17, 300} {
		project := func(_ context.Context, p Point) (Outcome, error) {
			return Outcome{Point: p, Metrics: stats.Summary{GoodShare: 1 - p.Load/1e6}}, nil
		}
		good := func(o *Outcome) bool { return o.Load <= limit }
		o := must(LargestLoad(project, good)(t.Context(), Point{Load: 1}))
		if o.Error != "" || o.Load > limit || o.Load < limit/math.Exp2(1.0/loadSteps)*(1-1e-12) {
			t.Errorf("limit %v: found %v after %d projections, %s", limit, o.Load, o.LoadProbes, o.Error)
		}
		if o.LoadProbes > 20 {
			t.Errorf("limit %v: %d projections", limit, o.LoadProbes)
		}
	}
	always := func(*Outcome) bool { return true }
	if o := must(LargestLoad(fake, always)(t.Context(), Point{Load: 1})); o.Error != "" || !o.LoadUnbounded || o.Load != 1<<12 {
		t.Errorf("every load holds: %+v", o)
	}
	never := func(*Outcome) bool { return false }
	if o, err := LargestLoad(fake, never)(t.Context(), Point{Load: 1}); err != nil || o.Error == "" {
		t.Errorf("no load holds: %+v, %v", o, err)
	}
}

// TestPareto compares the front with its definition.
func TestPareto(t *testing.T) {
	latency := func(o *Outcome) float64 { return o.Metrics.TTFT.P99 }
	r := rand.New(rand.NewPCG(4, 4))
	for range 200 {
		outcomes := make([]Outcome, r.IntN(12))
		for i := range outcomes {
			o := &outcomes[i]
			o.Index, o.Model = i, []string{"a", "b"}[r.IntN(2)]
			o.ThroughputPerCard, o.Metrics.TTFT.P99 = float64(r.IntN(5)), float64(r.IntN(5))
			o.Metrics.Finished = 10 - int64(r.IntN(8)/7)
		}
		MarkPareto(outcomes, latency)
		for i, o := range outcomes {
			most := int64(0)
			for _, p := range outcomes {
				if p.Model == o.Model {
					most = max(most, p.Metrics.Finished)
				}
			}
			want := o.Metrics.Finished == most
			for _, p := range outcomes {
				if p.Metrics.Finished == most && p.Model == o.Model && p.ThroughputPerCard >= o.ThroughputPerCard && latency(&p) <= latency(&o) &&
					(p.ThroughputPerCard > o.ThroughputPerCard || latency(&p) < latency(&o)) {
					want = false
				}
			}
			if o.Pareto != want {
				t.Fatalf("%d of %+v: %v", i, outcomes, o.Pareto)
			}
		}
	}
}

func requests(n int, gap int64) func() iter.Seq2[trace.Request, error] {
	return func() iter.Seq2[trace.Request, error] {
		return func(yield func(trace.Request, error) bool) {
			for i := range n {
				if !yield(trace.Request{ID: "r", ArrivalNS: int64(i) * gap, PromptTokens: 500, OutputTokens: 50}, nil) {
					return
				}
			}
		}
	}
}

// Real projections: those that fit finish all requests, and more compression or a smaller
// budget changes the blocks held.
func TestProjector(t *testing.T) {
	j := &Projector{Settings: DefaultSettings(), Requests: requests(100, 50e6)}
	j.MaxNumBatchedTokens = 8192
	a := axes()
	a.Budgets = append(a.Budgets, must(ParseBudget("100tokens")), must(ParseBudget("500GB")))
	points := must(a.Points())
	for _, o := range must(Run(t.Context(), points, All(len(points)), 0, j.Project, nil)) {
		switch {
		case o.Budget.Tokens == 100:
			if o.Metrics.Refused != 100 || !strings.Contains(o.Reading, "Nothing is served") {
				t.Errorf("%v: %+v %s", &o.Point, o.Metrics, o.Reading)
			}
		case o.Budget.Bytes == 500e9:
			if !strings.Contains(o.Error, "500GB") {
				t.Errorf("%v: %s", &o.Point, o.Error)
			}
		case o.Error != "" || o.Metrics.Finished != 100 || o.Metrics.GenerationTokens != 5000 || o.Metrics.MaxDecodeBatch > int64(o.MaxNumSeqs) || o.Reading == "":
			t.Errorf("%v: %s %+v", &o.Point, o.Error, o.Metrics)
		}
	}
}

func TestScaled(t *testing.T) {
	late := func(yield func(trace.Request, error) bool) {
		for _, at := range []int64{17e17, 17e17 + 300, 17e17 + 1000} {
			if !yield(trace.Request{ArrivalNS: at}, nil) {
				return
			}
		}
	}
	for load, want := range map[float64][]int64{1: {0, 300, 1000}, 2: {0, 150, 500}, 0.5: {0, 600, 2000}} {
		i := 0
		for r, err := range scaled(late, load) {
			if err != nil || r.ArrivalNS != 17e17+want[i] {
				t.Errorf("load %v: request %d at %d, %v", load, i, r.ArrivalNS-17e17, err)
			}
			i++
		}
	}
	failed := false
	for _, err := range scaled(func(yield func(trace.Request, error) bool) {
		_ = yield(trace.Request{}, nil) && yield(trace.Request{ArrivalNS: trace.MaxArrivalNS}, nil)
	}, 0.5) {
		failed = failed || err != nil
	}
	if !failed {
		t.Error("an arrival beyond all time is none that is refused")
	}
}

// TestPointsOfFiles: a card from a file has the name that the file states, or else the file's, and no other
// card may have it. A value given twice makes one point.
func TestPointsOfFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "card.json")
	for _, c := range []struct{ states, name, err string }{
		{`"name": "l4-48gb", `, "l4-48gb", ""},
		{"", "card", ""},
		{`"name": "l4", `, "", "would have the same name in tables, l4"},
	} {
		if err := os.WriteFile(path, []byte(`{`+c.states+`"memory_bytes": 48000000000, "bytes_per_second": 3e11, "flops_16bit": 1.21e14}`), 0o644); err != nil {
			t.Fatal(err)
		}
		a := Axes{Models: []string{"llama-3.1-8b"}, Cards: []string{path, "l4", "l4"}, TP: []int{1, 1}, Budgets: []Budget{{Utilization: 0.9}}, Compressions: []Compression{{}}, MaxNumSeqs: []int{8}, Loads: []float64{1}}
		points, err := a.Points()
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", c.states, err, c.err)
			}
			continue
		}
		if err != nil || len(points) != 2 || points[0].Card != path || points[0].CardName() != c.name || points[1].Card != "l4" {
			t.Errorf("%s: %+v, %v", c.states, points, err)
		}
	}
}

// TestCardName: a card that a file describes is shown by the file's name if the file states none.
func TestCardName(t *testing.T) {
	for card, want := range map[string]string{"h100": "h100", "a100-80gb": "a100-80gb", "mine.json": "mine", "../cards/h100 79.18.json": "h100 79.18", "/cards/mine": "mine"} {
		p := Point{Card: card, Model: "m", TP: 2}
		if got := p.CardName(); got != want || !strings.Contains(p.String(), "m on 2 × "+want+",") {
			t.Errorf("%s: %q, %s", card, got, p.String())
		}
	}
}

// TestFitModelLen: where the cache holds no request of max_model_len tokens, a server does not start, or with
// FitModelLen it is started with less, and longer requests are refused. The requests have 550 tokens.
func TestFitModelLen(t *testing.T) {
	for _, c := range []struct {
		tokens        int64 // of the cache
		fit, starts   bool
		most, refused int
	}{
		{544, false, false, 0, 0},
		{560, true, true, 544, 100}, // 35 blocks, of which vLLM V1 uses 34
		{576, true, true, 560, 0},
		{2000, true, true, 1000, 0},
		{2000, false, true, 1000, 0},
	} {
		j := &Projector{Settings: DefaultSettings(), Requests: requests(100, 50e6)}
		j.MaxNumBatchedTokens, j.MaxModelLen, j.FitModelLen, j.Scheduler = 8192, 1000, c.fit, sim.VLLMV1
		o := must(j.Project(t.Context(), Point{Model: "llama-3.1-8b", Card: "l4", TP: 1, Budget: Budget{Tokens: c.tokens}, MaxNumSeqs: 8, Load: 1}))
		fitted := strings.Contains(strings.Join(o.Notes, " "), "1 × l4: the cache serves no request of more than")
		if (o.Error == "") != c.starts || c.starts && (o.Memory.MaxModelLen != c.most || o.Metrics.Refused != int64(c.refused) || o.TooLong != int64(c.refused) || fitted != (c.most < 1000)) {
			t.Errorf("%+v: %q, %q, max_model_len %d, %d refused, %d too long, %v", c, o.Error, o.Refusal, o.Memory.MaxModelLen, o.Metrics.Refused, o.TooLong, o.Notes)
		}
	}
}

// TestWholePrompts: without chunked prefill a batch has room for the longest request, whose activations leave less memory for
// the cache. With FitModelLen, the longest request is the one whose batch still leaves a cache that holds it.
func TestWholePrompts(t *testing.T) {
	of := func(most int, fit bool) Outcome {
		j := &Projector{Settings: DefaultSettings(), Requests: requests(3, 50e6)}
		j.MaxNumBatchedTokens, j.MaxModelLen, j.FitModelLen, j.Scheduler = 0, most, fit, sim.VLLMV1
		j.V1 = &sim.V1{WholePrompts: true, ReserveFull: true}
		return must(j.Project(t.Context(), Point{Model: "llama-3.1-8b", Card: "l4", TP: 1, Budget: Budget{Utilization: 0.9}, MaxNumSeqs: 8, Load: 1}))
	}
	short := of(8192, false)
	// Of 8,192 tokens 3·14336 + 3·4096 elements of 2 bytes.
	if want := int64(8192 * 2 * (3*14336 + 3*4096)); short.Error != "" || short.Memory.Activations != want || short.Metrics.Finished != 3 {
		t.Errorf("%q: activations of %d, want %d", short.Error, short.Memory.Activations, want)
	}
	if long := of(131072, false); !long.NoRoom || !strings.Contains(long.Error, "a prefill of 131,072 tokens") || !strings.Contains(long.Error, "by default max_model_len") {
		t.Errorf("%q", long.Error)
	}
	fitted := of(131072, true)
	n := fitted.Memory.MaxModelLen
	if fitted.Error != "" || n <= 8192 || n > fitted.Memory.Tokens-16 || fitted.Memory.Activations != int64(n)*2*(3*14336+3*4096) {
		t.Fatalf("%q: max_model_len %d, a cache of %d tokens", fitted.Error, n, fitted.Memory.Tokens)
	}
	if next := of(n+1, false); next.Error == "" && next.Memory.Tokens-16 >= n+1 {
		t.Errorf("%d tokens more than %d would fit a cache of %d", 1, n, next.Memory.Tokens)
	}
}
