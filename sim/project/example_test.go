package project_test

import (
	"context"
	"fmt"
	"iter"
	"log"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/sim/project"
	"kvcompress/trace"
)

// load is 64 requests of 2,000 prompt and 200 output tokens, one every quarter of a second.
func load() iter.Seq2[trace.Request, error] {
	return func(yield func(trace.Request, error) bool) {
		for i := range int64(64) {
			r := trace.Request{ID: fmt.Sprint(i), ArrivalNS: i * 250e6, PromptTokens: 2000, OutputTokens: 200}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Llama-3.1-8B on an L4 serves a load, without compression and with a quarter of the KVs kept. The times are by the cost model: see [project.Result].Expected for their error.
func ExampleRun() {
	model, err := catalog.FindModel("llama-3.1-8b")
	if err != nil {
		log.Fatal(err)
	}
	card, err := catalog.FindCard("l4")
	if err != nil {
		log.Fatal(err)
	}
	for _, rate := range []float64{1, 0.25} {
		d := cost.New(model, card)
		d.MaxTokens = 8192 // of one prefill batch
		c := project.Config{Deployment: d, Limits: sim.Limits{MaxNumSeqs: 256, Watermark: 0.01}}
		if rate < 1 {
			c.Deployment.Method.Compression.Rate = rate
			c.Schedule = sim.DefaultSchedule()
		}
		r, err := project.Run(context.Background(), c, load())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("keep %.2f: %d served, at most %d at a time, %d blocks\n",
			rate, r.Metrics.Finished, r.Metrics.MaxDecodeBatch, r.Memory.Blocks)
	}
	// Output:
	// keep 1.00: 64 served, at most 14 at a time, 454921 blocks
	// keep 0.25: 64 served, at most 42 at a time, 371077 blocks
}
