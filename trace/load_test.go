package trace

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGenerateFixed(t *testing.T) {
	got, err := Load{Requests: 3, Prompt: Range{5, 5}, Output: Range{2, 2}, Arrivals: Arrivals{Gap: 50 * time.Millisecond}}.Generate()
	if err != nil {
		t.Fatal(err)
	}
	want := []Request{
		{ID: "0", ArrivalNS: 0, PromptTokens: 5, OutputTokens: 2},
		{ID: "1", ArrivalNS: 50e6, PromptTokens: 5, OutputTokens: 2},
		{ID: "2", ArrivalNS: 100e6, PromptTokens: 5, OutputTokens: 2},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestGeneratePoisson(t *testing.T) {
	load := Load{Seed: 3, Requests: 20_000, Prompt: Range{100, 300}, Output: Range{1, 10}, Arrivals: Arrivals{Rule: Poisson, Gap: time.Second}}
	requests, err := load.Generate()
	if err != nil {
		t.Fatal(err)
	}
	again, _ := load.Generate()
	if diff := cmp.Diff(requests, again); diff != "" {
		t.Error("not the same again:", diff)
	}
	tr, err := New(recordedMetaAs(Imported), requests)
	if err != nil {
		t.Fatal(err)
	}
	info, err := tr.Info(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	near := func(name string, got, want, within float64) {
		if math.Abs(got-want) > within {
			t.Errorf("%s: %g, want %g ± %g", name, got, want, within)
		}
	}
	near("mean prompt", info.Prompt.Mean, 200, 2)
	near("mean output", info.Output.Mean, 5.5, 0.1)
	near("least prompt", float64(info.Prompt.Min), 100, 0)
	near("longest prompt", float64(info.Prompt.Max), 300, 0)
	near("rate", info.Arrivals.Rate, 1, 0.03)
	near("variation of the gaps", info.Arrivals.GapCV, 1, 0.03)
	near("median gap", float64(info.Arrivals.Gaps.P50)/1e9, math.Ln2, 0.02)
}

func recordedMetaAs(kind string) Meta {
	m := recordedMeta()
	m.Source.Kind = kind
	return m
}

func TestGenerateRefuses(t *testing.T) {
	ok := Load{Requests: 2, Prompt: Range{1, 2}, Output: Range{1, 2}}
	for _, tc := range []struct {
		change func(*Load)
		want   string
	}{
		{func(l *Load) { l.Requests = 0 }, "0 requests"},
		{func(l *Load) { l.Requests = MaxRequests + 1 }, "requests, want"},
		{func(l *Load) { l.Prompt = Range{} }, "prompt length"},
		{func(l *Load) { l.Prompt = nil }, "no prompt length"},
		{func(l *Load) { l.Output = LogNormal{5, 4} }, "output length lognormal:5,4"},
		{func(l *Load) { l.Arrivals = Arrivals{Rule: Gamma, Gap: 1} }, "a CV of 0"},
		{func(l *Load) { l.Arrivals = Arrivals{Rule: Gamma, Gap: 1, CV: math.NaN()} }, "a CV of NaN"},
		{func(l *Load) { l.Arrivals = Arrivals{Rule: 9} }, "unknown arrival rule 9"},
		{func(l *Load) { l.Prompt = Range{2, 1} }, "prompt length"},
		{func(l *Load) { l.Output = Range{1, MaxTokens + 1} }, "output length"},
		{func(l *Load) { l.Prompt, l.Output = Range{MaxTokens, MaxTokens}, Range{1, 1} }, "prompt_tokens + output_tokens"},
		{func(l *Load) { l.Arrivals.Gap = -1 }, "a gap of -1ns"},
		{func(l *Load) { l.Arrivals.Gap = math.MaxInt64 }, "later than a trace can represent"},
	} {
		l := ok
		tc.change(&l)
		if _, err := l.Generate(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: error %v, want %q", l, err, tc.want)
		}
	}
}

func TestParseRange(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want Range
		ok   bool
	}{
		{"7", Range{7, 7}, true}, {"1-16777216", Range{1, 16777216}, true}, {"3-3", Range{3, 3}, true},
		{"", Range{}, false}, {"0", Range{}, false}, {"-3", Range{}, false}, {"4-3", Range{}, false}, {"1-", Range{}, false}, {"1-x", Range{}, false}, {"16777217", Range{}, false},
	} {
		got, err := ParseRange(tc.in)
		if (err == nil) != tc.ok || err == nil && got != tc.want {
			t.Errorf("%q: %v, %v", tc.in, got, err)
		}
		if tc.ok {
			if again, err := ParseRange(got.String()); err != nil || again != got {
				t.Errorf("%v does not read back", got)
			}
		}
	}
}

func TestParseLengths(t *testing.T) {
	for in, want := range map[string]Lengths{
		"7": Range{7, 7}, "1-9": Range{1, 9}, "lognormal:600,8000": LogNormal{600, 8000}, "lognormal:5,5": LogNormal{5, 5},
		"lognormal:600": nil, "lognormal:0,5": nil, "lognormal:5,4": nil, "lognormal:5,99999999": nil, "lognormal:a,b": nil, "normal:1,2": nil, "": nil,
	} {
		got, err := ParseLengths(in)
		if (err == nil) != (want != nil) || err == nil && (got != want || got.String() != in) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

func TestParseArrivals(t *testing.T) {
	for in, want := range map[string]Arrivals{
		"fixed:50ms": {Gap: 50 * time.Millisecond}, "poisson:20/s": {Poisson, 50 * time.Millisecond, 0},
		"gamma:1s,2.5": {Gamma, time.Second, 2.5}, "poisson:0.5/s": {Poisson, 2 * time.Second, 0}, "fixed:0s": {},
	} {
		got, err := ParseArrivals(in)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
		if again, err := ParseArrivals(got.String()); want.Gap > 0 && (err != nil || again != got) {
			t.Errorf("%v does not read back: %v, %v", got, again, err)
		}
	}
	for in, want := range map[string]string{
		"": "want fixed:TIME", "daily:3s": "want fixed:TIME", "fixed": "want a time", "fixed:5": "want a time", "fixed:-5s": "want a time",
		"poisson:0/s": "want a time", "poisson:NaN/s": "want a time", "poisson:-1/s": "want a time", "poisson:1s,2": "only gamma has a CV",
		"gamma:1s": "want gamma:TIME,CV", "gamma:1s,x": "want gamma:TIME,CV", "gamma:1s,0": "a CV of 0", "gamma:1s,NaN": "a CV of NaN", "gamma:1s,1e9": "a CV of 1e+09",
	} {
		if _, err := ParseArrivals(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}

// TestGenerateShapes draws many requests of each distribution.
func TestGenerateShapes(t *testing.T) {
	like := []Tokens{{10, 1}, {20, 2}}
	for _, cv := range []float64{0.1, 0.5, 1, 2, 4} {
		load := Load{Seed: 7, Requests: 50_000, Like: like, Arrivals: Arrivals{Gamma, time.Second, cv}}
		if cv == 0.5 {
			load.Like, load.Prompt, load.Output = nil, LogNormal{600, 8000}, LogNormal{30, 30}
		}
		requests, err := load.Generate()
		if err != nil {
			t.Fatal(err)
		}
		tr, err := New(requestsOnlyMeta(Generated), requests)
		if err != nil {
			t.Fatal(err)
		}
		info, err := tr.Info(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		a := info.Arrivals
		if math.Abs(a.GapCV-cv) > 0.05*cv || math.Abs(a.Rate-1) > 0.05 {
			t.Errorf("CV %g: %g, at a rate of %g, want 1", cv, a.GapCV, a.Rate)
		}
		if p := info.Prompt; cv == 0.5 && (math.Abs(float64(p.P50)-600) > 12 || math.Abs(float64(p.P99)-8000) > 400 || info.Output.Min != 30 || info.Output.Max != 30) {
			t.Errorf("lognormal: %+v, %+v", p, info.Output)
		}
		if p := info.Prompt; cv != 0.5 && (p.Min != 10 || p.Max != 20 || math.Abs(p.Mean-15) > 0.1 || info.Tokens != int64(math.Round(p.Mean*1.1*50_000))) {
			t.Errorf("like: %+v", p)
		}
	}
}

func TestModels(t *testing.T) {
	for _, m := range Models() {
		if err := m.Shape.Check(); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		if got, err := FindModel(m.Name); err != nil || got != m {
			t.Errorf("%s: %v, %v", m.Name, got, err)
		}
	}
	if _, err := FindModel("gpt"); err == nil || !strings.Contains(err.Error(), "llama-3.1-8b") {
		t.Error(err)
	}
}
