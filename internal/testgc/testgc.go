// Package testgc runs a package's tests with fewer garbage collections.
package testgc

import (
	"os"
	"runtime/debug"
	"testing"
)

const (
	percent = 400     // GOGC
	limit   = 2 << 30 // GOMEMLIMIT, in bytes
)

// Main runs the tests of a package whose tests allocate much and keep little, so that the default GOGC
// of 100 would collect a small heap again and again. It is the package's TestMain. The variables GOGC and
// GOMEMLIMIT take precedence.
func Main(m *testing.M) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit)
	}
	os.Exit(m.Run())
}
