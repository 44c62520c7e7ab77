package sweep

import "context"

// FewestPools returns a Project that finds the fewest prefill and decode servers with which good is
// true, up to most of each. The search assumes that good stays true with more servers. Of equal
// totals it takes that with the fewest prefill servers.
//
// If good is false even for one request at a time on a server that does both, no number helps,
// since sending KVs only adds time; the outcome is that of this run, and Alone is set. If good is
// false with most servers of both kinds, the outcome is theirs. The caller has to check whether
// good is true for the outcome.
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
		// fewest returns the smallest n for which holds is true; it is true for high.
		fewest := func(high int, holds func(n int) (bool, error)) (int, error) {
			low := 0 // holds is false
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
		if best.Prefill != prefill || best.Decode != decode { // best is an outcome of another number of servers
			if best, _, err = try(p); err != nil {
				return done(best, err)
			}
		}
		return done(best, nil)
	}
}

// BestPools returns a Project that divides a number of servers into prefill and decode servers in
// the best way. better reports whether its first outcome is better than its second. Of equally good
// divisions it takes that with the fewest prefill servers.
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
