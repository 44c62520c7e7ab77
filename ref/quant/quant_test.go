package quant

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
)

var types = []dtype.DType{dtype.F32, dtype.F16, dtype.BF16}

// precision returns the type's unit roundoff and half of its smallest subnormal number.
func precision(t dtype.DType) (u, half float64) {
	switch t {
	case dtype.F16:
		return 0x1p-11, 0x1p-25
	case dtype.BF16:
		return 0x1p-8, 0x1p-134
	default:
		return 0x1p-24, 0x1p-150
	}
}

// check quantizes x and checks every group against the bounds of NUMERICS.md §12, in binary64. It returns the
// largest |x − x̂| as a fraction of its bound.
func check(t testing.TB, g Groups, a Array, x []float32) (reached float64) {
	t.Helper()
	q, err := g.Quantize(a, x)
	if err != nil {
		t.Fatal(err)
	}
	back, err := g.Dequantize(a, q)
	if err != nil {
		t.Fatal(err)
	}
	const u = 0x1p-24
	uType, half := precision(g.Type)
	top := float64(int(1)<<g.Bits - 1)
	n := a.Length / g.Size
	for o := range a.Outer {
		for group := range n {
			for j := range a.Inner {
				at := (o*n+group)*a.Inner + j
				low, high := math.Inf(1), math.Inf(-1)
				for i := group * g.Size; i < (group+1)*g.Size; i++ {
					v := float64(x[(o*a.Length+i)*a.Inner+j])
					low, high = min(low, v), max(high, v)
				}
				r, scale := high-low, float64(q.Scales[at])
				exact := (r + float64(g.Margin)) / top
				off := math.Abs(scale - exact)
				if limit := exact*(4*u+uType) + 0x1p-149 + half; !(off <= limit) {
					t.Fatalf("%+v, group %d: scale %g is %g from %g, want at most %g", g, at, scale, off, exact, limit)
				}
				if float64(q.Minima[at]) != low || math.Signbit(float64(q.Minima[at])) && low == 0 {
					t.Fatalf("%+v, group %d: minimum %g, want %g", g, at, q.Minima[at], low)
				}
				for i := group * g.Size; i < (group+1)*g.Size; i++ {
					k := (o*a.Length+i)*a.Inner + j
					v, c := float64(x[k]), float64(q.Codes[k])
					if c > top {
						t.Fatalf("%+v: code %g of %d bits", g, c, g.Bits)
					}
					// The code is the nearest: no other is nearer by more than the quotient's rounding error.
					if scale > 0 {
						if e := math.Abs(min((v-low)/scale, top) - c); !(e <= 0.5+3*u*top) {
							t.Fatalf("%+v: %g from %g by %g has code %g", g, v, low, scale, c)
						}
					}
					bound := scale/2 + top*off + u*(math.Abs(v)+4*r+3*scale)
					e := math.Abs(v - float64(back[k]))
					if !(e <= bound) {
						t.Fatalf("%+v, element %d: %g reads back as %g, %g off, want at most %g (scale %g)", g, k, v, back[k], e, bound, scale)
					}
					if r == 0 && back[k] != x[k] {
						t.Fatalf("%+v: a constant group of %g reads back as %g", g, v, back[k])
					}
					if bound > 0 {
						reached = max(reached, e/bound)
					}
				}
			}
		}
	}
	return reached
}

// draw returns n values of the type, of every magnitude that a group may have, including subnormal numbers,
// zeros of both signs and repeated values.
func draw(r *rand.Rand, g Groups, n int) []float32 {
	limit := float64(g.Type.Max()) / 4
	smallest := math.Log2(limit) - 40
	if g.Type != dtype.F32 || r.IntN(2) == 0 {
		_, half := precision(g.Type)
		smallest = math.Log2(half) - 1
	}
	spread := math.Log2(limit) - smallest
	base, width := smallest+r.Float64()*spread, r.Float64()*20
	offset := 0.0
	if r.IntN(2) == 0 {
		offset = (r.Float64()*2 - 1) * math.Exp2(smallest+r.Float64()*spread)
	}
	x := make([]float32, n)
	for i := range x {
		v := (r.Float64()*2-1)*math.Exp2(min(base+r.Float64()*width, math.Log2(limit))) + offset
		switch r.IntN(16) {
		case 0:
			v = 0
		case 1:
			v = math.Copysign(0, -1)
		case 2:
			v = float64(x[max(i-1, 0)])
		}
		x[i] = g.round(float32(v))
	}
	return x
}

