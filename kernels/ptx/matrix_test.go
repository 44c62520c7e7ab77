package ptx

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// mmaCase is a product of a 16×K by a K×8 matrix.
type mmaCase struct {
	op    string // modifiers after mma.sync.aligned
	k     int
	out   string // f32, f16 or s32
	value func(raw uint64) float64
	size  int
}

// mmaKernel loads A, row by row, and B, column by column, through shared memory and
// ldmatrix, and C from global memory, and stores D.
func mmaKernel(c mmaCase) string {
	width := c.k * c.size // of a row of A in bytes
	a, b := "x4", "x2"
	if width == 16 {
		a, b = "x2", "x1"
	}
	regs := func(prefix string, n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("%s%d", prefix, i))
		}
		return strings.Join(list, ", ")
	}
	var text strings.Builder
	fmt.Fprintf(&text, `.version 7.8
.target sm_80
.address_size 64
.visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d)
{
.reg .b32 %%r<20>; .reg .b64 %%rd<9>; .reg .b32 %%a<4>; .reg .b32 %%b<4>; .reg .b32 %%c<4>;
.shared .align 16 .b8 sa[512]; .shared .align 16 .b8 sb[512];
ld.param.u64 %%rd1, [a]; ld.param.u64 %%rd2, [b]; ld.param.u64 %%rd3, [c]; ld.param.u64 %%rd4, [d];
mov.u32 %%r0, %%tid.x;
`)
	for word := range 16 * width / 4 / 32 { // each lane copies one word at a time
		fmt.Fprintf(&text, "mul.wide.u32 %%rd5, %%r0, 4; add.u64 %%rd6, %%rd1, %%rd5; ld.global.u32 %%r1, [%%rd6+%d]; mov.u32 %%r2, sa; shl.b32 %%r3, %%r0, 2; add.u32 %%r2, %%r2, %%r3; st.shared.u32 [%%r2+%[1]d], %%r1;\n", 128*word)
	}
	for word := range 8 * width / 4 / 32 {
		fmt.Fprintf(&text, "add.u64 %%rd6, %%rd2, %%rd5; ld.global.u32 %%r1, [%%rd6+%d]; mov.u32 %%r2, sb; add.u32 %%r2, %%r2, %%r3; st.shared.u32 [%%r2+%[1]d], %%r1;\n", 128*word)
	}
	// Lane l has the address of row l mod 16 of A, from lane 16 on of its second half; and of row l mod 8 of
	// B.
	fmt.Fprintf(&text, `bar.warp.sync -1;
and.b32 %%r4, %%r0, 15; mul.lo.u32 %%r4, %%r4, %d; shr.u32 %%r5, %%r0, 4; shl.b32 %%r5, %%r5, 4; add.u32 %%r4, %%r4, %%r5; mov.u32 %%r6, sa; add.u32 %%r6, %%r6, %%r4;
and.b32 %%r4, %%r0, 7; mul.lo.u32 %%r4, %%r4, %[1]d; shr.u32 %%r5, %%r0, 3; and.b32 %%r5, %%r5, 1; shl.b32 %%r5, %%r5, 4; add.u32 %%r4, %%r4, %%r5; mov.u32 %%r7, sb; add.u32 %%r7, %%r7, %%r4;
ldmatrix.sync.aligned.m8n8.%s.shared.b16 {%s}, [%%r6];
ldmatrix.sync.aligned.m8n8.%s.shared.b16 {%s}, [%%r7];
`, width, a, regs("%a", width/8), b, regs("%b", width/16))
	words := 4
	if c.out == "f16" {
		words = 2
	}
	// C and D are row-major.
	for r := range words {
		if c.out == "f16" {
			fmt.Fprintf(&text, "shr.u32 %%r8, %%r0, 2; add.u32 %%r8, %%r8, %d; shl.b32 %%r8, %%r8, 4; and.b32 %%r9, %%r0, 3; shl.b32 %%r9, %%r9, 2; add.u32 %%r%d, %%r8, %%r9;\n", 8*r, 10+r)
		} else {
			fmt.Fprintf(&text, "shr.u32 %%r8, %%r0, 2; add.u32 %%r8, %%r8, %d; shl.b32 %%r8, %%r8, 5; and.b32 %%r9, %%r0, 3; shl.b32 %%r9, %%r9, 3; add.u32 %%r8, %%r8, %d; add.u32 %%r%d, %%r8, %%r9;\n", 8*(r/2), 4*(r%2), 10+r)
		}
		fmt.Fprintf(&text, "cvt.u64.u32 %%rd7, %%r%d; add.u64 %%rd8, %%rd3, %%rd7; ld.global.u32 %%c%d, [%%rd8];\n", 10+r, r)
	}
	fmt.Fprintf(&text, "mma.sync.aligned.%s {%s}, {%s}, {%s}, {%[2]s};\n", c.op, regs("%c", words), regs("%a", width/8), regs("%b", width/16))
	for r := range words {
		fmt.Fprintf(&text, "cvt.u64.u32 %%rd7, %%r%d; add.u64 %%rd8, %%rd4, %%rd7; st.global.u32 [%%rd8], %%c%d;\n", 10+r, r)
	}
	text.WriteString("ret;\n}\n")
	return text.String()
}

