package sweep

import "context"

// FewestPools returns a projection of the fewest servers, up to most that prefill and most
// that decode, with which good holds, as if what holds with some servers of a kind held with
// more. Of equally few it has the fewest that prefill.
//
// Where one request at a time on one server that does both does not hold it, no number does,
// and the outcome is of that, as Alone says: sending KVs takes time, and saves none. Where
// most of both do not, it is of these. Whether the outcome holds is for the caller to see.
func FewestPools(project Project, most int, good func(*Outcome) bool) Project {
	return func(ctx context.Context, p Point) (Outcome, error) {
		probes := 0
		try := func(q Point) (Outcome, bool, error) {
			probes++
			o, err := project(ctx, q)
			o.Point = q
			return o, err == nil && o.Error == "" && good(&o), err
		}
		var best Outcome
		at := func(prefill, decode int) (bool, error) {
			q := p
			q.Prefill, q.Decode = prefill, decode
			o, ok, err := try(q)
			if ok || err != nil {
				best = o
			}
			return ok, err
		}
		done := func(o Outcome, err error) (Outcome, error) {
			o.ReplicaProbes = probes
			return o, err
		}
		p.Prefill, p.Decode = 1, 1
		one, ok, err := try(p)
		if ok || err != nil || one.Error != "" {
			return done(one, err)
		}
		together := p
		together.Prefill, together.Decode, together.Concurrency = 0, 0, 1
		alone, ok, err := try(together)
		if err != nil || !ok && alone.Error == "" {
			alone.Point, alone.Alone = p, true
			return done(alone, err)
		}
		widest := p
		widest.Prefill, widest.Decode = most, most
		last, ok, err := try(widest)
		if !ok {
			return done(last, err)
		}
		best = last
		// fewest returns the fewest of a kind, up to high, which holds.
		fewest := func(high int, holds func(n int) (bool, error)) (int, error) {
			low := 0 // does not hold
			for next := 1; high-low > 1; {
				n := min(next, low+(high-low)/2)
				ok, err := holds(n)
				switch {
				case err != nil:
					return 0, err
				case ok:
					high = n
				default:
					low = n
				}
				next = 2 * n
			}
			return high, nil
		}
		leastDecode, err := fewest(most, func(n int) (bool, error) { return at(most, n) })
		if err != nil {
			return done(best, err)
		}
		prefill, err := fewest(most, func(n int) (bool, error) { return at(n, most) })
		if err != nil {
			return done(best, err)
		}
		decode, err := fewest(most, func(n int) (bool, error) { return at(prefill, n) })
		if err != nil {
			return done(best, err)
		}
		// With more prefill servers, fewer decode servers may be enough, and fewer servers in all.
		for total, more := prefill+decode, prefill+1; more <= most && more+leastDecode < total; more++ {
			high := total - 1 - more
			ok, err := at(more, high)
			if err != nil {
				return done(best, err)
			}
			if !ok {
				continue
			}
			least, err := fewest(high, func(n int) (bool, error) { return at(more, n) })
			if err != nil {
				return done(best, err)
			}
			prefill, decode, total = more, least, more+least
		}
		p.Prefill, p.Decode = prefill, decode
		if best.Prefill != prefill || best.Decode != decode { // another was tried since
			if best, _, err = try(p); err != nil {
				return done(best, err)
			}
		}
		return done(best, nil)
	}
}

// BestPools returns a projection of a given number of servers, of which as many prefill as is best by
// better, which reports whether its first outcome is better than its second. Of equally good
// ones the fewest prefill.
func BestPools(project Project, servers int, better func(a, b *Outcome) bool) Project {
	return func(ctx context.Context, p Point) (best Outcome, err error) {
		for prefill := 1; prefill < servers; prefill++ {
			p.Prefill, p.Decode = prefill, servers-prefill
			o, err := project(ctx, p)
			o.Point = p
			if err != nil || o.Error != "" {
				o.ReplicaProbes = prefill
				return o, err
			}
			if prefill == 1 || better(&o, &best) {
				best = o
			}
			best.ReplicaProbes = prefill
		}
		return best, nil
	}
}
