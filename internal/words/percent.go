package words

import (
	"math"
	"strconv"
)

// Share formats a fraction of many in percent, rounded down, so that it does not look like a required
// fraction that it misses: to a tenth, but between 99.9 % and 100 % to a hundredth, and from 99.99 % on to a
// thousandth.
func Share(part float64) string {
	decimals := 1
	switch {
	case part > 0 && part < 0.001:
		return "< 0.1 %"
	case part >= 0.9999 && part < 1:
		decimals = 3
	case part >= 0.999 && part < 1:
		decimals = 2
	}
	return strconv.FormatFloat(percent(part, decimals), 'f', -1, 64) + " %"
}

// ShareColumn is Share with one decimal for every fraction, for a column of a table. Only a fraction of 1
// gives 100.0 %.
func ShareColumn(part float64) string {
	if part > 0 && part < 0.001 {
		return Share(part)
	}
	return strconv.FormatFloat(percent(part, 1), 'f', 1, 64) + " %"
}

// percent returns a fraction in percent, rounded down to a number of decimals. A fraction that a rounding
// error has made slightly smaller than such a number is not rounded down to the next one.
func percent(part float64, decimals int) float64 {
	return math.Floor(float64(math.Pow10(2+decimals)*part)+1e-6) / math.Pow10(decimals)
}

// Required formats a required fraction in percent, with all of its digits.
func Required(part float64) string { return strconv.FormatFloat(100*part, 'g', 10, 64) + " %" }
