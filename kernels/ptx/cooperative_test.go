package ptx

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kernels/device"
)

// gridCase is a cooperative launch of a kernel of testdata/grid.
type gridCase struct {
	entry    string
	grid     device.Dim
	block    int
	args     []any
	kind     Kind   // of the expected report
	at, with string // texts in the lines of the two accesses, in any order
}

// gridRounds computes the expected results of the rounds of testdata/grid.
func gridRounds(blocks, threads, n int) []uint32 {
	sums := sequence(blocks, func(b int) uint32 { return uint32(b) })
	for range n {
		all := uint32(0)
		for _, s := range sums {
			all += 2*s + 1
		}
		for b := range sums {
			sums[b] += all
		}
	}
	return sequence(blocks*threads, func(i int) uint32 { return sums[i/threads] })
}

func gridCases() []gridCase {
	const wide = 40 // blocks, of two warps
	zeros := func(n int) caseBuffer { return reads(make([]uint32, n)) }
	rounds := func(blocks, threads, n int) []any {
		return []any{writes(gridRounds(blocks, threads, n)), zeros(2 * blocks), device.U32(uint32(n))}
	}
	counted := sequence(wide*64, func(int) uint32 { return 3*wide*(wide-1)/2 + 3*wide })
	counter := []any{writes(counted), zeros(3 * wide), zeros(1)}
	in := sequence(10*64, func(i int) uint32 { return uint32(i * i % 101) })
	sums := slices.Clone(in)
	for i := len(sums) - 2; i >= 0; i-- {
		sums[i] += sums[i+1]
	}
	suffix := []any{writes(sums), reads(in), zeros(10), zeros(10)}
	change := []any{writes(sequence(wide*64, func(int) uint32 { return 7 })), changes([]uint32{7}, []uint32{1}), zeros(1)}
	keep := []any{
		writes(sequence(5*128, func(i int) uint32 {
			b, t := i/128, i%128
			return uint32(b*128+127-t) + uint32(b+127-t) + uint32(3*b+t)
		})),
		changes(sequence(5*128, func(i int) uint32 { return uint32(i) }), make([]uint32, 5*128)), device.U32(3),
	}
	const (
		written = "part[2 * block() + thread()] ="
		added   = "sum += part[i]"
		counts  = "part[round * blocks() + block()] ="
		adds    = "sum += part[round * blocks() + i]"
		rest    = "rest = sum[block() + 1]"
		own     = "sum[block()] = own + rest"
	)
	return []gridCase{
		{"rounds", extent(wide), 64, rounds(wide, 64, 3), noReport, "", ""},
		{"rounds", extent(1), 32, rounds(1, 32, 9), noReport, "", ""},
		{"rounds", extent(3, 2), 96, rounds(6, 96, 5), noReport, "", ""},
		{"rounds", extent(132), 33, rounds(132, 33, 1), noReport, "", ""},
		{"rounds__no_sync", extent(wide), 64, rounds(wide, 64, 1), Race, written, added},
		{"rounds__no_barrier", extent(wide), 64, rounds(wide, 64, 1), Race, written, added},
		{"rounds__no_barrier_after", extent(wide), 64, rounds(wide, 64, 1), Race, written, added},
		{"rounds__relaxed_arrival", extent(wide), 64, rounds(wide, 64, 1), Race, written, added},
		{"rounds__relaxed_wait", extent(wide), 64, rounds(wide, 64, 1), Race, written, added},
		{"rounds__wrong_count", extent(wide), 64, rounds(wide, 64, 1), Race, written, added},
		{"rounds_fences", extent(wide), 64, rounds(wide, 64, 3), noReport, "", ""},
		{"rounds_fences__no_first_fence", extent(wide), 64, rounds(wide, 64, 1), Race, written, added},
		{"rounds_fences__no_second_fence", extent(wide), 64, rounds(wide, 64, 1), Race, written, added},
		{"rounds_fences__wrong_count", extent(wide), 64, rounds(wide, 64, 1), Race, written, added},
		{"counter", extent(wide), 64, counter, noReport, "", ""},
		{"counter__no_first_fence", extent(wide), 64, counter, Race, counts, adds},
		{"counter__no_second_fence", extent(wide), 64, counter, Race, counts, adds},
		{"counter__wrong_count", extent(wide), 64, counter, Race, counts, adds},
		{"suffix_sums", extent(10), 64, suffix, noReport, "", ""},
		{"suffix_sums__no_first_fence", extent(10), 64, suffix, Race, own, rest},
		{"suffix_sums__no_second_fence", extent(10), 64, suffix, Race, own, rest},
		{"change_last", extent(wide), 64, change, noReport, "", ""},
		{"change_last__no_first_fence", extent(wide), 64, change, Race, "*number = 1", "= *number"},
		{"keep", extent(5), 128, keep, noReport, "", ""},
		{"keep__copy_in_flight", extent(5), 128, keep, NotAwaited, "in[next * threads() + thread()] = 0", "cp.async.ca.shared"},
	}
}

