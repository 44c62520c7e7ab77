package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"

	"kvcompress/report"
	"kvcompress/sim"
	"kvcompress/traces"
)

// What kvc run --json prints of a replay, parsed again. [report.Text] takes the same report.
func ExampleJSON() {
	b, err := traces.Bundled("block-size-1")
	if err != nil {
		log.Fatal(err)
	}
	r, err := sim.Replay(context.Background(), b.Trace, b.Options, sim.Hooks{})
	if err != nil {
		log.Fatal(err)
	}
	var text bytes.Buffer
	if err := report.JSON(&text, r); err != nil {
		log.Fatal(err)
	}
	var got struct {
		Requests []struct{ ID, State string }
		Totals   map[string]int64
	}
	if err := json.Unmarshal(text.Bytes(), &got); err != nil {
		log.Fatal(err)
	}
	fmt.Println(got.Requests)
	fmt.Println(got.Totals["kvs_evicted"], "KVs evicted,", got.Totals["blocks_freed"], "blocks freed")
	// Output:
	// [{a finished} {b finished} {c finished}]
	// 302 KVs evicted, 302 blocks freed
}
