package sweep

import (
	"context"
	"fmt"
	"math"
)

// loadSteps is the number of loads in each doubling that a search distinguishes: the largest load
// is found to within 2^(1/64) − 1 = 1.1 %.
const loadSteps = 64

// LargestLoad returns a Project that finds the largest load at which good is true, by doubling or
// halving the point's load and then by bisection. The search assumes that good is true at every
// smaller load too. If good is true at no load, the outcome is that of the smallest load tried, with
// an Error that says so.
func LargestLoad(project Project, good func(*Outcome) bool) Project {
	return func(ctx context.Context, p Point) (Outcome, error) {
		probes := 0
		first := p.Load
		// at is the outcome of the load first·2^(k/loadSteps).
		at := func(k int) (Outcome, bool, error) {
			q := p
			q.Load = first * math.Exp2(float64(k)/loadSteps)
			probes++
			o, err := project(ctx, q)
			o.Point = q
			return o, err == nil && o.Error == "" && good(&o), err
		}
		best, ok, err := at(0)
		if err != nil || best.Error != "" {
			best.LoadProbes = probes
			return best, err
		}
		const doublings = 12
		low, high := 0, 0 // good at low and not at high
		step := loadSteps
		if !ok {
			step = -loadSteps
		}
		for k := step; ; k += step {
			if k > doublings*loadSteps || k < -doublings*loadSteps {
				best.LoadUnbounded = ok
				if !ok {
					best.Error = fmt.Sprintf("no load meets the objectives, not even %g requests per second", best.Metrics.OfferedRate)
				}
				best.LoadProbes = probes
				return best, nil
			}
			o, holds, err := at(k)
			if err != nil {
				return o, err
			}
			if ok && !holds {
				low, high = k-step, k
				break
			}
			best = o
			if holds && !ok {
				low, high = k, k-step
				break
			}
		}
		for high-low > 1 {
			k := low + (high-low)/2
			o, holds, err := at(k)
			if err != nil {
				return o, err
			}
			if holds {
				low, best = k, o
			} else {
				high = k
			}
		}
		best.LoadProbes = probes
		return best, nil
	}
}
