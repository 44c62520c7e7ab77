package ptx

import "testing"

// The kernels of testdata/foreign are written as others write theirs, and compiled by
// clang-19 (testdata/foreign/build).

// TestForeign runs kernels in others' style under all checks, and in several orders, and
// compares with Go to the bit.
func TestForeign(t *testing.T) {
	for _, c := range foreignCases() {
		t.Run(c.entry, c.test)
	}
}
