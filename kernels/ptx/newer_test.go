package ptx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// TestVectorsOf32Bytes loads and stores vectors of 8 elements of 32 bits and of 4 of 64.
func TestVectorsOf32Bytes(t *testing.T) {
	// Each of 16 threads moves 32 bytes: word i of the array becomes the one whose index in its vector is reversed.
	const head = "shl.b32 %r4, %r20, 5; cvt.u64.u32 %rd4, %r4; add.u64 %rd4, %rd4, %rd1; st.global.v4.u32 [%rd4], {%r20, 1, 2, 3}; st.global.v4.u32 [%rd4+16], {4, 5, 6, %r20};\n"
	for _, c := range []struct {
		name, body string
		want       func(thread, word uint32) uint32
	}{
		{"v8", "ld.global.L1::no_allocate.L2::128B.v8.b32 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [%rd4]; st.global.v8.b32 [%rd4], {%r8, %r7, %r6, %r5, %r4, %r3, %r2, %r1};",
			func(thread, word uint32) uint32 { return []uint32{thread, 6, 5, 4, 3, 2, 1, thread}[word] }},
		{"v4 of 64 bits, over the address", "ld.global.v4.u64 {%rd4, %rd5, %rd6, %rd7}, [%rd4]; shl.b32 %r4, %r20, 5; cvt.u64.u32 %rd8, %r4; add.u64 %rd8, %rd8, %rd1; st.global.v4.u64 [%rd8], {%rd7, %rd6, %rd5, %rd4};",
			func(thread, word uint32) uint32 { return []uint32{6, thread, 4, 5, 2, 3, thread, 1}[word] }},
		{"a part", "setp.lt.u32 %p1, %r20, 8; @%p1 ld.global.nc.v8.b32 {_, %r5, %r5, %r5, %r5, %r5, %r5, _}, [%rd4+32]; @%p1 st.global.v8.b32 [%rd4+512], {0, 0, 0, 0, 0, 0, 0, 7};",
			nil},
	} {
		for _, opt := range everyForm() {
			opt.Checks.Races = false
			out, err := launchBody(t, opt, 1, 16, head+c.body)
			if c.name == "a part" && opt.Checks != (Checks{}) {
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			for i := range uint32(16 * 8) {
				if got := binary.LittleEndian.Uint32(out[4*i:]); c.want != nil && got != c.want(i/8, i%8) {
					t.Errorf("%s, thread %d, word %d: %d, want %d", c.name, i/8, i%8, got, c.want(i/8, i%8))
				}
			}
		}
	}
	for _, c := range []struct {
		body string
		kind Kind
		says string
	}{
		{"ld.global.v8.b32 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [%rd1+16];", Misaligned, "no multiple of 32 bytes"},
		{"st.global.v4.b64 [%rd1+48], {%rd1, %rd2, %rd3, %rd1};", Misaligned, "no multiple of 32 bytes"},
		{"ld.global.v8.b32 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [%rd1]; ld.global.v8.b32 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [%rd1+1024];", OutOfBounds, `past the end of "out"`},
	} {
		_, err := launchBody(t, Options{}, 1, 1, c.body)
		var r *Report
		if !errors.As(err, &r) || r.Kind != c.kind || !strings.Contains(r.Detail, c.says) {
			t.Errorf("%s: %v, want %q", c.body, err, c.says)
		}
	}
	for _, body := range []string{
		"ld.shared.v8.b32 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [tile];", "ld.global.v8.b64 {%rd1, %rd1, %rd1, %rd1, %rd1, %rd1, %rd1, %rd1}, [%rd1];",
		"ld.global.v8.b32 {%r1, %r2, %r3, %r4}, [%rd1];", "ld.global.v8.b16 {%h1, %h1, %h1, %h1, %h1, %h1, %h1, %h1}, [%rd1];",
	} {
		if _, err := Parse("k.ptx", []byte(findingsHead+body+"ret; }"), false); err == nil {
			t.Errorf("%s is not refused", body)
		}
	}
}

// TestVectorAtomics adds vectors.
func TestVectorAtomics(t *testing.T) {
	const body = `
cvt.rn.f32.u32 %r4, %r20; mov.b32 %r5, 0f3f000000;
red.global.add.v4.f32 [%rd1], {%r4, %r5, %r4, %r5};
atom.global.add.v2.f32 {%r6, %r7}, [%rd1+16], {%r5, %r5};
mov.b32 %r8, 0x3c003800; red.relaxed.gpu.global.add.noftz.v2.f16x2 [%rd1+32], {%r8, %r8};
st.global.u32 [%rd3+128], %r6;`
	for seed := range uint64(3) {
		out, err := launchBody(t, Options{Checks: AllChecks(), Shuffle: seed}, 1, 32, strings.NewReplacer("cvt.rn.f32.u32 %r4", "cvt.rn.f32.u32 %f4", "mov.b32 %r5", "mov.b32 %f5",
			"{%r4, %r5, %r4, %r5}", "{%f4, %f5, %f4, %f5}", "{%r6, %r7}", "{%f6, %f7}", "{%r5, %r5}", "{%f5, %f5}", "%r6", "%f6", "st.global.u32", "st.global.f32").Replace(".reg .f32 %f<9>;"+body))
		if err != nil {
			t.Fatal(err)
		}
		word := func(i int) uint32 { return binary.LittleEndian.Uint32(out[4*i:]) }
		for i, want := range []float32{496, 16, 496, 16, 16, 16} {
			if got := math.Float32frombits(word(i)); got != want {
				t.Errorf("seed %d, word %d: %v, want %v", seed, i, got, want)
			}
		}
		if word(8) != 0x50004c00 || word(9) != 0x50004c00 { // 32 and 16
			t.Errorf("seed %d: %#x, %#x", seed, word(8), word(9))
		}
		seen := map[uint32]bool{}
		for i := range 32 {
			seen[word(32+i)] = true
		}
		if len(seen) != 32 {
			t.Errorf("seed %d: %d different old values of 32", seed, len(seen))
		}
	}
	// Minima and maxima of 1, 2, …, 32 and -1, -2, …, -32, with the words of the manual's examples in their order.
	out, err := launchBody(t, Options{Checks: AllChecks()}, 1, 32, `.reg .b16 %x<9>;
add.u32 %r4, %r20, 1; cvt.rn.f16.u32 %x1, %r4; neg.f16 %x2, %x1; mov.b32 %r5, {%x1, %x2}; mov.b16 %x3, 0x7e00;
red.global.v8.f16.max.noftz [%rd1], {%x1, %x2, %x1, %x2, %x1, %x2, %x3, %x2};
atom.v4.f16.min.noftz {_, _, _, _}, [%rd1+16], {%x1, %x2, %x1, %x3};
red.release.gpu.global.v2.f16x2.min.noftz [%rd1+24], {%r5, %r5};
red.global.max.noftz.v4.bf16x2 [%rd1+32], {%r5, %r5, %r5, %r5};`)
	if err != nil {
		t.Fatal(err)
	}
	halves := []uint16{
		0x5000, 0, 0x5000, 0, 0x5000, 0, 0, 0, // 32, and 0 of 0 and negative numbers or NaN
		0, 0xd000, 0, 0, // 0 of 0 and positive numbers or NaN, and -32
		0, 0xd000, 0, 0xd000,
		0x5000, 0, 0x5000, 0, 0x5000, 0, 0x5000, 0, // ordered as their bits, in either format
	}
	for i, want := range halves {
		if got := binary.LittleEndian.Uint16(out[2*i:]); got != want {
			t.Errorf("half %d: %#x, want %#x", i, got, want)
		}
	}
	// In global memory subnormal numbers are flushed, except with .noftz.
	out, err = launchBody(t, Options{}, 1, 1, ".reg .f32 %f<9>; mov.b32 %f1, 0x00000001; red.global.add.v2.f32 [%rd1], {%f1, %f1}; red.global.add.noftz.v2.f32 [%rd1+8], {%f1, %f1}; red.global.add.noftz.f32 [%rd1+16], %f1;")
	for i, want := range []byte{0, 0, 1, 1, 1} {
		if err != nil || out[4*i] != want {
			t.Errorf("subnormal sum %d: %d, want %d; %v", i, out[4*i], want, err)
		}
	}
	for _, op := range []string{
		"red.global.add.v2.u64 [%rd1], {%rd1, %rd1}", "red.global.add.v2.u32 [%rd1], {%r1, %r1}", "red.global.add.v2.f64 [%rd1], {%rd1, %rd1}", "red.global.min.v2.f32 [%rd1], {%r1, %r1}",
		"red.global.add.v8.f32 [%rd1], {%r1, %r1, %r1, %r1, %r1, %r1, %r1, %r1}", "red.global.add.noftz.v8.f16x2 [%rd1], {%r1, %r1, %r1, %r1, %r1, %r1, %r1, %r1}",
		"red.global.add.v2.f16x2 [%rd1], {%r1, %r1}", "red.shared.add.noftz.v2.f16x2 [tile], {%r1, %r1}", "red.global.exch.v2.b32 [%rd1], {%r1, %r1}", "atom.global.and.v2.b32 {%r1, %r2}, [%rd1], {%r1, %r1}",
		"red.global.add.f16x2 [%rd1], %r1", "red.global.max.noftz.f16x2 [%rd1], %r1", "red.global.add.noftz.u32 [%rd1], %r1", "red.acquire.gpu.global.add.u32 [%rd1], %r1", "red.volatile.global.add.u32 [%rd1], %r1",
	} {
		if _, err := Parse("k.ptx", []byte(findingsHead+op+"; ret; }"), false); err == nil || !strings.Contains(err.Error(), strings.Fields(op)[0]) {
			t.Errorf("%s: %v, want an error with its name", op, err)
		}
	}
	if _, err := launchBody(t, Options{}, 1, 1, "mov.u64 %rd4, tile; cvta.shared.u64 %rd4, %rd4; red.add.noftz.v2.f16x2 [%rd4], {%r1, %r1};"); err == nil || !strings.Contains(err.Error(), "a vector atomic in shared memory") {
		t.Errorf("a vector in shared memory: %v", err)
	}
	_, err = launchBody(t, Options{}, 1, 1, ".reg .f32 %f<9>; mov.f32 %f1, 0f00000000; red.global.add.v2.f32 [%rd1+4], {%f1, %f1};")
	var r *Report
	if !errors.As(err, &r) || r.Kind != Misaligned {
		t.Errorf("a vector at 4: %v", err)
	}
}

// TestStoreMatrix stores by stmatrix what ldmatrix loads, and transposes.
func TestStoreMatrix(t *testing.T) {
	// Matrix i has element (row, column) 64·i + 8·row + column.
	const head = `
shl.b32 %r4, %r20, 4; mov.u32 %r5, tile; add.u32 %r5, %r5, %r4; add.u32 %r6, %r5, 512; shl.b32 %r7, %r20, 3;
add.u32 %r8, %r7, 1; prmt.b32 %r8, %r7, %r8, 0x5410; add.u32 %r9, %r8, 0x20002; add.u32 %r10, %r8, 0x40004; add.u32 %r11, %r8, 0x60006;
st.shared.v4.b32 [%r5], {%r8, %r9, %r10, %r11}; bar.warp.sync -1;
`
	const tail = "\nbar.warp.sync -1; ld.shared.v4.b32 {%r8, %r9, %r10, %r11}, [%r6]; shl.b32 %r4, %r20, 4; cvt.u64.u32 %rd4, %r4; add.u64 %rd4, %rd4, %rd1; st.global.v4.b32 [%rd4], {%r8, %r9, %r10, %r11};"
	same := func(i, r, c int) int { return 64*i + 8*r + c }
	turned := func(i, r, c int) int { return 64*i + 8*c + r }
	for _, c := range []struct {
		name, body string
		want       func(i, r, c int) int
	}{
		{"as loaded", "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r12, %r13, %r14, %r15}, [%r5]; stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r6], {%r12, %r13, %r14, %r15};", same},
		{"twice transposed", "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r12, %r13, %r14, %r15}, [%r5]; stmatrix.sync.aligned.m8n8.x4.trans.shared::cta.b16 [%r6], {%r12, %r13, %r14, %r15};", same},
		{"transposed", "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r12, %r13, %r14, %r15}, [%r5]; stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%r6], {%r12, %r13, %r14, %r15};", turned},
		{"movmatrix", `ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r12, %r13, %r14, %r15}, [%r5];
movmatrix.sync.aligned.m8n8.trans.b16 %r12, %r12; movmatrix.sync.aligned.m8n8.trans.b16 %r13, %r13; movmatrix.sync.aligned.m8n8.trans.b16 %r14, %r14; movmatrix.sync.aligned.m8n8.trans.b16 %r15, %r15;
stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r6], {%r12, %r13, %r14, %r15};`, turned},
	} {
		out, err := launchBody(t, Options{Checks: AllChecks()}, 1, 32, head+c.body+tail)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for n := range 256 {
			if got, want := int(binary.LittleEndian.Uint16(out[2*n:])), c.want(n/64, n/8%8, n%8); got != want {
				t.Errorf("%s: element %d is %d, want %d", c.name, n, got, want)
			}
		}
	}
	for _, c := range []struct{ body, says string }{
		{"mov.u32 %r12, 0; stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r5+1024], {%r12};", `past the end of "tile"`},
		{"ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r12}, [%r5+1024];", `past the end of "tile"`},
		{"stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r6], {%r19}; bar.warp.sync -1; setp.lt.u32 %p1, %r20, 8; mov.u32 %r7, 0; @%p1 ld.shared.u32 %r7, [%r6]; setp.eq.u32 %p1, %r7, 0; @%p1 ret;", "what is stored depends on %r19"},
		{"stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r19], {%r8};", "the address depends on %r19"},
		{"wmma.store.d.sync.aligned.row.m16n16k16.shared.f16 [tile], {%r8, %r9, %r10, %r19};", "what is stored depends on %r19"},
		{"wmma.store.d.sync.aligned.row.m16n16k16.shared.f16 [tile], {%r8, %r9, %r10, %r11}, %r19;", "the stride depends on %r19"},
		{"wmma.load.c.sync.aligned.row.m16n16k16.shared.f16 {%r12, %r13, %r14, %r15}, [%r19];", "the address depends on %r19"},
		{"mbarrier.init.shared.b64 [tile], %r19;", "what the barrier counts depends on %r19"},
		{"setp.eq.u32 %p1, %r20, 0; @%p1 mbarrier.init.shared.b64 [tile], 1; bar.warp.sync -1; mbarrier.test_wait.parity.shared.b64 %p1, [tile], %r19;", "what it waits for depends on %r19"},
		{"mov.u32 %r12, 0; stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r5], {%r12}; xor.b32 %r6, %r5, 64; ld.shared.u32 %r7, [%r6];", "race"},
	} {
		if _, err := launchBody(t, Options{Checks: AllChecks()}, 1, 32, head+c.body); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.body, err, c.says)
		}
	}
}

