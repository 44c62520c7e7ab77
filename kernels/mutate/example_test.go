package mutate_test

import (
	"fmt"

	"kvcompress/kernels/mutate"
)

// List all faults of a small kernel.
func ExampleModule_Mutants() {
	m, err := mutate.Parse("double.ptx", []byte(`
.version 7.8
.target sm_80
.address_size 64
.visible .entry double(.param .u64 x)
{
	.reg .b32 %r<2>;
	.reg .b64 %rd<2>;
	ld.param.u64 %rd1, [x];
	ld.global.u32 %r1, [%rd1];
	shl.b32 %r1, %r1, 1;
	st.global.u32 [%rd1], %r1;
	ret;
}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range m.Mutants("double") {
		fmt.Printf("%s: %s -> %s\n", f.Kind, f.Old, f.New)
	}
	// Output:
	// a type's width: ld.global.u32 %r1, [%rd1]; -> ld.global.u16 %r1, [%rd1];
	// a constant by one: ld.global.u32 %r1, [%rd1]; -> ld.global.u32 %r1, [%rd1+4];
	// a constant by one: shl.b32 %r1, %r1, 1; -> shl.b32 %r1, %r1, 2;
	// a dropped store: st.global.u32 [%rd1], %r1; -> ;
	// a type's width: st.global.u32 [%rd1], %r1; -> st.global.u16 [%rd1], %r1;
	// a constant by one: st.global.u32 [%rd1], %r1; -> st.global.u32 [%rd1+4], %r1;
}
