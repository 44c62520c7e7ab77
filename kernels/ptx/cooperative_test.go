package ptx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// gridCase is a cooperative launch of a kernel of testdata/grid.
type gridCase struct {
	entry   string
	grid    device.Dim
	block   int
	args    []any
	kind    Kind      // of what is reported
	between [2]string // of a race: a text of the line of either access, in any order
}

func (c *gridCase) launch() *kernelCase {
	return &kernelCase{file: "grid/grid", entry: c.entry, grid: c.grid, block: extent(c.block), args: c.args, cooperative: true}
}

// gridRounds is what the rounds of testdata/grid compute.
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
	in := sequence(10*64, func(i int) uint32 { return uint32(i * i % 101) })
	suffix := slices.Clone(in)
	for i := len(suffix) - 2; i >= 0; i-- {
		suffix[i] += suffix[i+1]
	}
	suffixes := []any{writes(suffix), reads(in), zeros(10), zeros(10)}
	numbers := []any{writes(sequence(wide*64, func(int) uint32 { return 7 })), changes([]uint32{7}, []uint32{1}), zeros(1)}
	kept := []any{
		writes(sequence(5*128, func(i int) uint32 {
			b, t := i/128, i%128
			return uint32(b*128+127-t) + uint32(b+127-t) + uint32(3*b+t)
		})),
		changes(sequence(5*128, func(i int) uint32 { return uint32(i) }), make([]uint32, 5*128)), device.U32(3),
	}
	const adds, writesPart = "sum += part[i]", "wait;                                                       \\\n      for"
	_ = writesPart
	return []gridCase{
		{"rounds", extent(wide), 64, rounds(wide, 64, 3), noReport, [2]string{}},
		{"rounds", extent(1), 32, rounds(1, 32, 9), noReport, [2]string{}},
		{"rounds", extent(3, 2), 96, rounds(6, 96, 5), noReport, [2]string{}},
		{"rounds", extent(132), 33, rounds(132, 33, 2), noReport, [2]string{}},
		{"rounds__no_sync", extent(wide), 64, rounds(wide, 64, 1), Race, [2]string{}},
		{"rounds__no_barrier", extent(wide), 64, rounds(wide, 64, 1), Race, [2]string{}},
		{"rounds__no_barrier_after", extent(wide), 64, rounds(wide, 64, 1), Race, [2]string{}},
		{"rounds__relaxed_arrival", extent(wide), 64, rounds(wide, 64, 1), Race, [2]string{}},
		{"rounds__relaxed_wait", extent(wide), 64, rounds(wide, 64, 1), Race, [2]string{}},
		{"rounds__wrong_count", extent(wide), 64, rounds(wide, 64, 1), Race, [2]string{}},
		{"rounds_fences", extent(wide), 64, rounds(wide, 64, 3), noReport, [2]string{}},
		{"rounds_fences__no_first_fence", extent(wide), 64, rounds(wide, 64, 3), Race, [2]string{}},
		{"rounds_fences__no_second_fence", extent(wide), 64, rounds(wide, 64, 3), Race, [2]string{}},
		{"rounds_fences__wrong_count", extent(wide), 64, rounds(wide, 64, 3), Race, [2]string{}},
		{"counter", extent(wide), 64, []any{writes(counted), zeros(3 * wide), zeros(1)}, noReport, [2]string{}},
		{"counter__no_first_fence", extent(wide), 64, []any{writes(counted), zeros(3 * wide), zeros(1)}, Race, [2]string{}},
		{"counter__no_second_fence", extent(wide), 64, []any{writes(counted), zeros(3 * wide), zeros(1)}, Race, [2]string{}},
		{"counter__wrong_count", extent(wide), 64, []any{writes(counted), zeros(3 * wide), zeros(1)}, Race, [2]string{}},
		{"suffix_sums", extent(10), 64, suffixes, noReport, [2]string{}},
		{"suffix_sums__no_first_fence", extent(10), 64, suffixes, Race, [2]string{}},
		{"suffix_sums__no_second_fence", extent(10), 64, suffixes, Race, [2]string{}},
		{"change_last", extent(wide), 64, numbers, noReport, [2]string{}},
		{"change_last__no_first_fence", extent(wide), 64, numbers, Race, [2]string{}},
		{"keep", extent(5), 128, kept, noReport, [2]string{}},
		{"keep__copy_in_flight", extent(5), 128, kept, NotAwaited, [2]string{}},
	}
}

// TestCooperative runs kernels whose blocks wait for each other, in several orders, and the
// same with a fault, which is reported in all of them.
func TestCooperative(t *testing.T) {
	for _, c := range gridCases() {
		t.Run(fmt.Sprintf("%s/%v×%d", c.entry, c.grid, c.block), func(t *testing.T) {
			for _, seed := range []uint64{0, 1, 2, 3, 4} {
				on := AllChecks()
				on.Uninit = c.kind == noReport || c.kind == NotAwaited
				err := c.launch().run(Options{Checks: on, Shuffle: seed, Budget: 1 << 24})
				var r *Report
				switch {
				case c.kind == noReport && err != nil:
					t.Errorf("seed %d: %v", seed, err)
				case c.kind != noReport && (!errors.As(err, &r) || r.Kind != c.kind):
					t.Errorf("seed %d: %v, want a report of a %v", seed, err, c.kind)
				case r != nil && seed == 0:
					t.Log(r)
				}
			}
		})
	}
}

var _ = context.Background
var _ = os.ReadFile
var _ = strings.Contains
