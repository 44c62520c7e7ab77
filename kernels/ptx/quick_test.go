//go:build amd64 && !purego

package ptx

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unsafe"
)

// quickTexts are instructions with a fast form; %X stands for sources of a width.
var quickTexts = []string{
	"add.rn.f32 F,f,f", "sub.rn.f32 F,f,f", "mul.rn.f32 F,f,f", "div.rn.f32 F,f,f", "sqrt.rn.f32 F,f", "rcp.rn.f32 F,f", "fma.rn.f32 F,f,f,f",
	"add.ftz.f32 F,f,f", "sub.ftz.f32 F,f,f", "mul.ftz.f32 F,f,f", "div.rn.ftz.f32 F,f,f", "sqrt.rn.ftz.f32 F,f", "rcp.rn.ftz.f32 F,f",
	"fma.rn.ftz.f32 F,f,f,f", "min.f32 F,f,f", "max.f32 F,f,f",
	"ex2.approx.f32 F,f", "ex2.approx.ftz.f32 F,f", "rsqrt.approx.f32 F,f", "rsqrt.approx.ftz.f32 F,f",
	"add.rn.f64 D,d,d", "sub.rn.f64 D,d,d", "mul.rn.f64 D,d,d", "div.rn.f64 D,d,d", "fma.rn.f64 D,d,d,d",
	"add.f16 H,h,h", "sub.f16 H,h,h", "mul.f16 H,h,h", "fma.rn.f16 H,h,h,h",
	"add.f16x2 R,r,r", "sub.f16x2 R,r,r", "mul.f16x2 R,r,r", "fma.rn.f16x2 R,r,r,r", "min.f16x2 R,r,r", "max.f16x2 R,r,r",
	"fma.rn.bf16 H,h,h,h",
	"fma.rn.bf16x2 R,r,r,r",
	"cvt.f32.f16 F,h", "cvt.rn.f16.f32 H,f", "cvt.rn.f16x2.f32 R,f,f", "cvt.f32.bf16 F,h", "cvt.rn.bf16.f32 H,f", "cvt.rn.bf16x2.f32 R,f,f",
	"cvt.rn.f32.s32 F,r", "cvt.rni.s32.f32 R,f", "cvt.rzi.s32.f32 R,f", "cvt.rmi.s32.f32 R,f", "cvt.rpi.s32.f32 R,f",
	"cvt.rni.f32.f32 F,f", "cvt.rzi.f32.f32 F,f", "cvt.rmi.f32.f32 F,f", "cvt.rpi.f32.f32 F,f",
	"selp.b32 R,r,r,%p1", "selp.b64 X,x,x,%p1", "selp.b64 X,x,x,!%p1",
}

