package ptx

import (
	"errors"
	"os"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// TestBounds accesses a variable of shared, local or constant memory with an address that is derived from
// another one.
func TestBounds(t *testing.T) {
	const head = `.version 7.8
.target sm_80
.address_size 64
.global .align 16 .b8 g[16]; .const .align 4 .u32 c1[8]={1}; .const .align 4 .u32 c2[8]={2};
.extern .shared .align 16 .b8 dynamic[];
.visible .entry k(.param .u64 choice)
{
	.reg .pred %p<4>; .reg .b32 %r<20>; .reg .b64 %rd<20>;
	.shared .align 16 .b8 s1[32]; .shared .align 16 .b8 s2[32];
	.local .align 4 .b8 l1[32]; .local .align 4 .b8 l2[32];
	ld.param.u64 %rd1, [choice]; cvt.u32.u64 %r1, %rd1;
	mov.u32 %r2, s1; mov.u32 %r3, s2; mov.u64 %rd2, l1; mov.u64 %rd3, l2; mov.u64 %rd4, c1; mov.u64 %rd5, c2;
	st.shared.u32 [s1], 1; st.shared.u32 [s2], 2; st.local.u32 [l1], 1; st.local.u32 [l2], 2;
`
	for _, c := range []struct {
		name, body, blames, says string // no report if blames is empty
	}{
		{"the last word", "ld.shared.u32 %r4, [s1+28]; st.shared.u32 [%r3+28], %r1;", "", ""},
		{"a variable and a constant", "ld.shared.u32 %r4, [s1+32];", "s1", `4 bytes past the end of "s1" in shared memory (32 bytes)`},
		{"a register and a constant", "st.shared.u32 [%r2+32], 1;", "s1", "past the end"},
		{"before", "st.shared.u32 [%r3+-4], 1;", "s2", `4 bytes before "s2" in shared memory`},
		{"an index", "shl.b32 %r4, %r1, 2; add.u32 %r5, %r2, %r4; ld.shared.u32 %r6, [%r5];", "s1", "past the end"},
		{"an index and back", "shl.b32 %r4, %r1, 2; sub.u32 %r5, %r2, %r4; ld.shared.u32 %r6, [%r5+32];", "", ""},
		{"a vector across the end", "ld.shared.v2.u32 {%r4, %r5}, [%r2+24]; st.shared.u32 [%r2+28], %r1; st.shared.v2.u32 [%r2+24], {%r1, %r1}; ld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [%r2+32];", "s1", "16 bytes past"},
		{"generic", "mov.u64 %rd7, s1; cvta.shared.u64 %rd6, %rd7; add.u64 %rd6, %rd6, 32; ld.u32 %r4, [%rd6];", "s1", "past the end"},
		{"an aligned address", "shr.u32 %r4, %r2, 2; shl.b32 %r4, %r4, 2; ld.shared.u32 %r5, [%r4+32];", "s1", "past the end"},
		{"one of two", "setp.eq.u32 %p1, %r1, 8; selp.b32 %r4, %r3, %r2, %p1; ld.shared.u32 %r5, [%r4+-32]; ld.shared.u32 %r5, [%r4];", "", ""},
		{"one of two, widened", "cvt.u64.u32 %rd7, %r2; cvta.shared.u64 %rd7, %rd7; mov.u64 %rd6, s2; cvta.shared.u64 %rd6, %rd6; setp.eq.u32 %p1, %r1, 8; selp.b64 %rd6, %rd7, %rd6, %p1; ld.u32 %r5, [%rd6];", "", ""},
		{"by the distance of two", "sub.u32 %r4, %r3, %r2; shr.u32 %r5, %r1, 3; mul.lo.u32 %r6, %r4, %r5; add.u32 %r7, %r2, %r6; ld.shared.u32 %r8, [%r7];", "", ""},
		{"by a multiple of the distance", "sub.u32 %r4, %r3, %r2; shr.u32 %r5, %r1, 3; mad.lo.u32 %r6, %r4, %r5, %r2; ld.shared.u32 %r7, [%r6];", "", ""},
		{"by the distance in one", "add.u32 %r4, %r2, 4; sub.u32 %r5, %r4, %r2; add.u32 %r6, %r2, %r5; ld.shared.u32 %r7, [%r6+28];", "s1", "past the end"},
		{"widened", "cvt.u64.u32 %rd7, %r2; cvta.shared.u64 %rd7, %rd7; ld.u32 %r5, [%rd7+32];", "s1", "past the end"},
		{"from memory", "st.shared.u32 [s1], %r3; ld.shared.u32 %r4, [s1]; ld.shared.u32 %r5, [%r4];", "", ""},
		{"after a good access", "ld.shared.u32 %r4, [%r2]; ld.shared.u32 %r4, [%r2+32];", "s1", "past the end"},
		{"before, after a good access", "ld.shared.u32 %r4, [%r3]; ld.shared.u32 %r4, [%r3+-32];", "s2", "before"},
		{"an atomic", "red.shared.add.u32 [%r2+32], 1;", "s1", "past the end"},
		{"local", "ld.local.u32 %r4, [%rd2+32];", "l1", "past the end"},
		{"an mbarrier", "mbarrier.init.shared.b64 [%r2+24], 1; mbarrier.init.shared.b64 [%r2+32], 1;", "s1", "past the end"},
		{"a wait", "mov.u64 %rd7, s2; mbarrier.test_wait.parity.shared.b64 %p1, [%rd7+-8], 0;", "s2", "before"},
		{"the mbarrier of a bulk copy", "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [g], 16, [%r3+-8];", "s2", "before"},
		{"const", "ld.const.u32 %r4, [%rd4+32];", "c1", "past the end"},
		{"the other const", "ld.const.u32 %r4, [c2+28]; ld.const.u32 %r4, [%rd5+-4];", "c2", "before"},
		{"dynamic", "mov.u32 %r4, dynamic; st.shared.u32 [%r4+28], 1; st.shared.u32 [%r4+-4], 1;", "dynamic", "before"},
	} {
		dev := New(Options{})
		m, err := dev.Load("k.ptx", []byte(head+c.body+"\nret;\n}\n"))
		if err != nil {
			t.Fatal(c.name, err)
		}
		k, err := m.Kernel("k")
		if err != nil {
			t.Fatal(c.name, err)
		}
		err = k.Launch(t.Context(), device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: 1, Y: 1, Z: 1}, 32, device.Arg(8))
		var r *Report
		switch {
		case c.blames == "":
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		case !errors.As(err, &r) || r.Kind != OutOfBounds || r.Allocation != c.blames || !strings.Contains(r.Detail, c.says):
			t.Errorf("%s: %v, want %q outside %q", c.name, err, c.says, c.blames)
		}
	}
}

