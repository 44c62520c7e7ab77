package requestlog

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"kvcompress/strictjson"
	"kvcompress/trace"
)

// Unit is a unit of time, as nanoseconds.
type Unit int64

// The units of time.
const (
	Nanosecond  Unit = 1
	Microsecond Unit = 1e3
	Millisecond Unit = 1e6
	Second      Unit = 1e9
)

// ParseUnit reads s, ms, us or ns.
func ParseUnit(s string) (Unit, error) {
	switch s {
	case "s":
		return Second, nil
	case "ms":
		return Millisecond, nil
	case "us", "µs":
		return Microsecond, nil
	case "ns":
		return Nanosecond, nil
	}
	return 0, fmt.Errorf("%q is no unit of time: want s, ms, us or ns", s)
}

// String returns the unit as ParseUnit reads it.
func (u Unit) String() string {
	switch u {
	case Second:
		return "s"
	case Millisecond:
		return "ms"
	case Microsecond:
		return "us"
	}
	return "ns"
}

// parseTokens reads a number of tokens. It accepts 374.0, which programs write that
// store numbers of tokens in floating point.
func parseTokens(s string) (int, error) {
	n, digits := 0, 0
	i := 0
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		n = min(10*n+int(s[i]-'0'), trace.MaxTokens+1)
		digits++
	}
	if digits > 0 && i < len(s) && s[i] == '.' {
		for i++; i < len(s) && s[i] == '0'; i++ {
		}
	}
	switch {
	case digits == 0 || i < len(s):
		return 0, fmt.Errorf("want a number of tokens, got %s", quoted(s))
	case n > trace.MaxTokens:
		return 0, fmt.Errorf("%s tokens, want at most %d", excerpt(s), trace.MaxTokens)
	}
	return n, nil
}

var errNegative = errors.New("a negative time")

// parseTime reads a number in the given unit, exactly, and rounds it to whole
// nanoseconds.
func parseTime(s string, unit Unit) (int64, error) {
	var mantissa uint64 // up to 19 digits
	var exponent, kept, digits int
	var negative, point bool
	i := 0
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		negative = s[i] == '-'
		i++
	}
scan:
	for ; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '.' && !point:
			point = true
			continue
		case c < '0' || c > '9':
			break scan
		case kept == 19: // further digits are less than a nanosecond, or the time is out of range
			if !point {
				exponent++
			}
		default:
			mantissa = 10*mantissa + uint64(c-'0')
			if mantissa > 0 {
				kept++
			}
			if point {
				exponent--
			}
		}
		digits++
	}
	if digits > 0 && i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		e, n, sign := 0, 0, 1
		i++
		if i < len(s) && (s[i] == '-' || s[i] == '+') {
			if s[i] == '-' {
				sign = -1
			}
			i++
		}
		for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
			e = min(10*e+int(s[i]-'0'), 1e6)
			n++
		}
		if n == 0 {
			digits = 0
		}
		exponent += sign * e
	}
	if digits == 0 || i < len(s) {
		return 0, fmt.Errorf("want a time, got %s", quoted(s))
	}
	if mantissa == 0 {
		return 0, nil
	}
	if negative {
		return 0, errNegative
	}
	for u := unit; u > 1; u /= 10 {
		exponent++
	}
	for ; exponent > 0 && mantissa <= trace.MaxArrivalNS; exponent-- {
		if mantissa > math.MaxUint64/10 {
			break
		}
		mantissa *= 10
	}
	if exponent < -19 {
		return 0, nil
	}
	if exponent < 0 {
		power := uint64(1)
		for ; exponent < 0; exponent++ {
			power *= 10 // up to 10¹⁹
		}
		quotient, rest := mantissa/power, mantissa%power
		if rest >= power-rest {
			quotient++
		}
		mantissa = quotient
	}
	if exponent > 0 || mantissa > trace.MaxArrivalNS {
		return 0, fmt.Errorf("a time of %s %s is beyond what a trace can say, 146 years; is it of a smaller unit?", excerpt(s), unit)
	}
	return int64(mantissa), nil
}

// excerpt returns a copy of the beginning of s, so an error does not keep the buffer alive.
func excerpt(s string) string {
	return strictjson.Excerpt(strings.TrimSpace(strings.Clone(s[:min(len(s), 200)])))
}

// quoted returns a value as errors show it: short, and in quotes.
func quoted(s string) string {
	return fmt.Sprintf("%q", excerpt(s))
}
