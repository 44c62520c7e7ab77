package main

import (
	"strings"
	"unicode"
)

// printable replaces invisible characters that could affect a terminal, such as control and
// bidirectional formatting characters. Line ends and tabs stay.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) || r == '\n' || r == '\t' {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// printableLine is printable for a text that has to stay on one line: line ends and tabs are
// replaced too.
func printableLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return r
	}, printable(text))
}
