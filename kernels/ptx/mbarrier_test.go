package ptx

import (
	"encoding/binary"
	"strings"
	"testing"
)

// TestMbarrier passes values from one warp to another with barriers in shared memory, phase by phase, and
// checks that a missing arrival or wait is reported.
func TestMbarrier(t *testing.T) {
	// The first warp writes what the second reads, four times; full and empty are barriers.
	const kernel = `
.shared .align 8 .b8 full[8]; .shared .align 8 .b8 empty[8];
shl.b32 %r4, %r20, 2; and.b32 %r5, %r20, 31; shl.b32 %r5, %r5, 2; mov.u32 %r6, tile; add.u32 %r6, %r6, %r5;
setp.ne.u32 %p1, %r20, 0;
@%p1 bra READY;
mbarrier.init.shared.b64 [full], 32; mbarrier.init.shared.b64 [empty], 32;
READY: bar.sync 0;
mov.u32 %r7, 0; mov.u32 %r8, 0; setp.ge.u32 %p2, %r20, 32;
@%p2 bra READER;
WRITE: mad.lo.u32 %r9, %r7, 100, %r20; 
st.shared.u32 [%r6], %r9;
mbarrier.arrive.shared.b64 %rd4, [full];
WAIT1: mbarrier.test_wait.parity.shared.b64 %p1, [empty], %r7;
@!%p1 bra WAIT1;
add.u32 %r7, %r7, 1; setp.lt.u32 %p1, %r7, 4; @%p1 bra WRITE;
bra END;
READER:
WAIT2: mbarrier.try_wait.parity.shared.b64 %p1, [full], %r7;
@!%p1 bra WAIT2;
ld.shared.u32 %r9, [%r6]; mad.lo.u32 %r8, %r8, 7, %r9;
mbarrier.arrive.release.cta.shared::cta.b64 _, [empty], 1;
add.u32 %r7, %r7, 1; setp.lt.u32 %p1, %r7, 4; @%p1 bra READER;
END: st.global.u32 [%rd3], %r8;`
	for _, seed := range []uint64{0, 1, 2, 3} {
		out, err := launchBody(t, Options{Checks: AllChecks(), Shuffle: seed, Budget: 1 << 22}, 1, 64, kernel)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for lane := range uint32(32) {
			want := uint32(0)
			for k := range uint32(4) {
				want = want*7 + 100*k + lane
			}
			if got := binary.LittleEndian.Uint32(out[4*(lane+32):]); got != want {
				t.Errorf("seed %d, lane %d: %d, want %d", seed, lane, got, want)
			}
		}
	}
	for _, c := range []struct{ name, old, new, want string }{
		{"no wait for values", "WAIT2: mbarrier.try_wait.parity.shared.b64 %p1, [full], %r7;\n@!%p1 bra WAIT2;", "WAIT2:", "race"},
		{"init without a barrier", "READY: bar.sync 0;", "READY:", "race"},
		{"never initialized", "mbarrier.init.shared.b64 [empty], 32;", "", "nothing has written"},
		{"too few arrive", "[full], 32;", "[full], 33;", "32 of 33 arrivals came"},
		{"no count", "[full], 32;", "[full], 0;", "the count of arrivals"},
		{"more than are pending", "_, [empty], 1;", "_, [empty], 33;", "the count of arrivals"},
		{"undefined parity", "[full], %r7;", "[full], %r19;", "has not been written"},
	} {
		text := strings.Replace(kernel, c.old, c.new, 1)
		if text == kernel {
			t.Fatal(c.name)
		}
		_, err := launchBody(t, Options{Checks: AllChecks(), Budget: 1 << 17}, 1, 64, text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	// With the state that an arrival returns, with arrive_drop, and with asynchronous copies.
	out, err := launchBody(t, Options{Checks: AllChecks(), Budget: 1 << 20}, 1, 32, `
.shared .align 8 .b8 bar[8];
setp.ne.u32 %p1, %r20, 0; @%p1 bra READY;
mbarrier.init.shared.b64 [bar], 64;
READY: bar.sync 0;
shl.b32 %r4, %r20, 2; mov.u32 %r5, tile; add.u32 %r5, %r5, %r4;
cp.async.ca.shared.global [%r5], [%rd3], 4;
cp.async.mbarrier.arrive.noinc.shared.b64 [bar];
mbarrier.arrive_drop.shared.b64 %rd4, [bar];
WAIT: mbarrier.test_wait.shared.b64 %p1, [bar], %rd4; @!%p1 bra WAIT;
xor.b32 %r5, %r5, 4; ld.shared.u32 %r6, [%r5];
mbarrier.arrive.shared.b64 %rd5, [bar]; mbarrier.pending_count.b64 %r7, %rd5;
mad.lo.u32 %r6, %r6, 1000, %r7; bar.sync 0; st.global.u32 [%rd3], %r6;
setp.ne.u32 %p1, %r20, 0; @%p1 bra END; mbarrier.inval.shared.b64 [bar]; END:`)
	if err != nil {
		t.Fatal(err)
	}
	for lane := range uint32(32) {
		if got, want := binary.LittleEndian.Uint32(out[4*lane:]), 32-lane; got != want {
			t.Errorf("lane %d: %d, want %d", lane, got, want)
		}
	}
	for _, body := range []string{
		"mbarrier.arrive.expect_tx.shared.b64 %rd4, [tile];", "mbarrier.complete_tx.shared.b64 [tile];", "mbarrier.init.shared.b64 [tile];",
		"mbarrier.init.global.b64 [%rd1], 1;", "mbarrier.test_wait.shared.b64 %r1, [tile], %rd1;", "mbarrier.arrive.shared::cluster.b64 %rd4, [tile];", "mbarrier.init.shared::cluster.b64 [tile], 1;",
	} {
		if _, err := Parse("k.ptx", []byte(findingsHead+body+"ret; }"), false); err == nil {
			t.Errorf("%s is not refused", body)
		}
	}
}

// TestMbarrierPhases checks that a wait orders only what threads did before they arrived in a completed phase.
// Two warps wait for each other at one barrier; the first then arrives for the next phase too, before the second
// has seen the end of this one.
func TestMbarrierPhases(t *testing.T) {
	const kernel = `
.shared .align 8 .b8 bar[8];
shl.b32 %r4, %r20, 2; mov.u32 %r5, tile; add.u32 %r4, %r4, %r5; xor.b32 %r5, %r4, 128;
setp.ne.u32 %p1, %r20, 0; @%p1 bra READY;
mbarrier.init.shared.b64 [bar], 64;
READY: bar.sync 0;
mbarrier.arrive.shared.b64 %rd4, [bar];
WAIT1: mbarrier.test_wait.parity.shared.b64 %p1, [bar], 0; @!%p1 bra WAIT1;
st.shared.u32 [%r4], %r20;
mbarrier.arrive.shared.b64 %rd4, [bar];
WAIT2: mbarrier.test_wait.parity.shared.b64 %p1, [bar], 1; @!%p1 bra WAIT2;
ld.shared.u32 %r6, [%r5];
st.global.u32 [%rd3], %r6;`
	wrong := strings.Replace(kernel, "WAIT2: mbarrier.test_wait.parity.shared.b64 %p1, [bar], 1; @!%p1 bra WAIT2;", "", 1)
	for seed := range uint64(6) {
		opt := Options{Checks: AllChecks(), Shuffle: seed, Budget: 1 << 20}
		out, err := launchBody(t, opt, 1, 64, kernel)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i := range uint32(64) {
			if got := binary.LittleEndian.Uint32(out[4*i:]); got != i^32 {
				t.Errorf("seed %d, thread %d: %d", seed, i, got)
			}
		}
		opt.Checks.Uninit = false
		if _, err := launchBody(t, opt, 1, 64, wrong); err == nil || !strings.Contains(err.Error(), "race: ") {
			t.Errorf("seed %d: without the second wait: %v, want a race", seed, err)
		}
	}
}

// TestAsyncArrivals copies by cp.async with cp.async.mbarrier.arrive, and reports reads before the wait.
func TestAsyncArrivals(t *testing.T) {
	// Each thread copies its element and waits for those of all; element i becomes that of 63 - i.
	const kernel = `
.shared .align 8 .b8 bar[8];
shl.b32 %r4, %r20, 2; mov.u32 %r5, tile; sub.u32 %r6, %r5, %r4; add.u32 %r6, %r6, 252; add.u32 %r4, %r4, %r5;
setp.ne.u32 %p1, %r20, 0; @%p1 bra READY;
mbarrier.init.shared.b64 [bar], 64;
READY: st.global.u32 [%rd3], %r20;
bar.sync 0;
cp.async.ca.shared.global [%r4], [%rd3], 4;
cp.async.mbarrier.arrive.shared.b64 [bar];
mbarrier.arrive.shared.b64 %rd4, [bar];
WAIT: mbarrier.try_wait.parity.shared.b64 %p1, [bar], 0; @!%p1 bra WAIT;
ld.shared.u32 %r7, [%r6];
st.global.u32 [%rd3+256], %r7;`
	noInc := strings.NewReplacer("arrive.shared.b64 [bar]", "arrive.noinc.shared.b64 [bar]", "mbarrier.arrive.shared.b64 %rd4, [bar];\n", "").Replace(kernel)
	for name, text := range map[string]string{"counted": kernel, "noinc": noInc} {
		for seed := range uint64(4) {
			out, err := launchBody(t, Options{Checks: AllChecks(), Shuffle: seed, Budget: 1 << 20}, 1, 64, text)
			if err != nil {
				t.Fatalf("%s, seed %d: %v", name, seed, err)
			}
			for i := range uint32(64) {
				if got := binary.LittleEndian.Uint32(out[4*(64+i):]); got != 63-i {
					t.Errorf("%s, seed %d, element %d: %d", name, seed, i, got)
				}
			}
		}
		for _, c := range []struct{ name, old, new, want string }{
			{"no wait", "@!%p1 bra WAIT;\nld.shared.u32 %r7, [%r6];", "ld.shared.u32 %r7, [%r4];", "copy not awaited: ld.shared.u32"},
			{"the wrong phase", "[bar], 0; @!%p1 bra WAIT;\nld.shared.u32 %r7, [%r6];", "[bar], 1; @!%p1 bra WAIT;\nld.shared.u32 %r7, [%r4];", "copy not awaited: ld.shared.u32"},
			{"a copy after the arrival", "WAIT:", "cp.async.ca.shared.global [%r4], [%rd3], 4;\nWAIT:", "copy not awaited"},
			{"a relaxed wait", "try_wait.parity.shared", "try_wait.parity.relaxed.cta.shared", "race: ld.shared.u32"},
			{"too many arrivals expected", "[bar], 64;", "[bar], 65;", "deadlock: mbarrier.try_wait.parity.shared.b64"},
		} {
			wrong := strings.Replace(text, c.old, c.new, 1)
			if wrong == text {
				t.Fatal(c.name)
			}
			_, err := launchBody(t, Options{Checks: AllChecks(), Budget: 1 << 17}, 1, 64, wrong)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: %v, want %q", name, c.name, err, c.want)
			}
		}
	}
}

// TestMbarrierMisuse waits at barriers that do not exist while an asynchronous arrival at another one is pending,
// and drops more arrivals than a phase expects.
func TestMbarrierMisuse(t *testing.T) {
	const pending = `
.shared .align 8 .b8 bar[8]; .shared .align 8 .b8 other[8];
setp.ne.u32 %p1, %r20, 0; @%p1 bra READY;
mbarrier.init.shared.b64 [bar], 33;
READY: bar.sync 0;
cp.async.mbarrier.arrive.shared.b64 [bar];
`
	for _, c := range []struct{ name, body, want string }{
		{"not initialized", "WAIT: mbarrier.test_wait.parity.shared.b64 %p1, [other], 0; @!%p1 bra WAIT;", `for the mbarrier "other"+0 (0x8 of shared memory): it is not initialized`},
		{"at the end of the addresses", "mov.u64 %rd5, -8; mbarrier.test_wait.parity.shared.b64 %p1, [%rd5], 0;", "out of bounds"},
		{"before the window", "mov.u64 %rd5, bar; cvta.shared.u64 %rd5, %rd5; sub.u64 %rd5, %rd5, bar; mbarrier.test_wait.parity.b64 %p1, [%rd5+-8], 0;", "out of bounds"},
		{"dropped", "setp.ne.u32 %p1, %r20, 31; @%p1 bra DONE; mbarrier.arrive_drop.shared.b64 _, [bar], 34; DONE:", "34 arrivals would be dropped of the 33 that a phase expects"},
	} {
		_, err := launchBody(t, Options{Budget: 1 << 17}, 1, 32, pending+c.body)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
