package ptx

import (
	"context"
	"testing"

	"kvcompress/kernels/device"
)

// seeds adds small texts with a bit of everything. Compiled kernels are too long for useful mutations.
func seeds(f *testing.F) {
	for _, body := range bodies {
		f.Add([]byte(wrap(body)))
	}
}

// wrap makes a module from a kernel's body. Its two parameters are addresses.
func wrap(body string) string {
	return `.version 7.8
.target sm_80
.address_size 64
.global .align 4 .b8 table[64] = {1, 2, 3, 0x7f};
.const .f32 scale = 0f3f800000;
.extern .shared .align 16 .b8 dynamic[];
.func (.param .b32 out) twice(.param .b32 in)
{
	.reg .b32 %r<3>;
	ld.param.u32 %r1, [in];
	add.u32 %r2, %r1, %r1;
	st.param.b32 [out], %r2;
	ret;
}
.visible .entry kernel(.param .u64 a, .param .u64 b)
{
	.reg .pred %p<8>;
	.reg .b16 %h<8>;
	.reg .b32 %r<16>;
	.reg .f32 %f<8>;
	.reg .b64 %rd<16>;
	.reg .f64 %fd<8>;
	.local .align 8 .b8 own[32];
	.shared .align 8 .b8 tile[256];
	ld.param.u64 %rd1, [a];
	ld.param.u64 %rd2, [b];
	cvta.to.global.u64 %rd1, %rd1;
	mov.u32 %r1, %tid.x;
` + body + `
	ret;
}
`
}

var bodies = []string{
	"mul.wide.u32 %rd3, %r1, 4; add.s64 %rd4, %rd1, %rd3; ld.global.u32 %r2, [%rd4]; st.global.u32 [%rd4], %r2;",
	"setp.lt.u32 %p1, %r1, 7; @%p1 bra A; mov.u32 %r2, 1; bra B; A: mov.u32 %r2, 2; B: bar.sync 0;",
	"L: add.u32 %r2, %r2, 1; setp.lt.u32 %p1, %r2, %r1; @%p1 bra L;",
	"shfl.sync.bfly.b32 %r3|%p2, %r1, 16, 31, -1; vote.sync.ballot.b32 %r4, %p2, 0xffffffff; match.any.sync.b32 %r5, %r3, -1;",
	"st.shared.v2.f32 [tile], {%f1, %f2}; bar.sync 0; ld.shared.f64 %fd1, [tile+8]; red.shared.add.u32 [tile], 1;",
	"{ .param .b32 x; .param .b32 y; st.param.b32 [x], %r1; call.uni (y), twice, (x); ld.param.b32 %r2, [y]; }",
	"cvt.rn.satfinite.e2m1x2.f32 %h1, %f1, %f2; cvt.rn.satfinite.e3m2x2.f32 %h1, %f1, %f2; cvt.rp.ue8m0x2.f32 %h2, %f1, %f2; cvt.rn.f16x2.e3m2x2 %r2, %h1; cvt.rn.bf16x2.ue8m0x2 %r3, %h2;",
	"mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e5m2.f32 {%r2, %r3, %r4, %r5}, {%r1, %r1, %r1, %r1}, {%r1, %r1}, {%r2, %r3, %r4, %r5}; ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r2, %r3}, [tile]; stmatrix.sync.aligned.m8n8.x1.shared.b16 [tile], {%r2}; movmatrix.sync.aligned.m8n8.trans.b16 %r4, %r2;",
	"wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 {%r2, %r3, %r4, %r5, %r6, %r7, %r8, %r9}, [tile], 8; wmma.store.d.sync.aligned.row.m16n16k16.global.f16 [%rd1], {%r2, %r3, %r4, %r5}, 16;",
	"cp.async.bulk.global.shared::cta.bulk_group [%rd1], [tile], 64; cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0; st.shared.u32 [tile], %r1; cp.async.bulk.wait_group 0; setp.eq.u32 %p1, %r1, 0; cp.async.ca.shared.global [tile], [%rd1], 4, %p1; cp.async.wait_all;",
	"mov.u32 %r2, tile; mapa.shared::cluster.u32 %r2, %r2, 0; st.shared::cluster.u32 [%r2], %r1; fence.acq_rel.cluster; barrier.cluster.arrive.relaxed; barrier.cluster.wait; getctarank.shared::cluster.u32 %r3, %r2; mov.u32 %r4, %cluster_nctarank; mapa.u64 %rd5, %rd6, 0;",
	"st.global.u32 [%rd1+8192], %r9; wmma.store.d.sync.aligned.row.m16n16k16.shared.f16 [tile], {%r1, %r1, %r1, %r1}; stmatrix.sync.aligned.m8n8.x1.shared.b16 [tile], {%r9};",
	"red.global.add.v4.f32 [%rd1], {%f1, %f2, %f3, %f4}; atom.global.max.noftz.v2.bf16x2 {%r2, %r3}, [%rd1], {%r4, %r5};",
	"cvt.rn.f16.f32 %h1, %f1; cvt.f32.f16 %f2, %h1; fma.rn.f32 %f3, %f1, %f2, 0f40000000; div.rz.f64 %fd1, %fd2, 0d4008000000000000;",
	"st.local.u32 [own+4], %r1; mov.u64 %rd5, own; cvta.local.u64 %rd6, %rd5; ld.u32 %r2, [%rd6+4]; ld.const.f32 %f1, [scale];",
	"T: .branchtargets A, B; brx.idx %r1, T; A: exit; B: trap;",
	"add.cc.u32 %r2, %r1, -1; addc.u32 %r3, 0, 0; prmt.b32 %r4, %r1, %r2, 0x3210; lop3.b32 %r5, %r1, %r2, %r3, 0x96; bfe.s32 %r6, %r1, 4, 30;",
	"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f1, %f2, %f3, %f4}; ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r1, %r2}, [tile+16];",
	"mov.u32 %r2, 7; cp.async.ca.shared.global [tile+250], [%rd1+4092], 8, %r2; cp.async.wait_all; st.shared.u32 [tile+1], %r3; red.global.add.u32 [%rd2+9000], %r4;",
	"mbarrier.init.shared.b64 [tile], 40; mbarrier.arrive.expect_tx.shared.b64 %rd7, [tile], 16; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [tile+16], [%rd1], 16, [tile]; mbarrier.test_wait.shared.b64 %p1, [tile], %rd7;",
	"mov.b64 %rd7, {%envreg2, %envreg1}; atom.add.release.gpu.u32 %r2, [%rd7+4], 1; L: ld.acquire.gpu.u32 %r3, [%rd7+4]; setp.eq.u32 %p1, %r2, %r3; @%p1 bra L;",
	"atom.global.cas.b64 %rd7, [%rd1], %rd2, 5; atom.add.f32 %f1, [%rd1], 0f3f800000; fence.acq_rel.gpu; cp.async.ca.shared.global [tile], [%rd1], 4;",
}

