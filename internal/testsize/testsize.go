// Package testsize says how much a test tries: how many random cases, or how much of a range.
package testsize

import (
	"os"
	"testing"
)

// Variable is the environment variable that has tests try all they can, if it is set to
// "full": .ci/run sets it. The go command tests a package anew when its value has changed.
const Variable = "KVC_TESTS"

// Of returns how much a test tries: short with go test -short, full if [Variable] says so, and
// else usual.
func Of[T any](short, usual, full T) T {
	switch {
	case testing.Short():
		return short
	case os.Getenv(Variable) == "full":
		return full
	}
	return usual
}
