package sweep

import "slices"

// MarkPareto marks the outcomes on the front of throughput per card against latency,
// each model by itself: those than which no other of the model has at least the
// throughput at no more latency, and more of the one or less of the other.
// Outcomes that served fewer requests than another of the model are not on it: they
// have not done the same work.
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
			// Equal in both is as good as the other.
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
