package ptx

import (
	"encoding/binary"
	"strings"
	"testing"
)

// TestCluster runs kernels for clusters: every cluster has one block.
func TestCluster(t *testing.T) {
	// Each warp stores its number, and reads what the other one has stored.
	const (
		write = "shl.b32 %r5, %r1, 2; mov.u32 %r6, tile; add.u32 %r5, %r5, %r6; mov.u32 %r7, %cluster_ctarank; mapa.shared::cluster.u32 %r5, %r5, %r7; st.shared::cluster.u32 [%r5], %r1;\n"
		read  = "\nxor.b32 %r5, %r5, 4; ld.shared::cluster.u32 %r8, [%r5]; st.global.u32 [%rd3], %r8;"
		both  = "barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;"
	)
	for _, c := range []struct {
		name, body, says string // says is empty if the kernel is right
	}{
		{"arrive and wait", write + both + read, ""},
		{"with their semantics", write + "barrier.cluster.arrive.release; barrier.cluster.wait.acquire;" + read, ""},
		{"work in between", write + "barrier.cluster.arrive; mov.u32 %r9, %r20; st.global.u32 [%rd3+512], %r9; barrier.cluster.wait;" + read, ""},
		{"lanes one after another", write + "setp.lt.u32 %p1, %r20, 8; @%p1 barrier.cluster.arrive; @!%p1 barrier.cluster.arrive; barrier.cluster.wait;" + read, ""},
		{"lanes that exit instead", "setp.lt.u32 %p1, %r20, 8; @%p1 barrier.cluster.arrive; @!%p1 exit; barrier.cluster.wait; xor.b32 %r8, %r1, 1; st.global.u32 [%rd3], %r8;", ""},
		{"twice", write + both + "bar.sync 0;" + both + read, ""},
		{"a warp behind", write + "setp.eq.u32 %p1, %r1, 0; @%p1 bra FIRST; nanosleep.u32 100; FIRST: " + both + read + both + both, ""},
		{"relaxed, after a fence", write + "fence.acq_rel.cluster; barrier.cluster.arrive.relaxed; barrier.cluster.wait;" + read, ""},
		{"a warp that exits", "setp.eq.u32 %p1, %r1, 1; @%p1 exit; " + both + "st.global.u32 [%rd3], 1; st.global.u32 [%rd3+128], 0;", ""},
		{"a warp that arrives and exits", write + "barrier.cluster.arrive; setp.eq.u32 %p1, %r1, 1; @%p1 exit; barrier.cluster.wait; ld.shared.u32 %r8, [tile+4]; st.global.u32 [%rd3], %r8; st.global.u32 [%rd3+128], 0;", ""},

		{"relaxed, without a fence", write + "barrier.cluster.arrive.relaxed; barrier.cluster.wait;" + read, "race: ld.shared::cluster.u32"},
		{"relaxed, before the fence", "fence.acq_rel.cluster;" + write + "barrier.cluster.arrive.relaxed; barrier.cluster.wait;" + read, "race: ld.shared::cluster.u32"},
		{"not awaited", write + "barrier.cluster.arrive;" + read + "barrier.cluster.wait;", "race: "},
		{"written after the arrival", "barrier.cluster.arrive;" + write + "barrier.cluster.wait;" + read, "race: ld.shared::cluster.u32"},
		{"a wait without an arrival", "barrier.cluster.wait;", "waits without barrier.cluster.arrive"},
		{"two arrivals", "barrier.cluster.arrive; barrier.cluster.arrive;", "arrives again without barrier.cluster.wait"},
		{"a warp that does not arrive", "setp.eq.u32 %p1, %r1, 1; @%p1 bra OTHER; " + both + "bra END; OTHER: bar.sync 0; END:", "barrier.cluster waits for 2 warps; 1 have arrived, and no other can (0 of 2 warps have exited)"},
		{"some lanes", "setp.lt.u32 %p1, %r20, 8; @%p1 barrier.cluster.arrive.aligned;", "barrier divergence"},
		{"lanes that do not arrive", "setp.lt.u32 %p1, %r20, 8; @%p1 barrier.cluster.arrive; barrier.cluster.wait;", "waits without barrier.cluster.arrive"},
		{"lanes that arrive twice", "setp.lt.u32 %p1, %r20, 8; @%p1 barrier.cluster.arrive; barrier.cluster.arrive;", "arrives again without barrier.cluster.wait"},
		{"lanes that wait alone", "barrier.cluster.arrive; setp.lt.u32 %p1, %r20, 8; @%p1 barrier.cluster.wait;", "barrier divergence"},
		{"written after some lanes' arrival", "setp.lt.u32 %p1, %r20, 8; @!%p1 barrier.cluster.arrive; @%p1 barrier.cluster.arrive;" + write + "barrier.cluster.wait;" + read, "race: ld.shared::cluster.u32"},
		{"another block", "mov.u32 %r5, tile; mapa.shared::cluster.u32 %r5, %r5, 1;", "block 1 of the cluster, which has one block here"},
		{"out of bounds", ".shared .align 4 .b8 next[64]; mov.u32 %r5, tile; mapa.shared::cluster.u32 %r5, %r5, 0; st.shared.u32 [next], 1; ld.shared::cluster.u32 %r6, [%r5+1024];", `past the end of "tile"`},
		{"an undefined rank", "mov.u32 %r5, tile; mapa.shared::cluster.u32 %r5, %r5, %r19;", "the rank in the cluster depends on %r19"},
		{"an undefined address", "mapa.shared::cluster.u32 %r5, %r19, 0; st.shared::cluster.u32 [%r5], %r1;", "the address depends on %r19"},
		{"an undefined address that is not used", write + both + "mapa.shared::cluster.u32 %r9, %r19, 0;" + read, ""},
	} {
		for seed := range uint64(3) {
			out, err := launchBody(t, Options{Checks: Checks{Registers: true, Races: true, Sync: true}, Shuffle: seed}, 1, 64, c.body)
			if c.says == "" {
				if err != nil {
					t.Errorf("%s, seed %d: %v", c.name, seed, err)
				} else if a, b := binary.LittleEndian.Uint32(out), binary.LittleEndian.Uint32(out[128:]); a != 1 || b != 0 {
					t.Errorf("%s, seed %d: %d and %d", c.name, seed, a, b)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s, seed %d: %v, want %q", c.name, seed, err, c.says)
			}
		}
	}
	out, err := launchBody(t, Options{Checks: AllChecks()}, 3, 1, `
mov.u32 %r4, %clusterid.x; mov.u32 %r5, %nclusterid.x; mov.u32 %r6, %cluster_nctarank; mov.u32 %r7, %cluster_ctaid.x; mov.u32 %r8, %cluster_nctaid.y;
mul.lo.u32 %r9, %r4, 1000; mad.lo.u32 %r9, %r5, 100, %r9; mad.lo.u32 %r9, %r6, 10, %r9; add.u32 %r9, %r9, %r7; mad.lo.u32 %r9, %r8, 10000, %r9;
mov.u64 %rd5, tile; cvta.shared::cta.u64 %rd5, %rd5; mapa.u64 %rd6, %rd5, 0; sub.u64 %rd6, %rd6, %rd5; cvt.u32.u64 %r10, %rd6; getctarank.u64 %r11, %rd5; add.u32 %r10, %r10, %r11;
add.u32 %r9, %r9, %r10; mul.wide.u32 %rd4, %r3, 4; add.u64 %rd4, %rd1, %rd4; st.global.u32 [%rd4], %r9;`)
	for i := range uint32(3) {
		if got := binary.LittleEndian.Uint32(out[4*i:]); err != nil || got != 10310+1000*i {
			t.Errorf("block %d: %d, want %d; %v", i, got, 10310+1000*i, err)
		}
	}
	for _, c := range []struct{ head, body, says string }{
		{".reqnctapercluster 1, 1, 1", "", ""}, {".explicitcluster .maxclusterrank 8", "", ""},
		{".reqnctapercluster 2", "", ".reqnctapercluster: clusters of several blocks are not supported"},
		{"", "barrier.cluster.sync;", "barrier.cluster.sync is not supported"},
		{"", "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [0], [0], 16, [0];", "of bulk copies"},
		{"", "st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [0], 0, [0];", "asynchronous stores are not supported"},
	} {
		_, err := Parse("k.ptx", []byte(".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k() "+c.head+" {\n"+c.body+"\nret; }"), false)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s%s: %v, want %q", c.head, c.body, err, c.says)
		}
	}
}
