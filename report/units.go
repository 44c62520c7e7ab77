package report

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// measure is the format of a column's values: one unit and one number of decimals for all.
type measure struct {
	name     string // "" is none
	per      float64
	decimals int
}

// timeUnit returns the unit for a column of seconds: the largest in which most positive values
// are at least 1, with enough decimals for two significant digits in the smaller half.
func timeUnit(seconds []float64) measure {
	v := positive(seconds)
	if len(v) == 0 {
		return measure{"s", 1, 0}
	}
	middle := v[(len(v)-1)/2]
	switch {
	case middle < 1e-3:
		return measure{"µs", 1e6, decimalsFor(v, 1e6)}
	case middle < 0.9995:
		return measure{"ms", 1e3, decimalsFor(v, 1e3)}
	}
	return measure{"s", 1, decimalsFor(v, 1)}
}

// plainUnit returns the decimals for a column of numbers without a unit.
func plainUnit(values []float64) measure {
	v := positive(values)
	return measure{"", 1, decimalsFor(v, 1)}
}

func positive(values []float64) []float64 {
	v := slices.DeleteFunc(slices.Clone(values), func(x float64) bool { return !(x > 0) || math.IsInf(x, 0) })
	slices.Sort(v)
	return v
}

// decimalsFor returns how many decimals, up to 4, give two significant digits to the value at the
// lower quartile.
func decimalsFor(sorted []float64, per float64) int {
	if len(sorted) == 0 {
		return 0
	}
	v := sorted[len(sorted)/4] * per
	decimals := 0
	for ; v < 9.5 && decimals < 4; v *= 10 {
		decimals++
	}
	return decimals
}

// text formats a value without its unit.
func (u measure) text(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	s := strconv.FormatFloat(v*u.per, 'f', u.decimals, 64)
	integer, rest, point := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(integer, "-") {
		sign, integer = "-", integer[1:]
	}
	for i := len(integer) - 3; i > 0; i -= 3 {
		integer = integer[:i] + "," + integer[i:]
	}
	if point {
		integer += "." + rest
	}
	return sign + integer
}
