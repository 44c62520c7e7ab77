package ptx

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// TestUnsynced runs shuffles and votes without .sync by the lanes that execute them, and checks that they are
// refused where PTX no longer has them.
func TestUnsynced(t *testing.T) {
	const body = `.address_size 64
.visible .entry k(.param .u64 out)
{
.reg .pred %p<8>; .reg .b32 %r<30>; .reg .b64 %rd<4>;
mov.u32 %r1, %tid.x; ld.param.u64 %rd1, [out]; mul.wide.u32 %rd2, %r1, 32; add.u64 %rd3, %rd1, %rd2;
shl.b32 %r2, %r1, 4; setp.lt.u32 %p1, %r1, 24;
mov.u32 %r3, 0; mov.u32 %r4, 0; mov.u32 %r5, 0; mov.u32 %r6, 0; mov.u32 %r7, 0; mov.u32 %r8, 0; mov.u32 %r9, 0;
@!%p1 bra END;
shfl.bfly.b32 %r3|%p2, %r2, 4, 0x1f;
shfl.up.b32 %r4, %r2, 1, 0;
shfl.idx.b32 %r5, %r2, 7, 0x1f;
setp.lt.u32 %p3, %r1, 9;
vote.ballot.b32 %r6, %p3;
vote.all.pred %p4, %p1; selp.b32 %r7, 1, 0, %p4;
vote.any.pred %p5, !%p1; selp.b32 %r8, 1, 0, %p5;
vote.uni.pred %p6, %p3; selp.b32 %r9, 1, 0, %p6;
END:
st.global.v4.u32 [%rd3], {%r3, %r4, %r5, %r6}; st.global.v4.u32 [%rd3+16], {%r7, %r8, %r9, %r1};
ret;
}
`
	for _, head := range []string{".version 6.0\n.target sm_70\n", ".version 5.0\n.target sm_35\n", ".version 6.5\n.target sm_60\n"} {
		dev := New(Options{Checks: AllChecks()})
		m, err := dev.Load("k.ptx", []byte(head+body))
		if err != nil {
			t.Fatal(head, err)
		}
		k, err := m.Kernel("k")
		if err != nil {
			t.Fatal(head, err)
		}
		p, err := dev.Alloc("out", 1024)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Launch(context.Background(), device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: 32, Y: 1, Z: 1}, 0, device.Pointer(p)); err != nil {
			t.Fatal(head, err)
		}
		out := make([]byte, 1024)
		if err := dev.Read(out, p); err != nil {
			t.Fatal(err)
		}
		for lane := range uint32(32) {
			want := [8]uint32{7: lane}
			if lane < 24 {
				want = [8]uint32{(lane ^ 4) * 16, max(lane, 1)*16 - 16, 7 * 16, 1<<9 - 1, 1, 0, 0, lane}
			}
			for i, v := range want {
				if got := binary.LittleEndian.Uint32(out[32*lane+4*uint32(i):]); got != v {
					t.Errorf("%q lane %d, result %d: %#x, want %#x", head, lane, i, got, v)
				}
			}
		}
	}
	_, err := Parse("k.ptx", []byte(".version 7.8\n.target sm_80\n"+body), false)
	if err == nil || !strings.Contains(err.Error(), "without .sync it is not supported by PTX 7.8 for sm_80") {
		t.Errorf("for sm_80: %v", err)
	}
	// A lane that does not execute the shuffle has no value to read.
	dev := New(Options{Checks: AllChecks()})
	m, err := dev.Load("k.ptx", []byte(".version 6.0\n.target sm_60\n"+strings.Replace(body, "%r2, 4, 0x1f", "%r2, 8, 0x1f", 1)))
	if err != nil {
		t.Fatal(err)
	}
	k, err := m.Kernel("k")
	if err != nil {
		t.Fatal(err)
	}
	p, _ := dev.Alloc("out", 1024)
	if err := k.Launch(context.Background(), device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: 32, Y: 1, Z: 1}, 0, device.Pointer(p)); err == nil || !strings.Contains(err.Error(), "which does not take part") {
		t.Errorf("lane 16 reads lane 24: %v", err)
	}
}
