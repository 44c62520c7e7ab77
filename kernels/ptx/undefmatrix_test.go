package ptx

import (
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// TestUndefinedMatrices loads tiles of which some rows were never written. The results that depend on these rows may
// be dropped, and their use is reported.
func TestUndefinedMatrices(t *testing.T) {
	// The tile has 16 rows of 16 bytes (A) and 8 more (B); rows of A and B are written but for those in the format.
	const head = `
shl.b32 %r4, %r20, 4; mov.u32 %r5, tile; add.u32 %r4, %r5, %r4;
setp.lt.u32 %p1, %r20, 24; setp.eq.u32 %p2, %r20, ROW; @%p2 mov.u32 %r9, 1; @%p2 bra SKIP; @%p1 st.shared.v4.u32 [%r4], {%r20, %r20, %r20, %r20}; SKIP: bar.warp.sync -1;
shr.u32 %r22, %r20, 2; and.b32 %r23, %r20, 3; shl.b32 %r24, %r23, 1;
ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r10, %r11}, [%r4]; add.u32 %r25, %r5, 256; and.b32 %r26, %r20, 7; shl.b32 %r26, %r26, 4; add.u32 %r25, %r25, %r26;
ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r12}, [%r25];
mov.u32 %r13, 0; mov.u32 %r14, 0; mov.u32 %r15, 0; mov.u32 %r16, 0;
mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%r13, %r14, %r15, %r16}, {%r10, %r11}, {%r12}, {%r13, %r14, %r15, %r16};
`
	const (
		first  = "st.global.u32 [%rd3], %r13;"            // row lane/4, column 2·(lane%4)
		second = "st.global.u32 [%rd3+128], %r14;"        // … and the next column
		lower  = "st.global.v2.u32 [%rd4], {%r15, %r16};" // row lane/4 + 8
	)
	for _, c := range []struct{ name, row, body, says string }{
		{"all written", "99", first + second, ""},
		{"a row of A, not stored", "3", "setp.ne.u32 %p1, %r22, 3; @%p1 " + first, ""},
		{"a row of A, replaced", "3", "setp.ne.u32 %p1, %r22, 3; selp.b32 %r13, %r13, 0, %p1; " + first, ""},
		{"a row of A, stored", "3", first, "bytes 48 to 63 of shared memory"},
		{"a row of A of the lower half", "11", first + second, ""},
		{"a row of A of the lower half, stored", "11", "mul.wide.u32 %rd4, %r20, 8; add.u64 %rd4, %rd1, %rd4;" + lower, "bytes 176 to 191 of shared memory"},
		{"a column of B, not stored", "20", "setp.ne.u32 %p1, %r24, 4; @%p1 " + first + second, ""},
		{"the other column", "21", first, ""},
		{"a column of B, stored", "21", second, "bytes 336 to 351 of shared memory"},
		{"a row of A through another product", "3", `cvt.rn.f16x2.f32 %r17, %f14, %f13; cvt.rn.f16x2.f32 %r18, %f16, %f15;
mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%r17, %r18}, {%r17, %r18}, {%r12}, {%r17, %r18}; setp.ne.u32 %p1, %r22, 3; @%p1 st.global.u32 [%rd3], %r17;`, ""},
		{"a row of A through another product, stored", "3", `cvt.rn.f16x2.f32 %r17, %f14, %f13; cvt.rn.f16x2.f32 %r18, %f16, %f15;
mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%r17, %r18}, {%r17, %r18}, {%r12}, {%r17, %r18}; st.global.u32 [%rd3], %r17;`, "bytes 48 to 63 of shared memory"},
		{"stored as a matrix and dropped", "3", "stmatrix.sync.aligned.m8n8.x2.shared.b16 [%r4+512], {%r10, %r11}; bar.warp.sync -1; setp.ne.u32 %p2, %r20, 3; @%p2 ld.shared.u32 %r17, [%r4+512]; @!%p2 mov.u32 %r17, 0; setp.lt.u32 %p1, %r20, 16; @%p1 st.global.u32 [%rd3], %r17;", ""},
		{"stored as a matrix and kept", "3", "stmatrix.sync.aligned.m8n8.x2.shared.b16 [%r4+512], {%r10, %r11}; bar.warp.sync -1; setp.lt.u32 %p1, %r20, 16; @%p1 ld.shared.u32 %r17, [%r4+524]; @%p1 st.global.u32 [%rd3], %r17;", "is not defined since stmatrix"},
		{"stored transposed", "3", "stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%r4+512], {%r10}; bar.warp.sync -1; and.b32 %r18, %r20, 7; shl.b32 %r18, %r18, 4; add.u32 %r18, %r18, %r5; ld.shared.u32 %r17, [%r18+516]; and.b32 %r17, %r17, 0xffff; st.global.u32 [%rd3], %r17;", ""},
		{"stored transposed, the other half", "3", "stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%r4+512], {%r10}; bar.warp.sync -1; and.b32 %r18, %r20, 7; shl.b32 %r18, %r18, 4; add.u32 %r18, %r18, %r5; ld.shared.u32 %r17, [%r18+516]; shr.u32 %r17, %r17, 16; st.global.u32 [%rd3], %r17;", "is not defined since stmatrix"},
		{"transposed when loaded", "3", "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r10}, [%r4]; and.b32 %r17, %r10, 0xffff; setp.eq.u32 %p1, %r23, 1; @%p1 st.global.u32 [%rd3], %r17;", ""},
		{"transposed when loaded, the other half", "3", "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r10}, [%r4]; shr.u32 %r17, %r10, 16; setp.eq.u32 %p1, %r23, 1; @%p1 st.global.u32 [%rd3], %r17;", "bytes 48 to 63 of shared memory"},
		{"transposed by movmatrix", "3", "movmatrix.sync.aligned.m8n8.trans.b16 %r10, %r10; and.b32 %r17, %r10, 0xffff; setp.eq.u32 %p1, %r23, 1; @%p1 st.global.u32 [%rd3], %r17;", ""},
		{"transposed by movmatrix, the other half", "3", "movmatrix.sync.aligned.m8n8.trans.b16 %r10, %r10; shr.u32 %r17, %r10, 16; setp.eq.u32 %p1, %r23, 1; @%p1 st.global.u32 [%rd3], %r17;", "bytes 48 to 63 of shared memory"},
	} {
		body := strings.ReplaceAll(head, "ROW", c.row) + strings.ReplaceAll(c.body, "%f", "%r")
		dev := New(Options{Checks: AllChecks(), AllowApprox: true})
		err := runTile(t, dev, body)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}

// runTile runs a body of findingsHead for one warp, and reads its results.
func runTile(t *testing.T, dev *Device, body string) error {
	t.Helper()
	k, p := loadBody(t, dev, body)
	if err := k.Launch(t.Context(), extent(1), extent(32), 0, device.Pointer(p)); err != nil {
		return err
	}
	return dev.Read(make([]byte, 1024), p)
}
