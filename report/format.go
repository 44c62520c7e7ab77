package report

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"kvcompress/internal/words"
	"kvcompress/sim"
)

// times formats a factor as vLLM does.
func times(v float64) string { return fmt.Sprintf("%.2fx", v) }

// some formats a number, and 0 as a dot, so that the other numbers of a column stand out.
func some[T int | int64](n T) string {
	if n == 0 {
		return "·"
	}
	return words.Number(n)
}

// size formats a number of bytes with at least three digits, in units of 1,024.
func size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v /= 1 << 10; v < 999.5 {
			break
		}
	}
	switch {
	case v < 9.995:
		return fmt.Sprintf("%.2f %s", v, unit)
	case v < 99.95:
		return fmt.Sprintf("%.1f %s", v, unit)
	}
	return fmt.Sprintf("%.0f %s", v, unit)
}

// shortSize formats a number of bytes for a column: 33.5K.
func shortSize(n int64) string {
	if n == 0 {
		return "·"
	}
	number, unit, _ := strings.Cut(size(n), " ")
	return number + strings.TrimRight(unit, "iB")
}

// percent formats a fraction in percent with one decimal.
func percent(part float64) string { return fmt.Sprintf("%.1f %%", 100*part) }

// timeDecimals returns the decimals that a replay's steps need, in milliseconds, to differ from
// each other.
func timeDecimals(r *sim.Report) int {
	if r.Options.StepTimeNS%100_000 == 0 {
		return 1
	}
	return 3
}

// ms formats nanoseconds as milliseconds, and an event that did not happen as a dash.
func (p *printer) ms(ns int64) string {
	if ns < 0 {
		return "–"
	}
	s := strconv.FormatFloat(float64(ns)/1e6, 'f', p.decimals, 64)
	whole, rest, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return s
	}
	return words.Number(n) + "." + rest
}

// wrap breaks a paragraph into lines of at most width characters, between words. It does not
// separate a number from its unit.
func wrap(text string, width int) []string {
	var parts []string
	for word := range strings.FieldsSeq(text) {
		switch strings.TrimRight(word, ".,;:)") {
		case "%", "B", "KiB", "MiB", "GiB", "TiB":
			if len(parts) > 0 {
				parts[len(parts)-1] += " " + word
				continue
			}
		}
		parts = append(parts, word)
	}
	var lines []string
	line := ""
	for _, word := range parts {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// list joins words as English does: a, b and c.
func list(items []string) string {
	if len(items) < 2 {
		return strings.Join(items, "")
	}
	last := len(items) - 1
	return strings.Join(items[:last], ", ") + " and " + items[last]
}
