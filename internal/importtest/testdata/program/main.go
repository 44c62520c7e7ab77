// Program does what a user of this module does: it replays a bundled trace, runs PTX of its own
// under all checkers, compares the CUDA engine with the reference, imports a request log and
// projects how a GPU serves its requests.
package main

import (
	"context"
	"fmt"
	"log"

	"kvcompress/kernels"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/sim/project"
	"kvcompress/trace"
	"kvcompress/trace/requestlog"
	"kvcompress/traces"
	"kvcompress/validate"
)

const fill = `
.version 7.8
.target sm_80
.address_size 64
.visible .entry fill(.param .u64 to)
{
	.reg .b32 %r<2>;
	.reg .b64 %rd<4>;
	ld.param.u64 %rd1, [to];
	mov.u32 %r1, %tid.x;
	mul.wide.u32 %rd2, %r1, 4;
	add.s64 %rd3, %rd1, %rd2;
	st.global.u32 [%rd3], %r1;
	ret;
}
`

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	b, err := traces.Bundled("block-size-1")
	if err != nil {
		return err
	}
	report, err := sim.Replay(ctx, b.Trace, b.Options, sim.Hooks{})
	if err != nil {
		return err
	}
	fmt.Println("steps replayed:", len(report.Steps))

	if err := write(); err != nil {
		return err
	}

	dev := ptx.New(ptx.Options{})
	defer dev.Close()
	cuda := func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (validate.Engine, error) {
		return kernels.New(dev, cfg, open, observe, kernels.Options{})
	}
	r, err := validate.Trace(ctx, b.Name, b.Trace, b.Options, validate.Run{Engine: cuda})
	if err != nil {
		return err
	}
	fmt.Println("engines agree:", r.Divergence == nil)
	return projectLog(ctx, "log.csv")
}

// projectLog projects how an L4 serves the requests of a log.
func projectLog(ctx context.Context, path string) error {
	requests, err := requestlog.Open(ctx, path, requestlog.Options{})
	if err != nil {
		return err
	}
	defer requests.Close()
	model, err := catalog.FindModel("llama-3.1-8b")
	if err != nil {
		return err
	}
	card, err := catalog.FindCard("l4")
	if err != nil {
		return err
	}
	d := cost.New(model, card)
	d.MaxTokens = 8192 // of a prefill batch
	r, err := project.Run(ctx, project.Config{Deployment: d, Limits: sim.Limits{MaxNumSeqs: 256, Watermark: 0.01}}, requests.Requests())
	if err != nil {
		return err
	}
	fmt.Printf("requests of the %s log served: %d, output tokens: %d\n", requests.Format.Name, r.Metrics.Finished, r.Metrics.GenerationTokens)
	return nil
}

// write runs the kernel, once with all the memory that it needs and once with too little.
func write() error {
	dev := ptx.New(ptx.Options{Checks: ptx.AllChecks()})
	m, err := dev.Load("fill.ptx", []byte(fill))
	if err != nil {
		return err
	}
	k, err := m.Kernel("fill")
	if err != nil {
		return err
	}
	for _, threads := range []int{8, 9} {
		p, err := dev.Alloc("to", 4*8)
		if err != nil {
			return err
		}
		one := device.Dim{X: 1, Y: 1, Z: 1}
		err = k.Launch(context.Background(), one, device.Dim{X: threads, Y: 1, Z: 1}, 0, device.Pointer(p))
		fmt.Println(threads, "threads write 8 elements, an error:", err != nil)
		if err := dev.Free(p); err != nil {
			return err
		}
	}
	return dev.Close()
}
