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

// Two blocks wait for each other, which takes a cooperative launch: each stores its number,
// arrives, waits for the other one, and reads what that has stored.
func Example_cooperative() {
	const swap = `
.version 7.8
.target sm_80
.address_size 64
.visible .entry swap(.param .u64 x, .param .u64 arrived)
{
	.reg .pred %p<2>;
	.reg .b32 %r<5>;
	.reg .b64 %rd<7>;
	ld.param.u64 %rd1, [x];
	ld.param.u64 %rd2, [arrived];
	mov.u32 %r1, %ctaid.x;
	mul.wide.u32 %rd3, %r1, 4;
	add.s64 %rd4, %rd1, %rd3;
	st.global.u32 [%rd4], %r1;
	red.release.gpu.global.add.u32 [%rd2], 1;
wait:
	ld.acquire.gpu.global.u32 %r2, [%rd2];
	setp.lt.u32 %p1, %r2, 2;
	@%p1 bra wait;
	xor.b32 %r3, %r1, 1;
	mul.wide.u32 %rd5, %r3, 4;
	add.s64 %rd6, %rd1, %rd5;
	ld.global.u32 %r4, [%rd6];
	st.global.u32 [%rd4+8], %r4;
	ret;
}
`
	dev := ptx.New(ptx.Options{Checks: ptx.AllChecks()})
	module, err := dev.Load("swap.ptx", []byte(swap))
	if err != nil {
		log.Fatal(err)
	}
	kernel, err := module.Kernel("swap")
	if err != nil {
		log.Fatal(err)
	}
	x, err := dev.Alloc("x", 4*4)
	if err != nil {
		log.Fatal(err)
	}
	arrived, err := dev.Alloc("arrived", 4)
	if err == nil {
		err = dev.Fill(arrived, 0, 4)
	}
	if err != nil {
		log.Fatal(err)
	}
	grid, block := device.Dim{X: 2, Y: 1, Z: 1}, device.Dim{X: 1, Y: 1, Z: 1}
	together := kernel.(device.CooperativeKernel).Cooperative()
	if err := together.Launch(context.Background(), grid, block, 0, device.Pointer(x), device.Pointer(arrived)); err != nil {
		log.Fatal(err)
	}
	buffer := make([]byte, 4*4)
	if err := dev.Read(buffer, x); err != nil {
		log.Fatal(err)
	}
	values := make([]uint32, 4)
	if _, err := binary.Decode(buffer, binary.LittleEndian, values); err != nil {
		log.Fatal(err)
	}
	fmt.Println(values)
	// Output: [0 1 1 0]
}
