package report

import (
	"fmt"
	"slices"

	"kvcompress/sim/project"
	"kvcompress/sim/sweep"
)

// apart says that the error is unknown if prefill and decode run on different servers.
const apart = "The times were fitted to no run with separate prefill and decode servers."

// TimeSource says which fit a projection's time is from, how that fit's card or server differs
// from the projected one, and the error to expect.
func TimeSource(r *project.Result) []string {
	text := []string{"By " + r.Factors + "."}
	if r.Other != "" {
		text = append(text, "That is a fit to "+r.Other+".")
	}
	text = append(text, "Error to expect: "+r.Expected+".")
	if r.Link != nil {
		text = append(text, apart)
	}
	if r.Client > 0 {
		text = append(text, fmt.Sprintf("Times to first token and end to end have %s of clients and the API in them.", duration(r.Client)))
	}
	return text
}

// sweepTime is TimeSource for each card of a sweep, a sentence each, with the links over which
// prefill servers send KVs to decode servers.
func sweepTime(outcomes []sweep.Outcome) []string {
	var text []string
	for i := range outcomes {
		o := &outcomes[i]
		if o.Factors == "" { // there is no projection
			continue
		}
		other := ""
		if o.Other != "" {
			other = "a fit to " + o.Other + ", "
		}
		sentence := fmt.Sprintf("Time on %s by %s%s. Error to expect: %s.", o.CardName(), other, o.Factors, o.Expected)
		if !slices.Contains(text, sentence) {
			text = append(text, sentence)
		}
	}
	for i := range outcomes {
		o := &outcomes[i]
		if o.Link == 0 { // no disaggregated servers
			continue
		}
		sentence := fmt.Sprintf("Each %s of a prefill server sends its KVs at %.4g GB a second. %s", o.CardName(), o.Link/1e9, apart)
		if !slices.Contains(text, sentence) {
			text = append(text, sentence)
		}
	}
	return text
}
