package mutants_test

import (
	"fmt"

	"kvcompress/kernels/mutants"
)

// A planted bug is an edit of a kernel's source.
func ExampleAll() {
	for _, m := range mutants.All() {
		if m.Name == "block-edge" {
			fmt.Printf("%s: %s\nin %s: %q becomes %q\n", m.Name, m.Bug, m.File, m.Old, m.New)
		}
	}
	// Output:
	// block-edge: a head takes a new block one KV too late
	// in allocate.cu: "length % (1u << shift) == 0;" becomes "length % (1u << shift) == 1 % (1u << shift);"
}
