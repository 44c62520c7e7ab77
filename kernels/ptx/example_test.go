package ptx_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log"

	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
)

// square has a kernel that squares x[0] to x[n-1], one per thread, but does not check that its thread has an
// element.
const square = `
.version 7.8
.target sm_80
.address_size 64
.visible .entry square(.param .u64 x)
{
	.reg .b32 %r<3>;
	.reg .b64 %rd<4>;
	ld.param.u64 %rd1, [x];
	mov.u32 %r1, %tid.x;
	mul.wide.u32 %rd2, %r1, 4;
	add.s64 %rd3, %rd1, %rd2;
	ld.global.u32 %r2, [%rd3];
	mul.lo.s32 %r2, %r2, %r2;
	st.global.u32 [%rd3], %r2;
	ret;
}
`

// A kernel runs on the CPU, under every checker. The second launch has one thread too many.
func Example() {
	dev := ptx.New(ptx.Options{Checks: ptx.AllChecks()})
	module, err := dev.Load("square.ptx", []byte(square))
	if err != nil {
		log.Fatal(err)
	}
	kernel, err := module.Kernel("square")
	if err != nil {
		log.Fatal(err)
	}
	x, err := dev.Alloc("x", 4*4)
	if err != nil {
		log.Fatal(err)
	}
	var buffer []byte
	for _, v := range []uint32{1, 2, 3, 4} {
		buffer = binary.LittleEndian.AppendUint32(buffer, v)
	}
	if err := dev.Write(x, buffer); err != nil {
		log.Fatal(err)
	}

	grid, block := device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: 4, Y: 1, Z: 1}
	if err := kernel.Launch(context.Background(), grid, block, 0, device.Pointer(x)); err != nil {
		log.Fatal(err)
	}
	if err := dev.Read(buffer, x); err != nil {
		log.Fatal(err)
	}
	squares := make([]uint32, 4)
	if _, err := binary.Decode(buffer, binary.LittleEndian, squares); err != nil {
		log.Fatal(err)
	}
	fmt.Println(squares)

	block.X = 5
	err = kernel.Launch(context.Background(), grid, block, 0, device.Pointer(x))
	var report *ptx.Report
	if errors.As(err, &report) {
		fmt.Printf("%v: %s at PTX line %d\n", report.Kind, report.Op, report.PTXLine)
	}
	// Output:
	// [1 4 9 16]
	// out of bounds: ld.global.u32 at PTX line 13
}
