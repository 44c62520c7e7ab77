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

// TestMMALayouts multiplies matrices of f64 and of integers of 4 and 8 bits. Each lane's registers are
// written with the tables of the manual, "Matrix fragments for mma", which give the matrix element for
// element i of a lane's vector.
func TestMMALayouts(t *testing.T) {
	// place is the row and column of element i of a lane, with g = lane/4 and t = lane%4.
	type place func(g, t, i int) (row, col int)
	for _, c := range []struct {
		op, typ string
		m, k    int
		a, b    place
	}{
		{"m8n8k4.row.col.f64.f64.f64.f64", "f64", 8, 4,
			func(g, t, i int) (int, int) { return g, t }, func(g, t, i int) (int, int) { return t, g }},
		{"m16n8k4.row.col.f64.f64.f64.f64", "f64", 16, 4,
			func(g, t, i int) (int, int) { return g + 8*i, t }, func(g, t, i int) (int, int) { return t, g }},
		{"m16n8k8.row.col.f64.f64.f64.f64", "f64", 16, 8,
			func(g, t, i int) (int, int) { return g + i%2*8, i/2*4 + t }, func(g, t, i int) (int, int) { return t + 4*i, g }},
		{"m16n8k16.row.col.f64.f64.f64.f64", "f64", 16, 16,
			func(g, t, i int) (int, int) { return g + i%2*8, i/2*4 + t }, func(g, t, i int) (int, int) { return t + 4*i, g }},
		{"m8n8k16.row.col.s32.s8.s8.s32", "s8", 8, 16,
			func(g, t, i int) (int, int) { return g, t*4 + i }, func(g, t, i int) (int, int) { return t*4 + i, g }},
		{"m8n8k16.row.col.satfinite.s32.u8.u8.s32", "u8", 8, 16,
			func(g, t, i int) (int, int) { return g, t*4 + i }, func(g, t, i int) (int, int) { return t*4 + i, g }},
		{"m8n8k32.row.col.s32.s4.s4.s32", "s4", 8, 32,
			func(g, t, i int) (int, int) { return g, t*8 + i }, func(g, t, i int) (int, int) { return t*8 + i, g }},
		{"m16n8k32.row.col.s32.u4.u4.s32", "u4", 16, 32,
			func(g, t, i int) (int, int) { return g + i/8*8, t*8 + i%8 }, func(g, t, i int) (int, int) { return t*8 + i, g }},
		{"m16n8k64.row.col.s32.s4.s4.s32", "s4", 16, 64,
			func(g, t, i int) (int, int) { return g + i/8%2*8, t*8 + i%8 + i/16*32 }, func(g, t, i int) (int, int) { return t*8 + i%8 + i/8*32, g }},
		{"m16n8k64.row.col.satfinite.s32.u4.u4.s32", "u4", 16, 64,
			func(g, t, i int) (int, int) { return g + i/8%2*8, t*8 + i%8 + i/16*32 }, func(g, t, i int) (int, int) { return t*8 + i%8 + i/8*32, g }},
	} {
		t.Run(c.op, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(17, uint64(len(c.op))))
			double := c.typ == "f64"
			bits, reg := map[string]int{"f64": 64, "s8": 8, "u8": 8, "s4": 4, "u4": 4}[c.typ], 4
			if double {
				reg = 8
			}
			random := func() float64 {
				switch v := rng.Uint32(); c.typ {
				case "f64":
					return rng.NormFloat64()
				case "s8":
					return float64(int8(v))
				case "u8":
					return float64(uint8(v))
				case "s4":
					return float64(int8(v<<4) >> 4)
				default:
					return float64(v & 15)
				}
			}
			var a, b, d [64][64]float64
			for i := range a {
				for j := range a[i] {
					a[i][j], b[i][j], d[i][j] = random(), random(), random()
				}
			}
			if !double {
				d[0][0] = math.MaxInt32 // saturates, or wraps
			}
			cPlace := func(g, t, i int) (int, int) { return g + i/2*8, 2*t + i%2 }
			// The vectors of A, B and C for each lane, concatenated.
			n := [3]int{c.m * c.k * bits / 32 / (8 * reg), 8 * c.k * bits / 32 / (8 * reg), c.m / 4}
			lanes := make([]byte, 32*(n[0]+n[1]+2*n[2])*reg)
			stride := (n[0] + n[1] + n[2]) * reg
			put := func(to []byte, bits, i int, v float64) {
				switch {
				case bits == 64:
					binary.LittleEndian.PutUint64(to[8*i:], math.Float64bits(v))
				case bits == 32:
					binary.LittleEndian.PutUint32(to[4*i:], uint32(int32(v)))
				case bits == 8:
					to[i] = byte(int(v))
				default:
					to[i/2] |= byte(int(v)&15) << (i % 2 * 4)
				}
			}
			cBits := 32
			if double {
				cBits = 64
			}
			for lane := range 32 {
				g, th := lane/4, lane%4
				to := lanes[lane*stride:]
				for i := range n[0] * reg * 8 / bits {
					row, col := c.a(g, th, i)
					put(to, bits, i, a[row][col])
				}
				to = to[n[0]*reg:]
				for i := range n[1] * reg * 8 / bits {
					row, col := c.b(g, th, i)
					put(to, bits, i, b[row][col])
				}
				to = to[n[1]*reg:]
				for i := range n[2] {
					row, col := cPlace(g, th, i)
					put(to, cBits, i, d[row][col])
				}
			}
			var text strings.Builder
			fmt.Fprintf(&text, `.version 7.8
.target sm_90
.address_size 64
.visible .entry k(.param .u64 p)
{
.reg .b32 %%r<9>; .reg .b64 %%rd<9>; .reg .b%d %%a<9>; .reg .b%[1]d %%b<9>; .reg .b%[1]d %%c<9>;
mov.u32 %%r1, %%tid.x; ld.param.u64 %%rd1, [p]; mul.wide.u32 %%rd2, %%r1, %d; add.u64 %%rd3, %%rd1, %%rd2;
mul.wide.u32 %%rd4, %%r1, %d; add.u64 %%rd5, %%rd1, %%rd4;
`, 8*reg, stride, n[2]*reg)
			at, list := 0, [3]string{}
			for x, name := range []string{"a", "b", "c"} {
				var all []string
				for i := range n[x] {
					fmt.Fprintf(&text, "ld.global.b%d %%%s%d, [%%rd3+%d];\n", 8*reg, name, i, at)
					all = append(all, fmt.Sprintf("%%%s%d", name, i))
					at += reg
				}
				list[x] = "{" + strings.Join(all, ", ") + "}"
			}
			fmt.Fprintf(&text, "mma.sync.aligned.%s %s, %s, %s, %[2]s;\n", c.op, list[2], list[0], list[1])
			for i := range n[2] {
				fmt.Fprintf(&text, "st.global.b%d [%%rd5+%d], %%c%d;\n", 8*reg, 32*stride+i*reg, i)
			}
			text.WriteString("ret;\n}\n")
			dev := New(Options{Checks: AllChecks(), AllowApprox: double})
			module, err := dev.Load("k.ptx", []byte(text.String()))
			if err != nil {
				t.Fatal(err)
			}
			k, err := module.Kernel("k")
			if err != nil {
				t.Fatal(err)
			}
			p, err := dev.Alloc("lanes", int64(len(lanes)))
			if err == nil {
				err = dev.Write(p, lanes)
			}
			if err == nil {
				err = k.Launch(context.Background(), device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: 32, Y: 1, Z: 1}, 0, device.Pointer(p))
			}
			if err == nil {
				err = dev.Read(lanes, p)
			}
			if err != nil {
				t.Fatal(err)
			}
			for lane := range 32 {
				for i := range n[2] {
					row, col := cPlace(lane/4, lane%4, i)
					want := d[row][col]
					for k := range c.k {
						if want = math.FMA(a[row][k], b[k][col], want); !double && strings.Contains(c.op, "satfinite") && k == c.k-1 {
							want = min(max(want, math.MinInt32), math.MaxInt32)
						}
					}
					out := lanes[32*stride+(lane*n[2]+i)*reg:]
					got := float64(int32(binary.LittleEndian.Uint32(out)))
					if double {
						got = math.Float64frombits(binary.LittleEndian.Uint64(out))
					} else {
						want = float64(int32(int64(want)))
					}
					if got != want {
						t.Fatalf("lane %d, element %d: %v, want %v", lane, i, got, want)
					}
				}
			}
		})
	}
}