// TestBound quantizes random groups of every type and number of bits.
func TestBound(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, format := range types {
		reached := 0.0
		for range rounds {
			g := Groups{Bits: 1 + r.IntN(MaxBits), Size: 1 + r.IntN(40), Type: format}
			if r.IntN(4) == 0 {
				g.Margin = ChannelMargin
			}
			a := Array{1 + r.IntN(2), g.Size * (1 + r.IntN(3)), 1 + r.IntN(3)}
			reached = max(reached, check(t, g, a, draw(r, g, a.elements())))
		}
		t.Logf("%v: |x − x̂| reaches %.3f of its bound", format, reached)
	}
}

// TestEveryF16 quantizes every f16 number from 0 to 1, every subnormal one, and others, in one group with the
// ends of its range, with every number of bits: codes must not decrease with x, and all bounds must hold.
func TestEveryF16(t *testing.T) {
	for _, high := range []uint16{0x3c00, 0x0400, 0x0001, 0x7bff} { // 1, the least normal, the least, the largest
		x := make([]float32, int(high)+1)
		for i := range x {
			x[i] = dtype.F16ToF32(uint16(i))
		}
		for bits := 1; bits <= MaxBits; bits++ {
			g := Groups{Bits: bits, Size: len(x), Type: dtype.F16}
			a := Values(1, 1, len(x))
			check(t, g, a, x)
			q, err := g.Quantize(a, x)
			if err != nil || !slices.IsSorted(q.Codes) || q.Codes[0] != 0 {
				t.Errorf("%d bits to %#x: %v, codes fall", bits, high, err)
			}
			if q.Scales[0] > 0 && float32(q.Codes[high]) < g.top()-1 {
				t.Errorf("%d bits to %#x: the largest code is %d", bits, high, q.Codes[high])
			}
		}
	}
}

// TestConstant quantizes every finite f16 and bf16 number as a constant group, which must be exact.
func TestConstant(t *testing.T) {
	for _, format := range []dtype.DType{dtype.F16, dtype.BF16} {
		var x []float32
		for b := range 1 << 16 {
			v := dtype.F16ToF32(uint16(b))
			if format == dtype.BF16 {
				v = dtype.BF16ToF32(uint16(b))
			}
			if v >= -format.Max() && v <= format.Max() {
				x = append(x, v, v)
			}
		}
		g, a := Groups{Bits: 2, Size: 2, Type: format}, Values(1, len(x)/2, 2)
		check(t, g, a, x)
		q, err := g.Quantize(a, x)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Max(q.Scales) != 0 || slices.Max(q.Codes) != 0 {
			t.Errorf("%v: a scale of %g, a code of %d", format, slices.Max(q.Scales), slices.Max(q.Codes))
		}
	}
}

