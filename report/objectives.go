package report

import (
	"fmt"
	"math"
	"time"

	"kvcompress/internal/words"
	"kvcompress/sim/stats"
)

// ObjectiveName returns the quantity of an objective in words.
func ObjectiveName(name string) string {
	switch name {
	case "ttft":
		return "first token (TTFT)"
	case "tpot":
		return "each further token (TPOT)"
	}
	return "end to end"
}

// shortObjective is ObjectiveName, for a table.
func shortObjective(name string) string {
	switch name {
	case "ttft":
		return "TTFT"
	case "tpot":
		return "TPOT"
	}
	return "end to end"
}

// ObjectiveText compares a run with an objective: it has the objective's percentile, and how far
// that is above or below the limit.
func ObjectiveText(o *stats.Objective, slo stats.SLO) string {
	met := fmt.Sprintf("met by %s", words.Share(o.Share))
	if o.At == 0 && o.Share < slo.Required() {
		return fmt.Sprintf("≤ %s: %s; fewer than %s finish", limitText(o.Limit), met, words.Required(slo.Required()))
	}
	at := fmt.Sprintf("≤ %s: %s of the requests take at most %s", limitText(o.Limit), words.Required(slo.Required()), timeOrNone(o.At))
	switch {
	case o.At > o.Limit:
		return fmt.Sprintf("%s, %s too long; %s", at, excess(o.At, o.Limit), met)
	default:
		return fmt.Sprintf("%s; %s", at, met)
	}
}

// limitText returns the limit of an objective, in seconds, as it was given.
func limitText(seconds float64) string {
	return words.Time(time.Duration(math.Round(seconds * 1e9)))
}

// excess says by how much a time exceeds a limit: in percent, or as a factor.
func excess(at, limit float64) string {
	if at >= 1000*limit {
		return "more than 1,000 ×"
	}
	if at >= 2*limit {
		return short(at/limit) + " ×"
	}
	return short(100*(at/limit-1)) + " %"
}

// timeOrNone is duration, but "none" for 0.
func timeOrNone(s float64) string {
	if s == 0 {
		return "0 s"
	}
	return duration(s)
}
