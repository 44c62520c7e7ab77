package trace_test

import (
	"fmt"
	"log"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/trace"
)

// A synthetic trace is a recipe: the same one gives the same tensors everywhere.
func ExampleNew() {
	layers, err := trace.ParseLayers("sink,local:16")
	if err != nil {
		log.Fatal(err)
	}
	t, err := trace.New(trace.Meta{
		FormatVersion: trace.FormatVersion,
		Shape:         kv.Shape{Layers: 2, KVHeads: 2, Group: 1, HeadSize: 8},
		DType:         dtype.F32,
		Source:        trace.Source{Kind: "synthetic"},
		Synth:         &trace.Recipe{Seed: 7, Layers: layers},
	}, []trace.Request{{ID: "1", PromptTokens: 32, OutputTokens: 4}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(t.Requests()), "request,", t.Meta.Shape.Heads(), "KV heads")
	// Output:
	// 1 request, 4 KV heads
}

// ExampleLoad makes up a load: Poisson arrivals, lengths between bounds.
func ExampleLoad() {
	prompt, err := trace.ParseLengths("100-4000")
	if err != nil {
		log.Fatal(err)
	}
	output, err := trace.ParseLengths("200")
	if err != nil {
		log.Fatal(err)
	}
	arrivals, err := trace.ParseArrivals("poisson:20/s")
	if err != nil {
		log.Fatal(err)
	}
	requests, err := trace.Load{Seed: 1, Requests: 3, Prompt: prompt, Output: output, Arrivals: arrivals}.Generate()
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range requests {
		fmt.Println(r.ID, r.ArrivalNS/1e6, "ms", r.PromptTokens, r.OutputTokens)
	}
	// Output:
	// 0 0 ms 3502 200
	// 1 186 ms 2757 200
	// 2 405 ms 3443 200
}
