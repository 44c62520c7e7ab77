package invoke_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"kvcompress/kernels/device"
	"kvcompress/kernels/invoke"
	"kvcompress/kernels/ptx"
)

// count writes the index of each thread to out.
const count = `
.version 7.8
.target sm_80
.address_size 64
.visible .entry count(.param .u64 out)
{
	.reg .b32 %r<2>;
	.reg .b64 %rd<4>;
	ld.param.u64 %rd1, [out];
	mov.u32 %r1, %tid.x;
	mul.wide.u32 %rd2, %r1, 4;
	add.s64 %rd3, %rd1, %rd2;
	st.global.u32 [%rd3], %r1;
	ret;
}
`

// A kernel runs with one argument, a buffer of eight u32 that is written to a NumPy file.
func ExampleRun() {
	dir, err := os.MkdirTemp("", "invoke")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	dev := ptx.New(ptx.Options{Checks: ptx.AllChecks()})
	defer dev.Close()
	module, kernels, err := invoke.LoadModule(dev, "count.ptx", []byte(count))
	if err != nil {
		log.Fatal(err)
	}
	kernel, err := invoke.FindKernel(kernels, "count")
	if err != nil {
		log.Fatal(err)
	}
	out, err := invoke.ParseArg("out=u32[8]:" + filepath.Join(dir, "y.npy"))
	if err != nil {
		log.Fatal(err)
	}
	r, err := invoke.Run(context.Background(), dev, invoke.Launch{
		Module: module,
		Entry:  kernel.Name,
		Params: kernel.Params,
		Grid:   device.Dim{X: 1, Y: 1, Z: 1},
		Block:  device.Dim{X: 8, Y: 1, Z: 1},
		Args:   []invoke.Arg{out},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, b := range r.Buffers {
		fmt.Println(filepath.Base(b.File), b.Type, b.Shape, "from", *b.Min, "to", *b.Max)
	}
	// Output:
	// y.npy u32 [8] from 0 to 7
}
