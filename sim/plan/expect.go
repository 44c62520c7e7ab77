package plan

import (
	"cmp"
	"strings"

	"kvcompress/sim"
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

// Expect returns the error to expect of a deployment with a scheduler. If the profile has a fit to the
// card, and its runs had the model, it is the error on runs that were held out; for another model or
// format of weights, and if too few runs could be held out, that on sources that were; otherwise it is
// the error of fits on other cards.
func Expect(profile *cost.Profile, d *cost.Deployment, scheduler sim.Scheduler) Expected {
	fit := profile.For(&d.Card, scheduler)
	q, other := &fit.Quality, fit.Suits(&d.Card, scheduler)
	e := Expected{Text: fit.Expected(&d.Card, scheduler)}
	switch {
	case strings.HasPrefix(e.Text, "not known"):
	case q.OtherTPOTMAPE != nil && (other != "" || q.TPOTMAPE == nil):
		e.TPOT, e.Throughput = q.OtherTPOTMAPE, q.OtherThroughput
	case q.TPOTMAPE != nil && fit.Ran(d):
		e.TPOT = cmp.Or(q.CrossTPOTMAPE, q.SourceTPOTMAPE, q.OtherTPOTMAPE, q.TPOTMAPE)
		e.Throughput = cmp.Or(q.CrossThroughput, q.SourceThroughput, q.OtherThroughput, q.ThroughputMAPE)
	case q.TPOTMAPE != nil:
		e.TPOT = cmp.Or(q.SourceTPOTMAPE, q.OtherTPOTMAPE, q.CrossTPOTMAPE, q.TPOTMAPE)
		e.Throughput = cmp.Or(q.SourceThroughput, q.OtherThroughput, q.CrossThroughput, q.ThroughputMAPE)
	default:
		e.Throughput = cmp.Or(q.CrossThroughput, q.ThroughputMAPE, q.CrossMAPE, q.MAPE)
	}
	if rows := q.TTFTMAPE; other == "" && rows != nil && e.TPOT != nil {
		e.TTFT = new(max(*rows, *e.TPOT)) // TTFTs were not held out; they are no better known than TPOTs
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
