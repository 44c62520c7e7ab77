package trace

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGenerateFixed(t *testing.T) {
	got, err := Load{Requests: 3, Prompt: Range{5, 5}, Output: Range{2, 2}, Gap: 50 * time.Millisecond}.Generate()
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
	load := Load{Seed: 3, Requests: 20_000, Prompt: Range{100, 300}, Output: Range{1, 10}, Arrivals: Poisson, Gap: time.Second}
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
	info, err := tr.Info()
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
		{func(l *Load) { l.Prompt = Range{2, 1} }, "prompt length"},
		{func(l *Load) { l.Output = Range{1, MaxTokens + 1} }, "output length"},
		{func(l *Load) { l.Prompt, l.Output = Range{MaxTokens, MaxTokens}, Range{1, 1} }, "together"},
		{func(l *Load) { l.Gap = -1 }, "a gap of -1ns"},
		{func(l *Load) { l.Gap = math.MaxInt64 }, "later than a trace can say"},
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
