package ptx

import (
	"slices"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// TestResults compares single threads with results computed by hand: addresses that wrap, a constant added to
// a register, and carries between additions and subtractions.
func TestResults(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want uint32
	}{
		"shared address wraps": {`mov.u32 %r3, tile; mov.u32 %r4, 42; st.shared.u32 [%r3+4], %r4;
			sub.s32 %r5, %r3, 64; ld.shared.u32 %r2, [%r5+68];`, 42},
		"shared address of 64 bits is cut": {`mov.u64 %rd1, tile; mov.u32 %r4, 42; st.shared.u32 [%rd1+4], %r4;
			add.s64 %rd2, %rd1, 0x100000000; ld.shared.u32 %r2, [%rd2+4];`, 42},
		"shared atomic wraps": {`mov.u32 %r3, tile; mov.u32 %r4, 40; st.shared.u32 [%r3], %r4;
			sub.s32 %r5, %r3, 8; atom.shared.add.u32 %r6, [%r5+8], 2; ld.shared.u32 %r2, [%r3];`, 42},
		"local address wraps": {`.local .align 4 .b8 own[64]; mov.u32 %r3, own; mov.u32 %r4, 42; st.local.u32 [%r3+8], %r4;
			sub.s32 %r5, %r3, 100; ld.local.u32 %r2, [%r5+108];`, 42},
		"constant address wraps": {`mov.u32 %r3, words; sub.s32 %r5, %r3, 4; ld.const.u32 %r2, [%r5+8];`, 42},

		"mov of a sum":         {"mov.u32 %r3, 12; mov.u32 %r2, %r3 + 1;", 13},
		"mov of a difference":  {"mov.u32 %r3, 12; mov.u32 %r2, %r3-1;", 11},
		"store of a sum":       {"mov.u32 %r3, 12; st.shared.u32 [tile], %r3 + 1; ld.shared.u32 %r2, [tile];", 13},
		"sums of a multiply":   {"mov.u32 %r3, 5; mul.lo.u32 %r2, %r3+1, %r3+2;", 42},
		"a sum wraps":          {"mov.u32 %r3, 0xffffffff; add.u32 %r2, %r3+43, 0;", 42},
		"64 bits":              {"mov.u64 %rd1, 0x1ffffffff; add.u64 %rd2, %rd1+1, 0; shr.u64 %rd2, %rd2, 32; cvt.u32.u64 %r2, %rd2;", 2},
		"a compared sum":       {"mov.u32 %r3, 5; setp.eq.u32 %p1, %r3+1, 6; selp.u32 %r2, %r3+37, 0, %p1;", 42},
		"a shuffled sum":       {"mov.u32 %r3, 41; shfl.sync.idx.b32 %r2, %r3+1, 0, 0x1f, 1;", 42},
		"of an atomic":         {"mov.u32 %r3, 40; st.shared.u32 [tile], %r3; mov.u32 %r4, 1; atom.shared.add.u32 %r5, [tile], %r4+1; ld.shared.u32 %r2, [tile];", 42},
		"WARP_SZ and constant": {"mov.u32 %r2, WARP_SZ + 10;", 42},

		"1-2 leaves no carry":         {"mov.u32 %r3, 1; sub.cc.u32 %r4, %r3, 2; addc.u32 %r2, 0, 0;", 0},
		"2-1 leaves a carry":          {"mov.u32 %r3, 2; sub.cc.u32 %r4, %r3, 1; addc.u32 %r2, 0, 0;", 1},
		"2-2 leaves a carry":          {"mov.u32 %r3, 2; sub.cc.u32 %r4, %r3, 2; addc.u32 %r2, 0, 0;", 1},
		"a borrow in a chain":         {"sub.cc.u32 %r4, 1, 2; subc.u32 %r2, 10, 3;", 6},
		"no borrow in a chain":        {"sub.cc.u32 %r4, 2, 1; subc.u32 %r2, 10, 3;", 7},
		"a carry is no borrow":        {"add.cc.u32 %r4, 0xffffffff, 1; subc.u32 %r2, 10, 3;", 7},
		"no carry is a borrow":        {"add.cc.u32 %r4, 1, 1; subc.u32 %r2, 10, 3;", 6},
		"subc.cc, then addc":          {"sub.cc.u32 %r4, 1, 2; subc.cc.u32 %r5, 3, 3; addc.u32 %r2, 5, 5;", 10},
		"mad.lo.cc, then subc":        {"mad.lo.cc.u32 %r4, 0xffffffff, 1, 1; subc.u32 %r2, 10, 3;", 7},
		"sub.cc, then madc":           {"sub.cc.u32 %r4, 5, 1; madc.lo.u32 %r2, 6, 6, 5;", 42},
		"of 64 bits":                  {"sub.cc.u64 %rd1, 1, 2; addc.u64 %rd2, 0, 7; cvt.u32.u64 %r2, %rd2;", 7},
		"64 bits leave, 32 bits take": {"sub.cc.u64 %rd1, 2, 1; addc.u32 %r2, 0, 7;", 8},
	} {
		text := strings.Replace(programOf(c.body), ".visible .entry", ".const .align 4 .u32 words[4] = {7, 42, 8, 9};\n.visible .entry", 1)
		for _, opt := range everyForm() {
			got, err := execute(text, device.Dim{X: 1, Y: 1, Z: 1}, opt)
			if err != nil || got[0] != c.want {
				t.Errorf("%s, %+v: %v, %v, want %d", name, opt.Checks, got, err, c.want)
			}
		}
	}
}

