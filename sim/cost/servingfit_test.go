package cost

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"kvcompress/dtype"
	"kvcompress/sim"
)

// TestLeastSquares solves problems whose solutions are known.
func TestLeastSquares(t *testing.T) {
	// y = a·exp(−b·x), without noise, from afar; the prior says next to nothing.
	curve := func(a, b, x float64) float64 { return a * math.Exp(-b*x) }
	p := leastSquares{
		residuals: func(x []float64) ([]float64, error) {
			var r []float64
			for i := range 10 {
				r = append(r, curve(x[0], x[1], float64(i))-curve(3, 0.4, float64(i)))
			}
			return r, nil
		},
		least: []float64{0, 0}, start: []float64{1, 1}, scale: []float64{1, 1}, trust: 1e-6, delta: 1e3,
	}
	x, _, err := p.solve()
	if err != nil || !(math.Abs(x[0]-3) <= 1e-6) || !(math.Abs(x[1]-0.4) <= 1e-6) {
		t.Errorf("%v, %v: want 3 and 0.4", x, err)
	}

	// Σ (x − yᵢ)² with a bound above the mean: the bound.
	p = leastSquares{
		residuals: func(x []float64) ([]float64, error) { return []float64{x[0] - 1, x[0] - 2, x[1] - 7}, nil },
		least:     []float64{4, 0}, start: []float64{5, 1}, scale: []float64{1, 1}, trust: 1e-6, delta: 1e3,
	}
	if x, _, err = p.solve(); err != nil || x[0] != 4 || !(math.Abs(x[1]-7) <= 1e-6) {
		t.Errorf("%v, %v: want 4 and 7", x, err)
	}

	// The prior by hand: (x − 10)² + (0.5·(x − 2)/4)² is least where
	// (x − 10) + (x − 2)/64 = 0, at 642/65.
	p = leastSquares{
		residuals: func(x []float64) ([]float64, error) { return []float64{x[0] - 10}, nil },
		least:     []float64{0}, start: []float64{2}, scale: []float64{4}, trust: 0.5, delta: 1e6,
	}
	if x, _, err = p.solve(); err != nil || !(math.Abs(x[0]-642./65) <= 1e-6) {
		t.Errorf("%v, %v: want %v", x, err, 642./65)
	}

	// Ten measurements of 1 and one of 1000: by squares the mean is 91.8. By the pseudo-Huber
	// loss with δ = 0.1, 10·e/√(1 + (e/δ)²) = δ nearly, so that e = δ/√99 = 0.01005.
	p = leastSquares{
		residuals: func(x []float64) ([]float64, error) {
			r := []float64{x[0] - 1000}
			for range 10 {
				r = append(r, x[0]-1)
			}
			return r, nil
		},
		least: []float64{0}, start: []float64{1.2}, scale: []float64{1}, trust: 1e-9, delta: 0.1,
	}
	if x, _, err = p.solve(); err != nil || !(math.Abs(x[0]-1-0.1/math.Sqrt(99)) <= 1e-4) {
		t.Errorf("%v, %v: want 1.01005", x, err)
	}

	bad := errors.New("no")
	p.residuals = func([]float64) ([]float64, error) { return nil, bad }
	if _, _, err = p.solve(); !errors.Is(err, bad) {
		t.Errorf("%v", err)
	}
}

// TestPseudoHuber has the weights by hand: (1 + (r/δ)²)^−½, and 1 for priors.
func TestPseudoHuber(t *testing.T) {
	p := leastSquares{start: []float64{0}, delta: 0.1}
	w := p.weights([]float64{0, 0.1, -0.1 * math.Sqrt(3), 50})
	for i, want := range []float64{1, math.Sqrt(0.5), 0.5, 1} {
		if !near(w[i], want) {
			t.Errorf("weight %d is %v, want %v", i, w[i], want)
		}
	}
}

// TestUndetermined: the rows determine one of two unknowns; and one as well as the prior does.
func TestUndetermined(t *testing.T) {
	p := leastSquares{start: []float64{0, 0}, scale: []float64{2, 2}, trust: 0.1}
	for _, c := range []struct {
		row  [2]float64
		want [2]bool
	}{
		{[2]float64{1, 0}, [2]bool{false, true}},
		{[2]float64{1, 1}, [2]bool{true, true}}, // their sum only: each has a variance of just over half
		{[2]float64{0.049, 0.051}, [2]bool{true, true}},
		{[2]float64{0.051, 0}, [2]bool{false, true}}, // a variance of 1/(0.051² + 0.05²), of 1/0.05² by the prior
		{[2]float64{0.049, 0}, [2]bool{true, true}},
	} {
		j := mat.NewDense(3, 2, []float64{c.row[0], c.row[1], 0.05, 0, 0, 0.05})
		got, err := p.undetermined(j)
		if err != nil || got[0] != c.want[0] || got[1] != c.want[1] {
			t.Errorf("%v: %v, %v, want %v", c.row, got, err, c.want)
		}
	}
}

