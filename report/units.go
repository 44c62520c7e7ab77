package report

import (
	"math"
	"slices"
	"strings"

	"kvcompress/internal/words"
)

// measure is the format of a column's values: one unit and one number of decimals for all.
type measure struct {
	name     string // "" is none
	per      float64
	decimals int
}

// timeUnit returns the unit for a column of seconds: the largest in which most positive values
// are at least 1, with enough decimals for the given number of significant digits of the value at
// the lower quartile.
func timeUnit(seconds []float64, digits int) measure {
	v := positive(seconds)
	u := measure{name: "s", per: 1}
	if len(v) > 0 {
		switch middle := v[(len(v)-1)/2]; {
		case middle < 1e-3:
			u = measure{name: "µs", per: 1e6}
		case middle < 0.9995:
			u = measure{name: "ms", per: 1e3}
		}
	}
	for i := range v {
		v[i] *= u.per
	}
	u.decimals = words.Decimals(v, digits)
	return u
}

// plainUnit returns the decimals for a column of numbers without a unit.
func plainUnit(values []float64) measure { return measure{"", 1, words.Decimals(values, 2)} }

// inputUnit returns the decimals for a column of an input's values: as many as short gives to the value
// that takes the most.
func inputUnit(values []float64) measure {
	u := measure{per: 1}
	for _, v := range values {
		_, decimals, _ := strings.Cut(short(v), ".")
		u.decimals = min(4, max(u.decimals, len(decimals)))
	}
	return u
}

func positive(values []float64) []float64 {
	v := slices.DeleteFunc(slices.Clone(values), func(x float64) bool { return !(x > 0) || math.IsInf(x, 0) })
	slices.Sort(v)
	return v
}

// text formats a value without its unit.
func (u measure) text(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return words.Decimal(v*u.per, u.decimals)
}
