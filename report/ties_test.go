package report

import (
	"strings"
	"testing"

	"kvcompress/sim/stats"
	"kvcompress/sim/sweep"
)

// TestTies checks that compression is recommended only for a difference of more than a tie, in the text
// and in the bars.
func TestTies(t *testing.T) {
	outcome := func(c sweep.Compression, card string, throughput, dollars, idle float64) sweep.Outcome {
		o := sweep.Outcome{Point: sweep.Point{Model: "m", Card: card, TP: 1, Compression: c, MaxNumSeqs: 8, Load: 1}, ThroughputPerCard: throughput, USDPerMillion: dollars}
		o.Metrics.Finished, o.Metrics.GoodShare, o.Bound.Nothing, o.Reading = 10, 1, idle, "Bound."
		return o
	}
	snapkv := sweep.Compression{Method: "snapkv", MaxCacheTokens: 512}
	for _, c := range []struct {
		name             string
		compressed, none float64 // tokens/s
		idle             float64
		searched         bool
		want, bar        string
		not              string
	}{
		{"the load is the bound", 1620, 1619, 1, false,
			"compression none, batch limit 8, load × 1. Bound. A tie: 2 projections are within 1 % of each other, and one without compression is named. Their bound is the load, so this does not show what each could serve: compare them at a higher --load.", "uncompressed", ""},
		{"the largest loads", 1620, 1619, 1, true, "and one without compression is named.", "uncompressed", "Their bound"},
		{"the server is the bound", 1000, 991, 0, false, "compression none, batch limit 8, load × 1. Bound. A tie:", "uncompressed", "Their bound"},
		{"no tie", 1000, 989, 1, false, "compression snapkv:tokens:512, batch limit 8, load × 1. Bound.", "snapkv", "A tie"},
	} {
		s := &Sweep{Points: 3, SLO: stats.SLO{TTFT: 2e9}, Searched: c.searched, Outcomes: []sweep.Outcome{
			outcome(snapkv, "l4", c.compressed, 1000/c.compressed, c.idle), outcome(sweep.Compression{}, "l4", c.none, 1000/c.none, c.idle),
			outcome(sweep.Compression{}, "h100", 500, 5, 1),
		}}
		text := strings.Join(sweepReading(s), "\n")
		if !strings.Contains(text, c.want) || !strings.Contains(text, "Cheapest of those within the objectives: the same, $") || c.not != "" && strings.Contains(text, c.not) {
			t.Errorf("%s:\n%s", c.name, text)
		}
		if b := sweepBars(s); b == nil || !strings.Contains(b.List[0].Name, c.bar) {
			t.Errorf("%s: bars %+v", c.name, b)
		}
	}
	// Another model is no substitute.
	other := outcome(sweep.Compression{}, "l4", 999, 1, 1)
	other.Model = "smaller"
	highest := outcome(snapkv, "l4", 1000, 1, 1)
	if best, equal := preferred([]*sweep.Outcome{&other, &highest}, throughputPerCard); best != &highest || len(equal) != 1 {
		t.Errorf("%+v is preferred, of %d", best, len(equal))
	}
}