// everyForm returns options without checks, with each check, and shuffled.
func everyForm() []Options {
	return []Options{{}, {Checks: AllChecks()}, {Shuffle: 3}, {Checks: AllChecks(), Shuffle: 4}}
}

// TestRefusedOperands has invalid operands.
func TestRefusedOperands(t *testing.T) {
	for _, c := range []struct{ body, says string }{
		{"mov.u32 %r2+1, 5;", "the destination is not a register"},
		{"mov.u32 %r2, %r1 + 1.5;", "what is added is an integer"},
		{"ld.shared.u32 %r2, [%r1+0f3f800000];", "what is added is an integer"},
		{"selp.u32 %r2, 1, 2, %p1+1;", "a predicate is wanted"},
		{"mov.u32 %r2, %tid.x+1;", "cannot have a constant added"},
		{"mov.u32 %r2, %clock+1;", "cannot have a constant added"},
		{"add.rn.f32 %r2, %r1+1, %r1;", "cannot have a constant added"},
		{"mov.u32 %r2, %r1+0x1ffffffff;", "does not fit"},
		{"bra DONE+1;", "a label is wanted"},
	} {
		if _, err := Parse("k.ptx", []byte(programOf(c.body)), false); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want: %s", c.body, err, c.says)
		}
	}
}

// TestLaneOrder checks that the lanes of an atomic take effect in an order determined by the seed, and in
// ascending order without one.
func TestLaneOrder(t *testing.T) {
	text := programOf(`mov.u32 %r3, 0; setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [tile], %r3;
		bar.warp.sync 0xffffffff; atom.shared.add.u32 %r2, [tile], 1;`)
	run := func(seed uint64) []uint32 {
		got, err := execute(text, device.Dim{X: 32, Y: 1, Z: 1}, Options{Shuffle: seed, Checks: AllChecks()})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	ascending := make([]uint32, 32)
	for i := range ascending {
		ascending[i] = uint32(i)
	}
	if got := run(0); !slices.Equal(got, ascending) {
		t.Errorf("not in ascending order: %v", got)
	}
	one, two := run(1), run(2)
	if !slices.Equal(one, run(1)) {
		t.Error("a seed gives two orders")
	}
	if slices.Equal(one, two) || slices.Equal(one, ascending) {
		t.Errorf("the order does not change with the seed: %v, %v", one, two)
	}
	slices.Sort(one)
	if !slices.Equal(one, ascending) {
		t.Errorf("not every lane had one turn: %v", one)
	}
}
