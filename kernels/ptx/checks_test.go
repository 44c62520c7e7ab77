package ptx

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

//go:embed testdata/checks/bugs.cu testdata/checks/bugs.ptx
var bugs embed.FS

func bugsFile(t testing.TB, name string) []byte {
	b, err := bugs.ReadFile("testdata/checks/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// lineOf returns where a text stands in bugs.cu, which has it once.
func lineOf(t testing.TB, text string) int {
	before, after, found := strings.Cut(string(bugsFile(t, "bugs.cu")), text)
	if !found || strings.Contains(after, text) {
		t.Fatalf("bugs.cu does not have %q once", text)
	}
	return 1 + strings.Count(before, "\n")
}

// bugArgs makes arguments from words. A number is one; other words are the names of
// new buffers of 4096 bytes: "zero" holds zeros, "in" the numbers from 0, "freed"
// was freed, and any other is undefined.
func bugArgs(t testing.TB, dev *Device, words string) []device.Arg {
	var args []device.Arg
	for word := range strings.FieldsSeq(words) {
		const size = 4096
		alloc := func() device.Ptr {
			p, err := dev.Alloc(word, size)
			if err != nil {
				t.Fatal(err)
			}
			args = append(args, device.Pointer(p))
			return p
		}
		var err error
		switch word {
		case "zero":
			err = dev.Fill(alloc(), 0, size)
		case "freed":
			err = dev.Free(alloc())
		case "in":
			b := make([]byte, size)
			for i := range size / 4 {
				b[4*i], b[4*i+1] = byte(i), byte(i>>8)
			}
			err = dev.Write(alloc(), b)
		default:
			if n, err := strconv.Atoi(word); err == nil {
				args = append(args, device.I32(int32(n)))
			} else {
				alloc()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return args
}

// runBug runs a kernel of bugs.ptx, or cooperatively one of grid.ptx (grid/NAME), and
// returns its report, or nil.
func runBug(t testing.TB, opt Options, entry string, grid, block int, words string) *Report {
	opt.Cache = &parsed
	dev := New(opt)
	file, text := "bugs.ptx", bugsFile(t, "bugs.ptx")
	name, cooperative := strings.CutPrefix(entry, "grid/")
	if cooperative {
		var err error
		if text, err = os.ReadFile("testdata/grid/grid.ptx"); err != nil {
			t.Fatal(err)
		}
		file = "grid.ptx"
	}
	m, err := dev.Load(file, text)
	if err != nil {
		t.Fatal(err)
	}
	k, err := m.Kernel(name)
	if err != nil {
		t.Fatal(err)
	}
	if cooperative {
		k = k.(device.CooperativeKernel).Cooperative()
	}
	args := bugArgs(t, dev, words)
	err = k.Launch(context.Background(), device.Dim{X: grid, Y: 1, Z: 1}, device.Dim{X: block, Y: 1, Z: 1}, 0, args...)
	var r *Report
	if err == nil && strings.HasPrefix(words, "out") {
		// Bytes that the kernel leaves unwritten are fine; bytes that it computes from undefined values are
		// not.
		err = dev.Read(make([]byte, 4*grid*block), device.Ptr(args[0]))
		if errors.As(err, &r) && r.Kernel == "" {
			return nil
		}
	}
	if err != nil && !errors.As(err, &r) {
		t.Fatalf("%s: not a report: %v", entry, err)
	}
	return r
}

// A bugCase is a run of a kernel of bugs.ptx.
type bugCase struct {
	entry       string
	grid, block int
	args        string
	kind        Kind
	at, with    string // of the report: text of the line of bugs.cu, and of the other access's line
	says        string // substring of the detail
}

const noReport = Kind(255)

var bugCases = []bugCase{
	{"tree_sum", 2, 128, "out in", noReport, "", "", ""},
	{"tree_sum__no_barrier", 2, 128, "out in", Race, "if (thread() < half) sum", "if (thread() < half) sum", "of shared memory"},
	{"swap_lanes", 1, 64, "out in", Race, "row[lane()] = in[thread()]", "", ""}, // two warps use one row
	{"swap_lanes", 1, 32, "out in", noReport, "", "", ""},
	{"swap_lanes__no_warp_barrier", 1, 32, "out in", Race, "out[thread()] = row[lane() ^ 1]", "row[lane()] = in[thread()]", ""},
	{"tile_loop", 1, 64, "out in", noReport, "", "", ""},
	{"tile_loop__no_second_barrier", 1, 64, "out in", Race, "sum += tile", "tile[thread()] = in[i * 64", ""},
	{"rows", 4, 64, "out", noReport, "", "", ""},
	{"rows__same_cell", 4, 64, "out", Race, "out[thread()] = block();", "out[thread()] = block();", `bytes 0 to 3 of "out", and the two accesses are not ordered`},
	{"bytes", 3, 64, "out", noReport, "", "", ""},
	{"bytes__overlap", 1, 8, "out", Race, "", "", ""},
	{"one_cell", 4, 32, "out", noReport, "", "", ""},
	{"one_cell__values", 4, 32, "out", Race, "out[block()] = thread()", "out[block()] = thread()", ""},
	{"count", 4, 64, "zero", noReport, "", "", ""},
	{"count__plain", 4, 64, "zero", Race, "*out += 1", "*out += 1", ""},
	{"count__block_scope", 1, 64, "zero", noReport, "", "", ""},
	{"count__block_scope", 2, 64, "zero", Race, "red.relaxed.cta", "red.relaxed.cta", ""},
	{"shared_count", 3, 64, "out", noReport, "", "", ""},
	{"shared_count__no_barrier_after_zero", 1, 64, "out", Race, "__nvvm_atom_add_gen_i((int *)&n, 1)", "if (thread() == 0) n = 0", ""},
	{"shared_count__no_barrier_before_read", 1, 64, "out", Race, "out[block()] = n", "__nvvm_atom_add_gen_i((int *)&n, 1)", ""},
	{"last_block", 5, 64, "out part zero", noReport, "", "", ""},
	{"last_block", 100, 8, "out part zero", noReport, "", "", ""},
	{"last_block__no_barrier", 5, 64, "out part zero", Race, "sum += part", "part[block() * threads() + thread()] =", ""},
	{"last_block__no_fence", 5, 64, "out part zero", Race, "sum += part", "part[block() * threads() + thread()] =", ""},
	{"last_block__no_second_fence", 5, 64, "out part zero", Race, "sum += part", "part[block() * threads() + thread()] =", ""},
	{"lock", 5, 32, "zero zero", noReport, "", "", ""},
	{"lock__no_fence", 5, 32, "zero zero", Race, "cell[0] += block()", "cell[0] += block()", ""},
	{"producer", 1, 64, "out", noReport, "", "", ""},
	{"producer__wrong_barrier", 1, 64, "out", Race, "out[lane()] = row[31 - lane()]", "row[lane()] = lane()", ""},
	{"shift_left", 16, 64, "out in 1024", noReport, "", "", ""},
	{"shift_left__past_end", 16, 64, "out in 1024", OutOfBounds, "out[i] = in[i + 1];", "", `4 bytes past the end of "in" (4096 bytes)`},
	{"shift_right__before_start", 16, 64, "out in 1024", OutOfBounds, "in[i - 1]", "", `4 bytes before "in"`},
	{"words__misaligned", 1, 32, "out in", Misaligned, "in + 2 + 4 * thread()", "", ""},
	{"shared__past_end", 1, 64, "out 0", noReport, "", "", ""},
	{"shared__past_end", 1, 64, "out 8", OutOfBounds, "row[at + thread()]", "", ""},
	{"evens", 1, 64, "out", noReport, "", "", ""},
	{"evens__uninitialized", 1, 64, "out", Uninitialized, "out[thread()] = row[thread()];", "", "bytes 4 to 7 of shared memory"},
	{"own_array", 1, 64, "out 8 7", noReport, "", "", ""},
	{"own_array", 1, 64, "out 7 7", Uninitialized, "out[thread()] = a[at]", "", "bytes 28 to 31 of local memory"},
	{"branch", 1, 64, "out 20", noReport, "", "", ""},
	{"branch", 1, 64, "out 10", noReport, "", "", ""},
	{"branch__diverged", 1, 64, "out 64", noReport, "", "", ""},
	{"branch__diverged", 1, 64, "out 40", BarrierDiverged, "    __syncthreads();\n    v = out[n", "", ""},
	{"half", 1, 64, "out", noReport, "", "", ""},
	{"half_exits", 1, 64, "out", noReport, "", "", ""},
	{"half__mask", 1, 64, "out", MaskMismatch, "if (lane() < 16) v = ", "", ""},
	{"half__inactive", 1, 64, "out", InactiveLane, "if (lane() < 16) v = ", "", ""},
	{"pass_row", 1, 64, "out", noReport, "", "", ""},
	{"pass_row__one_arrival_too_few", 1, 64, "out", Deadlock, "mbarrier.test_wait", "", `for the mbarrier "full"+0 (0x0 of shared memory): in the phase of parity 0, 32 of 33 arrivals came`},
	{"copy", 1, 64, "out in", noReport, "", "", ""},
	{"copy", 1, 64, "out undefined", Uninitialized, "out[thread()] = in[thread()];", "", `bytes 0 to 3 of "undefined"`},
	{"copy", 1, 64, "out freed", Freed, "out[thread()] = in[thread()];", "", "was freed"},
}

// checks returns the checks to run the case with. A missing barrier may show as an uninitialized read, so
// races are checked without that check.
func (c *bugCase) checks() Checks {
	on := AllChecks()
	on.Uninit = c.kind != Race
	return on
}

// TestBugs runs kernels with one bug each, and the same kernels without it. The report is the same in every
// run, and one of the same kind occurs in every order of blocks and warps.
func TestBugs(t *testing.T) {
	for _, c := range bugCases {
		t.Run(fmt.Sprintf("%s/%d×%d/%s", c.entry, c.grid, c.block, c.args), func(t *testing.T) {
			r := runBug(t, Options{Checks: c.checks()}, c.entry, c.grid, c.block, c.args)
			c.judge(t, r)
			if r == nil {
				return
			}
			if again := runBug(t, Options{Checks: c.checks()}, c.entry, c.grid, c.block, c.args); again == nil || r.String() != again.String() {
				t.Errorf("the same run again reports\n%v\nafter\n%v", again, r)
			}
			if c.at != "" && (!strings.HasSuffix(r.File, "bugs.cu") || r.Line != lineOf(t, c.at)) {
				t.Errorf("reported at %s, want line %d", r.place(), lineOf(t, c.at))
			}
			if c.with != "" && (r.Other == nil || r.Other.Line != lineOf(t, c.with)) {
				t.Errorf("a race with %v, want line %d", r.Other, lineOf(t, c.with))
			}
			if !strings.Contains(r.Detail, c.says) {
				t.Errorf("%s: does not say %s", r.Detail, c.says)
			}
			if all := runBug(t, Options{Checks: AllChecks()}, c.entry, c.grid, c.block, c.args); all == nil || all.Kind != r.Kind && all.Kind != Uninitialized {
				t.Errorf("all checks together report %v, want what one does: %v", all, r)
			}
		})
	}
	for seed := range uint64(10) {
		t.Run(fmt.Sprintf("shuffle %d", seed+1), func(t *testing.T) {
			for _, c := range bugCases {
				c.judge(t, runBug(t, Options{Checks: c.checks(), Shuffle: seed + 1}, c.entry, c.grid, c.block, c.args))
			}
		})
	}
}

func (c *bugCase) judge(t *testing.T, r *Report) {
	t.Helper()
	switch {
	case r == nil && c.kind != noReport:
		t.Errorf("%s %s: nothing is reported, want %s", c.entry, c.args, c.kind)
	case r != nil && c.kind == noReport:
		t.Errorf("%s %s: a false alarm: %v", c.entry, c.args, r)
	case r != nil && r.Kind != c.kind:
		t.Errorf("%s %s: %v, want %s", c.entry, c.args, r, c.kind)
	}
}

// TestChecksOff checks that a checker that is off finds nothing, and that accesses which are always refused
// are refused with all off.
func TestChecksOff(t *testing.T) {
	for _, c := range bugCases {
		on := AllChecks()
		switch c.kind {
		case Race:
			on.Races = false
		case Uninitialized:
			on.Uninit = false
		case OutOfBounds, Misaligned, Freed:
			on = Checks{}
			c.judge(t, runBug(t, Options{Checks: on}, c.entry, c.grid, c.block, c.args))
			continue
		default:
			continue
		}
		if r := runBug(t, Options{Checks: on}, c.entry, c.grid, c.block, c.args); r != nil && r.Kind == c.kind {
			t.Errorf("%s with %s: %v", c.entry, on, r)
		}
	}
}

// TestHostReports checks what Close, Free and Read of the host report.
func TestHostReports(t *testing.T) {
	dev := New(Options{Checks: AllChecks()})
	a, err := dev.Alloc("kept", 100)
	if err != nil {
		t.Fatal(err)
	}
	b, err := dev.Alloc("given back", 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Write(a, make([]byte, 50)); err != nil {
		t.Fatal(err)
	}
	if err := dev.Copy(b, a+20, 60); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for _, c := range []struct {
		name string
		err  error
		kind Kind
		says string
	}{
		{"read what was written", dev.Read(buf[:50], a), noReport, ""},
		{"read more", dev.Read(buf[:51], a), Uninitialized, `bytes 0 to 50 of "kept", and nothing has written byte 50`},
		{"read what was copied", dev.Read(buf[:30], b), noReport, ""},
		{"read the copy of what was not written", dev.Read(buf[:10], b+25), Uninitialized, "byte 30"},
		{"fill", dev.Fill(b+30, 1, 70), noReport, ""},
		{"read what was filled", dev.Read(buf, b), noReport, ""},
		{"read past the end", dev.Read(buf, b+1), OutOfBounds, "1 bytes past the end"},
		{"free inside", dev.Free(b + 4), BadFree, ""},
		{"free", dev.Free(b), noReport, ""},
		{"free again", dev.Free(b), BadFree, "freed before"},
		{"read what is freed", dev.Read(buf, b), Freed, "freed"},
		{"close", dev.Close(), Leak, `"kept" (100 bytes)`},
	} {
		var r *Report
		switch {
		case c.kind == noReport:
			if c.err != nil {
				t.Errorf("%s: %v", c.name, c.err)
			}
		case !errors.As(c.err, &r):
			t.Errorf("%s: %v, want a report", c.name, c.err)
		case r.Kind != c.kind || !strings.Contains(r.Error(), c.says):
			t.Errorf("%s: %v, want %s: %s", c.name, r, c.kind, c.says)
		}
	}
}

// TestRegisters checks reads of registers that nothing has written: uses are reported, computations propagate
// undefinedness, and a lane's write does not define the register in other lanes.
func TestRegisters(t *testing.T) {
	for _, c := range []struct {
		body string
		kind Kind
		says string
	}{
		{"mov.u32 %r1, 1; add.u32 %r2, %r1, 1; setp.eq.u32 %p1, %r2, 2; @%p1 bra END;", noReport, ""},
		{"add.u32 %r2, %r1, 1;", noReport, ""},
		{"mov.u32 %r2, %r1; add.u32 %r3, %r2, 1; setp.eq.u32 %p1, %r3, 0; selp.u32 %r4, %r3, 5, %p1;", noReport, ""},
		{"setp.eq.u32 %p1, %r1, 1; @%p1 bra END;", UninitRegister, "%r1"},
		{"mov.u32 %r2, %r1; add.u32 %r3, %r2, 1; setp.eq.u32 %p1, %r3, 1; @%p1 bra END;", UninitRegister, "%r1"},
		{"@%p1 mov.u32 %r1, 1;", UninitRegister, "%p1"},
		{"ld.shared.u32 %r2, [%r1];", UninitRegister, "%r1"},
		{"mov.u32 %r4, %tid.x; setp.lt.u32 %p1, %r4, 8; @%p1 mov.u32 %r1, 1; @%p1 add.u32 %r2, %r1, 1; @%p1 bra A; bra END; A: setp.eq.u32 %p1, %r2, 2; @%p1 bra END;", noReport, ""},
		{"mov.u32 %r4, %tid.x; setp.lt.u32 %p1, %r4, 8; @%p1 mov.u32 %r1, 0; ld.shared.u32 %r2, [%r1];", UninitRegister, "%r1"},
	} {
		text := ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k() {\n.reg .pred %p<2>;\n.reg .b32 %r<5>;\n.shared .align 4 .b8 tile[64];\nld.shared.u32 %r3, [tile];\n" + c.body + "\nEND:\nret;\n}\n"
		for _, on := range []Checks{{Registers: true, Races: true}, {Registers: true}, {Uninit: true}, {Races: true}} {
			dev := New(Options{Checks: on})
			m, err := dev.Load("k.ptx", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			k, err := m.Kernel("k")
			if err != nil {
				t.Fatal(err)
			}
			err = k.Launch(context.Background(), device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: 32, Y: 1, Z: 1}, 0)
			var r *Report
			switch {
			case c.kind == noReport || !on.Registers:
				if err != nil {
					t.Errorf("%s: %v", c.body, err)
				}
			case !errors.As(err, &r) || r.Kind != c.kind || !strings.Contains(r.Detail, c.says):
				t.Errorf("%s: %v, want %s of %s", c.body, err, c.kind, c.says)
			case strings.Contains(c.body, "%tid") && r.Kind == UninitRegister && r.Thread != [3]int{8, 0, 0}:
				t.Errorf("%s: thread %v, want 8", c.body, r.Thread)
			}
		}
	}
}

func TestParseChecks(t *testing.T) {
	for list, want := range map[string]string{
		"all": "uninit,registers,races,sync,leaks", "none": "none", "races": "races",
		"all,-races": "uninit,registers,sync,leaks", "none,leaks": "leaks", " uninit , leaks": "uninit,leaks",
	} {
		c, err := ParseChecks(list)
		if err != nil || c.String() != want {
			t.Errorf("%q: %s, %v, want %s", list, c, err, want)
		}
	}
	for _, list := range []string{"", "bounds", "all,", "-all", "--races", "Races"} {
		if c, err := ParseChecks(list); err == nil {
			t.Errorf("%q: %s, want an error", list, c)
		}
	}
}

func TestReport(t *testing.T) {
	at := Access{Block: [3]int{0, 3, 1}, Thread: [3]int{17, 0, 0}, Op: "ld.global.f32", File: "./cu/attention.cu", Line: 88, PTX: "attention.ptx", PTXLine: 412}
	before := Access{Block: [3]int{1, 0, 0}, Op: "st.global.f32", PTX: "attention.ptx", PTXLine: 7}
	for _, c := range []struct {
		r    Report
		want string
	}{
		{
			Report{Kind: OutOfBounds, Kernel: "attend", Access: at, Space: "global", Address: 0x700001010, Size: 4, Allocation: "keys", Extent: 4096, Offset: 4112, Detail: "20 bytes past the end"},
			"ptx: attend: block (0,3,1) thread (17,0,0): cu/attention.cu:88 (line 412 of attention.ptx): out of bounds: ld.global.f32 at 0x700001010: 20 bytes past the end",
		},
		{
			Report{Kind: Race, Kernel: "attend", Access: at, Space: "shared", Address: 16, Size: 4, Detail: "nothing orders them", Other: &before},
			"ptx: attend: block (0,3,1) thread (17,0,0): cu/attention.cu:88 (line 412 of attention.ptx): race: ld.global.f32 at 0x10 of shared memory: nothing orders them: before, block (1,0,0) thread (0,0,0): line 7 of attention.ptx: st.global.f32",
		},
		{Report{Kind: Leak, Allocation: "keys", Detail: "4096 bytes were never freed"}, "ptx: leak: 4096 bytes were never freed"},
	} {
		if got := c.r.Error(); got != c.want {
			t.Errorf("%s\nwant\n%s", got, c.want)
		}
	}
	for k := OutOfBounds; k <= Trapped; k++ {
		if k.String() == "" {
			t.Errorf("kind %d has no name", uint8(k))
		}
	}
}