// plantedRuns returns runs, as measured on a server with the given factors.
func plantedRuns(t *testing.T, card string, tps []int, truth *Fit) []*ServingCase {
	t.Helper()
	var list []Serving
	for _, model := range []string{"llama-3.1-8b", "qwen2.5-14b"} {
		for _, tp := range tps {
			for _, l := range [][2]int{{100, 50}, {1500, 60}, {6000, 30}} {
				for _, clients := range []int{1, 6, 40} {
					list = append(list, Serving{Line: len(list) + 2, GPU: card, Model: model, TP: tp, KV: dtype.F16, Utilization: 0.9, ISL: l[0], OSL: l[1], Concurrency: clients, Requests: max(3, 2*clients)})
				}
			}
		}
	}
	cases, err := NewServingCases(context.Background(), list)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		o := c.outcome(truth)
		c.TTFT, c.TPOT = 1e3*o.ttft, 1e3*o.tpot
	}
	return cases
}

// TestFitFindsPlanted: a fit to times computed from known factors finds these, if the rows
// determine them; it names the others.
func TestFitFindsPlanted(t *testing.T) {
	truth := &Fit{Overlap: true, Factors: ServerFactors()}
	for id, v := range map[string]float64{
		"weights": 1.2, "gemm": 2, "decode_gemm": 2.5, "attention": 5, "kv": 1.8, "elementwise": 1.6, "all_reduce": 2.2,
		"layer": 40, "all_reduce_latency": 25, "step": 0, "sequence": 90, "prompt": 400, RequestTerm: 5000,
	} {
		truth.Factors[id] = v
	}
	cases := plantedRuns(t, "h100", []int{1, 2, 4}, truth)
	p, err := CalibrateServing(context.Background(), []*Source{{Name: "planted.csv", Serving: cases}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &p.Fits[0]
	if f.Card != "h100" || f.Rows != 54 || f.Server != sim.VLLMV1 || !f.Overlap || p.All != nil || f.Of != "54 rows of planted.csv (h100, llama-3.1-8b, qwen2.5-14b)" {
		t.Errorf("%+v", f)
	}
	if q := f.Quality; !(val(q.TPOTMAPE) <= 0.005 && val(q.TTFTMAPE) <= 0.01 && val(q.ThroughputMAPE) <= 0.005 && val(q.CrossTPOTMAPE) <= 0.01) {
		t.Errorf("%+v", q)
	}
	for _, id := range f.Fitted {
		got, want := f.Factors[id], truth.Factors[id]
		if !slices.Contains(f.Undetermined, id) && math.Abs(got-want) > 0.2*max(want, ServerFactors()[id]) {
			t.Errorf("%s: %v, planted %v", id, got, want)
		}
	}
	for _, id := range []string{"weights", "gemm", "decode_gemm", "attention", "kv", "all_reduce_latency", "sequence", RequestTerm} {
		if slices.Contains(f.Undetermined, id) {
			t.Errorf("%s is said not to be determined", id)
		}
	}
	for _, id := range []string{"compression", "sort", "host"} {
		if slices.Contains(f.Fitted, id) || f.Factors[id] != DefaultFactors()[id] {
			t.Errorf("%s was fitted to runs without it", id)
		}
	}

	for _, c := range cases { // faster than the card is
		c.TTFT, c.TPOT = c.TTFT/4, c.TPOT/4
	}
	quick, err := fitServing(context.Background(), (&Source{Serving: cases}).runs(), nil, "h100", "quick", ServerFactors())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"weights", "gemm", "kv"} {
		if !slices.Contains(quick.AtBound, id) || quick.Factors[id] != 1 {
			t.Errorf("%s is %v, at the bound are %v", id, quick.Factors[id], quick.AtBound)
		}
	}

	one, err := CalibrateServing(context.Background(), []*Source{{Name: "one.csv", Serving: cases[:1]}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n, crossed := range map[int]bool{3: false, 4: true} {
		p, err := CalibrateServing(context.Background(), []*Source{{Name: "few.csv", Serving: cases[:n]}}, nil)
		if err != nil || (p.Fits[0].Quality.CrossTPOTMAPE != nil) != crossed {
			t.Errorf("%d rows: %+v, %v", n, p, err)
		}
	}
	if f := &one.Fits[0]; slices.Contains(f.Fitted, "all_reduce") || len(f.Undetermined) < 8 || f.Quality.CrossTPOTMAPE != nil {
		t.Errorf("one row: %v fitted, %v undetermined, %+v", f.Fitted, f.Undetermined, f.Quality)
	}
}

// TestFitStarts: a fit to few rows is better on others if it starts from the factors of a profile, and says so. A card
// starts from its own fit there, several cards from the fit to several.
func TestFitStarts(t *testing.T) {
	truth := &Fit{Overlap: true, Factors: ServerFactors()}
	truth.Factors["weights"], truth.Factors["kv"], truth.Factors["sequence"], truth.Factors["layer"], truth.Factors["decode_gemm"] = 1.4, 2.5, 200, 90, 4
	rows := plantedRuns(t, "h100", []int{1}, truth)
	named := func(card string, server sim.Scheduler, change func(Factors)) Fit {
		f := Fit{Card: card, Server: server, Overlap: true, Factors: maps.Clone(truth.Factors)}
		change(f.Factors)
		return f
	}
	start := &Profile{File: "shared", Fits: []Fit{
		named("h100", SGLang, func(f Factors) { f["layer"] = 1 }),
		named("h100", sim.VLLMV1, func(f Factors) { f["sequence"] = 190 }),
	}}
	off := func(start *Profile) float64 {
		p, err := CalibrateServing(t.Context(), []*Source{{Name: "few.csv", Serving: rows[:2]}}, start)
		if err != nil {
			t.Fatal(err)
		}
		if start != nil && p.Start != "shared" || start == nil && p.Start != "" {
			t.Errorf("it started from %q", p.Start)
		}
		f := &p.Fits[0]
		if err := f.measureServing(t.Context(), poolOf([]*Source{{Serving: rows[2:]}}, sim.VLLMV1, anyCard)); err != nil {
			t.Fatal(err)
		}
		return val(f.Quality.TPOTMAPE)
	}
	if without, with := off(nil), off(start); !(with < 0.02 && without > 2*with) {
		t.Errorf("the other rows are off by %v, and from a start by %v", without, with)
	}
	all := named(AnyCard, sim.VLLMV1, func(f Factors) { f["layer"] = 70 })
	start.All = &all
	for card, want := range map[string]float64{AnyCard: 70, "l4": 70, "h100": 90} {
		if got := start.factors(card, sim.VLLMV1)["layer"]; got != want {
			t.Errorf("layer starts at %v on %s, want %v", got, card, want)
		}
	}
	if !start.has("h100", sim.VLLMV1) || start.has("h100", TensorRTLLM) || start.has("l4", sim.VLLMV1) {
		t.Error("which cards the profile has fits to")
	}
	start.Fits[0].Overlap = false
	if _, err := CalibrateServing(t.Context(), []*Source{{Name: "few.csv", Serving: rows[:2]}}, start); err == nil || !strings.Contains(err.Error(), "the fit of h100 to start from") {
		t.Errorf("a profile of another kind: %v", err)
	}
}

// TestFitsOfSeveralCards: each card has a fit, and there is one to the rows of all cards.
func TestFitsOfSeveralCards(t *testing.T) {
	if testing.Short() {
		t.Skip("it fits the cost model to the runs of three cards")
	}
	fast := &Fit{Overlap: true, Factors: ServerFactors()}
	slow := &Fit{Overlap: true, Factors: ServerFactors()}
	slow.Factors["weights"], slow.Factors["kv"], slow.Factors["sequence"], slow.Factors["layer"] = 1.6, 2.5, 200, 90
	sources := []*Source{
		{Name: "a.csv", Serving: plantedRuns(t, "h100", []int{1}, fast)},
		{Name: "b.csv", Serving: plantedRuns(t, "l40s", []int{1}, slow)},
		{Name: "c.csv", Serving: plantedRuns(t, "a100", []int{1}, slow), Server: sim.VLLM06},
	}
	p, err := CalibrateServing(context.Background(), sources, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Fits) != 3 || p.All == nil || p.File != "a.csv, b.csv, c.csv" {
		t.Fatalf("%d fits, all %v, of %s", len(p.Fits), p.All, p.File)
	}
	h100, l40s, old := &p.Fits[0], &p.Fits[1], &p.Fits[2]
	if !(h100.Factors["weights"] < 1.25 && l40s.Factors["weights"] > 1.5 && h100.Factors["kv"] < 1.5 && l40s.Factors["kv"] > 2) || !(val(h100.Quality.TPOTMAPE) <= 0.03 && val(l40s.Quality.TPOTMAPE) <= 0.03) {
		t.Errorf("h100 %+v, l40s %+v", h100, l40s)
	}
	if old.Factors["sequence"] != p.All.Factors["sequence"] || old.Factors["layer"] != p.All.Factors["layer"] || math.Abs(old.Factors["kv"]-2.5) > 0.1 {
		t.Errorf("the other server: %v, all %v", old.Factors, p.All.Factors)
	}
	if slices.Contains(old.Fitted, "sequence") || !slices.Contains(old.Fitted, "kv") || !strings.Contains(old.Of, "another server") {
		t.Errorf("the other server: fitted %v, of %s", old.Fitted, old.Of)
	}
	all := p.All.Quality
	var others Quality
	others.others(&all)
	if !(val(all.OtherTPOTMAPE) >= 0.05 && val(all.WorstTPOTMAPE) > val(all.OtherTPOTMAPE) && val(all.WorstThroughput) > val(all.OtherThroughput)) ||
		old.Quality != others || h100.Quality.OtherTPOTMAPE != all.OtherTPOTMAPE || h100.Quality.WorstTPOTMAPE != all.WorstTPOTMAPE {
		t.Errorf("errors: all %+v, h100 %+v, other server %+v", all, h100.Quality, old.Quality)
	}
	if _, err := CalibrateServing(context.Background(), nil, nil); err == nil {
		t.Error("nothing was fitted to")
	}
	if _, err := CalibrateServing(context.Background(), sources[2:], nil); err == nil || !strings.Contains(err.Error(), "vLLM V1") {
		t.Errorf("another server alone: %v", err)
	}
}

// TestFitsOfSeveralSources: the error on another source is that on each source by a fit to the others, which
// does not start from what the source itself says. A single source has none.
func TestFitsOfSeveralSources(t *testing.T) {
	fast := &Fit{Overlap: true, Factors: ServerFactors()}
	slow := &Fit{Overlap: true, Factors: ServerFactors()}
	slow.Factors["sequence"] = 900
	a, b := plantedRuns(t, "h100", []int{1}, fast)[:9], plantedRuns(t, "h100", []int{1}, slow)[:9]
	off := func(on, by []*ServingCase) (tpot, throughput float64) {
		fit, err := fitServing(t.Context(), (&Source{Serving: by}).runs(), nil, "h100", "a test", ServerFactors())
		if err == nil {
			err = fit.measureServing(t.Context(), poolOf([]*Source{{Serving: on}}, sim.VLLMV1, anyCard))
		}
		if err != nil {
			t.Fatal(err)
		}
		return val(fit.Quality.TPOTMAPE), val(fit.Quality.ThroughputMAPE)
	}
	quality := func(sources ...*Source) Quality {
		f := &Fit{Card: "h100"}
		if err := f.crossSources(t.Context(), poolOf(sources, sim.VLLMV1, anyCard), nil); err != nil {
			t.Fatal(err)
		}
		return f.Quality
	}
	if q := quality(&Source{Name: "a.csv", Serving: a}); q != (Quality{}) {
		t.Errorf("one source: %+v", q)
	}
	both := quality(&Source{Name: "a.csv", Serving: a}, &Source{Name: "b.csv", Serving: b})
	onA, rateA := off(a, b)
	onB, rateB := off(b, a)
	for _, c := range []struct {
		of        string
		got, want float64
	}{
		{"TPOT", val(both.SourceTPOTMAPE), (onA + onB) / 2}, {"TPOT at worst", val(both.WorstSourceTPOT), max(onA, onB)},
		{"throughput", val(both.SourceThroughput), (rateA + rateB) / 2}, {"throughput at worst", val(both.WorstSourceRate), max(rateA, rateB)},
	} {
		if math.Abs(c.got-c.want) > 1e-6 {
			t.Errorf("%s: %v, want %v", c.of, c.got, c.want)
		}
	}
	if !(onA > 0.1 && onB > 0.1) {
		t.Errorf("the sources are off each other's fits by %v and %v only", onA, onB)
	}
}

// TestFitsOfSeveralServers: rows of two servers on one card have a fit each, and neither moves the
// other's.
func TestFitsOfSeveralServers(t *testing.T) {
	v1 := &Fit{Overlap: true, Factors: ServerFactors()}
	other := &Fit{Overlap: true, Factors: ServerFactors()}
	other.Factors["kv"] = 2.5
	rows := plantedRuns(t, "h100", []int{1}, v1)
	slow := plantedRuns(t, "h100", []int{1}, other)
	for _, c := range slow {
		c.Rules.Server = TensorRTLLM
	}
	p, err := CalibrateServing(t.Context(), []*Source{{Name: "rows.csv", Serving: append(rows, slow...)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Fits) != 2 || p.All != nil || p.Fits[0].Server != sim.VLLMV1 || p.Fits[1].Server != TensorRTLLM || p.Fits[1].Rows != len(slow) {
		t.Fatalf("%+v", p)
	}
	if a, b := p.Fits[0].Factors["kv"], p.Fits[1].Factors["kv"]; math.Abs(a-1.3) > 0.1 || math.Abs(b-2.5) > 0.1 || !strings.HasSuffix(p.Fits[1].Of, ", on trtllm") {
		t.Errorf("kv is %v and %v, of %s", a, b, p.Fits[1].Of)
	}
}

// TestPool: the rows of a source of 200 count as 50, each by ½ in its residuals and ¼ in the
// mean error.
func TestPool(t *testing.T) {
	fit := &Fit{Overlap: true, Factors: ServerFactors()}
	runs := plantedRuns(t, "h100", []int{1}, fit)[:1]
	long := slices.Repeat(runs, 200)
	p := poolOf([]*Source{{Name: "long", Serving: long}, {Name: "short", Serving: runs}}, sim.VLLMV1, only("h100"))
	if len(p.runs) != 201 || p.weights[0] != 0.5 || p.weights[200] != 1 || len(p.names) != 2 {
		t.Fatalf("%d runs, weights %v and %v, %v", len(p.runs), p.weights[0], p.weights[len(p.weights)-1], p.names)
	}
	off := *runs[0]
	off.TPOT /= 1.5 // predicted half more
	p.runs[200] = &off
	if err := fit.measureServing(context.Background(), p); err != nil || !near(val(fit.Quality.TPOTMAPE), round(0.5/51)) {
		t.Errorf("%v, %v", val(fit.Quality.TPOTMAPE), err)
	}
	half := (&pool{runs: []measuredRun{runs[0], &off, runs[0]}, weights: []float64{1, 2, 3}}).halves()
	if len(half[0].runs) != 2 || len(half[1].runs) != 1 || half[1].runs[0] != measuredRun(&off) || half[0].weights[1] != 3 || half[1].weights[0] != 2 {
		t.Errorf("%+v", half)
	}
	if p := poolOf([]*Source{{Name: "long", Serving: long}}, sim.VLLMV1, allBut("h100")); len(p.runs) != 0 || len(p.names) != 0 {
		t.Errorf("%d runs of other cards", len(p.runs))
	}
}

// TestErrorsByHand checks the errors of a run as fractions of the measured values.
func TestErrorsByHand(t *testing.T) {
	c := &ServingCase{Serving: Serving{OSL: 11, TTFT: 100, TPOT: 20}, record: &record{tokens: 500}}
	e := errorsOf(c, outcome{ttft: 0.15, tpot: 0.01})
	// 0.1 + 10 · 0.02 s a request, projected 0.15 + 10 · 0.01.
	if !near(e[0], 0.5) || !near(e[1], -0.5) || !near(e[2], 0.3/0.25-1) {
		t.Errorf("%v", e)
	}
	c.Serving = Serving{OSL: 11, Tokens: 100} // 5 s
	if e := errorsOf(c, outcome{total: 4}); !math.IsNaN(e[0]) || !math.IsNaN(e[1]) || !near(e[2], 0.25) {
		t.Errorf("of a throughput: %v", e)
	}
	c.Serving = Serving{OSL: 11, Latency: 6, Tokens: 100}
	if e := errorsOf(c, outcome{total: 4}); !near(e[2], 0.5) {
		t.Errorf("of a latency: %v", e)
	}
	c.Serving = Serving{OSL: 11, TPOT: 20}
	if e := errorsOf(c, outcome{ttft: 1, tpot: 1, total: 1}); !math.IsNaN(e[0]) || !near(e[1], 49) || !math.IsNaN(e[2]) {
		t.Errorf("of a TPOT alone: %v", e)
	}
}

// TestOutcomeByHand: a client's constant adds to TTFT, and to the time of a closed loop once
// for each request that a client sends.
func TestOutcomeByHand(t *testing.T) {
	d := onRoundCard(t, "llama-3.1-8b", nil)
	var r record
	r.ttft.work[sim.Steps], r.tpot.work[sim.Steps], r.total.work[sim.Steps] = 3, 2, 100
	f := &Fit{Factors: Factors{"step": 1000, RequestTerm: 5000}}
	for _, c := range []struct {
		s    Serving
		want outcome
	}{
		{Serving{Requests: 4}, outcome{3e-3 + 5e-3, 2e-3, 100e-3 + 5e-3}},
		{Serving{Requests: 10, Concurrency: 4}, outcome{3e-3 + 5e-3, 2e-3, 100e-3 + 3*5e-3}},
	} {
		got := (&ServingCase{Serving: c.s, Deployment: *d, record: &r}).outcome(f)
		if !near(got.ttft, c.want.ttft) || !near(got.tpot, c.want.tpot) || !near(got.total, c.want.total) {
			t.Errorf("%+v: %+v, want %+v", c.s, got, c.want)
		}
	}
}

// TestResidualsByHand: logarithms, TTFT by 0.3, each by the run's weight.
func TestResidualsByHand(t *testing.T) {
	d := onRoundCard(t, "llama-3.1-8b", nil)
	var r record
	r.ttft.work[sim.Steps], r.tpot.work[sim.Steps], r.total.work[sim.Steps] = 1, 2, 4
	c := &ServingCase{Serving: Serving{Requests: 1, TTFT: 2, TPOT: 2, Latency: 2e-3}, Deployment: *d, record: &r}
	f := &Fit{Factors: Factors{"step": 1000}} // 1, 2 and 4 ms
	got, err := residuals(context.Background(), []measuredRun{c}, []float64{10}, f)
	want := []float64{-3 * math.Ln2, 0, 10 * math.Ln2}
	if err != nil || len(got) != 3 {
		t.Fatal(got, err)
	}
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= 1e-12) {
			t.Errorf("residual %d is %v, want %v", i, got[i], want[i])
		}
	}
	if got, err := residuals(context.Background(), []measuredRun{c}, nil, &Fit{}); err != nil || slices.ContainsFunc(got, func(v float64) bool { return v != 0 }) {
		t.Errorf("of no time at all: %v, %v", got, err)
	}
}

// TestStepByHand: J = 2, r = 4, weight ½ and a damping of ½ at x = 10: JᵀWJ = 2, JᵀWr = 4, so a
// step of 4/(2 · 1.5); one that would go beyond a bound ends on it.
func TestStepByHand(t *testing.T) {
	j := mat.NewDense(1, 1, []float64{2})
	for least, want := range map[float64]float64{0: 10 - 4./3, 9: 9, 10: 10} {
		p := leastSquares{least: []float64{least}}
		if got := p.step(j, []float64{4}, []float64{0.5}, []float64{10}, 0.5); !(math.Abs(got[0]-want) <= 1e-9) {
			t.Errorf("a bound of %v: %v, want %v", least, got[0], want)
		}
	}
}

// TestFirstFitCompletes: parts of terms that no run of a first fit has are given those of other parts, unless it starts
// from a profile, which has them.
func TestFirstFitCompletes(t *testing.T) {
	for _, start := range []*Profile{nil, {}} {
		f := Fit{Factors: ServerFactors(), Fitted: []string{"gemm8", "expert_gemm8", "expert_layer8"}}
		f.Factors["gemm8"], f.Factors["expert_gemm8"], f.Factors["expert_layer8"] = 1.8, 9, 50
		start.completes(&f)
		want := Factors{"gemm": 1.8, "expert_gemm": 9, "expert_gemm_unpacked": 9, "expert_layer": 50, "expert_gemm8": 9, "kv": ServerFactors()["kv"]}
		if start != nil {
			want = Factors{"gemm": 1.5, "expert_gemm": 3, "expert_layer": 15, "expert_gemm8": 9}
		}
		for id, v := range want {
			if f.Factors[id] != v {
				t.Errorf("from a profile %t: %s is %v, want %v", start != nil, id, f.Factors[id], v)
			}
		}
	}
}