// TestMMA multiplies matrices and compares with a loop over rows and columns in the order stated in
// matrix.go.
func TestMMA(t *testing.T) {
	half := func(raw uint64) float64 { return float64(math.Float32frombits(halfToSingle(uint16(raw)))) }
	bfloat := func(raw uint64) float64 { return float64(math.Float32frombits(uint32(raw) << 16)) }
	tf := func(raw uint64) float64 { return float64(math.Float32frombits(uint32(raw) >> 13 << 13)) }
	signed := func(raw uint64) float64 { return float64(int8(raw)) }
	unsigned := func(raw uint64) float64 { return float64(uint8(raw)) }
	for _, c := range []mmaCase{
		{"m16n8k16.row.col.f32.f16.f16.f32", 16, "f32", half, 2},
		{"m16n8k8.row.col.f32.f16.f16.f32", 8, "f32", half, 2},
		{"m16n8k16.row.col.f16.f16.f16.f16", 16, "f16", half, 2},
		{"m16n8k8.row.col.f16.f16.f16.f16", 8, "f16", half, 2},
		{"m16n8k16.row.col.f32.bf16.bf16.f32", 16, "f32", bfloat, 2},
		{"m16n8k8.row.col.f32.bf16.bf16.f32", 8, "f32", bfloat, 2},
		{"m16n8k8.row.col.f32.tf32.tf32.f32", 8, "f32", tf, 4},
		{"m16n8k4.row.col.f32.tf32.tf32.f32", 4, "f32", tf, 4},
		{"m16n8k32.row.col.s32.s8.s8.s32", 32, "s32", signed, 1},
		{"m16n8k16.row.col.s32.u8.u8.s32", 16, "s32", unsigned, 1},
		{"m16n8k32.row.col.satfinite.s32.s8.s8.s32", 32, "s32", signed, 1},
	} {
		t.Run(c.op, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(len(c.op))))
			dev := New(Options{Checks: AllChecks(), AllowApprox: c.out != "s32"})
			m, err := dev.Load("k.ptx", []byte(mmaKernel(c)))
			if err != nil {
				t.Fatal(err)
			}
			k, err := m.Kernel("k")
			if err != nil {
				t.Fatal(err)
			}
			raw := [4][]byte{make([]byte, 16*c.k*c.size), make([]byte, 8*c.k*c.size), make([]byte, 16*8*4), make([]byte, 16*8*4)}
			for i := range raw[:3] {
				for j := range raw[i] {
					raw[i][j] = byte(rng.Uint32())
				}
			}
			element := func(raw []byte, size, i int) uint64 {
				var w [8]byte
				copy(w[:], raw[i*size:(i+1)*size])
				return binary.LittleEndian.Uint64(w[:])
			}
			if c.out != "s32" { // small finite numbers
				for i, n := range []int{16 * c.k, 8 * c.k} {
					for j := range n {
						v := float32(rng.NormFloat64())
						at := raw[i][j*c.size:]
						switch {
						case c.size == 4:
							binary.LittleEndian.PutUint32(at, math.Float32bits(v))
						case strings.Contains(c.op, "bf16"):
							binary.LittleEndian.PutUint16(at, uint16(math.Float32bits(v)>>16))
						default:
							binary.LittleEndian.PutUint16(at, singleToHalf(math.Float32bits(v)))
						}
					}
				}
				for j := range 16 * 8 {
					v := float32(rng.NormFloat64())
					if c.out == "f16" {
						binary.LittleEndian.PutUint16(raw[2][2*j:], singleToHalf(math.Float32bits(v)))
					} else {
						binary.LittleEndian.PutUint32(raw[2][4*j:], math.Float32bits(v))
					}
				}
			} else {
				binary.LittleEndian.PutUint32(raw[2], math.MaxInt32) // saturates, or wraps
			}
			var args []device.Arg
			for i := range raw {
				p, err := dev.Alloc(string(rune('a'+i)), int64(len(raw[i])))
				if err == nil {
					err = dev.Write(p, raw[i])
				}
				if err != nil {
					t.Fatal(err)
				}
				args = append(args, device.Pointer(p))
			}
			if err := k.Launch(context.Background(), device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: 32, Y: 1, Z: 1}, 0, args...); err != nil {
				t.Fatal(err)
			}
			if err := dev.Read(raw[3], device.Ptr(args[3])); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(dev.Name(), "may differ"); got != (c.out != "s32") {
				t.Errorf("%s", dev.Name())
			}
			for i := range 16 {
				for j := range 8 {
					var want, got uint64
					switch c.out {
					case "s32":
						sum := int64(int32(element(raw[2], 4, 8*i+j)))
						for k := range c.k {
							sum += int64(c.value(element(raw[0], 1, i*c.k+k)) * c.value(element(raw[1], 1, j*c.k+k)))
						}
						if strings.Contains(c.op, "satfinite") {
							sum = min(max(sum, math.MinInt32), math.MaxInt32)
						}
						want, got = uint64(uint32(sum)), element(raw[3], 4, 8*i+j)
					default:
						var sum float32
						if c.out == "f16" {
							sum = float32(half(element(raw[2], 2, 8*i+j)))
						} else {
							sum = math.Float32frombits(uint32(element(raw[2], 4, 8*i+j)))
						}
						for k := range c.k {
							// The product has at most 22 bits, so the sum is exact in float64.
							sum = float32(float64(sum) + c.value(element(raw[0], c.size, i*c.k+k))*c.value(element(raw[1], c.size, j*c.k+k)))
						}
						want, got = uint64(math.Float32bits(sum)), element(raw[3], 4, 8*i+j)
						if c.out == "f16" {
							want, got = uint64(singleToHalf(math.Float32bits(sum))), element(raw[3], 2, 8*i+j)
						}
					}
					if got != want {
						t.Fatalf("element %d, %d: %#x, want %#x", i, j, got, want)
					}
				}
			}
		})
	}
}

