// Package clip copies lists of rows so that the copy and the original can both be appended to.
package clip

import "slices"

// Rows returns the same rows without spare capacity, so that appending to one copies it.
func Rows[T any](rows [][]T) [][]T {
	out := make([][]T, len(rows))
	for i, row := range rows {
		out[i] = slices.Clip(row)
	}
	return out
}
