package sweep_test

import (
	"context"
	"fmt"
	"iter"
	"log"

	"kvcompress/sim/sweep"
	"kvcompress/trace"
)

// One load on one card, by three compressions.
func ExampleRun() {
	memory, err := sweep.ParseBudget("0.9") // of the card's
	if err != nil {
		log.Fatal(err)
	}
	axes := sweep.Axes{
		Models: []string{"llama-3.1-8b"}, Cards: []string{"l4"}, TP: []int{1},
		Budgets: []sweep.Budget{memory}, MaxNumSeqs: []int{256}, Loads: []float64{1},
	}
	for _, s := range []string{"none", "rate:0.25", "snapkv:tokens:512"} {
		c, err := sweep.ParseCompression(s)
		if err != nil {
			log.Fatal(err)
		}
		axes.Compressions = append(axes.Compressions, c)
	}
	points, err := axes.Points()
	if err != nil {
		log.Fatal(err)
	}

	settings := sweep.DefaultSettings()
	settings.MaxNumBatchedTokens = 8192
	projector := &sweep.Projector{Settings: settings, Requests: requests}
	outcomes, err := sweep.Run(context.Background(), points, sweep.All(len(points)), 1, projector.Project, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, o := range outcomes {
		if o.Error != "" {
			log.Fatal(o.Error)
		}
		fmt.Printf("%s: %d served, at most %d at a time\n", &o.Compression, o.Metrics.Finished, o.Metrics.MaxDecodeBatch)
	}
	// Output:
	// none: 32 served, at most 14 at a time
	// rate:0.25: 32 served, at most 32 at a time
	// snapkv:tokens:512: 32 served, at most 32 at a time
}

// requests are 32 that arrive at the same time, each of 2,000 prompt and 200 output tokens.
func requests() iter.Seq2[trace.Request, error] {
	return func(yield func(trace.Request, error) bool) {
		for i := range 32 {
			if !yield(trace.Request{ID: fmt.Sprint(i), PromptTokens: 2000, OutputTokens: 200}, nil) {
				return
			}
		}
	}
}
