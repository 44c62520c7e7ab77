package ptx

import (
	"encoding/binary"
	"fmt"
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

// bulkStoreKernel fills 256 bytes of shared memory with thread indices, and copies them to the array's bytes from 256
// on in two groups; then thread 0 reads one of them.
const bulkStoreKernel = `
setp.ne.u32 %p1, %r20, 0; shl.b32 %r4, %r20, 2; mov.u32 %r5, tile; add.u32 %r4, %r4, %r5; mov.u32 %r7, 128;
st.shared.u32 [%r4], %r20;
fence.proxy.async.shared::cta;
bar.sync 0;
@%p1 bra DONE;
cp.async.bulk.global.shared::cta.bulk_group [%rd1+256], [tile], 128;
cp.async.bulk.commit_group;
cp.async.bulk.global.shared::cta.bulk_group [%rd1+384], [tile+128], %r7;
cp.async.bulk.commit_group;
cp.async.bulk.wait_group 1; ld.global.u32 %r6, [%rd1+268]; st.global.u32 [%rd1], %r6;
cp.async.bulk.wait_group.read 0; st.shared.u32 [tile+128], %r7;
DONE:
`

// TestBulkStore copies from shared to global memory, rightly and with faults.
func TestBulkStore(t *testing.T) {
	for seed := range uint64(3) {
		for _, checks := range []Checks{{}, AllChecks(), {Races: true}, {Uninit: true}} {
			out, err := launchBody(t, Options{Checks: checks, Shuffle: seed}, 1, 64, bulkStoreKernel)
			if err != nil {
				t.Fatal(err)
			}
			for i := range uint32(64) {
				if got := binary.LittleEndian.Uint32(out[256+4*i:]); got != i {
					t.Errorf("seed %d, word %d: %d", seed, i, got)
				}
			}
			if got := binary.LittleEndian.Uint32(out); got != 3 {
				t.Errorf("seed %d: read %d after the wait", seed, got)
			}
		}
	}
	const waitAll, waitRead = "cp.async.bulk.wait_group 1;", "cp.async.bulk.wait_group.read 0;"
	for _, c := range []struct{ name, old, new, want string }{
		{"no wait before the read", waitAll, "", "copy not awaited: ld.global.u32"},
		{"a wait for too few groups", waitAll, "cp.async.bulk.wait_group 2;", "copy not awaited: ld.global.u32"},
		{"a wait for the source only", waitAll, "cp.async.bulk.wait_group.read 0;", "copy not awaited: ld.global.u32"},
		{"a destination that is written", waitAll, "st.global.u32 [%rd1+272], %r7;", "the destination of an asynchronous copy"},
		{"no wait before the source is written", waitRead, "", "copy not awaited: st.shared.u32"},
		{"a group that is not committed", "cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 1;", "cp.async.bulk.wait_group 0;", "copy not awaited: st.shared.u32"},
		{"the end without a wait", waitRead + " st.shared.u32 [tile+128], %r7;", "", "the block ends, and its thread has not waited until the copy has read bytes 128 to 255 of shared memory"},
		{"a source that another thread writes without a barrier", "DONE:", "DONE: setp.eq.u32 %p2, %r20, 32; @%p2 st.shared.u32 [tile+128], %r7;", ""},
		{"the source is not ready", "bar.sync 0;", "", "race: "},
		{"two copies to one place", "[%rd1+384]", "[%rd1+368]", "the destination of an asynchronous copy"},
		{"past the end", "[%rd1+384]", "[%rd1+912]", "past the end of"},
		{"past the end of the source", "[tile+128], %r7;\ncp", "[tile+1024], %r7;\ncp", `past the end of "tile"`},
		{"an odd size", "%r7, 128;", "%r7, 100;", "no multiple of 16"},
		{"a misaligned source", "[tile+128], %r7;\ncp", "[tile+136], %r7;\ncp", "misaligned"},
	} {
		text := strings.Replace(bulkStoreKernel, c.old, c.new, 1)
		if text == bulkStoreKernel {
			t.Fatal(c.name)
		}
		_, err := launchBody(t, Options{Checks: AllChecks()}, 1, 64, text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	// More copies are issued than the machine keeps pending, and the kernel waits for their sources only. All arrive.
	many := strings.ReplaceAll("mov.u32 %r4, 0; LOOP: cp.async.bulk.global.shared::cta.bulk_group [%rd1], [tile], 16; cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0; add.u32 %r4, %r4, 1; setp.lt.u32 %p1, %r4, N; @%p1 bra LOOP;", "N", fmt.Sprint(3*maxStores))
	if out, err := launchBody(t, Options{}, 1, 1, "st.shared.v4.u32 [tile], {5, 5, 5, 5};"+many); err != nil || out[0] != 5 {
		t.Errorf("%d pending copies: %d, %v", 3*maxStores, out[0], err)
	}
	// Undefined bytes stay undefined.
	dev := New(Options{Checks: AllChecks()})
	m, err := dev.Load("k.ptx", []byte(findingsHead+strings.Replace(bulkStoreKernel, "st.shared.u32 [%r4], %r20;", "setp.ne.u32 %p2, %r20, 5; @%p2 st.shared.u32 [%r4], %r20;", 1)+"ret;\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := m.Kernel("kernel")
	if err != nil {
		t.Fatal(err)
	}
	p, err := dev.Alloc("out", 1024)
	if err == nil {
		err = k.Launch(t.Context(), extent(1), extent(64), 0, device.Pointer(p))
	}
	if err == nil {
		err = dev.Read(make([]byte, 20), p+256)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err = dev.Read(make([]byte, 256), p+256); err == nil || !strings.Contains(err.Error(), "nothing has written byte 276") {
		t.Errorf("undefined bytes: %v", err)
	}
	for _, body := range []string{
		"cp.async.bulk.global.shared::cta [%rd1], [tile], 128;", "cp.async.bulk.global.shared::cluster.bulk_group [%rd1], [tile], 128;", "cp.async.bulk.shared::cta.global.bulk_group [tile], [%rd1], 128;",
		"cp.async.bulk.wait_group %r1;", "cp.async.bulk.wait_group -1;", "cp.async.bulk.commit_group 1;", "cp.async.bulk.prefetch.L2.global [%rd1];",
		"cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%rd1], [tile], 128;",
	} {
		if _, err := Parse("k.ptx", []byte(findingsHead+body+"ret; }"), false); err == nil || !strings.Contains(err.Error(), "cp.") {
			t.Errorf("%s: %v, want it refused", body, err)
		}
	}
}

// TestBulkStoreOfOtherBlock has block 1 of a cooperative launch read what block 0 copies to global memory, after block 0
// has waited for the source only, or for the destination too.
func TestBulkStoreOfOtherBlock(t *testing.T) {
	const text = `
setp.ne.u32 %p1, %r3, 0; @%p1 bra READ;
st.shared.v4.u32 [tile], {5, 5, 5, 5}; fence.proxy.async;
cp.async.bulk.global.shared::cta.bulk_group [%rd1+256], [tile], 16; cp.async.bulk.commit_group; WAIT 0;
fence.acq_rel.gpu; st.relaxed.gpu.global.u32 [%rd1], 1;
LAST: ld.acquire.gpu.global.u32 %r4, [%rd1+4]; setp.eq.u32 %p2, %r4, 0; @%p2 bra LAST; bra END;
READ: ld.acquire.gpu.global.u32 %r4, [%rd1]; setp.eq.u32 %p2, %r4, 0; @%p2 bra READ;
ld.global.u32 %r5, [%rd1+256]; st.global.u32 [%rd1+512], %r5; st.release.gpu.global.u32 [%rd1+4], 1; END:`
	for wait, want := range map[string]string{"cp.async.bulk.wait_group": "", "cp.async.bulk.wait_group.read": "copy not awaited: ld.global.u32"} {
		for seed := range uint64(4) {
			dev := New(Options{Checks: AllChecks(), Shuffle: seed, Budget: 1 << 20})
			k, p := loadBody(t, dev, strings.Replace(text, "WAIT", wait, 1))
			err := k.(device.CooperativeKernel).Cooperative().Launch(t.Context(), extent(2), extent(1), 0, device.Pointer(p))
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s, seed %d: %v, want %q", wait, seed, err, want)
			}
			out := make([]byte, 4)
			if err := dev.Read(out, p+512); err != nil || want == "" && out[0] != 5 {
				t.Errorf("%s, seed %d: %d, %v", wait, seed, out[0], err)
			}
		}
	}
}

// TestStoreBytes keeps as many pending copies of two blocks as the limit of all blocks allows.
func TestStoreBytes(t *testing.T) {
	const size = maxStoreBytes / 100
	l, mem := &launch{}, make([]byte, size)
	var blocks [2]*block
	for i := range blocks {
		blocks[i] = &block{launch: l, shared: make([]byte, size)}
	}
	for i := range 300 {
		b := blocks[i%2]
		s := bulkStore{bulkCopy: bulkCopy{w: &warp{block: b}, size: size, mem: pointer(mem)}}
		if err := s.read(); err != nil {
			t.Fatal(err)
		}
		if err := b.addStore(s); err != nil {
			t.Fatal(err)
		}
		if n := min(i+1, 100); l.storeBytes != uint64(n*size) || len(blocks[0].stores)+len(blocks[1].stores) != n {
			t.Fatalf("after %d copies: %d bytes of %d and %d are pending", i+1, l.storeBytes, len(blocks[0].stores), len(blocks[1].stores))
		}
	}
	for _, b := range blocks {
		if err := b.endStores(); err != nil {
			t.Fatal(err)
		}
	}
	if l.storeBytes != 0 {
		t.Errorf("at the end %d bytes are pending", l.storeBytes)
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
