package ptx

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"kvcompress/kernels/device"
)

// runRows runs a body for 32 threads, each with its words of in at %rd1 and its words of the result at %rd2.
func runRows(t *testing.T, opt Options, body string, in []uint32, words int) []uint32 {
	t.Helper()
	per := len(in) / warpSize
	text := fmt.Sprintf(`.version 8.6
.target sm_120a
.address_size 64
.visible .entry k(.param .u64 in, .param .u64 out)
{
	.reg .pred %%p<4>; .reg .b8 %%c<9>; .reg .b16 %%h<9>; .reg .b32 %%r<40>; .reg .f32 %%f<9>; .reg .b64 %%rd<10>;
	ld.param.u64 %%rd1, [in]; ld.param.u64 %%rd2, [out]; mov.u32 %%r0, %%tid.x;
	mul.wide.u32 %%rd3, %%r0, %d; add.u64 %%rd1, %%rd1, %%rd3; mul.wide.u32 %%rd3, %%r0, %d; add.u64 %%rd2, %%rd2, %%rd3;
%s
	ret;
}
`, 4*per, 4*words, body)
	dev := New(opt)
	m, err := dev.Load("k.ptx", []byte(text))
	if err != nil {
		t.Fatal(body, err)
	}
	k, err := m.Kernel("k")
	if err != nil {
		t.Fatal(body, err)
	}
	raw := make([]byte, 0, 4*len(in))
	for _, v := range in {
		raw = binary.LittleEndian.AppendUint32(raw, v)
	}
	from, err := dev.Alloc("in", int64(len(raw)))
	if err == nil {
		err = dev.Write(from, raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	to, err := dev.Alloc("out", int64(4*words*warpSize))
	if err == nil {
		err = k.Launch(t.Context(), extent(1), extent(warpSize), 0, device.Pointer(from), device.Pointer(to))
	}
	if err != nil {
		t.Fatal(body, err)
	}
	raw = make([]byte, 4*words*warpSize)
	if err := dev.Read(raw, to); err != nil {
		t.Fatal(err)
	}
	out := make([]uint32, words*warpSize)
	for i := range out {
		out[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
	return out
}

// narrow is a format of at most 8 bits as the manual describes it, §5.2.3.
type narrow struct {
	name           string
	exponent, bits int // of its fields
	bias           int
	finite         int // the largest code, without the sign, of a finite number
}

var narrowFormats = []narrow{
	{"e4m3", 4, 3, 7, 0x7e}, {"e5m2", 5, 2, 15, 0x7b}, {"e2m3", 2, 3, 1, 0x1f}, {"e3m2", 3, 2, 3, 0x1f}, {"e2m1", 2, 1, 1, 7},
}

// size returns the number of bits, with the sign.
func (f narrow) size() int { return 1 + f.exponent + f.bits }

// value returns the number of a code.
func (f narrow) value(code int) float64 {
	sign := 1.0
	if code>>(f.size()-1)&1 != 0 {
		sign = -1
	}
	code &= 1<<(f.size()-1) - 1
	e, m := code>>f.bits, float64(code&(1<<f.bits-1))/float64(int(1)<<f.bits)
	switch {
	case f.name == "e5m2" && code == 0x7c:
		return sign * math.Inf(1)
	case code > f.finite:
		return math.NaN()
	case e == 0:
		return sign * math.Ldexp(m, 1-f.bias)
	}
	return sign * math.Ldexp(1+m, e-f.bias)
}

// nearest returns the code of a number by comparing it with all of them: to nearest even, and saturating.
func (f narrow) nearest(x float64, relu bool) int {
	sign := 0
	if math.Signbit(x) {
		sign = 1 << (f.size() - 1)
	}
	switch {
	case math.IsNaN(x) && f.size() == 8:
		return 0x7f
	case math.IsNaN(x):
		return f.finite
	case relu && sign != 0:
		return 0
	}
	best := 0
	for code := range f.finite + 1 {
		far, least := math.Abs(f.value(code)-math.Abs(x)), math.Abs(f.value(best)-math.Abs(x))
		if far < least || far == least && code&1 == 0 {
			best = code
		}
	}
	if math.Abs(x) > f.value(f.finite) { // also where the distances of two codes round to one number
		best = f.finite
	}
	return sign | best
}

// narrowInputs are random numbers in the formats' ranges, all their values and the middles between those, and special ones.
func narrowInputs() []float32 {
	rng := rand.New(rand.NewPCG(3, 4))
	list := []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), math.MaxFloat32, math.SmallestNonzeroFloat32, 0x1p-126, 0x1p-127, 0x1.8p-127, 0x1p-128}
	for _, f := range narrowFormats {
		for code := range f.finite {
			a, b := f.value(code), f.value(code+1)
			middle := float32((a + b) / 2)
			list = append(list, float32(a), -float32(b), middle, -middle, math.Nextafter32(middle, 1e9), math.Nextafter32(middle, 0))
		}
		list = append(list, float32(f.value(f.finite)))
	}
	for range 500 {
		list = append(list, float32(math.Ldexp(rng.NormFloat64(), rng.IntN(40)-20)), math.Float32frombits(rng.Uint32()))
	}
	for len(list)%(2*warpSize) != 0 {
		list = append(list, 1)
	}
	return list
}

// TestNarrowConversions converts to and from floats of 8, 6 and 4 bits.
func TestNarrowConversions(t *testing.T) {
	inputs := narrowInputs()
	for _, f := range narrowFormats {
		reg, pack := "%h1", "cvt.u32.u16 %r1, %h1;"
		if f.size() == 4 {
			reg, pack = "%c1", "cvt.u32.u8 %r1, %c1;"
		}
		lane := max(f.size(), 4)
		if lane > 4 {
			lane = 8
		}
		for _, relu := range []bool{false, true} {
			mods := ".rn.satfinite"
			if relu {
				mods += ".relu"
			}
			for at := 0; at < len(inputs); at += 2 * warpSize {
				in := make([]uint32, 2*warpSize)
				for i := range in {
					in[i] = math.Float32bits(inputs[at+i])
				}
				got := runRows(t, Options{Checks: AllChecks()}, fmt.Sprintf("ld.global.v2.f32 {%%f1, %%f2}, [%%rd1]; cvt%s.%sx2.f32 %s, %%f1, %%f2; %s st.global.u32 [%%rd2], %%r1;", mods, f.name, reg, pack), in, 1)
				for i, v := range got {
					a, b := inputs[at+2*i], inputs[at+2*i+1]
					if want := uint32(f.nearest(float64(a), relu)<<lane | f.nearest(float64(b), relu)); v != want {
						t.Fatalf("%s%s: of %v and %v: %#x, want %#x", f.name, mods, a, b, v, want)
					}
				}
				// From pairs of halves: the numbers that f16 and bf16 have.
				for _, half := range []string{"f16x2", "bf16x2"} {
					got := runRows(t, Options{Checks: AllChecks()}, fmt.Sprintf("ld.global.v2.f32 {%%f1, %%f2}, [%%rd1]; cvt.rn.%s.f32 %%r2, %%f1, %%f2; cvt%s.%sx2.%s %s, %%r2; %s st.global.u32 [%%rd2], %%r1;", half, mods, f.name, half, reg, pack), in, 1)
					round := func(x float32) float64 {
						if half == "f16x2" {
							return float64(singleOfHalf(singleToHalf(math.Float32bits(x))))
						}
						return float64(math.Float32frombits(uint32(singleToBF16(math.Float32bits(x))) << 16))
					}
					for i, v := range got {
						a, b := round(inputs[at+2*i]), round(inputs[at+2*i+1])
						if want := uint32(f.nearest(a, relu)<<lane | f.nearest(b, relu)); v != want {
							t.Fatalf("%s%s of %s: of %v and %v: %#x, want %#x", f.name, mods, half, a, b, v, want)
						}
					}
				}
			}
			// All pairs of a code and its reverse, to f16, which has all these numbers.
			mods = strings.Replace(mods, ".satfinite", "", 1)
			for from := 0; from < 1<<f.size(); from += warpSize {
				in := make([]uint32, warpSize)
				for i := range in {
					code := (from + i) & (1<<f.size() - 1)
					in[i] = uint32(code<<lane | (1<<f.size() - 1 - code))
				}
				unpack := "cvt.u16.u32 %h1, %r1;"
				if f.size() == 4 {
					unpack = "cvt.u8.u32 %c1, %r1;"
				}
				got := runRows(t, Options{Checks: AllChecks()}, fmt.Sprintf("ld.global.u32 %%r1, [%%rd1]; %s cvt%s.f16x2.%sx2 %%r2, %s; st.global.u32 [%%rd2], %%r2;", unpack, mods, f.name, reg), in, 1)
				for i, v := range got {
					for part := range 2 {
						want := f.value(int(in[i]) >> (lane * part) & (1<<f.size() - 1))
						if relu && math.Signbit(want) {
							want = 0
						}
						h := uint16(v >> (16 * part))
						if back := float64(singleOfHalf(h)); back != want && !(math.IsNaN(want) && h == 0x7fff) || math.Signbit(back) != math.Signbit(want) && !math.IsNaN(want) {
							t.Fatalf("%s%s: of code %#x, part %d: %#x, want %v", f.name, mods, in[i], part, h, want)
						}
					}
				}
			}
		}
	}
}

// TestScaleConversions converts to and from ue8m0, a power of two.
func TestScaleConversions(t *testing.T) {
	inputs := narrowInputs()
	for e := -127; e <= 127; e++ {
		p := float32(math.Ldexp(1, e))
		inputs = append(inputs, p, math.Nextafter32(p, 0), math.Nextafter32(p, math.MaxFloat32), -p)
	}
	for len(inputs)%(2*warpSize) != 0 {
		inputs = append(inputs, 1)
	}
	scale := func(x float64, up, satfinite bool) uint32 {
		x = math.Abs(x)
		if math.IsNaN(x) {
			return 0xff
		}
		code := uint32(0)
		for code < 255 && math.Ldexp(1, int(code)+1-127) <= x { // the largest power that is not larger
			code++
		}
		if up && math.Ldexp(1, int(code)-127) < x && code < 255 {
			code++
		}
		if code == 255 && satfinite {
			code = 254
		}
		return code
	}
	for _, up := range []bool{false, true} {
		for _, satfinite := range []bool{false, true} {
			mods := map[bool]string{false: ".rz", true: ".rp"}[up] + map[bool]string{true: ".satfinite"}[satfinite]
			for at := 0; at < len(inputs); at += 2 * warpSize {
				in := make([]uint32, 2*warpSize)
				for i := range in {
					in[i] = math.Float32bits(inputs[at+i])
				}
				got := runRows(t, Options{Checks: AllChecks()}, fmt.Sprintf(`ld.global.v2.f32 {%%f1, %%f2}, [%%rd1]; cvt%s.ue8m0x2.f32 %%h1, %%f1, %%f2; cvt.rz.bf16x2.f32 %%r2, %%f1, %%f2; cvt%[1]s.ue8m0x2.bf16x2 %%h2, %%r2;
mov.b32 %%r1, {%%h1, %%h2}; cvt.rn.bf16x2.ue8m0x2 %%r2, %%h1; st.global.v2.u32 [%%rd2], {%%r1, %%r2};`, mods), in, 2)
				for i := range warpSize {
					cut := func(x float32) float64 {
						return float64(math.Float32frombits(math.Float32bits(x) &^ 0xffff))
					}
					a, b := inputs[at+2*i], inputs[at+2*i+1]
					want := scale(float64(a), up, satfinite)<<8 | scale(float64(b), up, satfinite)
					halves := scale(cut(a), up, satfinite)<<8 | scale(cut(b), up, satfinite)
					if math.IsNaN(float64(a)) || math.IsNaN(float64(b)) {
						halves = got[2*i] >> 16 // cut does not keep a NaN
					}
					if got[2*i] != want|halves<<16 {
						t.Fatalf("%s of %v and %v: %#x, want %#x", mods, a, b, got[2*i], want|halves<<16)
					}
					for part := range 2 {
						code, back := got[2*i]>>(8*part)&0xff, uint16(got[2*i+1]>>(16*part))
						if value := math.Float32frombits(uint32(back) << 16); float64(value) != math.Ldexp(1, int(code)-127) && !(code == 255 && back == 0x7fff) {
							t.Fatalf("%#x comes back as %#x", code, back)
						}
					}
				}
			}
		}
	}
}

// TestSatfinite converts to f16 and bf16, where numbers that are too large become the largest one.
func TestSatfinite(t *testing.T) {
	in := make([]uint32, warpSize)
	for i, x := range []float32{1, -2, 65504, 65519.99, 65520, 1e30, -1e30, math.MaxFloat32, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())} {
		in[i] = math.Float32bits(x)
	}
	got := runRows(t, Options{Checks: AllChecks()}, `ld.global.f32 %f1, [%rd1]; cvt.rn.satfinite.f16.f32 %h1, %f1; cvt.rn.satfinite.bf16.f32 %h2, %f1; cvt.rn.relu.satfinite.f16x2.f32 %r1, %f1, %f1; cvt.rz.satfinite.bf16x2.f32 %r3, %f1, %f1;
mov.b32 %r2, {%h1, %h2}; mov.b32 {%h3, _}, %r1; mov.b32 {%h4, _}, %r3; mov.b32 %r3, {%h3, %h4}; st.global.v2.u32 [%rd2], {%r2, %r3};`, in, 2)
	for i, want := range [][4]uint16{ // f16, bf16, f16 with .relu, bf16 with .rz
		{0x3c00, 0x3f80, 0x3c00, 0x3f80}, {0xc000, 0xc000, 0, 0xc000}, {0x7bff, 0x4780, 0x7bff, 0x477f}, {0x7bff, 0x4780, 0x7bff, 0x477f}, {0x7bff, 0x4780, 0x7bff, 0x477f},
		{0x7bff, 0x714a, 0x7bff, 0x7149}, {0xfbff, 0xf14a, 0, 0xf149}, {0x7bff, 0x7f7f, 0x7bff, 0x7f7f}, {0x7bff, 0x7f7f, 0x7bff, 0x7f7f}, {0xfbff, 0xff7f, 0, 0xff7f}, {0x7fff, 0x7fff, 0x7fff, 0x7fff},
	} {
		for k, w := range want {
			if g := uint16(got[2*i+k/2] >> (16 * (k % 2))); g != w {
				t.Errorf("%v, result %d: %#x, want %#x", math.Float32frombits(in[i]), k, g, w)
			}
		}
	}
	for _, op := range []string{
		"cvt.rn.satfinite.f32.f16 %f1, %h1", "cvt.rn.e4m3x2.f32 %h1, %f1, %f1", "cvt.rz.satfinite.e2m3x2.f32 %h1, %f1, %f1", "cvt.rn.satfinite.f16x2.e2m1x2 %r1, %h1", "cvt.rn.satfinite.ue8m0x2.f32 %h1, %f1, %f1",
		"cvt.rp.relu.ue8m0x2.f32 %h1, %f1, %f1", "cvt.rn.f16x2.ue8m0x2 %r1, %h1", "cvt.rs.satfinite.e2m1x4.f32 %h1, {%f1, %f1, %f1, %f1}, %r1", "cvt.rn.satfinite.s2f6x2.f32 %h1, %f1, %f1", "cvt.rn.bf16x2.e4m3x2 %r1, %h1",
	} {
		text := ".version 8.6\n.target sm_120a\n.address_size 64\n.visible .entry k() { .reg .b16 %h<2>; .reg .f32 %f<2>; .reg .b32 %r<2>;\n" + op + "; ret; }"
		if _, err := Parse("k.ptx", []byte(text), false); err == nil || !strings.Contains(err.Error(), "not supported") {
			t.Errorf("%s: %v, want it refused", op, err)
		}
	}
}

// TestMMABytes multiplies matrices of floats of 8 bits and less, in the order that matrix.go states.
func TestMMABytes(t *testing.T) {
	byName := map[string]narrow{}
	for _, f := range narrowFormats {
		byName[f.name] = f
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for _, c := range []struct {
		kind, a, b, out string
		k               int
	}{
		{"", "e4m3", "e4m3", "f32", 32}, {"", "e4m3", "e5m2", "f32", 32}, {"", "e5m2", "e4m3", "f16", 32}, {"", "e5m2", "e5m2", "f32", 16}, {"", "e4m3", "e4m3", "f16", 16},
		{"kind::f8f6f4.", "e2m1", "e3m2", "f32", 32}, {"kind::f8f6f4.", "e2m3", "e2m1", "f16", 32}, {"kind::f8f6f4.", "e4m3", "e2m3", "f32", 32},
	} {
		fa, fb := byName[c.a], byName[c.b]
		var a, b [16][32]byte // rows of A, columns of B
		put := func(f narrow) byte {
			code := rng.IntN(1 << f.size())
			for math.IsNaN(f.value(code)) || math.IsInf(f.value(code), 0) {
				code = rng.IntN(1 << f.size())
			}
			if f.size() == 4 {
				return byte(code << 2)
			}
			return byte(code)
		}
		get := func(f narrow, v byte) float32 {
			if f.size() == 4 {
				v >>= 2
			}
			return float32(f.value(int(v)))
		}
		var in []uint32
		var sums [16][8]float32
		for i := range a {
			for k := range c.k {
				a[i][k], b[i][k] = put(fa), put(fb)
			}
			for j := range sums[i] {
				sums[i][j] = singleOfHalf(singleToHalf(math.Float32bits(float32(rng.NormFloat64()))))
			}
		}
		half, regs := c.out == "f16", 4
		if half {
			regs = 2
		}
		for lane := range warpSize { // the manual's figures for .m16n8k16 and .m16n8k32 of 8 bits
			g, th := lane/4, lane%4
			for r := range c.k / 8 {
				in = append(in, binary.LittleEndian.Uint32(a[g+r%2*8][r/2*16+4*th:]))
			}
			for r := range c.k / 16 {
				in = append(in, binary.LittleEndian.Uint32(b[g][r*16+4*th:]))
			}
			for r := range regs {
				if half {
					in = append(in, uint32(singleToHalf(math.Float32bits(sums[g+8*r][2*th])))|uint32(singleToHalf(math.Float32bits(sums[g+8*r][2*th+1])))<<16)
				} else {
					in = append(in, math.Float32bits(sums[g+r/2*8][2*th+r%2]))
				}
			}
		}
		n := 0
		vector := func(count int) string {
			var names []string
			for range count {
				names = append(names, fmt.Sprintf("%%r%d", n))
				n++
			}
			return "{" + strings.Join(names, ", ") + "}"
		}
		var body strings.Builder
		for i := range len(in) / warpSize {
			fmt.Fprintf(&body, "ld.global.u32 %%r%d, [%%rd1+%d];\n", i, 4*i)
		}
		va, vb, vc := vector(c.k/8), vector(c.k/16), vector(regs)
		fmt.Fprintf(&body, "mma.sync.aligned.m16n8k%d.row.col.%s%s.%s.%s.%[3]s %[6]s, %[7]s, %[8]s, %[6]s;\n", c.k, c.kind, c.out, c.a, c.b, vc, va, vb)
		for i, name := range strings.Split(strings.Trim(vc, "{}"), ", ") {
			fmt.Fprintf(&body, "st.global.u32 [%%rd2+%d], %s;\n", 4*i, name)
		}
		got := runRows(t, Options{Checks: AllChecks(), AllowApprox: true}, body.String(), in, regs)
		for i := range sums {
			for j := range sums[i] {
				for k := range c.k {
					// A product has at most 8 bits, and is exact; its sum with an f32 needs more than a float64 has, but
					// rounds to the same f32 when that is odd-rounded.
					sums[i][j] = float32(oddRounded(float64(get(fa, a[i][k]))*float64(get(fb, b[j][k])), float64(sums[i][j])))
				}
				lane := i%8*4 + j/2
				want, have := math.Float32bits(sums[i][j]), uint32(0)
				if half {
					want, have = uint32(singleToHalf(want)), got[lane*regs+i/8]>>(16*(j%2))&0xffff
				} else {
					have = got[lane*regs+i/8*2+j%2]
				}
				if have != want {
					t.Fatalf("%s%s·%s, %s, k %d: element %d, %d is %#x, want %#x", c.kind, c.a, c.b, c.out, c.k, i, j, have, want)
				}
			}
		}
	}
	for _, op := range []string{
		"m16n8k32.row.col.f32.e2m1.e2m1.f32", "m16n8k16.row.col.kind::f8f6f4.f32.e4m3.e4m3.f32", "m16n8k32.row.col.kind::f8f6f4.s32.s8.s8.s32", "m16n8k16.row.col.kind::f8f6f4.f32.f16.f16.f32",
		"m8n8k16.row.col.f32.e4m3.e4m3.f32", "m16n8k32.row.col.kind::mxf8f6f4.block_scale.scale_vec::1X.f32.e4m3.e4m3.f32.ue8m0",
	} {
		text := ".version 8.7\n.target sm_120a\n.address_size 64\n.visible .entry k() { .reg .b32 %r<12>;\nmma.sync.aligned." + op + " {%r0, %r1, %r2, %r3}, {%r4, %r5, %r6, %r7}, {%r8, %r9}, {%r0, %r1, %r2, %r3}; ret; }"
		if _, err := Parse("k.ptx", []byte(text), true); err == nil || !strings.Contains(err.Error(), "not supported") {
			t.Errorf("%s: %v, want it refused", op, err)
		}
	}
}
