package ptx

import (
	"context"
	"errors"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// launchTogether is launchBody for a cooperative launch.
func launchTogether(t *testing.T, opt Options, grid, block int, body string) error {
	t.Helper()
	dev := New(opt)
	k, p := loadBody(t, dev, body)
	return k.(device.CooperativeKernel).Cooperative().Launch(context.Background(), extent(grid), extent(block), 256, device.Pointer(p))
}

// Parts of the kernels below. The second warp of a block goes to SECOND.
const (
	barrierOf33 = `.shared .align 8 .b8 full[8];
setp.ne.u32 %p1, %r20, 0; @%p1 bra READY; mbarrier.init.shared.b64 [full], 33; READY: bar.sync 0;
`
	bySecond = "st.volatile.shared.u32 [tile], 0; bar.sync 0; setp.ge.u32 %p3, %r20, 32; @%p3 bra SECOND;\n"
	// counts for some turns of a warp
	count = "mov.u32 %r9, 0; COUNT: add.u32 %r9, %r9, 1; setp.lt.u32 %p2, %r9, 100000; @%p2 bra COUNT;\n"
)

// TestDeadlock reports launches that can make no progress, without using up their budget.
func TestDeadlock(t *testing.T) {
	for _, c := range []struct {
		name        string
		grid, block int
		cooperative bool
		body        string
		want        []string
	}{
		{"too few arrivals", 1, 64, false, barrierOf33 + `
setp.ge.u32 %p1, %r20, 32; @%p1 bra SECOND;
mbarrier.arrive.shared.b64 _, [full];
SECOND: WAIT: mbarrier.try_wait.parity.shared.b64 %p1, [full], 0; @!%p1 bra WAIT;`,
			[]string{`lanes 0xffffffff of warps 0 to 1 wait at line 15 of k.ptx for the mbarrier "full"+0 (0x0 of shared memory): in the phase of parity 0, 32 of 33 arrivals came`}},
		{"the wrong parity", 1, 33, false, barrierOf33 + `
mbarrier.arrive.shared.b64 _, [full];
WAIT: mbarrier.try_wait.parity.shared::cta.b64 %p1, [full], 1, 1000; @!%p1 bra WAIT;`,
			[]string{"lanes 0x1 of warp 1 wait", "in the phase of parity 1, 0 of 33 arrivals came"}},
		{"a phase that nobody ends, by its state", 1, 32, false, barrierOf33 + `
mbarrier.arrive.shared.b64 %rd4, [full];
WAIT: nanosleep.u32 100; mbarrier.test_wait.shared.b64 %p1, [full], %rd4; @!%p1 bra WAIT;`,
			[]string{"32 of 33 arrivals came"}},
		{"a mbarrier and a barrier", 1, 64, false, barrierOf33 + `
setp.ge.u32 %p1, %r20, 32; @%p1 bra SECOND;
WAIT: mbarrier.test_wait.parity.shared.b64 %p1, [full], 0; @!%p1 bra WAIT;
SECOND: bar.sync 0;`, []string{"mbarrier.test_wait", "0 of 33 arrivals came", "lanes 0xffffffff of warp 1 wait at barrier 0 at line 15 of k.ptx"}},
		{"a flag", 1, 64, false, bySecond + `
WAIT: ld.volatile.shared.u32 %r5, [tile]; setp.eq.u32 %p1, %r5, 0; @%p1 bra WAIT;
SECOND:`, []string{`lanes 0xffffffff of warp 0 wait at line 12 of k.ptx for another value of "tile"+0 (0x0 of shared memory) than 0x00000000`}},
		{"a lock", 1, 32, false, `
mov.u32 %r4, 1; st.global.u32 [%rd1+16], %r4; bar.warp.sync -1;
WAIT: atom.global.cas.b32 %r5, [%rd1+16], 0, 1; setp.ne.u32 %p1, %r5, 0; @%p1 bra WAIT;`, []string{`for another value of "out"+16 (`, "than 0x00000001"}},
		{"a lock that is taken again and again", 1, 32, false, "WAIT: atom.global.exch.b32 %r5, [%rd1+16], 1; setp.le.u32 %p1, %r5, 1; @%p1 bra WAIT;", []string{`"out"+16`}},
		{"lanes that wait for one of their warp", 1, 32, false, `
WAIT: atom.global.cas.b32 %r5, [%rd1], 0, 1; setp.ne.u32 %p1, %r5, 0; @%p1 bra WAIT;
atom.global.exch.b32 %r5, [%rd1], 0;`, []string{"lanes 0xfffffffe of warp 0", "lanes 0x1 wait for them to reconverge; here the lanes of a warp do not run independently"}},
		{"local memory in the loop", 1, 32, false, `.local .align 4 .b8 mine[8];
WAIT: st.local.u32 [mine], 0; ld.local.u32 %r6, [mine]; add.u32 %r6, %r6, 1; st.local.u32 [mine], %r6;
ld.relaxed.gpu.global.u32 %r5, [%rd1]; setp.eq.u32 %p1, %r5, 0; @%p1 bra WAIT;`, []string{`another value of "out"+0`}},
		{"a later block", 2, 32, false, `
mul.wide.u32 %rd4, %r3, 4; add.u64 %rd4, %rd4, %rd1; st.volatile.global.u32 [%rd4], 1;
WAIT: ld.volatile.global.v2.u32 {%r5, %r6}, [%rd1]; setp.ne.u32 %p1, %r5, %r6; @%p1 bra WAIT;`, []string{"the launch has to be cooperative"}},
		{"blocks", 3, 32, true, `
atom.global.add.u32 %r5, [%rd1], 1; WAIT: ld.volatile.global.u32 %r5, [%rd1]; setp.ne.u32 %p1, %r5, 97; @%p1 bra WAIT;`,
			[]string{"of warp 0 of block (0,0,0) wait", "of warp 0 of block (2,0,0) wait", "than 0x00000060"}},
		{"hints and matrices", 1, 32, false, `
shl.b32 %r6, %r20, 4; mov.u32 %r7, tile; add.u32 %r6, %r6, %r7; st.shared.v4.u32 [%r6], {0, 0, 0, 0}; bar.warp.sync -1;
WAIT: griddepcontrol.wait; griddepcontrol.launch_dependents; setmaxnreg.dec.sync.aligned.u32 40; prefetch.global.L2 [%rd1]; applypriority.global.L2::evict_normal [%rd1], 128;
createpolicy.fractional.L2::evict_last.b64 %rd6, 1.0; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r8}, [%r7]; movmatrix.sync.aligned.m8n8.trans.b16 %r8, %r8;
wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 {%r10, %r11, %r12, %r13, %r14, %r15, %r16, %r17}, [tile];
ld.volatile.global.u32 %r5, [%rd1]; setp.eq.u32 %p1, %r5, 0; @%p1 bra WAIT;`, []string{`another value of "out"+0`}},
		{"no memory", 1, 32, false, "L: add.u32 %r4, %r20, 1; setp.gt.u32 %p1, %r4, 2; @%p1 bra L;", []string{"lanes 0xfffffffc of warp 0 repeat a loop that reads no memory"}},
	} {
		for _, seed := range []uint64{0, 1, 2} {
			for _, checks := range []Checks{{}, AllChecks()} {
				checks.Races = false // of volatile accesses
				opt := Options{Checks: checks, Shuffle: seed, Budget: 1 << 24}
				var err error
				if c.cooperative {
					err = launchTogether(t, opt, c.grid, c.block, c.body)
				} else {
					_, err = launchBody(t, opt, c.grid, c.block, c.body)
				}
				var r *Report
				if !errors.As(err, &r) || r.Kind != Deadlock {
					t.Fatalf("%s, seed %d: %v", c.name, seed, err)
				}
				for _, want := range c.want {
					if !strings.Contains(err.Error(), want) && !(seed != 0 && strings.HasPrefix(want, "lanes 0x")) {
						t.Errorf("%s, seed %d: %v, want %q", c.name, seed, err, want)
					}
				}
			}
		}
	}
}

// TestNoDeadlock runs kernels in which warps wait for a long time, but not for ever.
func TestNoDeadlock(t *testing.T) {
	for _, c := range []struct {
		name        string
		grid, block int
		cooperative bool
		body        string
	}{
		{"a slow warp", 1, 64, false, bySecond + `
WAIT: ld.volatile.shared.u32 %r5, [tile]; setp.eq.u32 %p1, %r5, 0; @%p1 bra WAIT; bra END;
SECOND: ` + count + "st.volatile.shared.u32 [tile], 1; END:"},
		{"a slow block", 2, 32, true, `
setp.eq.u32 %p1, %r3, 1; @%p1 bra LAST;
WAIT: ld.volatile.global.u32 %r5, [%rd1]; setp.eq.u32 %p1, %r5, 0; @%p1 bra WAIT; bra END;
LAST: ` + count + "st.volatile.global.u32 [%rd1], 1; END:"},
		{"a lock", 1, 64, false, "and.b32 %r6, %r20, 31; setp.ne.u32 %p1, %r6, 0; @%p1 exit;\n" + bySecond + `
WAIT: atom.shared.exch.b32 %r5, [tile], 1; setp.ne.u32 %p1, %r5, 0; @%p1 bra WAIT; st.volatile.shared.u32 [tile], 0; bra END;
SECOND: WAIT2: atom.shared.cas.b32 %r5, [tile], 0, 1; setp.ne.u32 %p1, %r5, 0; @%p1 bra WAIT2;
` + count + "st.volatile.shared.u32 [tile], 0; END:"},
		{"a clock", 1, 32, false, "mov.u64 %rd5, %clock64; WAIT: mov.u64 %rd6, %clock64; sub.u64 %rd6, %rd6, %rd5; setp.lt.u64 %p1, %rd6, 100000; @%p1 bra WAIT;"},
		{"a clock whose value is not kept", 1, 32, false, "WAIT: mov.u32 %r4, %clock; shr.u32 %r4, %r4, 17; setp.eq.u32 %p1, %r4, 0; mov.u32 %r4, 0; @%p1 bra WAIT;"},
		{"longer and longer sleep", 1, 64, false, bySecond + `
mov.u32 %r4, 1; WAIT: nanosleep.u32 %r4; shl.b32 %r4, %r4, 1; min.u32 %r4, %r4, 256;
ld.volatile.shared.u32 %r5, [tile]; setp.eq.u32 %p1, %r5, 0; @%p1 bra WAIT; bra END;
SECOND: ` + count + "st.volatile.shared.u32 [tile], 1; END:"},
		{"a wait that gives up", 1, 32, false, barrierOf33 + `
mov.u32 %r4, 0; WAIT: mbarrier.try_wait.parity.shared.b64 %p1, [full], 0; @%p1 bra END;
add.u32 %r4, %r4, 1; setp.lt.u32 %p1, %r4, 100000; @%p1 bra WAIT; END:`},
		{"a count in shared memory", 1, 32, false, "st.shared.u32 [tile], 0; WAIT: setp.eq.u32 %p1, %r20, 0; @%p1 red.shared.add.u32 [tile], 1; ld.volatile.shared.u32 %r4, [tile]; setp.lt.u32 %p1, %r4, 50000; @%p1 bra WAIT;"},
		{"a count in local memory", 1, 32, false, ".local .align 4 .b8 mine[8]; st.local.u32 [mine], 0; WAIT: ld.local.u32 %r4, [mine]; add.u32 %r4, %r4, 1; st.local.u32 [mine], %r4; setp.lt.u32 %p1, %r4, 50000; mov.u32 %r4, 0; @%p1 bra WAIT;"},
		{"a count in the carry flag's carries", 1, 32, false, `
mov.u32 %r4, 0; add.cc.u32 %r5, %r4, 0; mov.u32 %r6, 1;
WAIT: addc.cc.u32 %r4, %r4, -1; addc.u32 %r6, %r6, 1; setp.lt.u32 %p1, %r6, 100000; @%p1 bra WAIT;`},
		{"two warps in turn", 1, 64, false, bySecond + `
mov.u32 %r9, 0;
WAIT: ld.volatile.shared.u32 %r5, [tile]; and.b32 %r6, %r5, 1; setp.ne.u32 %p1, %r6, 0; @%p1 bra WAIT;
add.u32 %r5, %r5, 1; bar.warp.sync -1; st.volatile.shared.u32 [tile], %r5; setp.lt.u32 %p1, %r5, 20; @%p1 bra WAIT; bra END;
SECOND: WAIT2: ld.volatile.shared.u32 %r5, [tile]; and.b32 %r6, %r5, 1; setp.eq.u32 %p1, %r6, 0; @%p1 bra WAIT2;
add.u32 %r5, %r5, 1; bar.warp.sync -1; st.volatile.shared.u32 [tile], %r5; setp.lt.u32 %p1, %r5, 20; @%p1 bra WAIT2; END:`},
		{"an asynchronous arrival", 1, 64, false, `.shared .align 8 .b8 bar[8];
st.global.u32 [%rd3], %r20; setp.ne.u32 %p1, %r20, 0; @%p1 bra READY; mbarrier.init.shared.b64 [bar], 32; READY: bar.sync 0;
setp.ge.u32 %p3, %r20, 32; @%p3 bra SECOND;
WAIT: mbarrier.test_wait.parity.shared.b64 %p1, [bar], 0; @!%p1 bra WAIT; bra END;
SECOND: ` + count + "cp.async.ca.shared.global [tile], [%rd3], 4; cp.async.mbarrier.arrive.noinc.shared.b64 [bar]; END:"},
		// The second warp's test performs the copy just when the launch looks for idle warps, after the first was
		// found idle, and before the second is.
		{"a copy between", 1, 64, false, `.shared .align 8 .b8 bar[8]; .shared .align 8 .b8 end[8];
add.u32 %r4, %r20, 1; st.global.u32 [%rd3], %r4; setp.ne.u32 %p1, %r20, 0; @%p1 bra READY;
mbarrier.init.shared.b64 [bar], 32; mbarrier.init.shared.b64 [end], 32; st.shared.u32 [tile], 0; READY: bar.sync 0;
setp.ge.u32 %p3, %r20, 32; @%p3 bra SECOND;
WAIT: ld.volatile.shared.u32 %r5, [tile]; setp.eq.u32 %p1, %r5, 0; @%p1 bra WAIT;
mbarrier.arrive.shared.b64 _, [end]; bra END;
SECOND: setp.eq.u32 %p2, %r20, 63; @%p2 cp.async.ca.shared.global [tile], [%rd3], 4; cp.async.mbarrier.arrive.noinc.shared.b64 [bar];
mov.u32 %r9, 0; COUNT: add.u32 %r9, %r9, 1; setp.lt.u32 %p2, %r9, 6760; @%p2 bra COUNT;
mbarrier.test_wait.parity.shared.b64 %p1, [bar], 0;
WAIT2: mbarrier.test_wait.parity.shared.b64 %p1, [end], 0; @!%p1 bra WAIT2;
END:`},
	} {
		for seed := range uint64(4) {
			opt := Options{Shuffle: seed, Budget: 1 << 24}
			var err error
			if c.cooperative {
				err = launchTogether(t, opt, c.grid, c.block, c.body)
			} else {
				_, err = launchBody(t, opt, c.grid, c.block, c.body)
			}
			if err != nil {
				t.Errorf("%s, seed %d: %v", c.name, seed, err)
			}
		}
	}
}
