package words

import (
	"math"
	"strconv"
	"strings"
)

// Share formats a fraction of many in percent, rounded down, so that it does not look like a required
// fraction that it misses: to a tenth, and from 99.9 % on to a thousandth.
func Share(part float64) string {
	number := strings.TrimSuffix(ShareColumn(part), " %")
	if number[0] != '<' && strings.Contains(number, ".") {
		number = strings.TrimRight(strings.TrimRight(number, "0"), ".")
	}
	return number + " %"
}

// ShareColumn is Share with as many digits for every fraction below 99.9 %, for a column of a table.
func ShareColumn(part float64) string {
	switch {
	case part == 1:
		return "100 %"
	case part > 0 && part < 0.001:
		return "< 0.1 %"
	case part >= 0.999 && part < 1:
		return percent(part, 3)
	}
	return percent(part, 1)
}

// percent rounds down to a number of decimals. A number that is off by a rounding error from one with so
// many decimals is taken for it.
func percent(part float64, decimals int) string {
	scale := math.Pow10(2 + decimals)
	return strconv.FormatFloat(math.Floor(float64(scale*part)+1e-6)/math.Pow10(decimals), 'f', decimals, 64) + " %"
}

// Required formats a required fraction in percent, with all of its digits.
func Required(part float64) string { return strconv.FormatFloat(100*part, 'g', 10, 64) + " %" }
