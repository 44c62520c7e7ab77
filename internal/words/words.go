// Package words formats numbers together with the nouns and verbs that agree with them.
package words

import (
	"fmt"
	"strings"
)

// Count returns "1 token", "2 tokens", "0 queries".
func Count[T ~int | ~int32 | ~int64 | ~uint32 | ~uint64](n T, noun string) string {
	return fmt.Sprintf("%d %s", n, Noun(n, noun))
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
	return fmt.Sprintf("%d of %s %s", n, Count(all, noun), Do(n, do))
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
