package ptx

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKernels(t *testing.T) {
	p, err := Parse("two.ptx", []byte(`.version 7.8
.target sm_80
.address_size 64
.visible .entry first(.param .u64 .ptr .global out, .param .f32 x, .param .align 4 .b8 pair[8])
.reqntid 64, 2
{
	.reg .b32 %r<3>;
	.shared .align 4 .b8 s[128];
	.local .align 4 .b8 l[16];
	mov.u32 %r1, %tid.x;
	add.u32 %r2, %r1, 1;
	st.shared.u32 [s], %r2;
	st.local.u32 [l], %r2;
	ret;
}
.visible .entry second()
.maxntid 32, 4, 1
{ ret; }
`), false)
	if err != nil {
		t.Fatal(err)
	}
	want := []Kernel{
		{
			Name: "first", Params: []Param{{"out", ".u64", 1}, {"x", ".f32", 1}, {"pair", ".b8", 8}},
			Instructions: 5, Registers: 2, Shared: 128, Local: 16, Block: [3]int{64, 2, 1},
		},
		{Name: "second", Params: []Param{}, Instructions: 1, MostThreads: 128},
	}
	if diff := cmp.Diff(want, p.Kernels()); diff != "" {
		t.Error(diff)
	}
}
