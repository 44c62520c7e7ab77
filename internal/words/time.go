package words

import (
	"strconv"
	"time"
)

// Time returns a time that was given, with all of its digits, in the largest unit up to seconds in which it
// is at least 1: 10 ms, 2 s, 90 s.
func Time(d time.Duration) string {
	unit, name := time.Second, "s"
	switch {
	case d < time.Microsecond:
		unit, name = time.Nanosecond, "ns"
	case d < time.Millisecond:
		unit, name = time.Microsecond, "µs"
	case d < time.Second:
		unit, name = time.Millisecond, "ms"
	}
	return separated(strconv.FormatFloat(float64(d)/float64(unit), 'f', -1, 64)) + " " + name
}