func TestQuantizeValues(t *testing.T) {
	for _, c := range []struct {
		name         string
		g            Groups
		x            []float32
		codes        []uint8
		scale, least float32
	}{
		{"steps", Groups{2, 4, dtype.F32, 0}, []float32{-1, 0, 1, 2}, []uint8{0, 1, 2, 3}, 1, -1},
		{"ties go to even", Groups{2, 5, dtype.F32, 0}, []float32{0, 0.5, 1.5, 2.5, 3}, []uint8{0, 0, 2, 2, 3}, 1, 0},
		{"one bit", Groups{1, 4, dtype.F16, 0}, []float32{0, 0.5, 0.75, 1}, []uint8{0, 0, 1, 1}, 1, 0},
		{"constant", Groups{4, 3, dtype.BF16, 0}, []float32{3, 3, 3}, []uint8{0, 0, 0}, 0, 3},
		{"constant with margin", Groups{1, 2, dtype.F32, ChannelMargin}, []float32{3, 3}, []uint8{0, 0}, ChannelMargin, 3},
		{"minus zero", Groups{4, 2, dtype.F32, 0}, []float32{float32(math.Copysign(0, -1)), 0}, []uint8{0, 0}, 0, 0},
		// 1/255 rounds down in f16, by less than half a code, so the largest code is still 255.
		{"largest code", Groups{8, 2, dtype.F16, 0}, []float32{0, 1}, []uint8{0, 255}, 0x1.01p-8, 0},
		// A third of the smallest subnormal number is 0 in binary32.
		{"range of one subnormal", Groups{2, 2, dtype.F32, 0}, []float32{0, 0x1p-149}, []uint8{0, 0}, 0, 0},
		{"range of three subnormals", Groups{2, 2, dtype.F32, 0}, []float32{0, 3 * 0x1p-149}, []uint8{0, 3}, 0x1p-149, 0},
	} {
		q, err := c.g.Quantize(Values(1, 1, len(c.x)), c.x)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !slices.Equal(q.Codes, c.codes) || q.Scales[0] != c.scale || math.Float32bits(q.Minima[0]) != math.Float32bits(c.least) {
			t.Errorf("%s: %+v, want %v, %x, %x", c.name, q, c.codes, c.scale, c.least)
		}
	}
}

// TestKeysAreTransposedValues quantizes the same numbers in both shapes, with the keys' channels as the
// values' tokens.
func TestKeysAreTransposedValues(t *testing.T) {
	const heads, tokens, d = 2, 32, 8
	r := rand.New(rand.NewPCG(3, 4))
	g := Groups{Bits: 4, Size: 8, Type: dtype.F32}
	keys := draw(r, g, heads*tokens*d)
	values := make([]float32, len(keys))
	turn := func(h, i, j, rows int) (k, v int) { return (h*rows+i)*d + j, (h*d+j)*rows + i }
	for k := range keys {
		_, v := turn(k/d/tokens, k/d%tokens, k%d, tokens)
		values[v] = keys[k]
	}
	qk, errK := g.Quantize(Keys(heads, tokens, d), keys)
	qv, errV := g.Quantize(Values(heads, d, tokens), values)
	wk, errP := g.Pack(Keys(heads, tokens, d), qk.Codes)
	wv, errQ := g.Pack(Values(heads, d, tokens), qv.Codes)
	if errK != nil || errV != nil || errP != nil || errQ != nil {
		t.Fatal(errK, errV, errP, errQ)
	}
	for _, x := range []struct {
		name string
		n    int // along the groups' dimension
		same func(k, v int) bool
	}{
		{"code", tokens, func(k, v int) bool { return qk.Codes[k] == qv.Codes[v] }},
		{"scale", tokens / g.Size, func(k, v int) bool { return qk.Scales[k] == qv.Scales[v] && qk.Minima[k] == qv.Minima[v] }},
		{"word", tokens * g.Bits / 32, func(k, v int) bool { return wk[k] == wv[v] }},
	} {
		for h := range heads {
			for i := range x.n {
				for j := range d {
					if !x.same(turn(h, i, j, x.n)) {
						t.Fatalf("%s: head %d, %d, channel %d differs", x.name, h, i, j)
					}
				}
			}
		}
	}
}

