package ptx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// findingsHead precedes a body; the body's lines are counted from 1.
const findingsHead = `.version 7.8
.target sm_80
.address_size 64
.visible .entry kernel(.param .u64 out)
{
.reg .pred %p<4>; .reg .b32 %r<30>; .reg .b64 %rd<10>; .reg .b16 %h<3>;
.shared .align 16 .b8 tile[1024];
mov.u32 %r20, %tid.x; mov.u32 %r3, %ctaid.x; shr.u32 %r1, %r20, 5; shl.b32 %r2, %r20, 16;
ld.param.u64 %rd1, [out]; mul.wide.u32 %rd2, %r20, 4; add.u64 %rd3, %rd1, %rd2;
`

// loadBody returns the kernel of findingsHead with a body, and its argument: an array of 1,024 bytes that are 0.
func loadBody(t *testing.T, dev *Device, body string) (device.Kernel, device.Ptr) {
	t.Helper()
	m, err := dev.Load("k.ptx", []byte(findingsHead+body+"\nret;\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := m.Kernel("kernel")
	if err != nil {
		t.Fatal(err)
	}
	p, err := dev.Alloc("out", 1024)
	if err == nil {
		err = dev.Fill(p, 0, 1024)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k, p
}

// launchBody runs a kernel's body with an array of 1024 zeros, and returns the launch's error and
// the array's contents afterwards.
func launchBody(t *testing.T, opt Options, grid, block int, body string) ([]byte, error) {
	t.Helper()
	dev := New(opt)
	k, p := loadBody(t, dev, body)
	launched := k.Launch(context.Background(), device.Dim{X: grid, Y: 1, Z: 1}, device.Dim{X: block, Y: 1, Z: 1}, 256, device.Pointer(p))
	out := make([]byte, 1024)
	if err := dev.Read(out, p); err != nil {
		t.Fatal(err)
	}
	return out, launched
}

// TestFindings continues after findings.
func TestFindings(t *testing.T) {
	for _, c := range []struct {
		name, body  string
		grid, block int
		want        []string // kind, line of the body, times
		ends        bool     // code after it does not run
	}{
		{"out of bounds", "st.global.u32 [%rd3+960], 1;", 1, 64, []string{"out of bounds 1 48"}, false},
		{"two kinds", "st.global.u32 [%rd3+960], 1;\nst.global.u32 [%rd3+1], 1;", 1, 32, []string{"out of bounds 1 16", "misaligned 2 32"}, false},
		{"a load", "ld.global.u32 %r1, [%rd3+1024];", 1, 8, []string{"out of bounds 1 8"}, false},
		{"shared", "st.shared.u32 [tile+2000], 1;", 1, 32, []string{"out of bounds 1 32"}, false},
		{"shared and misaligned", "st.shared.u32 [tile+2], 1;\nld.shared.u32 %r1, [tile+5000];", 1, 1, []string{"misaligned 1 1", "out of bounds 2 1"}, false},
		{"an atomic", "atom.global.add.u32 %r1, [%rd3+1024], 1;", 1, 2, []string{"out of bounds 1 2"}, false},
		{"copy from outside", "cp.async.ca.shared.global [tile], [%rd3+1024], 4; cp.async.wait_all;", 1, 1, []string{"out of bounds 1 1"}, false},
		{"copy to outside", "cp.async.ca.shared.global [tile+60000], [%rd3], 4; cp.async.wait_all;", 1, 1, []string{"out of bounds 1 1"}, false},
		{"copies, some to outside", "shl.b32 %r5, %r20, 7; add.u32 %r5, %r5, tile; cp.async.ca.shared.global [%r5], [%rd3], 4; cp.async.wait_all;", 1, 16, []string{"out of bounds 1 8"}, false},
		{"short copy, misaligned", "mov.u32 %r1, 3; cp.async.ca.shared.global [tile], [%rd1+1020], 8, %r1; cp.async.wait_all;", 1, 1, []string{"misaligned 1 1"}, false},
		{"short copy past the end", "mov.u32 %r1, 5; cp.async.cg.shared.global [tile], [%rd1+1024], 16, %r1; cp.async.wait_all;", 1, 1, []string{"out of bounds 1 1"}, false},
		{"races", "st.global.u32 [%rd1], %r20;\nst.global.u32 [%rd1+4], %r20;", 1, 2, []string{"race 1 1", "race 2 1"}, false},
		{"races of blocks", "st.global.u32 [%rd3], %r3; setp.gt.u32 %p1, %r3, 0; @%p1 ret;", 3, 2, []string{"race 1 4"}, false},
		{"a read and a write", "ld.global.u32 %r4, [%rd1]; setp.eq.u32 %p1, %r20, 40;\n@%p1 st.global.u32 [%rd1], 3;", 1, 64, []string{"race 2 1"}, false},
		{"a register", "setp.eq.u32 %p1, %r5, 1;\n@%p1 st.global.u32 [%rd1], 3;\n@%p1 st.global.u32 [%rd1], 3;", 1, 32, []string{"uninitialized register 2 1"}, false},
		{"a register as an address", "add.u32 %r5, %r5, tile;\nst.shared.u32 [%r5], 1;", 1, 1, []string{"uninitialized register 2 1"}, false},
		{"barrier", "setp.lt.u32 %p1, %r20, 8;\n@%p1 bra A;\nbar.sync 0; bra B;\nA: bar.sync 0;\nB:", 1, 32, []string{"barrier divergence 3 1", "barrier divergence 4 1"}, false},
		{"stuck", "setp.lt.u32 %p1, %r20, 32;\n@%p1 bra A;\nbar.sync 1;\nA: bar.sync 2;", 2, 64, []string{"barrier divergence 4 2"}, true},
		{"two counts", "setp.lt.u32 %p1, %r20, 32;\n@%p1 bra A;\nbar.sync 1, 96; bra B;\nA: bar.sync 1, 64;\nB:", 1, 96, []string{"barrier divergence 3 1"}, true},
		{"mask", "setp.lt.u32 %p1, %r20, 8;\n@%p1 shfl.sync.idx.b32 %r4, %r20, 0, 31, -1;", 1, 32, []string{"mask mismatch 2 1"}, false},
		{"inactive", "setp.lt.u32 %p1, %r20, 8;\n@%p1 shfl.sync.idx.b32 %r4, %r20, 20, 31, 0xff;", 1, 32, []string{"inactive lane 2 8"}, false},
		{"trap", "trap;", 2, 1, []string{"trap 1 1"}, true},
	} {
		for _, checks := range []Checks{AllChecks(), {Sync: true, Registers: true, Races: true}} {
			body := c.body + "\nsetp.eq.u32 %p2, %r20, 0; @%p2 st.global.u32 [%rd1+512], 7;" // code after the finding
			out, err := launchBody(t, Options{Checks: checks, MaxFindings: 100, Budget: 1 << 20}, c.grid, c.block, body)
			var all *Findings
			var first *Report
			if !errors.As(err, &all) || !errors.As(err, &first) || first != all.List[0].Report {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			var got []string
			for _, f := range all.List {
				got = append(got, fmt.Sprintf("%v %d %d", f.Kind, f.PTXLine-strings.Count(findingsHead, "\n"), f.Times))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q\n%v", c.name, got, c.want, err)
			}
			if (out[512] != 7) != c.ends {
				t.Errorf("%s: the launch has stored %d after it", c.name, out[512])
			}
			// Without MaxFindings, the first one is the launch's error.
			_, err = launchBody(t, Options{Checks: checks, Budget: 1 << 20}, c.grid, c.block, body)
			var alone *Report
			if errors.As(err, new(*Findings)) || !errors.As(err, &alone) || alone.Error() != first.Error() {
				t.Errorf("%s: %v, want %v", c.name, err, first)
			}
		}
	}
}

// TestUndefinedStoreOutside stores an undefined value outside of memory, and then, by other instructions, defined ones.
func TestUndefinedStoreOutside(t *testing.T) {
	const outside = "st.global.u32 [%rd1+1024], %r19;\n"
	for name, body := range map[string]string{
		"a fragment":        "mov.b32 %r4, 0; wmma.store.d.sync.aligned.row.m16n16k16.shared.f32 [tile], {%r4, %r4, %r4, %r4, %r4, %r4, %r4, %r4};",
		"an mbarrier":       ".shared .align 8 .b8 bar[8]; setp.eq.u32 %p1, %r20, 0; @%p1 mbarrier.init.shared.b64 [bar], 1;",
		"a matrix":          "mov.u32 %r5, tile; stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r5], {%r20};",
		"one in each block": "setp.eq.u32 %p1, %r3, 0; @%p1 st.global.u32 [%rd1+2048], %r19;",
	} {
		_, err := launchBody(t, Options{Checks: Checks{Uninit: true, Registers: true}, MaxFindings: 9}, 2, 32, outside+body)
		var all *Findings
		if !errors.As(err, &all) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, f := range all.List {
			if f.Kind != OutOfBounds {
				t.Errorf("%s: %v", name, f.Report)
			}
		}
	}
}

// TestFindingsEnd ends a launch after MaxFindings.
func TestFindingsEnd(t *testing.T) {
	var body strings.Builder
	for i := range 9 {
		fmt.Fprintf(&body, "st.global.u32 [%%rd1+%d], 1;\n", 1024+4*i)
	}
	for _, most := range []int{2, 5, 9, 10} {
		_, err := launchBody(t, Options{MaxFindings: most}, 2, 1, body.String())
		var all *Findings
		if !errors.As(err, &all) || len(all.List) != min(most, 9) || all.Stopped != (most <= 9) {
			t.Fatalf("at most %d: %v", most, err)
		}
		if want := fmt.Sprintf("%d findings: %[1]d out of bounds (", min(most, 9)); !strings.HasPrefix(all.Summary(), want) {
			t.Errorf("%s, want %s", all.Summary(), want)
		}
	}
	// An endless launch ends with the findings and the budget's error.
	_, err := launchBody(t, Options{MaxFindings: 9, Budget: 1000}, 1, 1, "st.global.u32 [%rd1+1024], 1; L: bra L;")
	if err == nil || !strings.Contains(err.Error(), "out of bounds") || !strings.Contains(err.Error(), "endless loop") {
		t.Errorf("%v", err)
	}
}

// TestBugsGoOn runs the kernels of TestBugs with MaxFindings: the first report must be the same, and kernels
// without a bug have none.
func TestBugsGoOn(t *testing.T) {
	for _, c := range bugCases {
		first := runBug(t, Options{Checks: AllChecks()}, c.entry, c.grid, c.block, c.args)
		again := runBug(t, Options{Checks: AllChecks(), MaxFindings: 1000, Budget: 1 << 24}, c.entry, c.grid, c.block, c.args)
		if (first == nil) != (again == nil) || first != nil && first.Error() != again.Error() {
			t.Errorf("%s: %v going on, %v without", c.entry, again, first)
		}
		if first == nil {
			continue
		}
		for _, s := range []Suppression{{Kind: first.Kind}, {Any: true, File: "bugs.ptx", Line: first.PTXLine}} {
			r := runBug(t, Options{Checks: AllChecks(), Suppress: []Suppression{s}, Budget: 1 << 24}, c.entry, c.grid, c.block, c.args)
			if r != nil && s.covers(r) {
				t.Errorf("%s: %v in spite of %+v", c.entry, r, s)
			}
		}
	}
}

func TestParseSuppression(t *testing.T) {
	for _, c := range []struct {
		text string
		want Suppression
		err  string
	}{
		{"race", Suppression{Kind: Race}, ""},
		{"any", Suppression{Any: true}, ""},
		{"out-of-bounds@k.ptx:412", Suppression{Kind: OutOfBounds, File: "k.ptx", Line: 412}, ""},
		{"uninitialized memory@a/b.cu", Suppression{Kind: Uninitialized, File: "a/b.cu"}, ""},
		{"", Suppression{}, "unknown kind of finding"},
		{"races", Suppression{}, "want any, out-of-bounds, "},
		{"race@", Suppression{}, "KIND@FILE:LINE"},
		{"race@:3", Suppression{}, "KIND@FILE:LINE"},
		{"race@k.cu:x", Suppression{}, "from 1 on"},
		{"race@k.cu:0", Suppression{}, "from 1 on"},
	} {
		got, err := ParseSuppression(c.text)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %+v, %v", c.text, got, err)
		}
	}
}

func FuzzParseSuppression(f *testing.F) {
	f.Add("race@k.cu:12")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSuppression(text); err == nil {
			s.covers(&Report{Kind: Race, Access: Access{File: text, Line: 1}, Other: &Access{}})
		}
	})
}

// TestSameValueStores allows what Compute Sanitizer ignores.
func TestSameValueStores(t *testing.T) {
	for _, c := range []struct {
		name, body  string
		grid, block int
		race        bool
	}{
		{"two warps, one value", "st.global.u32 [%rd1], 7;", 1, 64, false},
		{"two warps, two values", "st.global.u32 [%rd1], %r1;", 1, 64, true},
		{"two blocks, one value", "st.global.v2.u32 [%rd1], {7, 8};", 5, 32, false},
		{"two blocks, two values", "st.global.v2.u32 [%rd1], {7, %r3};", 5, 32, true},
		{"shared", "st.shared.u8 [tile], 7;", 1, 64, false},
		{"shared, two values", "st.shared.u16 [tile], %r1;", 1, 64, true},
		{"narrow", "st.global.u16 [%rd1], %r2;", 1, 64, false}, // the low halves are zero
		{"a read between", "st.global.u32 [%rd1], 7; ld.global.u32 %r4, [%rd1];", 1, 64, true},
		{"an atomic", "atom.global.add.u32 %r4, [%rd1], 0; st.global.u32 [%rd1], 0;", 1, 64, true},
	} {
		for _, allow := range []bool{false, true} {
			_, err := launchBody(t, Options{Checks: AllChecks(), SameValueStores: allow}, c.grid, c.block, c.body)
			var r *Report
			if want := c.race || !allow; (err != nil) != want || err != nil && (!errors.As(err, &r) || r.Kind != Race) {
				t.Errorf("%s, allowed %v: %v", c.name, allow, err)
			}
		}
	}
}
