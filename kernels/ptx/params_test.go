package ptx

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

const structKernel = `.version 7.8
.target sm_80
.address_size 64
.const .align 4 .b8 factor[8] = {3, 0, 0, 0, 9};
.global .align 8 .b8 table[16];
.global .u64 where = table;
.shared .b32 own;
.visible .entry k(.param .align 8 .b8 p[24], .param .u8 more)
{
	.reg .b32 %r<9>; .reg .b64 %rd<4>; .reg .b16 %h;
	ld.param.u32 %r1, [p];
	ld.param.u64 %rd1, [p+8];
	ld.param.u32 %r2, [p+20];
	ld.param.u8 %h, [more];
	cvt.u32.u16 %r3, %h;
	ld.const.u32 %r4, [factor];
	mul.lo.u32 %r1, %r1, %r4;
	add.u32 %r1, %r1, %r2;
	add.u32 %r1, %r1, %r3;
	st.global.u32 [%rd1], %r1;
	ld.global.u64 %rd2, [where];
	ld.global.u32 %r5, [%rd2+4];
	st.global.u32 [%rd1+4], %r5;
	ret;
}
`

// TestStructs passes a struct by value, and sets variables from the host.
func TestStructs(t *testing.T) {
	dev := New(Options{Checks: AllChecks()})
	module, err := dev.Load("k.ptx", []byte(structKernel))
	if err != nil {
		t.Fatal(err)
	}
	m := module.(device.Variables)
	kernel, err := m.Kernel("k")
	if err != nil {
		t.Fatal(err)
	}
	k := kernel.(device.BytesKernel)
	out, err := dev.Alloc("out", 8)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 24)
	binary.LittleEndian.PutUint32(p, 100)
	binary.LittleEndian.PutUint64(p[8:], uint64(out))
	binary.LittleEndian.PutUint32(p[20:], 7)
	one := device.Dim{X: 1, Y: 1, Z: 1}
	read := func() (a, b uint32) {
		raw := make([]byte, 8)
		if err := dev.Read(raw, out); err != nil {
			t.Fatal(err)
		}
		return binary.LittleEndian.Uint32(raw), binary.LittleEndian.Uint32(raw[4:])
	}
	if err := k.LaunchBytes(context.Background(), one, one, 0, p, []byte{200}); err != nil {
		t.Fatal(err)
	}
	if a, b := read(); a != 300+7+200 || b != 0 {
		t.Errorf("%d, %d", a, b)
	}
	if err := m.WriteVariable("factor", 0, []byte{5}); err != nil {
		t.Error(err)
	}
	if err := m.WriteVariable("table", 4, []byte{1, 2}); err != nil {
		t.Error(err)
	}
	if err := k.LaunchBytes(context.Background(), one, one, 0, p, []byte{0}); err != nil {
		t.Fatal(err)
	}
	if a, b := read(); a != 507 || b != 0x201 {
		t.Errorf("%d, %#x", a, b)
	}
	raw := make([]byte, 6)
	if err := m.ReadVariable("factor", 0, raw); err != nil || !bytes.Equal(raw, []byte{5, 0, 0, 0, 9, 0}) {
		t.Errorf("%v, %v", raw, err)
	}
	if err := m.ReadVariable("table", 2, raw); err != nil || !bytes.Equal(raw, []byte{0, 0, 1, 2, 0, 0}) {
		t.Errorf("%v, %v", raw, err)
	}
	if n, err := m.VariableSize("table"); n != 16 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	// Accesses through a pointer in a struct must stay in its allocation.
	binary.LittleEndian.PutUint64(p[8:], uint64(out)+8)
	var r *Report
	if err := k.LaunchBytes(context.Background(), one, one, 0, p, []byte{0}); !errors.As(err, &r) || r.Kind != OutOfBounds || r.Allocation != "out" {
		t.Errorf("%v", err)
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{k.LaunchBytes(context.Background(), one, one, 0, p), "1 arguments; the kernel has 2 parameters"},
		{k.LaunchBytes(context.Background(), one, one, 0, p[:23], []byte{0}), "argument 0 has 23 bytes: parameter p has 24"},
		{k.LaunchBytes(context.Background(), one, one, 0, p, nil), "argument 1 has 0 bytes: parameter more has 1"},
		{k.Launch(context.Background(), one, one, 0, 0, 0), "parameter 0 (p) has 24 bytes"},
		{m.WriteVariable("factor", 7, []byte{1, 2}), `bytes 7 to 8 of variable "factor", which has 8`},
		{m.ReadVariable("factor", -1, raw), "bytes -1 to 4"},
		{m.ReadVariable("factor", 1<<62, raw), "which has 8"},
		{m.ReadVariable("own", 0, raw), "in shared memory"},
		{m.ReadVariable("none", 0, raw), `no variable "none": there are factor, table, where`},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%v, want %q", c.err, c.want)
		}
	}
}
