package sim_test

import (
	"context"
	"fmt"
	"log"

	"kvcompress/sim"
	"kvcompress/traces"
)

// A bundled trace is replayed on the reference engine, with its own options.
func ExampleReplay() {
	b, err := traces.Bundled("block-size-1")
	if err != nil {
		log.Fatal(err)
	}
	largest := 0
	hooks := sim.Hooks{Step: func(s *sim.Step) { largest = max(largest, len(s.Batch)) }}
	r, err := sim.Replay(context.Background(), b.Trace, b.Options, hooks)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Totals.Finished, "requests in", r.Totals.Steps, "steps, batches of up to", largest)
	fmt.Println(r.Totals.KVsEvicted, "KVs evicted")
	fmt.Println(r.Totals.PeakBlocks, "blocks at the peak, uncompressed", r.Totals.PeakDenseBlocks)
	// Output:
	// 3 requests in 61 steps, batches of up to 2
	// 302 KVs evicted
	// 554 blocks at the peak, uncompressed 856
}
