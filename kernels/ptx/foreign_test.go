package ptx

import "testing"

// The kernels of testdata/foreign are written in the style of other projects, and compiled by clang-19
// (testdata/foreign/build).

// TestForeign runs these kernels under all checks, in several orders, and compares with Go to the bit.
func TestForeign(t *testing.T) {
	for _, c := range foreignCases() {
		t.Run(c.entry, c.test)
	}
}
