package report

import (
	"fmt"
	"slices"

	"kvcompress/internal/words"
	"kvcompress/sim/sweep"
)

// tie is the relative difference of throughput or price below which two projections are equal. It is less
// than any fit's error; where the load is the bound, throughput differs only by when the last request ends,
// and --max-load finds loads to about as much.
const tie = 0.01

// preferred returns the outcome with the highest value, and those of its model that are equal to it: within
// tie of the highest. Among equals one without compression is preferred, since compression costs quality
// that no projection shows.
func preferred(outcomes []*sweep.Outcome, value func(*sweep.Outcome) float64) (best *sweep.Outcome, equal []*sweep.Outcome) {
	for _, o := range outcomes {
		if best == nil || value(o) > value(best) {
			best = o
		}
	}
	if best == nil {
		return nil, nil
	}
	highest := best
	for _, o := range outcomes {
		if o.Model != highest.Model || value(o) < (1-tie)*value(highest) {
			continue
		}
		equal = append(equal, o)
		if enabled := o.Compression.Enabled(); !enabled && (best.Compression.Enabled() || value(o) > value(best)) {
			best = o
		}
	}
	return best, equal
}

// tieText says how many projections are equal to the recommended one, and why that one is named; "" if
// none is. searched says that the loads are the largest ones, which --max-load found.
func tieText(best *sweep.Outcome, equal []*sweep.Outcome, searched bool) string {
	if len(equal) < 2 {
		return ""
	}
	text := fmt.Sprintf(" A tie: %s are within %.0f %% of each other", words.Count(len(equal), "projection"), 100*tie)
	compressed := slices.ContainsFunc(equal, func(o *sweep.Outcome) bool { return o.Compression.Enabled() })
	if compressed && !best.Compression.Enabled() {
		text += ", and one without compression is named"
	}
	text += "."
	if best.Bound.ByLoad() && !searched {
		by, more := "load", "--load"
		if best.Concurrency > 0 {
			by, more = "number of clients", "--concurrency"
		}
		text += fmt.Sprintf(" Their bound is the %s, so this does not show what each could serve: compare them at a higher %s.", by, more)
	}
	return text
}

// perDollar is the value of an outcome by its price: output tokens for a dollar.
func perDollar(o *sweep.Outcome) float64 { return 1e6 / o.USDPerMillion }

func throughputPerCard(o *sweep.Outcome) float64 { return o.ThroughputPerCard }
