package report

import (
	"fmt"
	"slices"

	"kvcompress/sim/project"
	"kvcompress/sim/sweep"
)

// apart is what is not known of the error of servers that prefill and others that decode.
const apart = "The times were fitted to no run with separate prefill and decode servers."

// TimeSource says, in sentences, which fit a projection's time is from, in what that is of
// another card or server, and how far off it is to be expected to be.
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

// sweepTime says the same of each card of a sweep, a sentence each, and over which links KVs
// go from servers that prefill to those that decode.
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
		sentence := fmt.Sprintf("Time on %s by %s%s. Error to expect: %s.", o.Card, other, o.Factors, o.Expected)
		if !slices.Contains(text, sentence) {
			text = append(text, sentence)
		}
	}
	for i := range outcomes {
		o := &outcomes[i]
		if o.Link == 0 { // no servers that prefill and others that decode
			continue
		}
		sentence := fmt.Sprintf("Each %s of a prefill server sends its KVs at %.4g GB a second. %s", o.Card, o.Link/1e9, apart)
		if !slices.Contains(text, sentence) {
			text = append(text, sentence)
		}
	}
	return text
}
