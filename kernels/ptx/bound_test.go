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

// TestBoundsOfMatrices loads and stores matrices by the address of one variable, with rows in the next one. The
// variables have 512 bytes: a matrix of 16 by 16 elements of 16 bits.
func TestBoundsOfMatrices(t *testing.T) {
	const (
		registers = "{%r4, %r5, %r6, %r7, %r8, %r9, %r10, %r11}"
		words     = "{%r4, %r5, %r6, %r7}"
		head      = `.version 7.8
.target sm_90
.address_size 64
.const .align 16 .b8 c1[512]={1}; .const .align 16 .b8 c2[512]={2};
.visible .entry k()
{
	.reg .b32 %r<20>; .reg .b64 %rd<20>;
	.shared .align 16 .b8 s1[512]; .shared .align 16 .b8 s2[512];
	mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 4; mov.u32 %r3, s1; add.u32 %r12, %r3, %r2; mov.u32 %r13, s2; add.u32 %r14, %r13, %r2;
	mov.u64 %rd1, s1; cvta.shared.u64 %rd1, %rd1; mov.u64 %rd2, c1; cvta.const.u64 %rd2, %rd2;
	st.shared.v4.u32 [%r12], {%r1, %r1, %r1, %r1}; st.shared.v4.u32 [%r14], {%r1, %r1, %r1, %r1}; bar.sync 0;
	mov.u32 %r4, 0; mov.u32 %r5, 0; mov.u32 %r6, 0; mov.u32 %r7, 0; mov.u32 %r8, 0; mov.u32 %r9, 0; mov.u32 %r10, 0; mov.u32 %r11, 0;
`
	)
	for _, c := range []struct{ body, blames string }{ // no report if blames is empty
		{"ldmatrix.sync.aligned.m8n8.x4.shared.b16 " + words + ", [%r12];", ""},
		{"ldmatrix.sync.aligned.m8n8.x4.shared.b16 " + words + ", [%r12+16];", "s1"},
		{"ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r4, %r5}, [%r12+256];", ""},
		{"stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r14], " + words + ";", ""},
		{"stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r14+-16], " + words + ";", "s2"},
		{"wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 " + registers + ", [%r3], 16;", ""},
		{"wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 " + registers + ", [%r3], 24;", "s1"},
		{"wmma.load.b.sync.aligned.col.m16n16k16.shared.f16 " + registers + ", [s2+-32];", "s2"},
		{"wmma.load.a.sync.aligned.row.m16n16k16.f16 " + registers + ", [%rd1+32];", "s1"},
		{"wmma.load.a.sync.aligned.row.m16n16k16.f16 " + registers + ", [%rd2];", ""},
		{"wmma.load.a.sync.aligned.row.m16n16k16.f16 " + registers + ", [%rd2+16];", "c1"},
		{"wmma.store.d.sync.aligned.row.m16n16k16.shared.f16 [%r3], " + words + ";", ""},
		{"wmma.store.d.sync.aligned.col.m16n16k16.shared.f16 [%r3+32], " + words + ";", "s1"},
		{"wmma.store.d.sync.aligned.row.m16n16k16.f16 [%rd1], " + words + ", 24;", "s1"},
	} {
		dev := New(Options{Checks: AllChecks()})
		m, err := dev.Load("k.ptx", []byte(head+c.body+"\nret;\n}\n"))
		if err != nil {
			t.Fatal(c.body, err)
		}
		k, err := m.Kernel("k")
		if err != nil {
			t.Fatal(c.body, err)
		}
		err = k.Launch(t.Context(), extent(1), extent(32), 0)
		var r *Report
		switch {
		case c.blames == "":
			if err != nil {
				t.Errorf("%s: %v", c.body, err)
			}
		case !errors.As(err, &r) || r.Kind != OutOfBounds || r.Allocation != c.blames:
			t.Errorf("%s: %v, want one outside %q", c.body, err, c.blames)
		}
	}
}

// TestBoundOfSeveral checks that a report about an address which may be derived from a variable or from buffers names
// the one that is near.
func TestBoundOfSeveral(t *testing.T) {
	const head = `.version 7.8
.target sm_80
.address_size 64
.visible .entry k(.param .u64 a, .param .u64 b, .param .u64 which, .param .u64 add)
{
	.reg .pred %p<4>; .reg .b32 %r<20>; .reg .b64 %rd<20>;
	.local .align 4 .b8 l1[32]; .local .align 4 .b8 l2[32];
	ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; ld.param.u64 %rd3, [which]; ld.param.u64 %rd4, [add];
	st.local.u32 [l2], 2; mov.u64 %rd5, l1; cvta.local.u64 %rd5, %rd5; setp.eq.u64 %p1, %rd3, 0; setp.eq.u64 %p2, %rd3, 1; setp.eq.u64 %p3, %rd3, 2;
`
	const (
		twoOr = "mov.u64 %rd6, %rd5; @%p2 mov.u64 %rd6, %rd1; @%p3 mov.u64 %rd6, %rd2;" // l1, a or b
		oneOr = "mov.u64 %rd6, %rd5; @%p2 mov.u64 %rd6, %rd1;"                          // l1 or a
	)
	for _, c := range []struct {
		body       string
		which, add int64
		says       string
	}{
		{twoOr, 1, 64, `4 bytes past the end of "a" (64 bytes)`},
		{twoOr, 2, 68, `8 bytes past the end of "b" (64 bytes)`},
		{twoOr, 2, -4, `4 bytes before "b" (64 bytes)`},
		{twoOr, 0, -4, `4 bytes before "l1" in local memory`},
		{oneOr, 1, 64, `4 bytes past the end of "a" (64 bytes)`},
		{oneOr, 0, -8, `8 bytes before "l1" in local memory`},
		{oneOr, 0, 32, `4 bytes past the end of "l1" in local memory (32 bytes)`},
		{"mov.u64 %rd6, %rd5;", 0, -4, `4 bytes before "l1" in local memory`},
		{"mov.u64 %rd6, %rd5;", 0, -1 << 40, `1099511627776 bytes before "l1" in local memory`},
	} {
		dev := New(Options{})
		m, err := dev.Load("k.ptx", []byte(head+c.body+"add.s64 %rd6, %rd6, %rd4; ld.u32 %r1, [%rd6];\nret;\n}\n"))
		if err != nil {
			t.Fatal(err)
		}
		k, err := m.Kernel("k")
		if err != nil {
			t.Fatal(err)
		}
		var p [2]device.Ptr
		for i, name := range []string{"a", "b"} {
			if p[i], err = dev.Alloc(name, 64); err != nil {
				t.Fatal(err)
			}
		}
		err = k.Launch(t.Context(), extent(1), extent(1), 0, device.Pointer(p[0]), device.Pointer(p[1]), device.Arg(c.which), device.Arg(c.add))
		var r *Report
		if !errors.As(err, &r) || r.Kind != OutOfBounds || r.Detail != c.says {
			t.Errorf("%s %d %d: %v, want %q", c.body, c.which, c.add, err, c.says)
		}
	}
}

// TestBoundsOfVariables runs kernels that clang compiled, without optimization and with it, on the variables that
// they are meant for, and on adjacent ones.
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