func TestRefused(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		g    Groups
		a    Array
		x    []float32
		want string
	}{
		{Groups{0, 2, dtype.F32, 0}, Values(1, 1, 2), nil, "choose 1 to 8"},
		{Groups{9, 2, dtype.F32, 0}, Values(1, 1, 2), nil, "choose 1 to 8"},
		{Groups{2, 0, dtype.F32, 0}, Values(1, 1, 2), nil, "choose at least 1"},
		{Groups{2, 2, dtype.E4M3, 0}, Values(1, 1, 2), nil, "choose f32, f16 or bf16"},
		{Groups{2, 2, 99, 0}, Values(1, 1, 2), nil, "choose f32, f16 or bf16"},
		{Groups{2, 2, dtype.F32, nan}, Values(1, 1, 2), nil, "margin"},
		{Groups{2, 2, dtype.F32, -1}, Values(1, 1, 2), nil, "margin"},
		{Groups{2, 2, dtype.F32, 0}, Values(1, 0, 2), nil, "is empty"},
		{Groups{2, 1, dtype.F32, 0}, Array{1 << 30, 1 << 30, 1 << 30}, nil, "more than 2⁴⁰"},
		{Groups{2, 32, dtype.F32, 0}, Values(1, 1, 80), nil, "choose a multiple of 32, or a group size that divides 80"},
		{Groups{2, 2, dtype.F32, 0}, Values(1, 1, 2), []float32{1}, "1 elements, want 2"},
		{Groups{2, 2, dtype.F32, 0}, Values(1, 1, 2), []float32{1, nan}, "element 1, NaN, is not a finite f32"},
		{Groups{2, 2, dtype.F16, 0}, Values(1, 1, 2), []float32{inf, 1}, "element 0, +Inf, is not a finite f16"},
		{Groups{2, 2, dtype.BF16, 0}, Values(1, 1, 2), []float32{1, -inf}, "element 1, -Inf"},
		{Groups{2, 2, dtype.F16, 0}, Values(1, 1, 2), []float32{1, 0.1}, "element 1, 0.1, is not a finite f16: round it first"},
		{Groups{2, 2, dtype.F16, 0}, Values(1, 1, 2), []float32{1, 65536}, "element 1"},
		{Groups{1, 2, dtype.F16, 0}, Values(1, 1, 2), []float32{-65504, 65504}, "too wide for 1 bits"},
		{Groups{2, 2, dtype.F32, 0}, Values(1, 1, 2), []float32{-math.MaxFloat32, math.MaxFloat32}, "too wide"},
	} {
		_, err := c.g.Quantize(c.a, c.x)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v, %+v, %v: %v, want %q", c.g, c.a, c.x, err, c.want)
		}
	}
	g, a := Groups{2, 2, dtype.F32, 0}, Values(1, 1, 2)
	if _, err := g.Dequantize(a, Quantized{make([]uint8, 2), make([]float32, 2), make([]float32, 1)}); err == nil {
		t.Error("two scales of one group")
	}
	if _, err := (Groups{}).Dequantize(a, Quantized{}); err == nil {
		t.Error("no groups")
	}
	for _, size := range []int{0, -1, math.MaxInt} {
		if _, _, err := Pad(a, make([]float32, 2), size); err == nil {
			t.Errorf("padded to groups of %d", size)
		}
	}
	if _, _, err := Pad(a, make([]float32, 3), 2); err == nil {
		t.Error("padded 3 elements of 2")
	}
}

func TestPad(t *testing.T) {
	a, x, err := Pad(Keys(2, 3, 2), []float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 2)
	if want := []float32{1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12, 0, 0}; err != nil || a != Keys(2, 4, 2) || !slices.Equal(x, want) {
		t.Errorf("%+v, %v, %v", a, x, err)
	}
	if b, y, err := Pad(a, x, 4); err != nil || b != a || !slices.Equal(x, y) {
		t.Errorf("padded what is whole: %+v, %v", b, err)
	}
}

// TestDigest checks a digest of results, which must be the same on every platform, whether or not the
// compiler may fuse multiply-adds.
func TestDigest(t *testing.T) {
	const want = 0xf3d32f9f3b9e5b0f
	r := rand.New(rand.NewPCG(7, 8))
	digest := fnv.New64a()
	for _, format := range types {
		for bits := 1; bits <= MaxBits; bits++ {
			g, a := Groups{Bits: bits, Size: 32, Type: format}, Keys(2, 64, 8)
			x := make([]float32, a.elements())
			for i := range x {
				x[i] = g.round(float32(r.Float64()*8 - 3)) // float64 arithmetic, with the rounding to the type last
			}
			q, err := g.Quantize(a, x)
			if err != nil {
				t.Fatal(err)
			}
			back, err := g.Dequantize(a, q)
			if err != nil {
				t.Fatal(err)
			}
			words, err := g.Pack(a, q.Codes)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range slices.Concat(q.Scales, q.Minima, back) {
				words = append(words, math.Float32bits(v))
			}
			for _, w := range words {
				digest.Write(binary.LittleEndian.AppendUint32(nil, w))
			}
		}
	}
	if got := digest.Sum64(); got != want {
		t.Errorf("digest %#x, want %#x", got, uint64(want))
	}
}