// FuzzParse checks that any text gives an error or a program.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse("fuzz.ptx", text, true)
		if (p == nil) == (err == nil) {
			t.Fatalf("Parse returned %v and %v", p, err)
		}
	})
}

// FuzzRun runs the kernels of any text for a short time, with checks and without: each ends, possibly with an
// error.
func FuzzRun(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse("fuzz.ptx", text, true)
		if err != nil {
			return
		}
		for _, opt := range []Options{{}, {Checks: AllChecks()}, {Checks: AllChecks(), MaxFindings: 20, SameValueStores: true}, {MaxFindings: 20}} {
			opt.AllowApprox, opt.Budget, opt.MemoryLimit = true, 2000, 1<<20
			dev := New(opt)
			m, err := dev.LoadProgram(p)
			if err != nil {
				continue
			}
			buffer, err := dev.Alloc("buffer", 4096)
			if err != nil {
				continue
			}
			for _, name := range p.Entries()[:min(len(p.Entries()), 4)] {
				k, err := m.Kernel(name)
				if err != nil { // refused
					continue
				}
				params := k.(*kernel).entry.params
				if len(params) > 16 {
					continue
				}
				args := make([]device.Arg, len(params))
				for i, p := range params {
					if args[i] = device.Arg(i); p.size == 8 {
						args[i] = device.Pointer(buffer)
					}
				}
				// Any error will do.
				for _, k := range []device.Kernel{k, k.(device.CooperativeKernel).Cooperative()} {
					_ = k.Launch(context.Background(), device.Dim{X: 2, Y: 1, Z: 1}, device.Dim{X: 40, Y: 1, Z: 1}, 64, args...)
				}
			}
			_ = dev.Close()
		}
	})
}
