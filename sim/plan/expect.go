package plan

import (
	"cmp"
	"strings"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
)

// Expected is the error to expect of a projection's times: mean absolute errors, as parts; nil
// where that is not known.
type Expected struct {
	TTFT       *float64 `json:"ttft,omitempty"`
	TPOT       *float64 `json:"tpot,omitempty"`
	Throughput *float64 `json:"throughput,omitempty"`
	Text       string   `json:"text"` // the same in words: see cost.Fit.Expected
}

// Expect returns the error to expect on a card with a scheduler. If the profile has a fit to the
// card it is the error on runs that were held out; otherwise it is the error of fits on other cards.
func Expect(profile *cost.Profile, card *catalog.Card, scheduler sim.Scheduler) Expected {
	fit := profile.For(card, scheduler)
	q, other := &fit.Quality, fit.Suits(card, scheduler)
	e := Expected{Text: fit.Expected(card, scheduler)}
	switch {
	case strings.HasPrefix(e.Text, "not known"):
	case q.OtherTPOTMAPE != nil && (other != "" || q.TPOTMAPE == nil):
		e.TPOT, e.Throughput = q.OtherTPOTMAPE, q.OtherThroughput
	case q.TPOTMAPE != nil:
		e.TTFT, e.TPOT, e.Throughput = q.TTFTMAPE, cmp.Or(q.CrossTPOTMAPE, q.TPOTMAPE), cmp.Or(q.CrossThroughput, q.ThroughputMAPE)
	default:
		e.Throughput = cmp.Or(q.CrossThroughput, q.ThroughputMAPE, q.CrossMAPE, q.MAPE)
	}
	return e
}

// Of returns the expected error of an objective's times: ttft, tpot or e2e. If it was not
// measured, it is that of the most similar quantity; nil if there is none.
func (e *Expected) Of(objective string) *float64 {
	if objective == "ttft" {
		return cmp.Or(e.TTFT, e.TPOT, e.Throughput)
	}
	return cmp.Or(e.TPOT, e.Throughput)
}
