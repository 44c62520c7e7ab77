// Package testgc runs a package's tests with fewer garbage collections.
package testgc

import (
	"os"
	"runtime/debug"
	"testing"
)

// percent is the value of GOGC.
const percent = 400

// Main runs the tests of a package whose tests allocate much and keep little, so that the default GOGC
// of 100 would collect a small heap again and again. It is the package's TestMain. The variable GOGC takes
// precedence. There is no memory limit: tests with a large heap would spend their time collecting it.
func Main(m *testing.M) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
	os.Exit(m.Run())
}
