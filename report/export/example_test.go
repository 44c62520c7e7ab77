package export_test

import (
	"context"
	"log"
	"os"

	"kvcompress/report/export"
	"kvcompress/sim"
	"kvcompress/traces"
)

// The requests of a replay as CSV. The extension of the name selects the format.
func ExampleNew() {
	b, err := traces.Bundled("block-size-1")
	if err != nil {
		log.Fatal(err)
	}
	e, err := export.New(os.Stdout, "requests.csv", export.Requests, 0)
	if err != nil {
		log.Fatal(err)
	}
	r, err := sim.Replay(context.Background(), b.Trace, b.Options, sim.Hooks{Step: e.Step})
	if err != nil {
		log.Fatal(err)
	}
	for i := range r.Requests {
		e.Request(&r.Requests[i])
	}
	if err := e.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// id,state,arrival_ns,admitted_ns,first_token_ns,finished_ns,ttft_ns,tpot_ns,prompt_tokens,output_tokens,num_preemptions,recomputed_tokens,cached_tokens,replica,error
	// a,finished,0,0,10000000,410000000,10000000,10256410,131,40,0,0,0,0,
	// b,finished,0,0,10000000,610000000,10000000,10169491,1,60,0,0,0,0,
	// c,finished,95000000,100000000,110000000,110000000,15000000,,64,1,0,0,0,0,
}
