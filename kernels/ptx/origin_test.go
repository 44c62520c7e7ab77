package ptx

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// launchOn runs the only kernel of a text with one block. Each argument is 8 bytes: a
// buffer's name for its address, or "+" and a number for the number.
func launchOn(dev *Device, text string, threads int, args ...uint64) error {
	m, err := dev.Load("k.ptx", []byte(text))
	if err != nil {
		return err
	}
	k, err := m.Kernel("k")
	if err != nil {
		return err
	}
	var list []device.Arg
	for _, a := range args {
		list = append(list, device.Arg(a))
	}
	return k.Launch(context.Background(), device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: threads, Y: 1, Z: 1}, 0, list...)
}

// TestOrigins runs kernels that access one allocation with a pointer into another, in every way that an
// address can be derived from a parameter: the report must name the allocation of the pointer.
func TestOrigins(t *testing.T) {
	const head = `.version 7.8
.target sm_80
.address_size 64
.global .align 4 .b8 variable[64];
.visible .entry k(.param .u64 table, .param .u64 cache, .param .u64 other, .param .u64 far)
{
	.reg .pred %p<4>;
	.reg .b32 %r<16>;
	.reg .b64 %rd<16>;
	ld.param.u64 %rd1, [table];
	ld.param.u64 %rd2, [cache];
	ld.param.u64 %rd3, [other];
	ld.param.u64 %rd4, [far];
	cvta.to.global.u64 %rd5, %rd2;
`
	for _, c := range []struct {
		name, body string
		blames     string // allocation named by the report; "" for no report
		says       string
	}{
		{"a page of a table", "ld.global.u32 %r1, [%rd1]; mul.wide.u32 %rd6, %r1, 16; add.s64 %rd7, %rd5, %rd6; ld.global.u32 %r2, [%rd7];", "", ""},
		{"a page past the end", "ld.global.u32 %r1, [%rd1+4]; mul.wide.u32 %rd6, %r1, 16; add.s64 %rd7, %rd5, %rd6; ld.global.u32 %r2, [%rd7];", "cache", "past the end"},
		{"a distance to another", "add.s64 %rd7, %rd2, %rd4; ld.global.u32 %r2, [%rd7];", "cache", `, in "other"`},
		{"the same, stored", "add.s64 %rd7, %rd4, %rd5; st.global.u32 [%rd7], 1;", "cache", `, in "other"`},
		{"the same, generic", "add.s64 %rd7, %rd4, %rd2; st.u32 [%rd7], 1;", "cache", `, in "other"`},
		{"an atomic", "add.s64 %rd7, %rd4, %rd5; red.global.add.u32 [%rd7], 1;", "cache", `, in "other"`},
		{"mad", "mad.lo.s64 %rd7, %rd4, 1, %rd5; ld.global.u32 %r2, [%rd7];", "cache", `, in "other"`},
		{"halves", "mov.b64 {%r1, %r2}, %rd2; mov.b64 {%r3, %r4}, %rd4; add.cc.u32 %r1, %r1, %r3; addc.u32 %r2, %r2, %r4; mov.b64 %rd7, {%r1, %r2}; ld.global.u32 %r5, [%rd7];", "cache", `, in "other"`},
		{"a loop", "mov.u64 %rd7, %rd5; mov.u32 %r1, 0; L: add.s64 %rd7, %rd7, %rd4; add.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, 1; @%p1 bra L; ld.global.u32 %r2, [%rd7];", "cache", `, in "other"`},
		{"a shuffled pointer", "mov.b64 {%r1, %r2}, %rd2; shfl.sync.idx.b32 %r1, %r1, 0, 31, 1; mov.b64 %rd7, {%r1, %r2}; add.s64 %rd7, %rd7, %rd4; ld.global.u32 %r5, [%rd7];", "cache", `, in "other"`},
		{"a variable", "mov.u64 %rd6, variable; sub.s64 %rd7, %rd3, %rd6; add.s64 %rd8, %rd6, 64; ld.global.u32 %r2, [%rd8];", "variable", "past the end"},
		{"before its start", "sub.s64 %rd7, %rd5, 4; ld.global.u32 %r2, [%rd7];", "cache", `4 bytes before "cache"`},
		{"an asynchronous copy", ".shared .align 16 .b8 tile[64]; add.s64 %rd7, %rd5, %rd4; cp.async.ca.shared.global [tile], [%rd7], 4; cp.async.wait_all;", "cache", `, in "other"`},

		{"the distance of two pointers", "sub.s64 %rd6, %rd3, %rd2; add.s64 %rd7, %rd2, %rd6; ld.global.u32 %r2, [%rd7];", "", ""},
		{"one of two pointers", "setp.eq.u64 %p1, %rd4, 0; selp.u64 %rd7, %rd2, %rd3, %p1; ld.global.u32 %r2, [%rd7];", "", ""},
		{"a pointer from memory", "ld.global.u64 %rd7, [%rd1+8]; ld.global.u32 %r2, [%rd7];", "", ""},
		{"a pointer from memory, from one of two", "ld.global.u64 %rd7, [%rd1+8]; setp.eq.u64 %p1, %rd4, 0; selp.u64 %rd7, %rd2, %rd7, %p1; ld.global.u32 %r2, [%rd7];", "", ""},
		{"a pointer from memory, in an array of them", "ld.global.u64 %rd7, [%rd1+8]; add.s64 %rd7, %rd7, 64; ld.global.u32 %r2, [%rd7];", "other", "past the end"},
		{"steps of a power of two", "ld.global.u64 %rd7, [%rd1+8]; sub.s64 %rd7, %rd7, 0x10000000000; ld.global.u32 %r2, [%rd7];", "cache", "past the end"},
		{"alignment of one in another", "and.b64 %rd6, %rd3, 15; add.s64 %rd7, %rd2, %rd6; ld.global.u32 %r2, [%rd7];", "", ""},
	} {
		for _, opt := range everyForm() {
			dev := New(opt)
			buffer := func(name string) uint64 {
				p, err := dev.Alloc(name, 64)
				if err != nil {
					t.Fatal(err)
				}
				if err := dev.Fill(p, 0, 64); err != nil {
					t.Fatal(err)
				}
				return uint64(p)
			}
			table, cache, other := buffer("table"), buffer("cache"), buffer("other")
			words := []byte{3, 0, 0, 0, 4, 0, 0, 0}
			for i := range 8 {
				words = append(words, byte(other>>(8*i)))
			}
			if err := dev.Write(device.Ptr(table), words); err != nil {
				t.Fatal(err)
			}
			err := launchOn(dev, head+c.body+"\nret;\n}\n", 1, table, cache, other, other-cache)
			var r *Report
			switch {
			case c.blames == "":
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			case !errors.As(err, &r):
				t.Errorf("%s: %v, want a report", c.name, err)
			case r.Kind != OutOfBounds || r.Allocation != c.blames || !strings.Contains(r.Detail, c.says):
				t.Errorf("%s: %v, want %s of %q: %s", c.name, r, OutOfBounds, c.blames, c.says)
			}
		}
	}
}

// TestEveryOrigin checks that for every access of the project's kernels the allocation of its pointer is
// known.
func TestEveryOrigin(t *testing.T) {
	files, err := filepath.Glob("../cu/*.ptx")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := parsed.program(file, text, false)
		if err != nil {
			t.Fatal(err)
		}
		for name, e := range p.entries {
			for i := range e.code {
				for _, m := range e.code[i].memory() {
					if m.space == spaceGlobal && m.origin == 0 {
						t.Errorf("%s: %s: line %d: %s: no origin", file, name, e.code[i].line, e.code[i].op)
					}
				}
			}
		}
	}
}

// TestGaps checks that gaps between allocations are large and differ.
func TestGaps(t *testing.T) {
	dev := New(Options{})
	var last, lastStep uint64
	for i := range 2000 {
		p, err := dev.Alloc("a", 100)
		if err != nil {
			t.Fatal(err)
		}
		step := uint64(p) - last
		if i > 0 && (step < allocGap || step == lastStep || step%(16<<10) == 0) {
			t.Fatalf("allocation %d is %#x after the one before, which was %#x after its own", i, step, lastStep)
		}
		last, lastStep = uint64(p), step
	}
}
