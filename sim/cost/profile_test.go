package cost

import (
	"bytes"
	"strings"
	"testing"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

func catalogCard(t *testing.T, name string) *catalog.Card {
	t.Helper()
	c, err := catalog.FindCard(name)
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

// TestFor: a fit of the same server comes before any other; then a fit of the same card, the same
// chip, several cards, another card. The differences are reported.
func TestFor(t *testing.T) {
	fit := func(of, card string, server sim.Scheduler) Fit {
		return Fit{Of: of, Card: card, Server: server, Factors: DefaultFactors()}
	}
	all := fit("v1 all", AnyCard, sim.VLLMV1)
	p := &Profile{Fits: []Fit{
		fit("old l4", "l4", sim.KVCompressServer), fit("v1 l4", "l4", sim.VLLMV1), fit("v1 h100", "h100", sim.VLLMV1), fit("kernels h200", "h200", ""), fit("old h200", "h200", sim.VLLM06),
	}, All: &all}
	for _, c := range []struct {
		card   string
		server sim.Scheduler
		want   string
		other  string
	}{
		{"l4", sim.VLLMV1, "v1 l4", ""},
		{"l4", sim.KVCompressServer, "old l4", ""},
		{"l4", sim.VLLM06, "old l4", ""},
		{"h100", sim.VLLMV1, "v1 h100", ""},
		{"h100-nvl", sim.VLLMV1, "v1 h100", "another card of the same chip (h100, not h100-nvl)"},
		{"h200", sim.VLLMV1, "v1 h100", "another card of the same chip (h100, not h200)"},
		{"h200", sim.KVCompressServer, "old h200", ""},
		{"a100", sim.VLLMV1, "v1 all", "other cards than a100-80gb"},
		{"a100", sim.KVCompressServer, "old l4", "another card (l4, not a100-80gb)"},
	} {
		card := catalogCard(t, c.card)
		got := p.For(card, c.server)
		if other := got.Suits(card, c.server); got.Of != c.want || other != c.other {
			t.Errorf("%s under %s: %s, other %q; want %s, %q", c.card, c.server, got.Of, other, c.want, c.other)
		}
	}
	only := &Profile{Fits: []Fit{fit("old l4", "l4", sim.KVCompressServer)}}
	h100 := catalogCard(t, "h100")
	got := only.For(h100, sim.VLLMV1)
	if other := got.Suits(h100, sim.VLLMV1); other != "another server (kv-compress, not vllm-v1) and another card (l4, not h100)" {
		t.Errorf("%q", other)
	}
	unknown := &Profile{Fits: []Fit{fit("kernels", "h100", ""), fit("v1 l4", "l4", sim.VLLMV1)}}
	if got := unknown.For(h100, sim.VLLMV1); got.Of != "v1 l4" {
		t.Errorf("a fit of an unknown server comes before one of this server: %s", got.Of)
	}
	if got := unknown.For(h100, sim.KVCompressServer); got.Of != "kernels" {
		t.Errorf("a fit of another server comes before one of an unknown: %s", got.Of)
	}
}

func TestExpected(t *testing.T) {
	serving := Quality{TTFTMAPE: new(0.1), TPOTMAPE: new(0.02), ThroughputMAPE: new(0.03)}
	cross, one, several := serving, serving, serving
	cross.CrossTPOTMAPE, cross.CrossThroughput = new(0.04), new(0.05)
	one.OtherTPOTMAPE, one.OtherThroughput = new(0.07), new(0.08)
	several.OtherTPOTMAPE, several.OtherThroughput = new(0.07), new(0.08)
	sources := cross
	sources.SourceTPOTMAPE, sources.SourceThroughput, sources.WorstSourceTPOT, sources.WorstSourceRate = new(0.06), new(0.07), new(0.09), new(0.1)
	few := one
	few.SourceTPOTMAPE, few.SourceThroughput, few.WorstSourceTPOT, few.WorstSourceRate = new(0.06), new(0.07), new(0.09), new(0.1)
	const unlike = "; on runs unlike them TPOT 6.0 % and throughput 7.0 %, at worst TPOT 9.0 % and throughput 10.0 %, as on each source by a fit to the others"
	worst := several
	worst.WorstTPOTMAPE, worst.WorstThroughput = new(0.11), new(0.12)
	const rows = "TPOT 2.0 %, TTFT 10.0 % and throughput 3.0 % on average over its rows"
	const others, each = "TPOT 7.0 % and throughput 8.0 % on average", ", as on each fitted card by a fit to the others"
	for _, c := range []struct {
		of     string
		q      Quality
		server sim.Scheduler
		want   string
	}{
		{"h100", serving, sim.VLLMV1, rows},
		{"h100", cross, sim.VLLMV1, rows + ", TPOT 4.0 % and throughput 5.0 % over rows left out of a fit"},
		{"h100", sources, sim.VLLMV1, rows + ", TPOT 4.0 % and throughput 5.0 % over rows left out of a fit" + unlike},
		{"h100", few, sim.VLLMV1, rows + unlike},
		{"h100", one, sim.VLLMV1, rows + ", which are too few runs to leave some out: of other runs expect " + others + each},
		{"h100", Quality{OtherTPOTMAPE: new(0.07), OtherThroughput: new(0.08)}, sim.VLLMV1, others + each},
		{AnyCard, several, sim.VLLMV1, others + each},
		{"h100-nvl", cross, sim.VLLMV1, rows + ", TPOT 4.0 % and throughput 5.0 % over rows left out of a fit; on this card it is not known, and larger"},
		{"h100-nvl", several, sim.VLLMV1, others + each},
		{AnyCard, worst, sim.VLLMV1, others + ", at worst TPOT 11.0 % and throughput 12.0 %" + each},
		{"h100-nvl", serving, sim.VLLMV1, rows + "; on this card it is not known, and larger"},
		{"l4", serving, sim.VLLMV1, rows + "; on this card it is not known, and larger"},
		{"h100", serving, sim.KVCompressServer, "not known: it is a fit to another server"},
		{"h100", Quality{ThroughputMAPE: new(0.03)}, sim.VLLMV1, "throughput 3.0 % on average over its rows"},
		{"h100", Quality{ThroughputMAPE: new(0.03), CrossThroughput: new(0.05)}, sim.VLLMV1, "throughput 3.0 % on average over its rows, throughput 5.0 % over rows left out of a fit"},
		{"h100", Quality{MAPE: new(0.02), MaxError: new(0.07)}, sim.VLLMV1, "throughput 2.0 % on average over its rows, at most 7.0 %"},
		{"h100", Quality{MAPE: new(0.02), MaxError: new(0.07)}, "", "not known, as no run was measured: the fit is off its timings of single terms by 2.0 % on average, by 7.0 % at most"},
		{"l4", Quality{MAPE: new(0.02)}, "", "not known, as no run was measured: the fit is off its timings of single terms by 2.0 % on average"},
		{"h100", Quality{}, sim.VLLMV1, "not known"},
	} {
		f := Fit{Card: c.of, Server: c.server, Quality: c.q}
		if got := f.Expected(catalogCard(t, "h100"), sim.VLLMV1); got != c.want {
			t.Errorf("%s, %+v: %q, want %q", c.of, c.q, got, c.want)
		}
	}
}

// TestShipped checks that the default profile can be read, states an error for every card of the
// catalogue on every server, and has no factor of vLLM V1 below 1: that would be faster than the
// card's peak.
func TestShipped(t *testing.T) {
	p := DefaultProfile()
	for _, card := range catalog.Cards() {
		for _, server := range sim.Schedulers() {
			f := p.For(&card, server)
			if !alike(f.Server, server) {
				t.Errorf("%s under %s has a fit of %s", card.Name, server, f.Server)
			}
			if text := f.Expected(&card, server); text == "" || strings.HasPrefix(text, "not known") {
				t.Errorf("%s under %s: %s", card.Name, server, text)
			}
		}
	}
	for _, f := range p.Fits {
		for _, term := range Terms() {
			if f.Server == sim.VLLMV1 && !term.Overhead && f.Factors[term.ID] < 1 {
				t.Errorf("%s: %s is read or computed at more than the card's peak: %v", f.Of, term.ID, f.Factors[term.ID])
			}
		}
	}
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadProfile(&out); err != nil {
		t.Error(err)
	}
}
