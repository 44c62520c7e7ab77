// Package testsize selects the size of a test: its number of random cases, or the part of a range that it covers.
package testsize

import (
	"os"
	"testing"
)

// Variable is the environment variable that selects the full size if it is "full", as .ci/run sets it. The go
// command does not use cached test results if its value has changed.
const Variable = "KVC_TESTS"

// Of returns the size of a test: short with go test -short, full if [Variable] is "full", and else usual.
func Of[T any](short, usual, full T) T {
	switch {
	case testing.Short():
		return short
	case os.Getenv(Variable) == "full":
		return full
	}
	return usual
}
