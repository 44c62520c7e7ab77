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

// Expect returns the error to expect of a deployment with a scheduler. Each error is the first of these
// that is known: on rows held out of the fit, on sources held out, on other cards, on the fit's own rows.
// For a model or format of weights that the fit's runs did not have, it is that on sources or on other
// cards before that on rows held out; for another card, and for one whose fit has no error of its own,
// that on other cards before all.
func Expect(profile *cost.Profile, d *cost.Deployment, scheduler sim.Scheduler) Expected {
	fit := profile.For(&d.Card, scheduler)
	q, other := &fit.Quality, fit.Suits(&d.Card, scheduler)
	e := Expected{Text: fit.Expected(&d.Card, scheduler)}
	if strings.HasPrefix(e.Text, "not known") {
		return e
	}
	type errors struct{ tpot, throughput *float64 }
	rows := errors{q.CrossTPOTMAPE, q.CrossThroughput}
	sources := errors{q.SourceTPOTMAPE, q.SourceThroughput}
	cards := errors{q.OtherTPOTMAPE, q.OtherThroughput}
	order := []errors{rows, sources, cards}
	switch {
	case other != "" || q.TPOTMAPE == nil && q.ThroughputMAPE == nil:
		order = []errors{cards, sources, rows}
	case !fit.Ran(d):
		order = []errors{sources, cards, rows}
	}
	for _, of := range append(order, errors{q.TPOTMAPE, q.ThroughputMAPE}, errors{nil, q.CrossMAPE}, errors{nil, q.MAPE}) {
		e.TPOT, e.Throughput = cmp.Or(e.TPOT, of.tpot), cmp.Or(e.Throughput, of.throughput)
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
