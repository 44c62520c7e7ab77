// Package near finds the name that a mistyped word may stand for.
package near

import (
	"fmt"
	"slices"
	"strings"
)

// enough is the largest distance of a mistyped word from the suggested one.
const enough = 2

// Hint returns " (did you mean NAME?)" for an error about an unknown word, "" if none of the names
// is near.
func Hint[T ~string](word string, names []T) string {
	known := make([]string, len(names))
	for i, name := range names {
		known[i] = string(name)
	}
	if name := Name(word, known); name != "" {
		return fmt.Sprintf(" (did you mean %s?)", name)
	}
	return ""
}

// Name returns the name that a mistyped word may stand for: one that begins with it, or else
// the one at the smallest distance; "" if none is near.
func Name(word string, names []string) string {
	best, least := "", enough+1
	for _, name := range slices.Sorted(slices.Values(names)) {
		d := distance(strings.ToLower(word), name)
		if len(word) >= 3 && strings.HasPrefix(name, strings.ToLower(word)) {
			d = 0
		}
		if d < least && d < len(name) {
			best, least = name, d
		}
	}
	return best
}

// longest is the number of bytes of a word that count.
const longest = 100

// Names returns the n names that are nearest to a word, the nearest first: by distance, less what they have
// in common at the beginning.
func Names(word string, names []string, n int) []string {
	word = strings.ToLower(word[:min(len(word), longest)])
	far := map[string]int{}
	for _, name := range names {
		same := 0
		for same < min(len(word), len(name)) && word[same] == name[same] {
			same++
		}
		far[name] = distance(word, name) - 2*same
	}
	list := slices.Clone(names)
	slices.SortStableFunc(list, func(a, b string) int { return far[a] - far[b] })
	return list[:min(n, len(list))]
}

// distance returns the number of insertions, deletions, substitutions and swaps of neighboring
// letters that turn a into b (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			row[j+1] = min(last[j]+change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
