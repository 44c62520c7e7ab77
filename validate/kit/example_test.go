package kit_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"kvcompress/traces"
	"kvcompress/validate/kit"
)

// Export the expected result of each stage, and compare an implementation's results with it: here the export
// itself.
func Example() {
	ctx := context.Background()
	b, err := traces.Bundled("block-size-1")
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "kit")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	dir = filepath.Join(dir, "golden")

	x := kit.Export{Name: b.Name, Trace: b.Trace, Options: b.Options, Steps: 2, Arrays: kit.NPY}
	m, err := x.Plan(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := x.Write(ctx, dir, m); err != nil {
		log.Fatal(err)
	}
	r, err := kit.Compare(ctx, os.DirFS(dir), os.DirFS(dir), kit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(m.Stages), "stages, the first failure:", r.Failure(true))
	// Output:
	// 5 stages, the first failure: <nil>
}
