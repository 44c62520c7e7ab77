package plan

import (
	"fmt"
	"slices"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
)

// Expected is the error that a projection's times are to be expected to have. Parts of 0 are
// not known.
type Expected struct {
	Throughput float64 `json:"throughput,omitempty"` // mean absolute error, as a part
	Of         string  `json:"of"`                   // what the times were fitted to
	Text       string  `json:"text"`                 // in a sentence
}

// Known reports whether a size of the error is known.
func (e *Expected) Known() bool { return e.Throughput > 0 }

// Largest returns the largest of the errors that are known.
func (e *Expected) Largest() float64 { return e.Throughput }

// Expect returns the error to expect of times on a card under a scheduler by the fit that a
// profile has for them. It is known where the fit is to the same card; whether it is to the
// same server, a fit does not say.
func Expect(profile *cost.Profile, card catalog.Card, scheduler sim.Scheduler) Expected {
	fit := profile.For(card.Name)
	e := Expected{Of: fit.Of}
	q := &fit.Quality
	switch {
	case fit.Card == card.Name && q.CrossMAPE > 0:
		e.Throughput = q.CrossMAPE
		e.Text = fmt.Sprintf("%.3g %% of the throughput, as of measured runs on %s that were left out of the fit", 100*e.Throughput, card.Name)
	case fit.Card == card.Name && q.MAPE > 0:
		e.Throughput = q.MAPE
		e.Text = fmt.Sprintf("at least %.3g %% of the throughput, as of the %d measured runs on %s that were fitted to", 100*e.Throughput, fit.Rows, card.Name)
	default:
		e.Text = fmt.Sprintf("not known: nothing was fitted to runs of %s on %s; kvc calibrate does it with runs of yours", scheduler, card.Name)
	}
	return e
}

// Expectations returns what is to be expected of the candidates, each text once.
func (a *Answer) Expectations() []string {
	var texts []string
	for i := range a.Candidates {
		if c := &a.Candidates[i]; c.Error == "" && c.Expected.Text != "" {
			text := fmt.Sprintf("%s: %s", c.Card, c.Expected.Text)
			if !slices.Contains(texts, text) {
				texts = append(texts, text)
			}
		}
	}
	return texts
}
