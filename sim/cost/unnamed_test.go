package cost

import (
	"errors"
	"math"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/sim"
)

// TestNearest: another server is chosen where its mean error is less than half of the first's on each half
// of the rows.
func TestNearest(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		name string
		errs [][]float64
		want int
	}{
		{"half as far off", [][]float64{{0.2, 0.2, 0.2, 0.2}, {0.1, 0.1, 0.1, 0.1}}, 0},
		{"less than half", [][]float64{{0.2, 0.2, 0.2, 0.2}, {0.09, 0.09, 0.1, 0.1}}, 1},
		{"the least", [][]float64{{0.2, 0.2, 0.2, 0.2}, {0.08, 0.08, 0.08, 0.08}, {0.05, 0.05, 0.05, 0.05}}, 2},
		{"on one half", [][]float64{{0.2, 0.2, 0.2, 0.2}, {0.01, 0.2, 0.01, 0.2}}, 0},
		{"another on each half", [][]float64{{0.2, 0.2, 0.2, 0.2}, {0.01, 0.2, 0.01, 0.2}, {0.2, 0.01, 0.2, 0.01}}, 0},
		{"cannot serve a row", [][]float64{{0.2, 0.2, 0.2, 0.2}, {0.01, 0.01, nan, 0.01}}, 0},
		{"nor can the first", [][]float64{{0.2, 0.2, nan, 0.2}, {0.01, 0.01, nan, 0.01}}, 1},
		{"the first serves none", [][]float64{{nan, nan}, {0.01, 0.01}}, 0},
	} {
		if got := nearest(c.errs); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestServersChosen: rows with the times that the fit to a server predicts are taken for this server, if
// they do not name theirs and are enough.
func TestServersChosen(t *testing.T) {
	p := DefaultProfile()
	rows := func(server sim.Scheduler, backend, version string, n int) []Serving {
		var list []Serving
		for i := range n {
			s := Serving{GPU: "a100-40gb", Model: "llama-3.1-8b", TP: 1, KV: dtype.F16, ISL: 128 << i, OSL: 64, Requests: 16, Chosen: server}
			c, err := NewServingCase(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			fit := p.For(&c.Deployment.Card, server)
			if err := c.Predict(&fit); err != nil {
				t.Fatal(err)
			}
			s.Chosen, s.Backend, s.Version, s.Tokens = "", backend, version, c.PredictedTokens
			list = append(list, s)
		}
		return list
	}
	for _, c := range []struct {
		server           sim.Scheduler
		backend, version string
		n                int
		want             sim.Scheduler
		note             string
	}{
		{VLLMV0, "", "", 4, VLLMV0, "4 rows do not say which server measured them."},
		{VLLMV0, "vLLM", "", 4, VLLMV0, "They are taken for vllm-v0, which is less than half as far off as vllm-v1 on each half of the rows."},
		{TensorRTLLM, "", "", 4, TensorRTLLM, "0.0 % as trtllm"},
		{TensorRTLLM, "vllm", "", 4, "", "no other is less than half as far off"}, // V1 or V0, both far off
		{sim.VLLMV1, "", "", 4, "", "They are taken for vllm-v1"},
		{VLLMV0, "", "", 3, "", ""},
		{VLLMV0, "vllm", "0.12.0", 4, "", ""},
		{VLLMV0, "", "0.12.0", 4, "", ""},
		{VLLMV0, "sglang", "", 4, "", ""},
	} {
		list := rows(c.server, c.backend, c.version, c.n)
		cases, choices, err := p.NewServingCases(t.Context(), list)
		if err != nil {
			t.Fatal(err)
		}
		var notes []string
		for i := range choices {
			notes = append(notes, choices[i].Note())
		}
		note := strings.Join(notes, "\n")
		if !strings.Contains(note, c.note) || (c.note == "") != (note == "") {
			t.Errorf("%+v: %s", c, note)
		}
		for i := range list {
			list[i].Chosen = c.want
		}
		plain, err := NewServingCases(t.Context(), list)
		if err != nil {
			t.Fatal(err)
		}
		for i, got := range cases {
			fit := p.For(&got.Deployment.Card, got.Rules.Server)
			if err := errors.Join(got.Predict(&fit), plain[i].Predict(&fit)); err != nil {
				t.Fatal(err)
			}
			if want := plain[i]; got.Chosen != c.want || got.Rules != want.Rules || got.Calibrated != want.Calibrated || got.PredictedTokens != want.PredictedTokens || got.PredictedTPOT != want.PredictedTPOT {
				t.Errorf("%+v: row %d is taken for %q, %v tokens/s by %+v; want %v by %+v", c, i, got.Chosen, got.PredictedTokens, got.Rules, want.PredictedTokens, want.Rules)
			}
		}
	}
}

// TestServersChosenOfRefused: where no row can be served, nothing is said of servers.
func TestServersChosenOfRefused(t *testing.T) {
	list := make([]Serving, 4)
	for i := range list {
		list[i] = Serving{GPU: "l4", Model: "llama-3.1-70b", TP: 1, KV: dtype.F16, ISL: 100, OSL: 10, Requests: 4, Latency: 1}
	}
	cases, choices, err := DefaultProfile().NewServingCases(t.Context(), list)
	if err != nil || len(choices) > 0 {
		t.Errorf("%+v, %v", choices, err)
	}
	for i, c := range cases {
		if c.Error == "" || c.Chosen != "" {
			t.Errorf("row %d: %q, taken for %q", i, c.Error, c.Chosen)
		}
	}
}
