package capture_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"kvcompress/kernels/capture"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
)

const increment = `
.version 7.8
.target sm_80
.address_size 64
.visible .entry increment(.param .u64 x)
{
	.reg .b32 %r<3>;
	.reg .b64 %rd<3>;
	ld.param.u64 %rd1, [x];
	mov.u32 %r1, %tid.x;
	mul.wide.u32 %rd2, %r1, 4;
	add.s64 %rd1, %rd1, %rd2;
	ld.global.u32 %r2, [%rd1];
	add.u32 %r2, %r2, 1;
	st.global.u32 [%rd1], %r2;
	ret;
}
`

// The second launch of a kernel is written as files: its PTX, its buffers before and after,
// and a script with which another implementation of the kernel can be checked.
func ExampleRecorder() {
	dir, err := os.MkdirTemp("", "capture")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx, launches := context.Background(), 0
	dev := capture.NewRecorder(ptx.New(ptx.Options{}), func(string) bool {
		launches++
		return launches == 2
	})
	defer dev.Close()
	module, err := dev.Load("increment.ptx", []byte(increment))
	if err != nil {
		fmt.Println(err)
		return
	}
	kernel, err := module.Kernel("increment")
	if err != nil {
		fmt.Println(err)
		return
	}
	x, err := dev.Alloc("x", 16)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := dev.Fill(x, 0, 16); err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		if err := kernel.Launch(ctx, device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: 4, Y: 1, Z: 1}, 0, device.Pointer(x)); err != nil {
			fmt.Println(err)
			return
		}
	}
	out := filepath.Join(dir, "case")
	if err := dev.Launch().Write(ctx, out, "the second increment", ptx.Options{Checks: ptx.AllChecks()}); err != nil {
		fmt.Println(err)
		return
	}
	files, err := os.ReadDir(out)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range files {
		fmt.Println(f.Name())
	}
	// Output:
	// increment.ptx
	// launch.txt
	// x.expected.npy
	// x.npy
}
