// Package stat says how sure a benchmark can be of its scores: the interval of a mean, and
// whether one method is better than another on the same prompts. Scores are numbers in
// [0, 1], one for each prompt, such as the fraction of an answer that is right.
//
// Everything is a function of its arguments alone, and the same on every platform.
//
// Start with [Mean] for one method, [Paired] for two, and [Rank] for many.
package stat

import (
	"errors"
	"fmt"
	"math"
)

// z95 is the 0.975 quantile of the standard normal distribution.
const z95 = 1.959963984540054

// Interval is a mean of scores and its 95 % confidence interval.
type Interval struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	N    int     `json:"n"` // prompts
}

// Mean returns the mean of independent scores with Wilson's 95 % interval for a proportion
// (Wilson 1927),
//
//	(μ + z²/2n ± z·√(μ(1−μ)/n + z²/4n²)) / (1 + z²/n),  z = 1.96
//
// For scores of 0 and 1 that is its definition. Scores between give a narrower
// distribution, since one in [0, 1] with mean μ has a variance of at most μ(1−μ): then
// the interval is at least as wide as it has to be. It has a width even where all scores
// are equal, and stays within [0, 1].
func Mean(scores []float64) (Interval, error) {
	if len(scores) == 0 {
		return Interval{}, errors.New("stat: there are no scores")
	}
	sum := 0.0
	for i, s := range scores {
		if !(s >= 0 && s <= 1) {
			return Interval{}, fmt.Errorf("stat: score %d is %v: want 0 to 1", i, s)
		}
		sum += s
	}
	n := float64(len(scores))
	mean := sum / n
	center := mean + z95*z95/(2*n)
	half := z95 * math.Sqrt(mean*(1-mean)/n+z95*z95/(4*n*n))
	scale := 1 + z95*z95/n
	return Interval{
		Mean: mean,
		Low:  max(0, min(mean, (center-half)/scale)),
		High: min(1, max(mean, (center+half)/scale)),
		N:    len(scores),
	}, nil
}
