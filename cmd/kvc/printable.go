package main

import (
	"strings"
	"unicode"
)

// printable replaces what is not to be seen in a text but could do as it likes to a
// terminal: control characters, and those that turn the direction of writing. Lines
// and tabs stay.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) || r == '\n' || r == '\t' {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// printableLine is printable for what has to stay on one line and in its column.
func printableLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return r
	}, printable(text))
}