func (c *gridCase) run(opt Options) error {
	k := kernelCase{file: "grid/grid", entry: c.entry, grid: c.grid, block: extent(c.block), args: c.args, cooperative: true}
	return k.run(opt)
}

// lineOfGrid returns the line of a text that occurs once in grid.cu.
func lineOfGrid(t *testing.T, text string) string {
	source, err := os.ReadFile("testdata/grid/grid.cu")
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(source), text)
	if !found || strings.Contains(after, text) {
		t.Fatalf("grid.cu does not have %q once", text)
	}
	return fmt.Sprint("grid.cu:", 1+strings.Count(before, "\n"))
}

// TestCooperative runs kernels with blocks that wait for each other, in several orders of the
// blocks. Kernels with a fault must be reported in every order.
func TestCooperative(t *testing.T) {
	line := func(a *Access) string { return fmt.Sprint(path.Base(a.File), ":", a.Line) }
	for _, c := range gridCases() {
		t.Run(fmt.Sprintf("%s/%v×%d", c.entry, c.grid, c.block), func(t *testing.T) {
			on := AllChecks()
			on.Uninit = c.kind != Race // in a race, a thread may read memory that is not written yet
			for seed := range testsize.Of[uint64](2, 2, 4) {
				err := c.run(Options{Checks: on, Shuffle: seed, Budget: 1 << 24})
				if c.kind == noReport {
					if err != nil {
						t.Errorf("seed %d: %v", seed, err)
					}
					continue
				}
				var r *Report
				if !errors.As(err, &r) || r.Kind != c.kind || r.Other == nil {
					t.Errorf("seed %d: %v, want a report of a %v", seed, err, c.kind)
					continue
				}
				lines := []string{line(&r.Access), line(r.Other)}
				want := []string{lineOfGrid(t, c.at), lineOfGrid(t, c.with)}
				slices.Sort(lines)
				slices.Sort(want)
				if !slices.Equal(lines, want) || r.Block == r.Other.Block {
					t.Errorf("seed %d: %v, want of two blocks at %v", seed, r, want)
				}
				again := c.run(Options{Checks: on, Shuffle: seed, Budget: 1 << 24})
				if again == nil || again.Error() != err.Error() {
					t.Errorf("seed %d: the same launch gives %v after %v", seed, again, err)
				}
			}
			if c.kind == noReport {
				if err := c.run(Options{Budget: 1 << 24}); err != nil {
					t.Errorf("without checks: %v", err)
				}
			}
		})
	}
}

// TestWhoWasNotAwaited checks that the report names the block that the others do not wait for.
func TestWhoWasNotAwaited(t *testing.T) {
	for _, c := range gridCases() {
		if c.entry != "change_last__no_first_fence" {
			continue
		}
		for seed := range uint64(5) {
			var r *Report
			err := c.run(Options{Checks: AllChecks(), Shuffle: seed})
			if !errors.As(err, &r) || r.Block != [3]int{} || r.Other.Block != [3]int{2} {
				t.Errorf("seed %d: %v, want block 0 and before it block 2", seed, err)
			}
		}
	}
}

// TestCooperativeErrors checks the errors of launches that are invalid or do not end.
func TestCooperativeErrors(t *testing.T) {
	flag := []any{changes(make([]uint32, 1), nil)}
	rounds := []any{changes(make([]uint32, 1<<20), nil), changes(make([]uint32, 1<<16), nil), device.U32(1)}
	for _, c := range []struct {
		kernelCase
		opt  Options
		says string
	}{
		{kernelCase{entry: "rounds", grid: extent(2), block: extent(32), args: rounds}, Options{}, "the launch has to be cooperative"},
		{kernelCase{entry: "rounds", grid: extent(4225), block: extent(32), args: rounds, cooperative: true}, Options{}, "at most 4224 of 32 threads"},
		{kernelCase{entry: "rounds", grid: extent(529), block: extent(512), args: rounds, cooperative: true}, Options{}, "4 on each of 132 multiprocessors"},
		{kernelCase{entry: "rounds", grid: extent(133), block: extent(32), shared: 120 << 10, args: rounds, cooperative: true}, Options{}, "at most 132 of 32 threads"},
		{kernelCase{entry: "rounds", grid: extent(65535, 65535, 2), block: extent(32), args: rounds, cooperative: true}, Options{}, "at most 4224"},
		{kernelCase{entry: "rounds", grid: extent(4000), block: extent(32), args: rounds, cooperative: true}, Options{MemoryLimit: 8 << 20}, "the limit is 8388608"},
		{kernelCase{entry: "stuck", grid: extent(2), block: extent(32), args: flag, cooperative: true}, Options{Budget: 1e5}, lineOfGrid(t, "while (*(volatile uint32 *)flag == 0)")},
		{kernelCase{entry: "stuck", grid: extent(2), block: extent(32), args: flag}, Options{Budget: 1e5}, "if it waits for a later block, the launch has to be cooperative"},
		{kernelCase{entry: "stuck_barrier", grid: extent(3), block: extent(64), args: flag, cooperative: true}, Options{}, "barrier 1 waits for 64 threads; 32 have arrived"},
		{kernelCase{entry: "stuck_barrier", grid: extent(3), block: extent(64), args: flag, cooperative: true}, Options{MaxFindings: 9}, "a cooperative launch ends with it"},
	} {
		c.file = "grid/grid"
		if err := c.run(c.opt); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s of %v: %v, want: %s", c.entry, c.grid, err, c.says)
		}
	}
}