// TestLdmatrix loads a transposed matrix.
func TestLdmatrix(t *testing.T) {
	out, err := launchBody(t, Options{Checks: AllChecks()}, 1, 32, `
mad.lo.u32 %r4, %r20, 2, 0; add.u32 %r4, %r4, tile; cvt.u16.u32 %h1, %r20; st.shared.u16 [%r4], %h1; add.u16 %h1, %h1, 32; st.shared.u16 [%r4+64], %h1;
bar.warp.sync -1; shl.b32 %r5, %r20, 4; and.b32 %r5, %r5, 127; add.u32 %r5, %r5, tile;
ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r6}, [%r5]; st.global.u32 [%rd3], %r6;`)
	if err != nil {
		t.Fatal(err)
	}
	for lane := range 32 {
		for h := range 2 { // element of column lane/4, row 2·(lane mod 4) + h
			want := uint16(8*(2*(lane%4)+h) + lane/4)
			if got := binary.LittleEndian.Uint16(out[4*lane+2*h:]); got != want {
				t.Errorf("lane %d, half %d: %d, want %d", lane, h, got, want)
			}
		}
	}
}

// TestMatrixChecks checks reports of wrong matrix instructions.
func TestMatrixChecks(t *testing.T) {
	const address = "shl.b32 %r5, %r20, 4; add.u32 %r5, %r5, tile;\n"
	const load = "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r6, %r7, %r8, %r9}, "
	const fill = "shl.b32 %r4, %r20, 5; add.u32 %r4, %r4, tile; st.shared.v4.u32 [%r4], {%r20, %r20, %r20, %r20}; st.shared.v4.u32 [%r4+16], {%r20, %r20, %r20, %r20};\n"
	for _, c := range []struct {
		name, body string
		block      int
		want       Kind
	}{
		{"undefined", address + load + "[%r5]; setp.eq.u32 %p1, %r6, 0; @%p1 ret;", 32, Uninitialized},
		{"race", fill + address + load + "[%r5];", 32, Race},
		{"out of bounds", fill + address + load + "[%r5+1024];", 32, OutOfBounds},
		{"misaligned", fill + address + load + "[%r5+4];", 32, Misaligned},
		{"diverged", "setp.lt.u32 %p1, %r20, 8;\n@!%p1 bra A;\nmma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%r10, %r11, %r12, %r13}, {%r20, %r20}, {%r20}, {%r20, %r20, %r20, %r20};\nA:", 32, MaskMismatch},
		{"half a warp", "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%r10, %r11, %r12, %r13}, {%r20, %r20}, {%r20}, {%r20, %r20, %r20, %r20};", 16, MaskMismatch},
		{"undefined product", "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%r10, %r11, %r12, %r13}, {%r20, %r21}, {%r20}, {%r20, %r20, %r20, %r20};\nsetp.eq.u32 %p1, %r12, 0; @%p1 ret;", 32, UninitRegister},
	} {
		_, err := launchBody(t, Options{Checks: AllChecks()}, 1, c.block, c.body)
		var r *Report
		if !errors.As(err, &r) || r.Kind != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for _, body := range []string{
		"mma.sync.aligned.m16n8k16.row.row.s32.s8.s8.s32 {%r10, %r11, %r12, %r13}, {%r20, %r20}, {%r20}, {%r20, %r20, %r20, %r20};",
		"mma.sync.aligned.m16n8k64.row.col.s32.s8.s8.s32 {%r10, %r11, %r12, %r13}, {%r20, %r20}, {%r20}, {%r20, %r20, %r20, %r20};",
		"mma.sync.aligned.m16n8k64.row.col.s32.s4.s8.s32 {%r10, %r11, %r12, %r13}, {%r20, %r20}, {%r20}, {%r20, %r20, %r20, %r20};",
		"mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%rd4, %rd5}, {%rd6}, {%rd7}, {%rd8, %rd9};",
		"mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%r10, %r11, %r12, %r13, %r14, %r15, %r16, %r17}, {%r1, %r2}, {%r3, %r4}, {%r10, %r11, %r12, %r13, %r14, %r15, %r16, %r17};",
		"mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%r10, %r11, %r12}, {%r20, %r20}, {%r20}, {%r20, %r20, %r20, %r20};",
		"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%r10, %r11, %r12, %r13}, {%r20, %r20, %r20, %r20}, {%r20, %r20}, {%r20, %r20, %r20, %r20};",
		"ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r6}, [tile];",
		"ldmatrix.sync.aligned.m8n8.x1.global.b16 {%r6}, [%rd1];",
	} {
		if _, err := Parse("k.ptx", []byte(findingsHead+body+"ret; }"), false); err == nil {
			t.Errorf("%s is not refused", body)
		}
	}
}