// TestPairs computes with pairs of f32: each as the operation on single numbers.
func TestPairs(t *testing.T) {
	numbers := []uint32{0, 0x80000000, 0x3f800000, 0xbf800001, 0x7f7fffff, 0x7f800000, 0x7fc00000, 1, 0x00800000, 0x33800001}
	for _, op := range []string{"add.rn", "sub.rz", "mul.rn", "mul.rp", "fma.rn", "fma.rm"} {
		for i, a := range numbers {
			b, c := numbers[(3*i+1)%len(numbers)], numbers[(7*i+5)%len(numbers)]
			sources, pairs := "%f1, %f2", "%rd4, %rd5"
			if strings.HasPrefix(op, "fma") {
				sources, pairs = "%f1, %f2, %f3", "%rd4, %rd5, %rd6"
			}
			body := fmt.Sprintf(`.reg .f32 %%f<9>; mov.b32 %%f1, %#x; mov.b32 %%f2, %#x; mov.b32 %%f3, %#x; mov.b64 %%rd4, {%%f1, %%f2}; mov.b64 %%rd5, {%%f2, %%f1}; mov.b64 %%rd6, {%%f3, %%f3};
%[4]s.f32x2 %%rd7, %[6]s; st.global.u64 [%%rd1], %%rd7;
%[4]s.f32 %%f4, %[5]s; mov.b32 %%r4, %%f1; mov.b32 %%f5, %%r4; mov.f32 %%f1, %%f2; mov.f32 %%f2, %%f5; %[4]s.f32 %%f6, %[5]s; st.global.v2.f32 [%%rd1+8], {%%f4, %%f6};`, a, b, c, op, sources, pairs)
			out, err := launchBody(t, Options{Checks: AllChecks()}, 1, 1, body)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := binary.LittleEndian.Uint64(out), binary.LittleEndian.Uint64(out[8:]); got != want {
				t.Errorf("%s of %#x, %#x and %#x: %#x, want %#x", op, a, b, c, got, want)
			}
		}
	}
}

