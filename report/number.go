package report

import (
	"fmt"
	"math"
	"strconv"

	"kvcompress/internal/words"
)

// whole formats a number rounded to an integer, with commas between thousands.
func whole(v float64) string { return words.Whole(math.Round(v)) }

// wholeOrDot is whole, but a dot for 0.
func wholeOrDot(v float64) string {
	if v == 0 {
		return "·"
	}
	return whole(v)
}

// short formats a number with three significant digits.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 999.5:
		return whole(v)
	case a >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 0.0995 || a == 0:
		return trimZeros(strconv.FormatFloat(v, 'f', 2, 64))
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

func trimZeros(s string) string {
	for len(s) > 1 && s[len(s)-1] == '0' {
		s = s[:len(s)-1]
	}
	if s[len(s)-1] == '.' {
		s = s[:len(s)-1]
	}
	return s
}

// duration formats seconds in a suitable unit.
func duration(s float64) string {
	switch {
	case s <= 0:
		return "·"
	case s < 0.9995e-3:
		return short(s*1e6) + " µs"
	case s < 0.9995:
		return short(s*1e3) + " ms"
	case s < 599.5:
		return short(s) + " s"
	case s < 36000:
		return short(s/60) + " min"
	}
	return short(s/3600) + " h"
}

func percentShort(part float64) string { return fmt.Sprintf("%.0f %%", 100*part) }

func dollars(v float64) string {
	if v == 0 {
		return "·"
	}
	if v < 0.1 {
		return fmt.Sprintf("$%.2g", v)
	}
	return fmt.Sprintf("$%.2f", v)
}