// TestBoundsOfVariables runs kernels that clang compiled, without optimization and with it, on the variables that
// they are meant for, and on those beside.
func TestBoundsOfVariables(t *testing.T) {
	for _, level := range []string{"0", "3"} {
		name := "bounds" + level + ".ptx"
		text, err := os.ReadFile("testdata/bounds/" + name)
		if err != nil {
			t.Fatal(err)
		}
		dev := New(Options{Checks: AllChecks()})
		m, err := dev.Load(name, text)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			entry   string
			n       int32
			outside string // the variable; "" for a good n
		}{
			{"structure", 7, ""}, {"structure", 8, "s"},
			{"bytes_of_union", 28, ""}, {"bytes_of_union", 29, "u"},
			{"split", 32, ""},
			{"points", 0, ""}, {"points", 1, "p"},
			{"called", 0, ""}, {"called", 1, "a"},
			{"object", 15, ""}, {"object", 16, ""}, {"object", 17, "q"},
			{"one_of", 0, ""}, {"one_of", 1, ""}, {"one_of", 2, ""},
			{"two_buffers", 5, ""},
			{"pointers", 0, ""}, {"pointers", 1, ""},
			{"distance", 0, ""}, {"distance", 1, ""},
			{"backward", 32, ""}, {"backward", 31, "b"},
			{"walks", 48, ""}, {"walks", 49, "b"},
			{"rows", 8, ""}, {"rows", 9, "t"},
			{"vectors", 0, ""}, {"vectors", 1, "a"},
			{"aligned", 1, ""}, {"aligned", 64, "raw"},
			{"counts", 8, ""}, {"counts", 9, "count"},
			{"sizes", 1, ""}, {"sizes", 2, "half"},
			{"tables", 4, ""}, {"tables", 5, "first"},
		} {
			k, err := m.Kernel(c.entry)
			if err != nil {
				t.Fatal(err)
			}
			out, err := dev.Alloc("out", 128)
			if err != nil {
				t.Fatal(err)
			}
			err = k.Launch(t.Context(), extent(1), extent(32), 320, device.Pointer(out), device.I32(c.n))
			var r *Report
			switch {
			case c.outside == "":
				if err != nil {
					t.Errorf("-O%s: %v", level, err)
				}
			case !errors.As(err, &r) || r.Kind != OutOfBounds || r.Allocation != c.outside:
				t.Errorf("-O%s: %s with %d: %v, want one outside %q", level, c.entry, c.n, err, c.outside)
			}
		}
	}
}