// TestWorkspaceFreed checks that a launch frees its workspace, however it ends.
func TestWorkspaceFreed(t *testing.T) {
	for _, args := range [][]any{
		{changes(make([]uint32, 64), nil), changes(make([]uint32, 4), nil), device.U32(2)},
		{changes(make([]uint32, 1), nil), changes(make([]uint32, 4), nil), device.U32(2)}, // out of bounds
	} {
		c := kernelCase{file: "grid/grid", entry: "rounds", grid: extent(2), block: extent(32), args: args, cooperative: true}
		l, err := c.load(New(Options{Checks: AllChecks()}))
		if err != nil {
			t.Fatal(err)
		}
		before := l.dev.mem.used
		for range 2 {
			err = l.launch()
		}
		if wrong := len(args[0].(caseBuffer).in.([]uint32)) == 1; (err != nil) != wrong || l.dev.mem.used != before {
			t.Errorf("error %v, %d bytes in use, %d before", err, l.dev.mem.used, before)
		}
	}
}

// TestWorkspace reads the address of the grid's workspace in the two ways in which PTX can, and
// synchronizes by it with the code that nvcc generates.
func TestWorkspace(t *testing.T) {
	const text = `.version 7.8
.target sm_80
.address_size 64
.visible .entry meet(.param .u64 out)
{
.reg .pred %p<3>; .reg .b32 %r<12>; .reg .b64 %rd<8>;
ld.param.u64 %rd1, [out];
mov.u32 %r1, %ctaid.x; mov.u32 %r2, %nctaid.x; mov.u32 %r3, %tid.x;
mul.wide.u32 %rd2, %r1, 4; add.u64 %rd2, %rd1, %rd2;
mov.u32 %r4, %envreg1; mov.u32 %r5, %envreg2;
cvt.u64.u32 %rd3, %r4; cvt.u64.u32 %rd4, %r5; bfi.b64 %rd3, %rd3, %rd4, 32, 32;
mov.b64 %rd5, {%envreg2, %envreg1};
setp.eq.u64 %p1, %rd3, %rd5;
@!%p1 trap;
ld.global.u32 %r6, [%rd3];
setp.ne.u32 %p1, %r3, 0;
@!%p1 st.global.u32 [%rd2], %r6;
barrier.sync 0;
@%p1 bra WAIT;
setp.eq.u32 %p2, %r1, 0; mov.u32 %r7, 1; sub.u32 %r8, 0x80000001, %r2; selp.b32 %r7, %r8, %r7, %p2;
atom.add.release.gpu.u32 %r8, [%rd3+4], %r7;
LOOP: ld.acquire.gpu.u32 %r9, [%rd3+4];
xor.b32 %r10, %r9, %r8; setp.gt.s32 %p2, %r10, -1;
@%p2 bra LOOP;
WAIT: barrier.sync 0;
xor.b32 %r1, %r1, 1; mul.wide.u32 %rd6, %r1, 4; add.u64 %rd6, %rd1, %rd6;
ld.global.u32 %r11, [%rd6]; // the neighbour's
setp.ne.u32 %p1, %r11, %r6;
@%p1 trap;
ret;
}
`
	for _, seed := range []uint64{0, 3} {
		dev := New(Options{Checks: AllChecks(), Shuffle: seed})
		m, err := dev.Load("k.ptx", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		k, err := m.Kernel("meet")
		if err != nil {
			t.Fatal(err)
		}
		p, err := dev.Alloc("out", 4*6)
		if err == nil {
			err = k.(device.CooperativeKernel).Cooperative().Launch(t.Context(), extent(6), extent(40), 0, device.Pointer(p))
		}
		out := make([]byte, 4*6)
		if err == nil {
			err = dev.Read(out, p)
		}
		if err != nil || out[20] != workspaceSize {
			t.Errorf("seed %d: %v, %v", seed, err, out)
		}
	}
}
