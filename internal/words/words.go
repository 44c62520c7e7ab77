// Package words formats numbers together with the nouns and verbs that agree with them.
package words

import (
	"fmt"
	"strconv"
	"strings"
)

// Number returns a number with a comma before every three digits: 1,536,000.
func Number[T ~int | ~int32 | ~int64 | ~uint32 | ~uint64](n T) string {
	return separated(fmt.Sprint(n))
}

// Whole returns Number of x rounded to an integer.
func Whole(x float64) string { return Decimal(x, 0) }

// Decimal returns x rounded to a number of decimals, with a comma before every three digits of
// its integer part: 2,047.8.
func Decimal(x float64, decimals int) string {
	return separated(strconv.FormatFloat(x, 'f', decimals, 64))
}

// separated puts a comma before every three digits of a number's integer part. NaN and Inf
// stay as they are.
func separated(s string) string {
	first := strings.IndexAny(s, "0123456789")
	if first < 0 {
		return s
	}
	end := strings.IndexByte(s, '.')
	if end < 0 {
		end = len(s)
	}
	for i := end - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Count returns "1 token", "2,000 tokens", "0 queries".
func Count[T ~int | ~int32 | ~int64 | ~uint32 | ~uint64](n T, noun string) string {
	return Number(n) + " " + Noun(n, noun)
}

// Noun returns the singular or plural of a noun for n things: token, tokens.
func Noun[T ~int | ~int32 | ~int64 | ~uint32 | ~uint64](n T, noun string) string {
	if n == 1 {
		return noun
	}
	stem, y := strings.CutSuffix(noun, "y")
	if y && stem != "" && !strings.Contains("aeiou", stem[len(stem)-1:]) {
		return stem + "ies"
	}
	return noun + "s"
}

// OfAll says how many of all things do something: "1 of 1 trace differs", "2 of 3 traces
// differ".
func OfAll[T ~int | ~int64](n, all T, noun, do string) string {
	return fmt.Sprintf("%s of %s %s", Number(n), Count(all, noun), Do(n, do))
}

// Do returns the verb for n things: differs or differ, is there or are there, was read or were read.
func Do[T ~int | ~int32 | ~int64 | ~uint32 | ~uint64](n T, many string) string {
	if n != 1 {
		return many
	}
	verb, rest, _ := strings.Cut(many, " ")
	switch verb {
	case "are":
		verb = "is"
	case "were":
		verb = "was"
	default:
		verb += "s"
	}
	return strings.TrimSpace(verb + " " + rest)
}

// List returns names separated by commas.
func List[T ~string](names []T) string {
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(name))
	}
	return b.String()
}
