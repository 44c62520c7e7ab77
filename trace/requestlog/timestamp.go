package requestlog

import (
	"errors"
	"fmt"
	"time"

	"kvcompress/trace"
)

// isTimestamp reports whether s is a date or time of day rather than a number: it has at
// least two separators.
func isTimestamp(s string) bool {
	separators := 0
	for i := range len(s) {
		switch {
		case s[i] == ':' && i > 0:
			return true
		case s[i] == '/' || s[i] == '-' && i > 0 && s[i-1] >= '0' && s[i-1] <= '9':
			separators++
		}
	}
	return separators >= 2
}

// backwards is the smallest step back in time that is taken for a change from daylight
// saving time.
const backwards = 30 * time.Minute

// calendar reads the dates and times of one log. Either all have a zone or none has.
type calendar struct {
	started bool
	zoned   bool
	last    int64
	// If times have no zone: the first line that is earlier than the one above by at least
	// backwards, and by how much.
	backLine int
	backBy   time.Duration
}

// parse reads the time of a line, in nanoseconds since 1970. Without a zone it is UTC.
func (c *calendar) parse(s string, line int) (int64, error) {
	at, zoned, err := parseTimestamp(s)
	if err != nil {
		return 0, err
	}
	if c.started && zoned != c.zoned {
		has, had := "a zone", "none"
		if c.zoned {
			has, had = had, has
		}
		return 0, fmt.Errorf("%s has %s, and the times above it have %s: write all with one, as in 2024-05-10 00:00:00+02:00", quoted(s), has, had)
	}
	if by := time.Duration(c.last - at); c.started && !zoned && c.backLine == 0 && by >= backwards {
		c.backLine, c.backBy = line, by
	}
	c.started, c.zoned, c.last = true, zoned, at
	return at, nil
}

// note returns a note if the times may be misleading, else "".
func (c *calendar) note() string {
	if c.backLine == 0 {
		return ""
	}
	return fmt.Sprintf("line %d is %v before the one above it, and the times have no zone, so they were read as UTC: if the clocks were put back there, the hours overlap; write the times with their zone",
		c.backLine, c.backBy.Round(time.Second))
}

// timestampForm is the form of a date and time up to the second; 0 stands for a digit.
const timestampForm = "0000-00-00 00:00:00"

// parseTimestamp reads a date and time as in RFC 3339. It also accepts a space between
// the two, slashes in the date, a comma before the decimals, any number of decimals, and
// the zones Z, UTC, +02:00, +0200 and +02. Without a zone the time is UTC. It returns
// nanoseconds since 1970, and whether there was a zone.
func parseTimestamp(s string) (ns int64, zoned bool, err error) {
	if err := checkTimestamp(s); err != nil {
		return 0, false, err
	}
	two := func(i int) int { return int(s[i]-'0')*10 + int(s[i+1]-'0') }
	year, month, day, hour, minute, second := 100*two(0)+two(2), two(5), two(8), two(11), two(14), two(17)
	nanos, rest := 0, s[len(timestampForm):]
	if len(rest) > 0 && (rest[0] == '.' || rest[0] == ',') {
		n := 1
		for scale := 100_000_000; n < len(rest) && digits(rest[n:n+1]); n++ {
			nanos += int(rest[n]-'0') * scale // scale is 0 after nine digits
			scale /= 10
		}
		if n == 1 {
			return 0, false, wrongTimestamp(s)
		}
		rest = rest[n:]
	}
	offset, zoned, err := parseZone(rest)
	if err != nil {
		return 0, false, fmt.Errorf("%s: %w", quoted(s), err)
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	if t.Day() != day || int(t.Month()) != month || hour > 23 || minute > 59 || second > 59 {
		return 0, false, wrongTimestamp(s)
	}
	seconds := t.Unix() - int64(offset)
	if seconds < 0 || seconds >= trace.MaxArrivalNS/1_000_000_000 {
		return 0, false, fmt.Errorf("%s is out of bounds, want 1970 to 2116", quoted(s))
	}
	return seconds*1e9 + int64(nanos), zoned, nil
}

func wrongTimestamp(s string) error {
	return fmt.Errorf("want a date and time such as 2024-05-10 00:00:00.009930+00:00, got %s", quoted(s))
}

// checkTimestamp returns an error unless s begins with a date and time up to the second.
func checkTimestamp(s string) error {
	if dayOrMonthFirst(s) {
		return fmt.Errorf("%s may have the day or the month first: write the year first, as in 2024-05-10 00:00:00", quoted(s))
	}
	if len(s) < len(timestampForm) {
		return wrongTimestamp(s)
	}
	for i := range len(timestampForm) {
		switch c, want := s[i], timestampForm[i]; {
		case want == '0' && c >= '0' && c <= '9', want == c, want == ' ' && c == 'T':
		case want == '-' && c == '/' && s[4] == s[7]:
		default:
			return wrongTimestamp(s)
		}
	}
	return nil
}

// dayOrMonthFirst reports whether s begins with a date such as 10/05/2024.
func dayOrMonthFirst(s string) bool {
	n := 0
	for n < len(s) && digits(s[n:n+1]) {
		n++
	}
	return (n == 1 || n == 2) && n < len(s) && (s[n] == '/' || s[n] == '-' || s[n] == '.') && isTimestamp(s)
}

// parseZone reads the zone after a time, and returns it in seconds east of UTC.
func parseZone(s string) (offset int, zoned bool, err error) {
	if len(s) > 1 && s[0] == ' ' {
		s = s[1:]
	}
	switch s {
	case "":
		return 0, false, nil
	case "Z", "UTC", "GMT":
		return 0, true, nil
	case "AM", "PM", "am", "pm":
		return 0, false, errors.New("a clock of 12 hours: write the hour as 0 to 23")
	}
	if s[0] != '+' && s[0] != '-' {
		for i := range len(s) {
			if c := s[i] | 0x20; c < 'a' || c > 'z' {
				return 0, false, fmt.Errorf("want a zone as in +02:00 behind the time, got %s", quoted(s))
			}
		}
		return 0, false, fmt.Errorf("%s names different zones in different places: write the zone as in +02:00", quoted(s))
	}
	hours, minutes := s[1:], "00"
	switch {
	case len(hours) == 5 && hours[2] == ':':
		hours, minutes = hours[:2], hours[3:]
	case len(hours) == 4:
		hours, minutes = hours[:2], hours[2:]
	}
	if len(hours) != 2 || !digits(hours) || !digits(minutes) || minutes > "59" || hours > "14" {
		return 0, false, fmt.Errorf("want a zone as in +02:00 behind the time, got %s", quoted(s))
	}
	offset = (int(hours[0]-'0')*10+int(hours[1]-'0'))*3600 + (int(minutes[0]-'0')*10+int(minutes[1]-'0'))*60
	if s[0] == '-' {
		offset = -offset
	}
	return offset, true, nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