// TestQuick compares fast forms with plain ones, on rows of special and of random values.
func TestQuick(t *testing.T) {
	if !vectors {
		t.Skip("no AVX2 here")
	}
	texts := quickTexts
	for _, ty := range []string{"f32", "s64", "u64", "b64", "s32", "u32"} {
		names := []string{"eq", "ne", "lt", "le", "gt", "ge"}
		if ty == "f32" {
			names = append(names, "equ", "neu", "ltu", "leu", "gtu", "geu")
		} else if ty == "b64" {
			names = names[:2]
		}
		source := map[string]string{"f32": "f", "s64": "x", "u64": "x", "b64": "x", "s32": "r", "u32": "r"}[ty]
		for _, n := range names {
			texts = append(texts, fmt.Sprintf("setp.%s.%s %%p2,%s,%s", n, ty, source, source))
			if ty == "f32" {
				texts = append(texts, fmt.Sprintf("setp.%s.ftz.f32 %%p2,f,f", n))
			}
		}
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for _, text := range texts {
		t.Run(text, func(t *testing.T) {
			quick, plain := quickEntry(t, text, true), quickEntry(t, text, false)
			a, b := &quick.code[0], &plain.code[0]
			if same := reflect.ValueOf(a.alu).Pointer() == reflect.ValueOf(b.alu).Pointer() && reflect.ValueOf(a.cmp).Pointer() == reflect.ValueOf(b.cmp).Pointer(); same {
				t.Fatal("it has no quick form")
			}
			for round := range 400 {
				w := &warp{file: make([]uint64, quick.regBytes/8+8), preds: make([]uint32, quick.preds+1)}
				for i := range w.file {
					w.file[i] = quickValue(rng, text, round)
				}
				for i := range w.preds {
					w.preds[i] = rng.Uint32()
				}
				w.regs = unsafe.Pointer(&w.file[0])
				if off := uintptr(w.regs) & 63; off != 0 {
					w.regs = unsafe.Add(w.regs, 64-off)
				}
				if a.kind == kindSetp {
					if p, q := a.cmp(w, a), b.cmp(w, b); p != q {
						t.Fatalf("%#x, want %#x", p, q)
					}
					continue
				}
				var got, want [warpSize]uint64
				a.alu(unsafe.Pointer(&got), w, a)
				b.alu(unsafe.Pointer(&want), w, b)
				for i := range warpSize {
					if g, v := element(unsafe.Pointer(&got), a.dbytes, i), element(unsafe.Pointer(&want), a.dbytes, i); g != v {
						t.Fatalf("%#x, want %#x, of %#x %#x %#x", g, v, w.lane(a.a, min(a.dbytes, 4), i), w.lane(a.b, min(a.dbytes, 4), i), w.lane(a.c, min(a.dbytes, 4), i))
					}
				}
			}
		})
	}
}

// TestQuickTile compares the fast matrix product with the plain one.
func TestQuickTile(t *testing.T) {
	if !vectors {
		t.Skip("no AVX2 here")
	}
	rng := rand.New(rand.NewPCG(18, 19))
	for round := range 500 {
		var a [32]tileRow
		var b [16][32]float32
		var c [2][32][32]float32
		value := func() float32 { return math.Float32frombits(uint32(quickValue(rng, "f32", round))) }
		for i := range a {
			for k := range a[i] {
				a[i][k], b[k][i] = value(), value()
			}
			for j := range c[0][i] {
				c[0][i][j] = value()
			}
		}
		c[1] = c[0]
		x := &tile{rows: 8 << rng.IntN(3), k: 4 << rng.IntN(3), strideB: 32, strideC: 32}
		multiplyTile(&c[0][0][8], &a[0], &b[0][8], x)
		x.plain(&c[1][0][8], &a[0], &b[0][8])
		for i := range c[0] {
			for j := range c[0][i] {
				if g, w := math.Float32bits(c[0][i][j]), math.Float32bits(c[1][i][j]); g != w {
					t.Fatalf("%+v: element %d, %d: %#x, want %#x", x, i, j-8, g, w)
				}
			}
		}
	}
}

// quickEntry decodes an instruction with or without fast forms.
func quickEntry(t *testing.T, text string, on bool) *entry {
	defer func(before bool) { vectors = before }(vectors)
	vectors = on
	n := 0
	replace := func(s string) string {
		op, rest, _ := strings.Cut(s, " ")
		var out strings.Builder
		for i := 0; i < len(rest); i++ {
			prefix := map[byte]string{'f': "%f", 'd': "%fd", 'h': "%rs", 'r': "%r", 'x': "%rd"}[rest[i]|0x20]
			if prefix == "" || i > 0 && (rest[i-1] == '%' || rest[i-1] == 'p') {
				out.WriteByte(rest[i])
				continue
			}
			n++
			fmt.Fprintf(&out, "%s%d", prefix, n)
		}
		return op + " " + out.String()
	}
	src := ".version 7.8\n.target sm_90\n.address_size 64\n.visible .entry k() {\n.reg .f32 %f<9>; .reg .f64 %fd<9>; .reg .b16 %rs<9>; .reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .pred %p<4>;\n" +
		replace(text) + ";\nret;\n}\n"
	p, err := Parse("quick.ptx", []byte(src), true)
	if err != nil {
		t.Fatal(err)
	}
	e := p.entries["k"]
	if e.refused != nil {
		t.Fatal(e.refused)
	}
	return e
}

// quickValue returns random bits, or bits that are special in one of the formats.
func quickValue(rng *rand.Rand, text string, round int) uint64 {
	var edges []uint32
	switch {
	case strings.Contains(text, "bf16"):
		edges = []uint32{0, 0x8000, 1, 0x8001, 0x7f, 0x80, 0x7f7f, 0xff7f, 0x7f80, 0xff80, 0x7fff, 0x7fc0, 0x3f80, 0xbf80, 0x3f81, 0x2b80, 0x2b7f, 0x5380, 0x5381}
	case strings.Contains(text, "f16"):
		edges = []uint32{0, 0x8000, 1, 0x8001, 0x3ff, 0x400, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7fff, 0x7e00, 0x3c00, 0xbc00, 0x3c01, 0x1400, 0x1001}
	}
	half := func() uint64 {
		switch {
		case round%2 == 0 && rng.IntN(2) == 0:
			return uint64(edges[rng.IntN(len(edges))])
		case round%4 == 1: // numbers of like size
			return uint64(rng.Uint32()&0x83ff | 0x3c00 + rng.Uint32N(4)<<10)
		}
		return uint64(rng.Uint32() & 0xffff)
	}
	single := func() uint64 {
		switch {
		case round%2 == 0 && rng.IntN(2) == 0:
			s := []uint32{0, 0x80000000, 1, 0x80000001, 0x7fffff, 0x800000, 0x807fffff, 0x80800000, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7fffffff,
				0x7fc00000, 0xffc00001, 0x3f800000, 0xbf800000, 0x4f000000, 0xcf000000, 0x4effffff, 0x3f000000, 0x3fc00000, 0x477ff000, 0x38800000, 0x33000000,
				0xc3150000, 0xc3160000, 0x43000000, 0x42ffffff, 0xc2fc0000}
			return uint64(s[rng.IntN(len(s))])
		case round%4 == 1:
			return uint64(math.Float32bits(float32(rng.NormFloat64() * 20)))
		}
		return uint64(rng.Uint32())
	}
	switch {
	case strings.Contains(text, "f64"):
		if round%2 == 0 && rng.IntN(2) == 0 {
			s := []float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.NaN(), 1, -1, math.MaxFloat64, math.SmallestNonzeroFloat64, 0x1p-1022}
			return math.Float64bits(s[rng.IntN(len(s))])
		}
		if round%4 == 1 {
			return math.Float64bits(rng.NormFloat64())
		}
		return rng.Uint64()
	case strings.Contains(text, "64"):
		if round%2 == 0 {
			return []uint64{0, 1, 1 << 63, 1<<63 - 1, ^uint64(0)}[rng.IntN(5)]
		}
		return rng.Uint64()
	case len(edges) > 0 && strings.Contains(text, ".f32 "):
		return single() | single()<<32
	case len(edges) > 0:
		return half() | half()<<16 | half()<<32 | half()<<48
	}
	return single() | single()<<32
}
