package device_test

import (
	"context"
	"encoding/binary"
	"fmt"

	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
)

const fill = `
.version 7.8
.target sm_80
.address_size 64
.visible .entry fill(.param .u64 x, .param .u32 value)
{
	.reg .b32 %r<3>;
	.reg .b64 %rd<3>;
	ld.param.u64 %rd1, [x];
	ld.param.u32 %r1, [value];
	mov.u32 %r2, %tid.x;
	mul.wide.u32 %rd2, %r2, 4;
	add.s64 %rd1, %rd1, %rd2;
	st.global.u32 [%rd1], %r1;
	ret;
}
`

// fillOn runs the kernel on any device: the PTX machine, or a GPU in a program that is
// built with the tag cuda.
func fillOn(dev device.Device) ([]byte, error) {
	module, err := dev.Load("fill.ptx", []byte(fill))
	if err != nil {
		return nil, err
	}
	kernel, err := module.Kernel("fill")
	if err != nil {
		return nil, err
	}
	x, err := dev.Alloc("x", 4*4)
	if err != nil {
		return nil, err
	}
	err = kernel.Launch(context.Background(), device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: 4, Y: 1, Z: 1}, 0,
		device.Pointer(x), device.U32(7))
	if err != nil {
		return nil, err
	}
	got := make([]byte, 4*4)
	if err := dev.Read(got, x); err != nil {
		return nil, err
	}
	return got, dev.Free(x)
}

func ExampleDevice() {
	dev := ptx.New(ptx.Options{})
	defer dev.Close()
	got, err := fillOn(dev)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range 4 {
		fmt.Print(binary.LittleEndian.Uint32(got[4*i:]), " ")
	}
	// Output: 7 7 7 7
}
