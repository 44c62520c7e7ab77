package ptx_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
)

// covered has branches with directions that are never taken, a guard, a guarded call, and a kernel that is
// never launched.
const covered = `.version 7.8
.target sm_80
.address_size 64
.file 1 "covered.cu"
.func helper(.param .b32 a)
{
	.loc 1 3 0
	ret;
}
.visible .entry half(.param .u64 out, .param .u32 limit)
{
	.reg .pred %p<4>;
	.reg .b32 %r<4>;
	.reg .b64 %rd<3>;
	.loc 1 10 0
	mov.u32 %r1, %tid.x;
	ld.param.u32 %r2, [limit];
	setp.lt.u32 %p1, %r1, %r2;
	setp.gt.u32 %p2, %r1, 1000;
	.loc 1 11 0
	@%p1 bra LOW;
	.loc 1 12 0
	mov.u32 %r3, 7;
	bra JOIN;
LOW:
	.loc 1 13 0
	mov.u32 %r3, 5;
JOIN:
	.loc 1 14 0
	@%p2 bra NEVER;
	@%p1 add.u32 %r3, %r3, 1;
	{
	.param .b32 a;
	st.param.b32 [a], %r3;
	@%p1 call helper, (a);
	}
	ld.param.u64 %rd1, [out];
	mul.wide.u32 %rd2, %r1, 4;
	add.s64 %rd1, %rd1, %rd2;
	st.global.u32 [%rd1], %r3;
	ret;
NEVER:
	.loc 1 20 0
	trap;
}
.visible .entry unused()
{
	ret;
}
.visible .entry refused()
{
	.reg .f32 %f<2>;
	ex2.approx.f32 %f1, %f1;
	ret;
}
`

// TestCoverage counts what launches of a kernel execute, with and without checks.
func TestCoverage(t *testing.T) {
	for _, checks := range []ptx.Checks{{}, ptx.AllChecks()} {
		c := new(ptx.Coverage)
		for _, limit := range []uint32{16, 0} {
			dev := ptx.New(ptx.Options{Checks: checks, Coverage: c})
			m, err := dev.Load("covered.ptx", []byte(covered))
			if err != nil {
				t.Fatal(err)
			}
			k, err := m.Kernel("half")
			if err != nil {
				t.Fatal(err)
			}
			out, err := dev.Alloc("out", 256)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Launch(context.Background(), device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: 64, Y: 1, Z: 1}, 0, device.Pointer(out), device.U32(limit)); err != nil {
				t.Fatal(err)
			}
			if err := dev.Free(out); err != nil {
				t.Fatal(err)
			}
			if err := dev.Close(); err != nil {
				t.Fatal(err)
			}
		}
		var b strings.Builder
		for _, k := range c.Kernels() {
			fmt.Fprintf(&b, "%s %s %d\n", k.Module, k.Kernel, k.Launches)
			for _, in := range k.Instructions {
				branch := ""
				if in.Branch {
					branch = " branch"
				}
				fmt.Fprintf(&b, "%s:%d %s %d %d%s\n", in.File, in.SourceLine, in.Opcode, in.Ran, in.Skipped, branch)
			}
		}
		// Of two launches of two warps, only the first warp of the first launch diverges.
		const want = `covered.ptx half 2
covered.cu:10 mov.u32 4 0
covered.cu:10 ld.param.u32 4 0
covered.cu:10 setp.lt.u32 4 0
covered.cu:10 setp.gt.u32 4 0
covered.cu:11 bra 1 4 branch
covered.cu:12 mov.u32 4 0
covered.cu:12 bra 4 0
covered.cu:13 mov.u32 1 0
covered.cu:14 bra 0 4 branch
covered.cu:14 add.u32 1 4
covered.cu:14 st.param.b32 4 0
covered.cu:14 call 1 4
covered.cu:14 ld.param.u64 4 0
covered.cu:14 mul.wide.u32 4 0
covered.cu:14 add.s64 4 0
covered.cu:14 st.global.u32 4 0
covered.cu:14 ret 4 0
covered.cu:20 trap 0 0
covered.cu:3 ret 1 0
covered.ptx unused 0
:0 ret 0 0
`
		if got := b.String(); got != want {
			t.Errorf("checks %v: got\n%swant\n%s", checks, got, want)
		}
		// Of the instructions, one branch was never taken, and three others went both ways.
		directions := map[uint8]int{}
		for _, took := range c.Took("half") {
			directions[took]++
		}
		if directions[2] != 1 || directions[3] < 3 || c.Took("unused") != nil {
			t.Errorf("checks %v: %v, and of a kernel that was not launched %v", checks, directions, c.Took("unused"))
		}
	}
}
