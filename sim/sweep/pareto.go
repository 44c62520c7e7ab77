package sweep

import "slices"

// MarkPareto marks, for each model, the outcomes on the Pareto front of throughput per card against
// latency: those that no other outcome of the model dominates, with more throughput and no more
// latency, or the same throughput and less latency. An outcome that finished fewer requests than
// another of the model is not on the front, since it did less work.
func MarkPareto(outcomes []Outcome, latency func(*Outcome) float64) {
	byModel, most := map[string][]*Outcome{}, map[string]int64{}
	for i := range outcomes {
		most[outcomes[i].Model] = max(most[outcomes[i].Model], outcomes[i].Metrics.Finished)
	}
	for i := range outcomes {
		o := &outcomes[i]
		o.Pareto = false
		if o.Error == "" && o.Metrics.Finished > 0 && o.Metrics.Finished == most[o.Model] {
			byModel[o.Model] = append(byModel[o.Model], o)
		}
	}
	for _, of := range byModel {
		slices.SortFunc(of, func(a, b *Outcome) int {
			switch {
			case latency(a) != latency(b):
				return compare(latency(a), latency(b))
			case a.ThroughputPerCard != b.ThroughputPerCard:
				return compare(b.ThroughputPerCard, a.ThroughputPerCard)
			}
			return a.Index - b.Index
		})
		best, at := -1.0, 0.0
		for _, o := range of {
			// Outcomes that are equal in both are all on the front.
			if o.ThroughputPerCard > best || o.ThroughputPerCard == best && latency(o) == at {
				o.Pareto = true
				best, at = o.ThroughputPerCard, latency(o)
			}
		}
	}
}

func compare(a, b float64) int {
	if a < b {
		return -1
	}
	return 1
}
