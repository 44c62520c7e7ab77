package ptx

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// TestWMMA multiplies matrices in memory, with strides and in both layouts, and compares with a loop in the
// order that matrix.go states.
func TestWMMA(t *testing.T) {
	type wmmaCase struct {
		m, n, k    int
		ab, cd     string // types
		abRegs     [2]int
		c, d       int // registers
		size, cdSz int
	}
	var cases []wmmaCase
	for _, s := range [][3]int{{16, 16, 16}, {8, 32, 16}, {32, 8, 16}} {
		m, n, k := s[0], s[1], s[2]
		cases = append(cases,
			wmmaCase{m, n, k, "f16", "f32", [2]int{8, 8}, 8, 8, 2, 4},
			wmmaCase{m, n, k, "f16", "f16", [2]int{8, 8}, 4, 4, 2, 2},
			wmmaCase{m, n, k, "bf16", "f32", [2]int{m * k / 64, n * k / 64}, 8, 8, 2, 4},
			wmmaCase{m, n, k, "s8", "s32", [2]int{m * k / 128, n * k / 128}, 8, 8, 1, 4},
			wmmaCase{m, n, k, "u8", "s32", [2]int{m * k / 128, n * k / 128}, 8, 8, 1, 4})
	}
	cases = append(cases, wmmaCase{16, 16, 8, "tf32", "f32", [2]int{4, 4}, 8, 8, 4, 4}, wmmaCase{8, 8, 4, "f64", "f64", [2]int{1, 1}, 2, 2, 8, 8})
	rng := rand.New(rand.NewPCG(15, 16))
	for _, c := range cases {
		for layout := range 16 {
			col := func(i int) bool { return layout>>i&1 != 0 } // of A, B, C and D
			name := func(i int) string { return [...]string{"row", "col"}[layout>>i&1] }
			shape := fmt.Sprintf("m%dn%dk%d", c.m, c.n, c.k)
			rows, cols := [4]int{c.m, c.k, c.m, c.m}, [4]int{c.k, c.n, c.n, c.n}
			sizes := [4]int{c.size, c.size, c.cdSz, c.cdSz}
			var stride [4]int
			for i := range stride {
				stride[i] = cols[i] + 8*rng.IntN(3)
				if col(i) {
					stride[i] = rows[i] + 8*rng.IntN(3)
				}
			}
			at := func(matrix, i, j int) int {
				if col(matrix) {
					i, j = j, i
				}
				return (i*stride[matrix] + j) * sizes[matrix]
			}
			regs := func(prefix string, n int) string {
				list := make([]string, n)
				for i := range list {
					list[i] = fmt.Sprintf("%%%s%d", prefix, i)
				}
				return "{" + strings.Join(list, ", ") + "}"
			}
			mma := fmt.Sprintf("wmma.mma.sync.aligned.%s.%s.%s.%s.%s", name(0), name(1), shape, c.cd, c.cd)
			if c.ab != "f16" {
				mma = fmt.Sprintf("wmma.mma.sync.aligned.%s.%s.%s.%s.%s.%s.%s", name(0), name(1), shape, c.cd, c.ab, c.ab, c.cd)
			}
			if c.ab == "f64" && layout&1 != 0 {
				mma = strings.Replace(mma, shape, shape+".rn", 1)
			}
			text := fmt.Sprintf(`.version 7.8
.target sm_80
.address_size 64
.visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d)
{
.reg .b%d %%a<8>; .reg .b%[1]d %%b<8>; .reg .b%[1]d %%c<8>; .reg .b%[1]d %%d<8>; .reg .b64 %%rd<5>; .reg .b32 %%r<5>;
ld.param.u64 %%rd1, [a]; ld.param.u64 %%rd2, [b]; ld.param.u64 %%rd3, [c]; ld.param.u64 %%rd4, [d]; mov.u32 %%r1, %[2]d;
wmma.load.a.sync.aligned.%[3]s.%s.global.%s %s, [%%rd1], %%r1;
wmma.load.b.sync.aligned.%s.%s.%s %s, [%%rd2], %d;
wmma.load.c.sync.aligned.%s.%s.global.%s %s, [%%rd3], %d;
%s %s, %s, %s, %s;
wmma.store.d.sync.aligned.%s.%s.global.%s [%%rd4], %s, %d;
ret;
}
`, 32*max(1, c.size/4), stride[0], name(0), shape, c.ab, regs("a", c.abRegs[0]), name(1), shape, c.ab, regs("b", c.abRegs[1]), stride[1],
				name(2), shape, c.cd, regs("c", c.c), stride[2],
				mma, regs("d", c.d), regs("a", c.abRegs[0]), regs("b", c.abRegs[1]), regs("c", c.c), name(3), shape, c.cd, regs("d", c.d), stride[3])
			// Elements, as float64, and in memory.
			value := func(raw []byte, typ string) float64 {
				switch typ {
				case "f16":
					return float64(singleOfHalf(binary.LittleEndian.Uint16(raw)))
				case "bf16":
					return float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw)) << 16))
				case "tf32":
					return float64(math.Float32frombits(binary.LittleEndian.Uint32(raw) &^ 0x1fff))
				case "f32":
					return float64(math.Float32frombits(binary.LittleEndian.Uint32(raw)))
				case "f64":
					return math.Float64frombits(binary.LittleEndian.Uint64(raw))
				case "s8":
					return float64(int8(raw[0]))
				case "u8":
					return float64(raw[0])
				}
				return float64(int32(binary.LittleEndian.Uint32(raw)))
			}
			fill := func(raw []byte, typ string) {
				f := math.Float32bits(float32(rng.NormFloat64()))
				switch typ {
				case "f16":
					binary.LittleEndian.PutUint16(raw, singleToHalf(f))
				case "bf16":
					binary.LittleEndian.PutUint16(raw, uint16(f>>16))
				case "f64":
					binary.LittleEndian.PutUint64(raw, math.Float64bits(rng.NormFloat64()))
				case "tf32", "f32":
					binary.LittleEndian.PutUint32(raw, f)
				case "s32":
					binary.LittleEndian.PutUint32(raw, uint32(rng.Int32N(1<<20)-1<<19))
				default:
					raw[0] = byte(rng.Uint32())
				}
			}
			types := [4]string{c.ab, c.ab, c.cd, c.cd}
			dev := New(Options{Checks: AllChecks(), AllowApprox: c.cd != "s32"})
			module, err := dev.Load("k.ptx", []byte(text))
			if err != nil {
				t.Fatal(err, text)
			}
			k, err := module.Kernel("k")
			if err != nil {
				t.Fatal(err, text)
			}
			var raw [4][]byte
			var args []device.Arg
			for x := range raw {
				raw[x] = make([]byte, at(x, rows[x]-1, cols[x]-1)+sizes[x])
				p, err := dev.Alloc(string(rune('a'+x)), int64(len(raw[x])))
				if err != nil {
					t.Fatal(err)
				}
				args = append(args, device.Pointer(p))
				if x == 3 {
					break
				}
				for i := range rows[x] {
					for j := range cols[x] {
						fill(raw[x][at(x, i, j):], types[x])
						// Gaps between rows are never read: they are undefined.
						if err := dev.Write(p+device.Ptr(at(x, i, j)), raw[x][at(x, i, j):][:sizes[x]]); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			if err := k.Launch(context.Background(), device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: 32, Y: 1, Z: 1}, 0, args...); err != nil {
				t.Fatal(err, text)
			}
			for i := range c.m {
				for j := range c.n {
					sum := value(raw[2][at(2, i, j):], c.cd)
					for l := range c.k {
						sum = math.FMA(value(raw[0][at(0, i, l):], c.ab), value(raw[1][at(1, l, j):], c.ab), sum)
						if c.cd == "f16" || c.cd == "f32" { // exact in float64, except for tf32, which is rounded to odd
							sum = float64(float32(sum))
						}
					}
					got := make([]byte, sizes[3])
					if err := dev.Read(got, device.Ptr(args[3])+device.Ptr(at(3, i, j))); err != nil {
						t.Fatal(err)
					}
					if c.cd == "f16" {
						sum = float64(singleOfHalf(singleToHalf(math.Float32bits(float32(sum)))))
					}
					if v := value(got, c.cd); v != sum {
						t.Fatalf("%s, %s: element %d, %d is %v, want %v", mma, name(3), i, j, v, sum)
					}
				}
			}
		}
	}
}

