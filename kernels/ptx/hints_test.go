package ptx

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// TestHints checks that cache policies and hints do not change what an access does, and that prefetches do
// nothing.
func TestHints(t *testing.T) {
	const policy = "createpolicy.fractional.L2::evict_last.b64 %rd4, 1.0;\n"
	for _, body := range []string{
		policy + "ld.global.L2::cache_hint.u32 %r2, [%rd3], %rd4;",
		policy + "ld.global.nc.L1::no_allocate.L2::cache_hint.L2::256B.u32 %r2, [%rd3], %rd4;",
		policy + "ld.global.L1::evict_last.L2::cache_hint.v2.u32 {%r2, %r3}, [%rd3], %rd4;",
		"createpolicy.fractional.L2::evict_first.L2::evict_unchanged.b64 %rd4, 0.5; ld.global.L2::cache_hint.u32 %r2, [%rd3], %rd4;",
		"createpolicy.range.global.L2::evict_last.L2::evict_first.b64 %rd4, [%rd3], 64, 128; ld.global.L2::cache_hint.u32 %r2, [%rd3], %rd4;",
		"mov.u64 %rd5, 0; createpolicy.cvt.L2.b64 %rd4, %rd5; ld.global.L2::cache_hint.u32 %r2, [%rd3], %rd4;",
		policy + "mov.u32 %r2, 7; st.global.L2::cache_hint.u32 [%rd3], %r2, %rd4;",
		policy + "mov.u32 %r2, 7; st.global.L2::cache_hint.v2.u32 [%rd3], {%r2, %r2}, %rd4;",
		policy + "atom.global.add.L2::cache_hint.u32 %r2, [%rd3], 0, %rd4;",
		policy + "red.global.add.L2::cache_hint.u32 [%rd3], 0, %rd4; mov.u32 %r2, 7;",
		policy + "cp.async.cg.shared.global.L2::cache_hint.L2::128B [tile], [%rd3], 16, %rd4; cp.async.wait_all; ld.shared.u32 %r2, [tile];",
		"prefetch.global.L1 [%rd3]; prefetch.global.L2 [%rd3+64]; ld.global.u32 %r2, [%rd3];",
		"prefetch.global.L2::evict_last [%rd3]; prefetch.global.L2::evict_normal [%rd3]; ld.global.u32 %r2, [%rd3];",
		"prefetch.L2 [%rd3]; prefetchu.L1 [%rd3]; applypriority.global.L2::evict_normal [%rd3], 128; ld.global.u32 %r2, [%rd3];",
	} {
		text := programOf("ld.param.u64 %rd1, [out]; mov.u32 %r9, 7; mov.u64 %rd3, %rd1; st.global.v4.u32 [%rd3], {%r9, %r9, %r9, %r9};\n" + body)
		out, err := execute(text, device.Dim{X: 4, Y: 1, Z: 1}, Options{})
		if err != nil || out[0] != 7 {
			t.Errorf("%s: %d, error %v", body, out, err)
		}
	}
	for _, body := range []string{
		"ld.global.L2::cache_hint.u32 %r2, [%rd1];", "ld.global.u32 %r2, [%rd1], %rd4;", "prefetch.global [%rd1];", "prefetch.global.L3 [%rd1];",
		"createpolicy.fractional.L2::evict_last.b64 %rd4, 1.0, 2;", "createpolicy.fractional.L2::evict_last.b32 %r4, 1.0;", "createpolicy.L2::evict_last.b64 %rd4;",
		"createpolicy.fractional.L2::evict_last.b64;", "applypriority.global.L2::evict_normal;", "ld.global.L2::cache_hint.u32;",
	} {
		if _, err := Parse("k.ptx", []byte(programOf(body)), false); err == nil {
			t.Errorf("%s is not refused", body)
		}
	}
	_, err := execute(programOf("ld.param.u64 %rd1, [out]; ld.global.L2::cache_hint.u32 %r2, [%rd1], %rd4;"), device.Dim{X: 1, Y: 1, Z: 1}, Options{Checks: AllChecks()})
	if err == nil || !strings.Contains(err.Error(), "%rd4") {
		t.Errorf("a policy that was never created: %v", err)
	}
}

