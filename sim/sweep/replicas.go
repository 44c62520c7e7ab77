package sweep

import (
	"context"
)

// searches is the most numbers of replicas for which FewestReplicas also tries one more.
const searches = 8

// FewestReplicas returns a Project that finds the fewest replicas, up to most, with which good is
// true, and with one more too: requests may meet objectives by chance, and miss them with one replica
// more. (One replica is not tried with one more: each of two would have half its load.) If one more cannot
// be projected, OneMoreError is set. If there is no
// such number among the first few, the outcome is that of the fewest found, and OneMoreMisses is set.
// Otherwise the search, by doubling and then by bisection, assumes that good stays true with more
// replicas. If good is false even for one request at a time, no number helps: the outcome is that of
// this run, and Alone is set. If good is false with most replicas, the outcome is theirs. The caller has
// to check whether good is true for the outcome.
func FewestReplicas(project Project, most int, good func(*Outcome) bool) Project {
	return func(ctx context.Context, p Point) (Outcome, error) {
		probes := 0
		try := func(p Point) (Outcome, bool, error) {
			probes++
			o, err := project(ctx, p)
			o.Point = p
			return o, err == nil && o.Error == "" && good(&o), err
		}
		done := func(o Outcome, err error) (Outcome, error) {
			o.ReplicaProbes = probes
			return o, err
		}
		p.Replicas = 1
		first, ok, err := try(p)
		if ok || err != nil || first.Error != "" || most <= 1 {
			return done(first, err)
		}
		one := p
		one.Concurrency = 1
		alone, ok, err := try(one)
		if err != nil || !ok && alone.Error == "" {
			alone.Point, alone.Alone = p, true
			return done(alone, err)
		}
		enough := map[int]Outcome{} // outcomes for which good is true, by number of replicas
		at := func(n int) (Outcome, bool, error) {
			q := p
			q.Replicas = n
			o, ok, err := try(q)
			if ok {
				enough[n] = o
			}
			return o, ok, err
		}
		low := 1 // good is false with low
		for range searches {
			high := leastAbove(enough, low)
			for n := low; high == 0; { // double until good is true
				if n == most {
					return done(oneMoreMisses(enough), nil)
				}
				n = min(2*n, most)
				o, ok, err := at(n)
				switch {
				case err != nil || (o.Error != "" || !ok && n == most) && len(enough) == 0:
					return done(o, err)
				case o.Error != "":
					return done(oneMoreMisses(enough), nil)
				case ok:
					high = n
				default:
					low = n
				}
			}
			for high-low > 1 {
				n := low + (high-low)/2
				o, ok, err := at(n)
				switch {
				case err != nil:
					return done(o, err)
				case ok:
					high = n
				default:
					low = n
				}
			}
			if _, known := enough[high+1]; known || high == most {
				return done(enough[high], nil)
			}
			switch o, ok, err := at(high + 1); {
			case err != nil:
				return done(o, err)
			case o.Error != "":
				found := enough[high]
				found.OneMoreError = o.Error
				return done(found, nil)
			case ok:
				return done(enough[high], nil)
			}
			low = high + 1
		}
		return done(oneMoreMisses(enough), nil)
	}
}

// leastAbove returns the least of the numbers above low, 0 if there is none.
func leastAbove(numbers map[int]Outcome, low int) int {
	least := 0
	for n := range numbers {
		if n > low && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// oneMoreMisses returns the outcome of the least of the numbers, with OneMoreMisses set.
func oneMoreMisses(numbers map[int]Outcome) Outcome {
	o := numbers[leastAbove(numbers, 0)]
	o.OneMoreMisses = true
	return o
}
