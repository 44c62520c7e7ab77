//go:build cuda

package cuda

import (
	"bytes"
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// open opens the first GPU. It fails the test if there is none: a build with the tag cuda is meant to run on
// one.
func open(t *testing.T) device.Device {
	t.Helper()
	dev, err := Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil && !t.Failed() {
			t.Error(err)
		}
	})
	return dev
}

func alloc(t *testing.T, dev device.Device, name string, size int64) device.Ptr {
	t.Helper()
	p, err := dev.Alloc(name, size)
	if err != nil {
		t.Fatal(err)
	}
	if p == 0 || p%256 != 0 {
		t.Fatalf("%s at %#x", name, uint64(p))
	}
	return p
}

func kernelOf(t *testing.T, dev device.Device, entry string) device.Kernel {
	t.Helper()
	m, err := dev.Load("test.ptx", []byte(testPTX))
	if err != nil {
		t.Fatal(err)
	}
	k, err := m.Kernel(entry)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// testPTX has three kernels with one thread per element. scale: out[i] = factor·in[i] + int(bias), i < n.
// wild: a store to address 8. through: out[i] = in[i], copied through dynamic shared memory, backwards from
// its word at byte last.
const testPTX = `
.version 7.0
.target sm_70
.address_size 64

.extern .shared .align 16 .b8 dynamic[];

.visible .entry scale(.param .u64 out, .param .u64 in, .param .f32 factor, .param .s32 bias, .param .u32 n)
{
	.reg .pred %p;
	.reg .b32 %r<6>;
	.reg .f32 %f<5>;
	.reg .b64 %rd<6>;
	mov.u32 %r1, %ctaid.x;
	mov.u32 %r2, %ntid.x;
	mov.u32 %r3, %tid.x;
	mad.lo.s32 %r4, %r1, %r2, %r3;
	ld.param.u32 %r5, [n];
	setp.ge.u32 %p, %r4, %r5;
	@%p ret;
	ld.param.u64 %rd1, [out];
	ld.param.u64 %rd2, [in];
	ld.param.f32 %f1, [factor];
	ld.param.s32 %r5, [bias];
	cvt.rn.f32.s32 %f2, %r5;
	mul.wide.u32 %rd3, %r4, 4;
	add.s64 %rd4, %rd2, %rd3;
	add.s64 %rd5, %rd1, %rd3;
	ld.global.f32 %f3, [%rd4];
	mul.rn.f32 %f4, %f3, %f1;
	add.rn.f32 %f4, %f4, %f2;
	st.global.f32 [%rd5], %f4;
	ret;
}

.visible .entry wild()
{
	.reg .b32 %r<2>;
	.reg .b64 %rd<2>;
	mov.u32 %r1, 1;
	mov.u64 %rd1, 8;
	st.global.u32 [%rd1], %r1;
	ret;
}

.visible .entry through(.param .u64 out, .param .u64 in, .param .u32 last)
{
	.reg .b32 %r<6>;
	.reg .b64 %rd<5>;
	ld.param.u64 %rd1, [out];
	ld.param.u64 %rd2, [in];
	ld.param.u32 %r1, [last];
	mov.u32 %r2, %tid.x;
	mul.wide.u32 %rd3, %r2, 4;
	add.s64 %rd4, %rd2, %rd3;
	ld.global.u32 %r3, [%rd4];
	shl.b32 %r4, %r2, 2;
	sub.u32 %r4, %r1, %r4;
	mov.u32 %r5, dynamic;
	add.u32 %r4, %r4, %r5;
	st.shared.u32 [%r4], %r3;
	bar.sync 0;
	ld.shared.u32 %r3, [%r4];
	add.s64 %rd4, %rd1, %rd3;
	st.global.u32 [%rd4], %r3;
	ret;
}
`

func TestMemory(t *testing.T) {
	dev := open(t)
	t.Log(dev.Name())
	const n = 1 << 20
	a, b := alloc(t, dev, "a", n), alloc(t, dev, "b", n)
	want := make([]byte, n)
	for i := range want {
		want[i] = byte(i * i >> 3)
	}
	got := make([]byte, n)
	for _, step := range []struct {
		what string
		err  error
	}{
		{"write", dev.Write(a, want)},
		{"fill", dev.Fill(b, 0xa5, n)},
		{"copy", dev.Copy(b+1000, a+500, 5000)},
		{"nothing", dev.Write(a, nil)},
		{"read", dev.Read(got, b)},
	} {
		if step.err != nil {
			t.Fatalf("%s: %v", step.what, step.err)
		}
	}
	want = append(append(bytes.Repeat([]byte{0xa5}, 1000), want[500:5500]...), bytes.Repeat([]byte{0xa5}, n-6000)...)
	if !bytes.Equal(got, want) {
		t.Error("what was read is not what was written, filled and copied")
	}
	if err := dev.Free(a); err != nil {
		t.Error(err)
	}
	if err := dev.Free(a); err == nil || !strings.Contains(err.Error(), "which is free") {
		t.Errorf("freed twice: %v", err)
	}
	if p := alloc(t, dev, "nothing", 0); dev.Free(p) != nil {
		t.Error("an allocation of nothing cannot be freed")
	}
	if _, err := dev.Alloc("everything", 1<<60); err == nil || !strings.Contains(err.Error(), `"everything"`) {
		t.Errorf("an allocation of 2^60 bytes: %v", err)
	}
}

func TestLaunch(t *testing.T) {
	dev := open(t)
	const n = 1000
	in, out := alloc(t, dev, "in", 4*n), alloc(t, dev, "out", 4*n)
	raw := make([]byte, 0, 4*n)
	for i := range n {
		raw, _ = binary.Append(raw, binary.LittleEndian, float32(i))
	}
	k := kernelOf(t, dev, "scale")
	if err := dev.Write(in, raw); err != nil {
		t.Fatal(err)
	}
	launch := func() error {
		return k.Launch(context.Background(), device.Dim{X: 8, Y: 1, Z: 1}, device.Dim{X: 128, Y: 1, Z: 1}, 0,
			device.Pointer(out), device.Pointer(in), device.F32(0.5), device.I32(-3), device.U32(n))
	}
	took, err := dev.Time(launch)
	if err != nil || took <= 0 {
		t.Fatalf("%v, %v", took, err)
	}
	got := make([]float32, n)
	if err := dev.Read(raw, out); err != nil {
		t.Fatal(err)
	}
	if _, err := binary.Decode(raw, binary.LittleEndian, got); err != nil {
		t.Fatal(err)
	}
	for i, v := range got {
		if v != float32(i)/2-3 {
			t.Fatalf("element %d is %g, want %g", i, v, float32(i)/2-3)
		}
	}
}

func TestDynamicSharedMemory(t *testing.T) {
	dev := open(t)
	in, out := alloc(t, dev, "in", 128), alloc(t, dev, "out", 128)
	k := kernelOf(t, dev, "through")
	want := bytes.Repeat([]byte("kvc "), 32)
	if err := dev.Write(in, want); err != nil {
		t.Fatal(err)
	}
	for _, shared := range []int{128, 48 << 10, 64 << 10, 128} {
		got := make([]byte, 128)
		if err := k.Launch(context.Background(), device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: 32, Y: 1, Z: 1}, shared,
			device.Pointer(out), device.Pointer(in), device.U32(uint32(shared-4))); err != nil {
			t.Fatal(err)
		}
		if err := dev.Read(got, out); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: %q, %v", shared, got, err)
		}
		if err := dev.Fill(out, 0, 128); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWrongUse(t *testing.T) {
	dev := open(t)
	if _, err := dev.Load("broken.ptx", []byte(".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry f() { nonsense; }\n")); err == nil ||
		!strings.Contains(err.Error(), "broken.ptx") || !strings.Contains(err.Error(), "line 4") {
		t.Errorf("broken PTX: %v", err)
	}
	if _, err := dev.Load("zero.ptx", []byte("a\x00b")); err == nil || !strings.Contains(err.Error(), "byte 0") {
		t.Errorf("a byte 0: %v", err)
	}
	m, err := dev.Load("test.ptx", []byte(testPTX))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Kernel("nope"); err == nil || !strings.Contains(err.Error(), "nope") {
		t.Errorf("an unknown entry point: %v", err)
	}
	k := kernelOf(t, dev, "scale")
	one := device.Dim{X: 1, Y: 1, Z: 1}
	for _, c := range []struct {
		grid, block device.Dim
		shared      int
		args        []device.Arg
		want        string
	}{
		{one, one, 0, nil, "0 arguments for 5 parameters"},
		{one, one, 0, make([]device.Arg, 6), "6 arguments for 5 parameters"},
		{device.Dim{X: 0, Y: 1, Z: 1}, one, 0, make([]device.Arg, 5), "a grid of"},
		{one, device.Dim{X: 2048, Y: 1, Z: 1}, 0, make([]device.Arg, 5), "cuLaunchKernel scale"},
		{one, one, -1, make([]device.Arg, 5), "-1 bytes of shared memory"},
		{one, one, 1 << 20, make([]device.Arg, 5), "cuFuncSetAttribute"},
	} {
		if err := k.Launch(context.Background(), c.grid, c.block, c.shared, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("grid %v, block %v, %d bytes, %d arguments: %v; want %q", c.grid, c.block, c.shared, len(c.args), err, c.want)
		}
	}
}

// TestFault runs a kernel that fails: the next operation that waits returns an error with the kernel's name,
// and another device still works.
func TestFault(t *testing.T) {
	other := open(t)
	p := alloc(t, other, "other", 4)
	dev, err := Open(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := kernelOf(t, dev, "wild").Launch(context.Background(), device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: 1, Y: 1, Z: 1}, 0); err != nil {
		t.Fatal(err)
	}
	if err := dev.Sync(); err == nil || !strings.Contains(err.Error(), "wild") {
		t.Errorf("%v", err)
	}
	if err := dev.Close(); err == nil {
		t.Error("the device closes without the error")
	}
	if err := other.Write(p, []byte{1, 2, 3, 4}); err != nil {
		t.Error(err)
	}
	if err := other.Sync(); err != nil {
		t.Error(err)
	}
}
