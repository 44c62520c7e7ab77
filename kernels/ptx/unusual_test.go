package ptx

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"testing"
)

// TestUnusual runs kernels that are right, but unlike what compilers write, and one that is nearly right.
func TestUnusual(t *testing.T) {
	for _, c := range []struct {
		name, body string
		block      int
		want       func(i int) uint32 // of word i of out
		n          int
		says       string
	}{
		{"an address that wraps", "shl.b32 %r4, %r20, 2; mov.u32 %r5, tile; add.u32 %r5, %r5, %r4; add.u32 %r6, %r5, 0x80000000; st.shared.u32 [%r5], %r20; bar.sync 0; add.u32 %r6, %r6, 0x7ffffff0; ld.shared.u32 %r7, [%r6+16]; st.global.u32 [%rd3], %r7;", 64,
			func(i int) uint32 { return uint32(i) }, 64, ""},
		{"an address before the variable, and an offset", "shl.b32 %r4, %r20, 2; mov.u32 %r5, tile; add.u32 %r5, %r5, %r4; st.shared.u32 [%r5], %r20; sub.u32 %r6, %r5, 64; ld.shared.u32 %r7, [%r6+64]; st.global.u32 [%rd3], %r7;", 64,
			func(i int) uint32 { return uint32(i) }, 64, ""},
		{"a negative index", "shl.b32 %r4, %r20, 2; mov.u32 %r5, tile; neg.s32 %r4, %r4; add.s32 %r5, %r5, %r4; st.shared.u32 [%r5+252], %r20; bar.sync 0; ld.shared.u32 %r7, [%r5+252]; st.global.u32 [%rd3], %r7;", 64,
			func(i int) uint32 { return uint32(i) }, 64, ""},
		{"addresses of 64 bits in shared memory", "shl.b32 %r4, %r20, 2; cvt.u64.u32 %rd4, %r4; mov.u64 %rd5, tile; add.u64 %rd5, %rd5, %rd4; st.shared.u32 [%rd5], %r20; cvta.shared.u64 %rd6, %rd5; ld.u32 %r6, [%rd6]; cvta.to.shared.u64 %rd7, %rd6; ld.shared.u32 %r7, [%rd7]; add.u32 %r6, %r6, %r7; st.global.u32 [%rd3], %r6;", 64,
			func(i int) uint32 { return uint32(2 * i) }, 64, ""},
		{"reductions in a branch", "and.b32 %r4, %r20, 3; setp.eq.u32 %p1, %r4, 1; mov.u32 %r9, 0; @%p1 activemask.b32 %r5; @!%p1 mov.u32 %r5, 0; @%p1 redux.sync.min.s32 %r9, %r20, 0x22222222; @%p1 match.all.sync.b32 %r10|%p2, %r4, 0x22222222; @%p1 add.u32 %r9, %r9, %r10; @%p1 xor.b32 %r9, %r9, %r5; st.global.u32 [%rd3], %r9;", 64,
			func(i int) uint32 {
				if i&3 == 1 {
					return (uint32(i&^31+1) + 0x22222222) ^ 0x22222222
				}
				return 0
			}, 64, ""},
		{"bar.red under a guard", "shr.u32 %r4, %r20, 5; setp.eq.u32 %p1, %r4, 1; and.b32 %r6, %r20, 1; setp.eq.u32 %p2, %r6, 1; mov.u32 %r5, 0; @%p1 bar.red.popc.u32 %r5, 3, 32, %p2; @!%p1 barrier.sync 2, 32; st.global.u32 [%rd3], %r5;", 64,
			func(i int) uint32 { return uint32(i/32) * 16 }, 64, ""},
		{"the n-th set bit", "mov.u32 %r4, 0xf0f0a5c3; add.u32 %r5, %r20, 1; fns.b32 %r6, %r4, 0, %r5; st.global.u32 [%rd3], %r6;", 32,
			func(i int) uint32 {
				k := i + 1
				for b := range 32 {
					if uint32(0xf0f0a5c3)>>b&1 != 0 {
						if k--; k == 0 {
							return uint32(b)
						}
					}
				}
				return 0xffffffff
			}, 32, ""},
		{"a sum of 96 bits", "mov.u32 %r4, -1; add.cc.u32 %r5, %r4, %r20; addc.cc.u32 %r6, %r4, 0; addc.cc.u32 %r7, %r4, %r20; addc.u32 %r8, 0, 0; xor.b32 %r5, %r5, %r6; xor.b32 %r5, %r5, %r7; add.u32 %r5, %r5, %r8; st.global.u32 [%rd3], %r5;", 64,
			func(i int) uint32 {
				n := uint32(i)
				a, c := bits.Add32(^uint32(0), n, 0)
				b, c := bits.Add32(^uint32(0), 0, c)
				d, c := bits.Add32(^uint32(0), n, c)
				return (a ^ b ^ d) + c
			}, 64, ""},
		{"a guarded brx", "T: .branchtargets A, B, C; and.b32 %r4, %r20, 3; setp.lt.u32 %p1, %r4, 3; mov.u32 %r5, 9; @%p1 brx.idx %r4, T; bra END; A: mov.u32 %r5, 10; bra END; B: mov.u32 %r5, 11; C: add.u32 %r5, %r5, 1; END: bar.warp.sync -1; st.global.u32 [%rd3], %r5;", 64,
			func(i int) uint32 { return []uint32{10, 12, 10, 9}[i&3] }, 64, ""},
		{"an arrival at the own block through mapa", `.shared .align 8 .b8 bar[8]; setp.eq.u32 %p1, %r20, 0; @%p1 mbarrier.init.shared.b64 [bar], 64; fence.mbarrier_init.release.cluster; barrier.cluster.arrive.relaxed; barrier.cluster.wait;
shl.b32 %r4, %r20, 2; mov.u32 %r5, tile; add.u32 %r4, %r5, %r4; st.shared.u32 [%r4], %r20; mov.u32 %r6, bar; mapa.shared::cluster.u32 %r6, %r6, 0; mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r6];
W: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p2, [bar], 0; @!%p2 bra W; sub.u32 %r4, %r5, %r4; add.u32 %r4, %r4, %r5; ld.shared.u32 %r7, [%r4+252]; st.global.u32 [%rd3], %r7;`, 64,
			func(i int) uint32 { return uint32(63 - i) }, 64, ""},
		{"pipeline through shared memory", `.shared .align 8 .b8 full[16]; setp.eq.u32 %p1, %r20, 0; st.global.u32 [%rd3], %r20; fence.proxy.async.global; bar.sync 0; @!%p1 bra END;
mbarrier.init.shared.b64 [full], 1; mbarrier.init.shared.b64 [full+8], 1; mov.u32 %r4, 0; mov.u32 %r10, full; mov.u32 %r11, tile;
LOOP: and.b32 %r5, %r4, 1; shl.b32 %r6, %r5, 3; add.u32 %r6, %r10, %r6; shl.b32 %r7, %r5, 6; add.u32 %r7, %r11, %r7; shr.u32 %r8, %r4, 1; and.b32 %r8, %r8, 1; mul.wide.u32 %rd4, %r4, 64; add.u64 %rd4, %rd1, %rd4;
cp.async.bulk.wait_group.read 1; mbarrier.arrive.expect_tx.shared.b64 _, [%r6], 64; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r7], [%rd4], 64, [%r6];
W: mbarrier.try_wait.parity.shared.b64 %p2, [%r6], %r8; @!%p2 bra W; cp.async.bulk.global.shared::cta.bulk_group [%rd4+512], [%r7], 64; cp.async.bulk.commit_group; add.u32 %r4, %r4, 1; setp.lt.u32 %p2, %r4, 4; @%p2 bra LOOP; cp.async.bulk.wait_group 0;
END:`, 64, func(i int) uint32 {
			if i >= 128 {
				return uint32(i - 128)
			}
			return uint32(i & 63)
		}, 64, ""},
		{"pipeline that reuses a stage too early", `.shared .align 8 .b8 full[16]; setp.eq.u32 %p1, %r20, 0; st.global.u32 [%rd3], %r20; fence.proxy.async.global; bar.sync 0; @!%p1 bra END;
mbarrier.init.shared.b64 [full], 1; mbarrier.init.shared.b64 [full+8], 1; mov.u32 %r4, 0; mov.u32 %r10, full; mov.u32 %r11, tile;
LOOP: and.b32 %r5, %r4, 1; shl.b32 %r6, %r5, 3; add.u32 %r6, %r10, %r6; shl.b32 %r7, %r5, 6; add.u32 %r7, %r11, %r7; shr.u32 %r8, %r4, 1; and.b32 %r8, %r8, 1; mul.wide.u32 %rd4, %r4, 64; add.u64 %rd4, %rd1, %rd4;
cp.async.bulk.wait_group.read 2; mbarrier.arrive.expect_tx.shared.b64 _, [%r6], 64; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r7], [%rd4], 64, [%r6];
W: mbarrier.try_wait.parity.shared.b64 %p2, [%r6], %r8; @!%p2 bra W; cp.async.bulk.global.shared::cta.bulk_group [%rd4+512], [%r7], 64; cp.async.bulk.commit_group; add.u32 %r4, %r4, 1; setp.lt.u32 %p2, %r4, 4; @%p2 bra LOOP; cp.async.bulk.wait_group 0;
END:`, 64, nil, 0, "copy not awaited: cp.async.bulk.shared::cluster.global"},
		{"vectors of bytes", "st.global.v4.u8 [%rd3], {%r20, %r20, %r20, %r20}; ld.global.v4.s8 {%h1, %h2, %h1, %h2}, [%rd3]; cvt.s32.s16 %r4, %h1; ld.global.v2.u16 {%r5, %r6}, [%rd3]; add.u32 %r4, %r4, %r5; st.global.u32 [%rd3], %r4;", 200,
			func(i int) uint32 { b := uint32(uint8(i)); return uint32(int32(int8(i))) + (b | b<<8) }, 200, ""},
		{"stmatrix and ldmatrix", "shl.b32 %r4, %r20, 4; and.b32 %r4, %r4, 127; mov.u32 %r5, tile; add.u32 %r4, %r5, %r4; stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r4], {%r20}; bar.warp.sync -1; and.b32 %r6, %r20, 7; shl.b32 %r6, %r6, 4; add.u32 %r6, %r6, %r5; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r7}, [%r6]; st.global.u32 [%rd3], %r7;", 32,
			func(i int) uint32 { return uint32(i) }, 32, ""},
	} {
		for _, opt := range []Options{{}, {Checks: AllChecks()}, {Checks: AllChecks(), Shuffle: 5}} {
			if c.says != "" && opt.Checks == (Checks{}) {
				continue
			}
			if c.says != "" {
				opt.Checks.Uninit = false
			}
			out, err := launchBody(t, opt, 1, c.block, c.body)
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s: %v, want %q", c.name, err, c.says)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			for i := range c.n {
				if got := binary.LittleEndian.Uint32(out[4*i:]); got != c.want(i) {
					t.Errorf("%s: word %d: %#x, want %#x", c.name, i, got, c.want(i))
					break
				}
			}
		}
	}
}
