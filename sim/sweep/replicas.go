package sweep

import (
	"context"
)

// FewestReplicas returns a Project that finds the fewest replicas, up to most, with which good is
// true, by doubling and then by bisection. The search assumes that good stays true with more
// replicas. If good is false even for one request at a time, no number helps: the outcome is that
// of this run, and Alone is set. If good is false with most replicas, the outcome is theirs. The
// caller has to check whether good is true for the outcome.
func FewestReplicas(project Project, most int, good func(*Outcome) bool) Project {
	return func(ctx context.Context, p Point) (Outcome, error) {
		probes := 0
		at := func(p Point) (Outcome, bool, error) {
			probes++
			o, err := project(ctx, p)
			o.Point = p
			return o, err == nil && o.Error == "" && good(&o), err
		}
		p.Replicas = 1
		best, ok, err := at(p)
		done := func() (Outcome, error) {
			best.ReplicaProbes = probes
			return best, err
		}
		if ok || err != nil || best.Error != "" || most <= 1 {
			return done()
		}
		one := p
		one.Concurrency = 1
		alone, ok, err := at(one)
		if err != nil || !ok && alone.Error == "" {
			best, best.Point, best.Alone = alone, p, true
			return done()
		}
		low, high := 1, 1 // good is false with low
		for ok = false; !ok; {
			if high == most {
				return done()
			}
			low, high = high, min(2*high, most)
			p.Replicas = high
			if best, ok, err = at(p); err != nil || best.Error != "" {
				return done()
			}
		}
		for high-low > 1 {
			p.Replicas = low + (high-low)/2
			o, ok, err := at(p)
			if err != nil {
				return o, err
			}
			if ok {
				high, best = p.Replicas, o
			} else {
				low = p.Replicas
			}
		}
		return done()
	}
}