// TestWMMAPadding loads a tile with 16 bytes of padding between its rows. Nobody writes the padding, or another warp does so at the
// same time: it is no part of the tile. An element that nobody has written is.
func TestWMMAPadding(t *testing.T) {
	// Lane i of the first warp writes row i, of 16 elements of 2 bytes, if i is less than rows. Rows are 48 bytes apart.
	const text = `.version 7.8
.target sm_80
.address_size 64
.visible .entry kernel()
{
	.reg .pred %%p<3>; .reg .b32 %%r<20>; .reg .b64 %%rd<3>;
	.shared .align 16 .b8 tile[%d];
	mov.u32 %%r1, %%tid.x; and.b32 %%r2, %%r1, 31; mov.u32 %%r3, tile; mad.lo.u32 %%r4, %%r2, 48, %%r3; mov.u32 %%r5, 0;
	mov.u64 %%rd1, tile; cvta.shared.u64 %%rd1, %%rd1; mov.u32 %%r6, 24;
	setp.lt.u32 %%p1, %%r1, 32; setp.lt.u32 %%p2, %%r1, %d;
	@!%%p2 bra WRITTEN;
	st.shared.v4.u32 [%%r4], {%%r5, %%r5, %%r5, %%r5}; st.shared.v4.u32 [%%r4+16], {%%r5, %%r5, %%r5, %%r5};
WRITTEN:
	bar.sync 0;
	@%%p1 bra LOAD;
	setp.lt.u32 %%p2, %%r2, 15;
	@%%p2 st.shared.u32 [%%r4+32], %%r5;
	ret;
LOAD:
	wmma.load.%s.sync.aligned.%s.m16n16k16%s.f16 {%%r10, %%r11, %%r12, %%r13%s}, [%s], %%r6;
	ret;
}
`
	const size = 15*48 + 32 // the last row has no padding
	for _, c := range []struct{ matrix, layout, more string }{
		{"a", "row", ", %r14, %r15, %r16, %r17"}, {"b", "col", ", %r14, %r15, %r16, %r17"}, {"c", "row", ""}, {"c", "col", ""},
	} {
		for space, address := range map[string]string{".shared": "%r3", "": "%rd1"} {
			for _, x := range []struct {
				rows, threads int
				says          string
			}{
				{16, 32, ""}, {16, 64, ""}, {15, 32, "nothing has written"},
			} {
				dev := New(Options{Checks: AllChecks()})
				m, err := dev.Load("k.ptx", fmt.Appendf(nil, text, size, x.rows, c.matrix, c.layout, space, c.more, address))
				if err != nil {
					t.Fatal(err)
				}
				k, err := m.Kernel("kernel")
				if err != nil {
					t.Fatal(err)
				}
				err = k.Launch(t.Context(), extent(1), extent(x.threads), 0)
				if (err == nil) != (x.says == "") || err != nil && !strings.Contains(err.Error(), x.says) {
					t.Errorf("%s, %s, %q, %+v: %v", c.matrix, c.layout, space, x, err)
				}
			}
		}
	}
}

