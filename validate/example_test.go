package validate_test

import (
	"context"
	"fmt"
	"log"

	"kvcompress/kernels"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
	"kvcompress/traces"
	"kvcompress/validate"
)

// Compare the CUDA engine, with its PTX running on the CPU, with the reference after every stage of a bundled
// trace.
func ExampleTrace() {
	dev := ptx.New(ptx.Options{Checks: ptx.AllChecks()})
	defer dev.Close()
	cuda := func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (validate.Engine, error) {
		return kernels.New(dev, cfg, open, observe, kernels.Options{})
	}
	b, err := traces.Bundled("block-size-1")
	if err != nil {
		log.Fatal(err)
	}
	r, err := validate.Trace(context.Background(), b.Name, b.Trace, b.Options, validate.Run{Engine: cuda})
	if err != nil {
		log.Fatal(err)
	}
	if r.Divergence != nil {
		log.Fatal(r.Divergence)
	}
	fmt.Println("agree in", r.Values, "values of", r.Stages, "stages")
	// Output:
	// agree in 1654524 values of 67 stages
}
