package coverage_test

import (
	"context"
	"fmt"
	"os"

	"kvcompress/kernels/coverage"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
)

// A kernel is launched with a flag that is never 0: the branch is never taken.
func ExampleOf() {
	c := &ptx.Coverage{}
	dev := ptx.New(ptx.Options{Coverage: c})
	defer dev.Close()
	module, err := dev.Load("store.ptx", []byte(`
.version 7.8
.target sm_80
.address_size 64
.visible .entry store(.param .u64 x, .param .u32 flag)
{
	.reg .pred %p;
	.reg .b32 %r;
	.reg .b64 %rd;
	ld.param.u64 %rd, [x];
	ld.param.u32 %r, [flag];
	setp.eq.u32 %p, %r, 0;
	@%p bra NOTHING;
	st.global.u32 [%rd], %r;
	ret;
NOTHING:
	st.global.u32 [%rd+4], %r;
	ret;
}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	kernel, err := module.Kernel("store")
	if err != nil {
		fmt.Println(err)
		return
	}
	x, err := dev.Alloc("x", 8)
	if err != nil {
		fmt.Println(err)
		return
	}
	one := device.Dim{X: 1, Y: 1, Z: 1}
	if err := kernel.Launch(context.Background(), one, one, 0, device.Pointer(x), device.U32(7)); err != nil {
		fmt.Println(err)
		return
	}
	coverage.Of(c).Write(os.Stdout)
	// Output:
	// KERNEL            VARIANTS  INSTRUCTIONS  EXECUTED  DIRECTIONS     TAKEN
	// store.ptx: store         1             8         6           2         1
	// all                      1             8         6           2         1
	//
	// Not executed, by line of the source:
	//   store.ptx:13  1 of 2 branch directions, in store
	//   store.ptx:17  1 of 1 instruction, in store
	//   store.ptx:18  1 of 1 instruction, in store
}
