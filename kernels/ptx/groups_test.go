package ptx

import (
	"errors"
	"math/bits"
	"testing"

	"kvcompress/kernels/device"
)

// TestGroups executes .sync instructions by several groups of lanes of a warp at once, each with a mask of its
// own, as the tiles of cooperative groups do.
func TestGroups(t *testing.T) {
	const tiles = "and.b32 %r3, %r1, 24; shl.b32 %r4, 0xff, %r3; "
	const labels = "rem.u32 %r3, %r1, 3; match.any.sync.b32 %r4, %r3, -1; "
	tile := func(i uint32) uint32 { return 0xff << (i &^ 7) }
	label := func(i uint32) uint32 { return 0x49249249 << (i % 3) }
	sum := func(mask uint32) (s uint32) {
		for ; mask != 0; mask &= mask - 1 {
			s += uint32(bits.TrailingZeros32(mask))
		}
		return s
	}
	for _, c := range []struct {
		name, body string
		want       func(lane uint32) uint32
	}{
		{"redux of tiles", tiles + "redux.sync.add.u32 %r2, %r1, %r4;", func(i uint32) uint32 { return sum(tile(i)) }},
		{"redux of labels", labels + "redux.sync.add.u32 %r2, %r1, %r4;", func(i uint32) uint32 { return sum(label(i)) }},
		{"a ballot", labels + "setp.lt.u32 %p1, %r1, 9; vote.sync.ballot.b32 %r2, %p1, %r4;", func(i uint32) uint32 { return label(i) & 0x1ff }},
		{"a vote", tiles + "setp.lt.u32 %p1, %r1, 9; vote.sync.all.pred %p2, %p1, %r4; selp.u32 %r2, 1, 0, %p2;",
			func(i uint32) uint32 { return map[bool]uint32{true: 1}[i < 8] }},
		{"match.any", tiles + "and.b32 %r5, %r1, 1; match.any.sync.b32 %r2, %r5, %r4;",
			func(i uint32) uint32 { return tile(i) & (0x55555555 << (i & 1)) }},
		{"match.all", tiles + "shr.u32 %r5, %r1, 4; match.all.sync.b32 %r2, %r5, %r4;", tile},
		{"a shuffle", tiles + "shfl.sync.bfly.b32 %r2, %r1, 4, 31, %r4;", func(i uint32) uint32 { return i ^ 4 }},
		{"a tile in each branch", `
			setp.lt.u32 %p1, %r1, 16;
			@%p1 bra A;
			redux.sync.max.u32 %r2, %r1, 0xffff0000;
			bra DONE;
			A: redux.sync.max.u32 %r2, %r1, 0xffff;`, func(i uint32) uint32 { return i | 15 }},
		{"lanes that come later", tiles + `
			setp.eq.u32 %p1, %r1, 13;
			@%p1 bra A;
			B: redux.sync.min.u32 %r2, %r1, %r4;
			bra DONE;
			A: add.u32 %r5, %r1, 1;
			bra B;`, func(i uint32) uint32 { return i &^ 7 }},
		{"an undefined value in another group", tiles + "setp.ge.u32 %p1, %r1, 8; @%p1 mov.u32 %r9, %r1; redux.sync.max.u32 %r5, %r9, %r4; mov.u32 %r2, 0; @%p1 mov.u32 %r2, %r5;",
			func(i uint32) uint32 { return map[bool]uint32{true: i | 7}[i >= 8] }},
	} {
		for _, checks := range []Checks{{}, AllChecks()} {
			t.Run(c.name, func(t *testing.T) {
				out, err := execute(programOf(c.body), device.Dim{X: 32, Y: 1, Z: 1}, Options{Checks: checks})
				if err != nil {
					t.Fatal(err)
				}
				for i := range uint32(32) {
					if out[i] != c.want(i) {
						t.Errorf("lane %d: %#x, want %#x", i, out[i], c.want(i))
					}
				}
			})
		}
	}
}

// TestGroupsThatOverlap reports masks that name lanes with another mask.
func TestGroupsThatOverlap(t *testing.T) {
	for _, op := range []string{
		"redux.sync.add.u32 %r2, %r1, %r4;", "shfl.sync.bfly.b32 %r2, %r1, 1, 31, %r4;", "bar.warp.sync %r4;",
		"vote.sync.any.pred %p2, %p1, %r4;", "match.any.sync.b32 %r2, %r1, %r4;",
	} {
		_, err := execute(programOf("setp.lt.u32 %p1, %r1, 16; selp.b32 %r4, 0x1ffff, 0xffff0000, %p1; "+op), device.Dim{X: 32, Y: 1, Z: 1}, Options{Checks: AllChecks()})
		var r *Report
		if !errors.As(err, &r) || r.Kind != MaskMismatch || r.Detail != "the mask is 0x1ffff here and 0xffff0000 in lane 16" {
			t.Errorf("%s: error %v", op, err)
		}
	}
}