// FuzzQuantize gives Quantize any bits as elements. Either it returns an error, or all bounds hold and the
// codes survive packing.
func FuzzQuantize(f *testing.F) {
	f.Add(uint8(2), uint8(4), uint8(0), uint8(1), false, []byte("\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x00\x00\x01\x00\x00\x00"))
	f.Add(uint8(8), uint8(2), uint8(1), uint8(2), true, make([]byte, 64))
	f.Fuzz(func(t *testing.T, bits, size, format, inner uint8, margin bool, data []byte) {
		g := Groups{Bits: int(bits), Size: int(size), Type: types[int(format)%len(types)]}
		if margin {
			g.Margin = ChannelMargin
		}
		if inner == 0 || len(data) > 1<<14 {
			return
		}
		x := make([]float32, len(data)/4/int(inner)*int(inner))
		for i := range x {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
			if v := g.round(x[i]); !math.IsInf(float64(v), 0) {
				x[i] = v
			}
		}
		a := Array{1, len(x) / int(inner), int(inner)}
		q, err := g.Quantize(a, x)
		if err != nil {
			return
		}
		check(t, g, a, x)
		words, err := g.Pack(a, q.Codes)
		if err != nil {
			if g.CheckPacked(a) == nil {
				t.Error(err)
			}
			return
		}
		if codes, err := g.Unpack(a, words); err != nil || !slices.Equal(codes, q.Codes) {
			t.Errorf("%v: %v unpacked, %v packed", err, codes, q.Codes)
		}
	})
}

func BenchmarkQuant(b *testing.B) {
	const heads, tokens, d = 8, 128, 128
	r := rand.New(rand.NewPCG(5, 6))
	for _, s := range []struct {
		name string
		a    Array
	}{{"keys", Keys(heads, tokens, d)}, {"values", Values(heads, tokens, d)}} {
		for _, bits := range []int{2, 4} {
			g := Groups{Bits: bits, Size: 32, Type: dtype.F16}
			x := make([]float32, heads*tokens*d)
			for i := range x {
				x[i] = g.round(float32(r.NormFloat64()))
			}
			q, err := g.Quantize(s.a, x)
			if err != nil {
				b.Fatal(err)
			}
			words, err := g.Pack(s.a, q.Codes)
			if err != nil {
				b.Fatal(err)
			}
			for _, op := range []struct {
				name string
				do   func() error
			}{
				{"Quantize", func() error { _, err := g.Quantize(s.a, x); return err }},
				{"Dequantize", func() error { _, err := g.Dequantize(s.a, q); return err }},
				{"Pack", func() error { _, err := g.Pack(s.a, q.Codes); return err }},
				{"Unpack", func() error { _, err := g.Unpack(s.a, words); return err }},
			} {
				b.Run(fmt.Sprintf("%s/%s/%dbit", op.name, s.name, bits), func(b *testing.B) {
					b.SetBytes(int64(2 * len(x))) // as f16
					for b.Loop() {
						if err := op.do(); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// A page of KIVI: 32 keys of a head of 128 elements, 4 bits.
func ExampleGroups_Bytes() {
	g := Groups{Bits: 4, Size: 32, Type: dtype.F16}
	keys := Keys(1, 32, 128)
	n, err := g.Bytes(keys)
	fmt.Println(n, "bytes,", float64(n)*8/(32*128), "bits a value", err)
	_, err = g.Bytes(Keys(1, 36, 128))
	fmt.Println(err)
	// Output:
	// 2560 bytes, 5 bits a value <nil>
	// quant: 36 elements are not whole groups of 32: choose a multiple of 32, or a group size that divides 36
}
