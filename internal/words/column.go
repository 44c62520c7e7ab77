package words

import (
	"math"
	"slices"
)

// Decimals returns the number of decimals, up to 4, for the numbers of a column: the fewest with which
// the positive value at their lower quartile has the given number of significant digits.
func Decimals(values []float64, digits int) int {
	v := slices.DeleteFunc(slices.Clone(values), func(x float64) bool { return !(x > 0) || math.IsInf(x, 0) })
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	quartile := v[len(v)/4]
	full := math.Pow10(digits-1) - 0.5 // what is printed with all its digits before the point
	decimals := 0
	for ; quartile < full && decimals < 4; quartile *= 10 {
		decimals++
	}
	return decimals
}
