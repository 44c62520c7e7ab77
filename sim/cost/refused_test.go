package cost

import (
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/sim"
)

// TestRowsRefused: a row with a version that is none, or with requests longer than the model's context, is
// not projected; a row at the context is.
func TestRowsRefused(t *testing.T) {
	row := func(change func(*Serving)) Serving {
		s := Serving{GPU: "h100", Model: "llama-2-7b", TP: 1, KV: dtype.F16, ISL: 4000, OSL: 96, Concurrency: 1, Requests: 1, TPOT: 10}
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		row  Serving
		want string
	}{
		"at the context":     {row(func(*Serving) {}), ""},
		"beyond the context": {row(func(s *Serving) { s.OSL++ }), "a request of 4,097 tokens is longer than the context of llama-2-7b, 4,096 tokens"},
		"no version":         {row(func(s *Serving) { s.Version = "banana" }), `version "banana" of vLLM: want one such as 0.6.3, 0.11, 0.8.5.post1 or "0.7 V1"`},
		"another server's":   {row(func(s *Serving) { s.Backend, s.Version = "sglang", "banana" }), ""},
		"a release":          {row(func(s *Serving) { s.Version = "0.11.0rc2" }), ""},
	} {
		cases, err := NewServingCases(t.Context(), []Serving{c.row})
		if err != nil {
			t.Fatal(err)
		}
		if got := cases[0].Error; (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	d := deployment(t, "llama-2-7b", "h100")
	for tokens, refused := range map[int]bool{4096: false, 4097: true} {
		_, err := NewLogCase(d, sim.V1Limits("h100", d.Card.Memory, sim.V1Engine), []LoggedRequest{{Line: 7, Input: tokens - 1, Output: 1}})
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "line 7: a request of 4,097 tokens is longer") {
			t.Errorf("a log with %d tokens: %v", tokens, err)
		}
	}
	m := Measurement{GPU: "h100", Model: "llama-2-7b", InputLen: 4000, OutputLen: 97, NumRequests: 1}
	if _, err := NewCase(t.Context(), m, nil); err == nil || !strings.Contains(err.Error(), "longer than the context") {
		t.Errorf("a throughput: %v", err)
	}
}
