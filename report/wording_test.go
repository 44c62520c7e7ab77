package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kvcompress/sim/stats"
	"kvcompress/sim/sweep"
)

// TestObjectiveWords checks that an objective is written in one way, and a time far beyond it without digits.
func TestObjectiveWords(t *testing.T) {
	slo := stats.SLO{TTFT: 10 * time.Millisecond, TPOT: 2500 * time.Microsecond}
	if got := sloText(slo); got != "TTFT ≤ 10 ms and TPOT ≤ 2.5 ms" {
		t.Error(got)
	}
	for at, want := range map[float64]string{
		1882.02: "≤ 10 ms: 99 % of the requests take at most 31.4 min, more than 1,000 × too long; met by 0 %",
		0.5:     "≤ 10 ms: 99 % of the requests take at most 500 ms, 50.0 × too long; met by 0 %",
		0.011:   "≤ 10 ms: 99 % of the requests take at most 11.0 ms, 10.0 % too long; met by 0 %",
	} {
		if got := ObjectiveText(&stats.Objective{Name: "ttft", Limit: 0.01, At: at}, slo); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestNotProjected checks that points which lack memory are one sentence for each model and card.
func TestNotProjected(t *testing.T) {
	s := &Sweep{}
	add := func(card string, tp int, rest string, noRoom bool) {
		s.Outcomes = append(s.Outcomes, sweep.Outcome{Point: sweep.Point{Model: "m", Card: card, TP: tp}, NoRoom: noRoom, Error: fmt.Sprintf("m does not fit on %d × %s: the rest %s", tp, card, rest)})
	}
	for _, tp := range []int{1, 2, 4} {
		add("l4", tp, "0.2 GB", true)
		add("l4", tp, "0.3 GB", true)
	}
	add("a10", 1, "0.2 GB", true)
	add("a10", 1, "0.3 GB", true)
	add("l40s", 1, "0.2 GB", true)
	add("l40s", 1, "0.2 GB", true)
	add("h100", 1, "another reason", false)
	add("h100", 1, "one more reason", false)
	got := strings.Join(sweepReading(s), "\n")
	want := `Not projected (6 points, on 1, 2 and 4 cards; figures of the most): m does not fit on 4 × l4: the rest 0.2 GB.
Not projected (2 points; figures of the first): m does not fit on 1 × a10: the rest 0.2 GB.
Not projected (2 points): m does not fit on 1 × l40s: the rest 0.2 GB.
Not projected (1 point): m does not fit on 1 × h100: the rest another reason.
Not projected (1 point): m does not fit on 1 × h100: the rest one more reason.`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