// TestWMMAChecks checks reports of wrong uses, and refusals of unsupported shapes.
func TestWMMAChecks(t *testing.T) {
	const eight = "{%r10, %r11, %r12, %r13, %r14, %r15, %r16, %r17}"
	for _, c := range []struct {
		name, body, want string
	}{
		{"undefined", "wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 " + eight + ", [tile];", "nothing has written byte 0"},
		{"out of bounds", "wmma.load.c.sync.aligned.row.m16n16k16.global.f32 " + eight + ", [%rd1], 17;", "past the end"},
		{"misaligned", "wmma.load.c.sync.aligned.row.m16n16k16.global.f32 " + eight + ", [%rd1+2];", "no multiple of 4"},
		{"addresses", "wmma.load.c.sync.aligned.row.m16n16k16.global.f32 " + eight + ", [%rd3];", "not that of lane 0"},
		{"not stored", "wmma.store.d.sync.aligned.row.m16n16k16.global.f32 [%rd1], " + eight + ";", "has not been written"},
		{"diverged", "setp.lt.u32 %p1, %r20, 8;\n@!%p1 bra A;\nwmma.load.c.sync.aligned.row.m16n16k16.global.f32 " + eight + ", [%rd1];\nA:", "all 32 lanes of a warp have to execute it"},
	} {
		_, err := launchBody(t, Options{Checks: AllChecks()}, 1, 32, c.body)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	for _, body := range []string{
		"wmma.load.a.sync.aligned.row.m8n8k4.global.f16 {%rd4}, [%rd1];",
		"wmma.load.a.sync.aligned.row.m16n16k16.global.f64 {%rd4}, [%rd1];",
		"wmma.load.a.sync.aligned.row.m8n8k32.global.s4 {%r4}, [%rd1];",
		"wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {%r1}, [%rd1];",
		"wmma.load.a.sync.aligned.m16n16k16.global.f16 " + eight + ", [%rd1];",
		"wmma.load.a.sync.aligned.row.m16n16k16.local.f16 " + eight + ", [%rd1];",
		"wmma.load.c.sync.aligned.row.m16n16k16.global.f32 " + eight + ", [%rd1], 16, 16;",
		"wmma.load.c.sync.aligned.row.m16n16k16.global.bf16 " + eight + ", [%rd1];",
		"wmma.store.a.sync.aligned.row.m16n16k16.global.f16 [%rd1], " + eight + ";",
		"wmma.mma.sync.aligned.row.col.m16n16k16.f32.f16.f32 " + eight + ", " + eight + ", " + eight + ", " + eight + ";",
		"wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 " + eight + ", " + eight + ", " + eight + ", " + eight + ";",
	} {
		if _, err := Parse("k.ptx", []byte(findingsHead+body+"ret; }"), false); err == nil {
			t.Errorf("%s is not refused", body)
		}
	}
}
