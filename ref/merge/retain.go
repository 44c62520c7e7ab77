package merge

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// CheckGamma returns an error if γ is not from 0 to 1.
func CheckGamma(gamma float64) error {
	if !(gamma >= 0 && gamma <= 1) {
		return fmt.Errorf("merge: gamma is %v: choose 0 (retain nothing) to 1", gamma)
	}
	return nil
}

// RatioCount returns how many of n tokens are retained by ratio: ⌈γ·n⌉, with the product in binary64.
func RatioCount(n int, gamma float64) int {
	return min(n, int(math.Ceil(float64(n)*gamma)))
}

// Ratio returns the tokens retained by ratio, ascending: the [RatioCount] with the largest distance, ties to
// the oldest.
func Ratio(distances []float32, gamma float64) []int32 {
	return Largest(distances, RatioCount(len(distances), gamma))
}

// Largest returns the count tokens with the largest distance, ties to the oldest; ascending.
func Largest(distances []float32, count int) []int32 {
	order := make([]int32, len(distances))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(i, j int32) int { return cmp.Compare(distances[j], distances[i]) })
	order = order[:max(0, min(count, len(order)))]
	slices.Sort(order)
	return order
}

// LargestSpec is the specification of Largest: a token is retained if fewer than count tokens have a larger
// distance, or the same one and are older.
func LargestSpec(distances []float32, count int) []int32 {
	var kept []int32
	for i, d := range distances {
		before := 0
		for j, other := range distances {
			if other > d || other == d && j < i {
				before++
			}
		}
		if before < count {
			kept = append(kept, int32(i))
		}
	}
	return kept
}

// Limit returns the distance above which tokens are retained by threshold: d_max − γ·(d_max − d_min), in
// binary32; +∞ without tokens.
//
// The paper prints "below d_min + γ·(d_max − d_min)", which would retain the tokens that merge best. With
// this package's distances, the tokens that merge worst are those above the limit.
func Limit(distances []float32, gamma float64) float32 {
	if len(distances) == 0 {
		return float32(math.Inf(1))
	}
	low, high := slices.Min(distances), slices.Max(distances)
	return high - float32(float32(gamma)*(high-low))
}

// Above returns the tokens with a distance above a limit, ascending. Their number depends on the data: with
// equal distances it is 0.
func Above(distances []float32, limit float32) []int32 {
	var kept []int32
	for i, d := range distances {
		if d > limit {
			kept = append(kept, int32(i))
		}
	}
	return kept
}