// TestElect elects the first lane that executes elect.sync, of the warp and of each group of lanes.
func TestElect(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       func(lane uint32) uint32 // the leader, plus 100 in the leader
	}{
		{"a warp", "elect.sync %r3|%p1, -1;", func(i uint32) uint32 { return 0 }},
		{"a part", "setp.ge.u32 %p2, %r1, 5; mov.u32 %r3, 0; setp.ne.u32 %p1, %r1, %r1; @%p2 elect.sync %r3|%p1, 0xffffffe0;",
			func(i uint32) uint32 { return map[bool]uint32{true: 5}[i >= 5] }},
		{"tiles", "and.b32 %r4, %r1, 24; shl.b32 %r4, 0xff, %r4; elect.sync %r3|%p1, %r4;", func(i uint32) uint32 { return i &^ 7 }},
		{"only a predicate", "and.b32 %r3, %r1, 16; shl.b32 %r4, 0xffff, %r3; elect.sync _|%p1, %r4;", func(i uint32) uint32 { return i &^ 15 }},
	} {
		for _, checks := range []Checks{{}, AllChecks()} {
			out, err := execute(programOf(c.body+"\nselp.u32 %r2, 100, 0, %p1; add.u32 %r2, %r2, %r3;"), device.Dim{X: 32, Y: 1, Z: 1}, Options{Checks: checks})
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			for i := range uint32(32) {
				want := c.want(i)
				if i == want && (c.name != "a part" || i == 5) {
					want += 100
				}
				if out[i] != want {
					t.Errorf("%s, lane %d: %d, want %d", c.name, i, out[i], want)
				}
			}
		}
	}
	for _, body := range []string{"elect %r3|%p1, -1;", "elect.sync %r3|%p1;", "elect.sync %p1, -1;"} {
		if _, err := Parse("k.ptx", []byte(programOf(body)), false); err == nil {
			t.Errorf("%s is not refused", body)
		}
	}
}

// TestSlctFlushed checks slct.ftz: it selects a if c, with subnormals flushed to zero, is at least zero.
func TestSlctFlushed(t *testing.T) {
	for _, c := range []struct {
		c                uint32
		plain, withFlush uint32
	}{
		{0, 1, 1}, {1 << 31, 1, 1}, {0x3f800000, 1, 1}, {0xbf800000, 2, 2},
		{1, 1, 1}, {0x80000001, 2, 1}, {0x807fffff, 2, 1}, {0x80800000, 2, 2},
		{math.Float32bits(float32(math.Inf(1))), 1, 1}, {math.Float32bits(float32(math.Inf(-1))), 2, 2}, {0x7fc00000, 2, 2}, {0xffc00000, 2, 2},
	} {
		for op, want := range map[string]uint32{"slct.u32.f32": c.plain, "slct.ftz.u32.f32": c.withFlush} {
			out, err := execute(programOf(fmt.Sprintf(".reg .f32 %%f1; mov.b32 %%r3, %#x; mov.b32 %%f1, %%r3; mov.u32 %%r4, 1; mov.u32 %%r5, 2; %s %%r2, %%r4, %%r5, %%f1;", c.c, op)), device.Dim{X: 1, Y: 1, Z: 1}, Options{AllowApprox: true})
			if err != nil || out[0] != want {
				t.Errorf("%s with %#x: %d, error %v, want %d", op, c.c, out, err, want)
			}
		}
	}
	if _, err := Parse("k.ptx", []byte(programOf("slct.ftz.u32.s32 %r2, %r3, %r4, %r5;")), false); err == nil {
		t.Error("slct.ftz with an s32 is not refused")
	}
}
