package ptx

import (
	"encoding/binary"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// bulkKernel fills the array with thread indices, copies it to shared memory in two parts,
// and stores it in reverse order: element 64 + i is 63 − i.
const bulkKernel = `
.shared .align 8 .b8 bar[8];
setp.ne.u32 %p1, %r20, 0; mov.u32 %r7, 128;
@%p1 bra READY;
mbarrier.init.shared::cta.b64 [bar], 1;
fence.mbarrier_init.release.cluster;
READY: st.global.u32 [%rd3], %r20;
fence.proxy.async.shared::cta;
bar.sync 0;
@%p1 bra WAIT;
mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 %rd4, [bar], 256;
cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [tile], [%rd1], 128, [bar];
cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [tile+128], [%rd1+128], %r7, [bar];
WAIT: mbarrier.try_wait.parity.shared::cta.b64 %p2, [bar], 0;
@!%p2 bra WAIT;
mov.u32 %r8, 63; sub.u32 %r8, %r8, %r20; shl.b32 %r8, %r8, 2; mov.u32 %r9, tile; add.u32 %r8, %r8, %r9;
ld.shared.u32 %r6, [%r8];
st.global.u32 [%rd3+256], %r6;`

// TestBulk copies by cp.async.bulk in several orders, and with faults.
func TestBulk(t *testing.T) {
	check := func(name, text string, opt Options) {
		out, err := launchBody(t, opt, 1, 64, text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		for i := range uint32(64) {
			if got := binary.LittleEndian.Uint32(out[4*(64+i):]); got != 63-i {
				t.Errorf("%s: element %d is %d, want %d", name, i, got, 63-i)
			}
		}
	}
	const expects, second = "mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 %rd4, [bar], 256;", "[tile+128], [%rd1+128], %r7, [bar];"
	apart := strings.Replace(bulkKernel, expects, "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 256;", 1)
	apart = strings.Replace(apart, "WAIT:", "mbarrier.arrive.shared.b64 _, [bar];\nWAIT:", 1)
	later := strings.Replace(bulkKernel, expects, "", 1)
	later = strings.Replace(later, "WAIT:", expects+"\nWAIT:", 1)
	byHand := strings.Replace(bulkKernel, "[bar], 256;", "[bar], 300;", 1)
	byHand = strings.Replace(byHand, "WAIT:", "mbarrier.complete_tx.shared::cta.b64 [bar], 44;\nWAIT:", 1)
	for name, text := range map[string]string{"one by one": bulkKernel, "expect and arrive": apart, "copies first": later, "completed by hand": byHand} {
		check(name, text, Options{})
		for seed := range uint64(4) {
			check(name, text, Options{Checks: AllChecks(), Shuffle: seed, Budget: 1 << 20})
		}
	}
	const wait = "WAIT: mbarrier.try_wait.parity.shared::cta.b64 %p2, [bar], 0;\n@!%p2 bra WAIT;"
	for _, c := range []struct{ name, old, new, want string }{
		{"no wait", wait, "WAIT:", "copy not awaited: ld.shared.u32"},
		{"the wrong phase", "[bar], 0;\n@!%p2", "[bar], 1;\n@!%p2", "copy not awaited: ld.shared.u32"},
		{"a relaxed wait", "try_wait.parity.shared", "try_wait.parity.relaxed.cta.shared", "race: ld.shared.u32"},
		{"too few bytes expected", "[bar], 256;", "[bar], 240;", "the barrier gets 16 more than its phase expects"},
		{"too many bytes expected", "[bar], 256;", "[bar], 272;", "1 of 1 arrival came, and 272 bytes of bulk copies are expected, with 256 issued"},
		{"more bytes than a barrier counts", "[bar], 256;", "[bar], 1048577;", "1048577 bytes would be expected"},
		{"nobody expects bytes", expects, "mbarrier.arrive.shared.b64 %rd4, [bar];", "copy not awaited"},
		{"the source is not ready", "bar.sync 0;", "", "race: cp.async.bulk"},
		{"the source is written meanwhile", "WAIT:", "st.global.u32 [%rd1+128], %r7;\nWAIT:", "copy not awaited: st.global.u32"},
		{"the destination is written meanwhile", "WAIT:", "st.shared.u32 [tile], %r7;\nWAIT:", "copy not awaited: st.shared.u32"},
		{"two copies to one place", second, "[tile+112], [%rd1+128], %r7, [bar];", "copy not awaited: cp.async.bulk"},
		{"past the end of the source", "[%rd1+128], %r7", "[%rd1+912], %r7", "past the end of"},
		{"past the end of shared memory", "[tile+128]", "[tile+1248]", `past the end of "tile" in shared memory`},
		{"an odd size", "%r7, 128;", "%r7, 100;", "no multiple of 16"},
		{"a misaligned source", "[%rd1+128]", "[%rd1+136]", "misaligned"},
		{"a misaligned destination", "[tile+128]", "[tile+136]", "misaligned"},
		{"an undefined size", "[%rd1+128], %r7", "[%rd1+128], %r19", "how much is copied depends on %r19"},
	} {
		text := strings.Replace(bulkKernel, c.old, c.new, 1)
		if text == bulkKernel {
			t.Fatal(c.name)
		}
		_, err := launchBody(t, Options{Checks: AllChecks(), Budget: 1 << 17}, 1, 64, text)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestBulkUndefined checks that a copy of undefined bytes is undefined.
func TestBulkUndefined(t *testing.T) {
	text := strings.Replace(bulkKernel, "READY: st.global.u32 [%rd3], %r20;", "READY:", 1)
	for _, written := range []int{256, 252} {
		dev := New(Options{Checks: AllChecks()})
		m, err := dev.Load("k.ptx", []byte(findingsHead+text+"\nret;\n}\n"))
		if err != nil {
			t.Fatal(err)
		}
		k, err := m.Kernel("kernel")
		if err != nil {
			t.Fatal(err)
		}
		p, err := dev.Alloc("out", 512)
		if err == nil {
			err = dev.Write(p, make([]byte, written))
		}
		if err == nil {
			err = k.Launch(t.Context(), device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: 64, Y: 1, Z: 1}, 0, device.Pointer(p))
		}
		if err != nil {
			t.Fatal(err)
		}
		err = dev.Read(make([]byte, 256), p+256)
		if says := "byte 256 is not defined: what is stored depends on bytes 268 to 271 of shared memory"; (err != nil) != (written < 256) || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("of %d bytes: %v", written, err)
		}
	}
}

// TestMbarrierState packs and unpacks the states of a barrier.
func TestMbarrierState(t *testing.T) {
	for _, s := range []mbarrierState{
		{}, {pending: 1, expected: 1}, {pending: mbarrierCount, expected: mbarrierCount, tx: mbarrierCount, phase: 7},
		{expected: 5, tx: -mbarrierCount, phase: 1}, {pending: 3, tx: -1},
	} {
		if got := unpackMbarrier(s.pack()); got != s {
			t.Errorf("%+v comes back as %+v", s, got)
		}
	}
	s := mbarrierState{expected: 2, phase: 7}
	if next := unpackMbarrier(s.next().pack()); next != (mbarrierState{pending: 2, expected: 2}) {
		t.Errorf("after the last phase: %+v", next)
	}
}