// TestWithoutEffect runs instructions that do nothing here.
func TestWithoutEffect(t *testing.T) {
	const body = `griddepcontrol.wait; griddepcontrol.launch_dependents; setmaxnreg.inc.sync.aligned.u32 240; setmaxnreg.dec.sync.aligned.u32 40;
cp.async.bulk.prefetch.L2.global [%rd1], 16; ld.mmio.relaxed.sys.global.u32 %r4, [%rd1]; st.global.u32 [%rd3], %r20;`
	if _, err := launchBody(t, Options{Checks: AllChecks()}, 1, 1, body); err != nil {
		t.Error(err)
	}
	for body, says := range map[string]string{
		"setmaxnreg.inc.sync.aligned.u32 20;": "multiple of 8",
		"mov.pred %p1, %is_explicit_cluster;": "%is_explicit_cluster",
		"red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u32 [tile], %r4, [tile];": "asynchronous reductions are not supported",
		"st.bulk.weak.shared::cta [tile], 64, 0;":                                                             "asynchronous stores are not supported",
		"prefetch.tensormap [%rd1];":                                                                          "tensor maps are not supported",
		"fence.proxy.tensormap::generic.acquire.gpu [%rd1], 128;":                                             "tensor maps are not supported",
		"clusterlaunchcontrol.query_cancel.is_canceled.pred.b128 %p1, %rd1;":                                  "launches of clusters by a kernel are not supported",
		"add.rn.f32x4 %rd4, %rd4, %rd4;":                                                                      ".f32x4 is not supported",
	} {
		if _, err := Parse("k.ptx", []byte(findingsHead+body+"ret; }"), true); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", body, err, says)
		}
	}
}

// TestPairsOfF32: only additions, subtractions and products have pairs of f32.
func TestPairsOfF32(t *testing.T) {
	for _, body := range []string{"min.f32x2 %rd2, %rd3, %rd3;", "min.xorsign.abs.f32x2 %rd2, %rd3, %rd3;", "neg.f32x2 %rd2, %rd3;", "abs.f32x2 %rd2, %rd3;"} {
		if _, err := Parse("k.ptx", []byte(findingsHead+body+"ret; }"), false); err == nil || !strings.Contains(err.Error(), "f32x2 is not supported") {
			t.Errorf("%s: %v, want it refused", body, err)
		}
	}
}
