package requestlog

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

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

// parseTokens reads a number of tokens. Programs that hold them as floating-point
// numbers write 374.0.
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
		case kept == 19: // more is below a nanosecond, or far beyond all times
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
		return 0, fmt.Errorf("a time of %s is beyond what a trace can say, 146 years", excerpt(s))
	}
	return int64(mantissa), nil
}

// isTimestamp reports whether s begins as a date does.
func isTimestamp(s string) bool { return len(s) >= 10 && s[4] == '-' && s[7] == '-' }

// parseTimestamp reads a date and time as RFC 3339 has it, or with a space between
// the two, with any number of decimals and with or without a zone; without, it is
// UTC. It returns nanoseconds since 1970.
func parseTimestamp(s string) (int64, error) {
	wrong := func() (int64, error) {
		return 0, fmt.Errorf("want a date and time such as 2024-05-10 00:00:00.009930+00:00, got %s", quoted(s))
	}
	const form = "0000-00-00 00:00:00"
	if len(s) < len(form) {
		return wrong()
	}
	for i := range len(form) {
		switch c := s[i]; {
		case form[i] == '0' && c >= '0' && c <= '9', form[i] == c, i == 10 && c == 'T':
		default:
			return wrong()
		}
	}
	two := func(i int) int { return int(s[i]-'0')*10 + int(s[i+1]-'0') }
	year, month, day, hour, minute, second := 100*two(0)+two(2), two(5), two(8), two(11), two(14), two(17)
	nanos, rest := 0, s[len(form):]
	if len(rest) > 0 && rest[0] == '.' {
		n := 1
		for scale := 100_000_000; n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; n++ {
			nanos += int(rest[n]-'0') * scale // of which nothing is left after nine digits
			scale /= 10
		}
		if n == 1 {
			return wrong()
		}
		rest = rest[n:]
	}
	offset := 0
	switch {
	case rest == "", rest == "Z":
	case len(rest) == 6 && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':' && digits(rest[1:3]) && digits(rest[4:]):
		at := len(s) - 5
		offset = two(at)*3600 + two(at+3)*60
		if rest[0] == '-' {
			offset = -offset
		}
	default:
		return wrong()
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	if t.Day() != day || int(t.Month()) != month || hour > 23 || minute > 59 || second > 59 {
		return wrong()
	}
	seconds := t.Unix() - int64(offset)
	if seconds < 0 || seconds >= trace.MaxArrivalNS/1_000_000_000 {
		return 0, fmt.Errorf("%s is out of bounds, want 1970 to 2116", quoted(s))
	}
	return seconds*1e9 + int64(nanos), nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// excerpt is a copy, so that what is parsed need not be kept for an error.
func excerpt(s string) string {
	return strictjson.Excerpt(strings.TrimSpace(strings.Clone(s[:min(len(s), 200)])))
}

// quoted is a value as errors show it: short, and in quotes.
func quoted(s string) string {
	return fmt.Sprintf("%q", excerpt(s))
}
