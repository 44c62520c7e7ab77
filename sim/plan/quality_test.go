package plan

import (
	"strings"
	"testing"

	"kvcompress/sim/sweep"
)

// A candidate that keeps too little of the full cache's quality, or whose quality is unknown,
// does not meet the objectives, however fast it is; and an answer names the source of the
// quality.
func TestQualityIsAsked(t *testing.T) {
	for name, c := range map[string]struct {
		quality *Quality
		why     string // "" meets
	}{
		"not asked":  {nil, ""},
		"enough":     {&Quality{Kept: 0.96, Least: 0.95, Bytes: 0.5, Of: "tiny at 512 tokens"}, ""},
		"too little": {&Quality{Kept: 0.94, Least: 0.95, Of: "tiny"}, "keeps 94 % of the full cache's quality, and 95 % is required"},
		"unknown":    {&Quality{Kept: 1, Least: 0.95, Why: "it is not in the bench"}, "its quality is not known: it is not in the bench"},
	} {
		o := sweep.Outcome{}
		o.Metrics.Finished, o.Metrics.GoodShare = 1, 1
		a := NewAnswer(Question{Replicas: 1}, []sweep.Outcome{o}, Requests{Count: 1}, func(*sweep.Point) Facts { return Facts{Cards: 1, Quality: c.quality} })
		got := a.Candidates[0]
		if got.Meets != (c.why == "") {
			t.Errorf("%s: meets %v", name, got.Meets)
		}
		if c.why != "" && (len(got.Reasons) != 1 || got.Reasons[0].Kind != Low || !strings.Contains(got.Reasons[0].Text, c.why)) {
			t.Errorf("%s: %+v, want %q", name, got.Reasons, c.why)
		}
		says := strings.Contains(strings.Join(a.Caveats(), " "), "that of tiny at 512 tokens")
		if says != (name == "enough") {
			t.Errorf("%s: %q", name, a.Caveats())
		}
	}
}
