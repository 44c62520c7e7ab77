package quant

import (
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
)

// packPlain is the plain form of Pack for one line of codes: their sum Σ code·2^(i·b), cut into words.
func packPlain(codes []uint8, bits int) []uint32 {
	sum := new(big.Int)
	for i, c := range codes {
		sum.Or(sum, new(big.Int).Lsh(big.NewInt(int64(c)), uint(i*bits)))
	}
	words := make([]uint32, len(codes)*bits/32)
	for i := range words {
		words[i] = uint32(new(big.Int).Rsh(sum, uint(32*i)).Uint64())
	}
	return words
}

// TestPack packs every code at every index of 32 codes, and random codes, with every number of bits, along
// the last dimension and along another.
func TestPack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for bits := 1; bits <= MaxBits; bits++ {
		g := Groups{Bits: bits, Size: 32, Type: dtype.F16}
		compare := func(a Array, codes []uint8) {
			t.Helper()
			words, err := g.Pack(a, codes)
			if err != nil {
				t.Fatal(err)
			}
			for o := range a.Outer {
				for j := range a.Inner {
					line := make([]uint8, a.Length)
					for i := range line {
						line[i] = codes[(o*a.Length+i)*a.Inner+j]
					}
					for i, want := range packPlain(line, bits) {
						if got := words[(o*a.Length*bits/32+i)*a.Inner+j]; got != want {
							t.Fatalf("%d bits, %+v: word %d is %08x, want %08x", bits, a, i, got, want)
						}
					}
				}
			}
			if back, err := g.Unpack(a, words); err != nil || !slices.Equal(back, codes) {
				t.Fatalf("%d bits, %+v: %v, %v unpacked", bits, a, err, back)
			}
		}
		for i := range 32 {
			for c := range 1 << bits {
				codes := make([]uint8, 32)
				codes[i] = uint8(c)
				compare(Values(1, 1, 32), codes)
			}
		}
		for range 20 {
			a := Array{1 + r.IntN(3), 32 * (1 + r.IntN(3)), 1 + r.IntN(4)}
			codes := make([]uint8, a.elements())
			for i := range codes {
				codes[i] = uint8(r.IntN(1 << bits))
			}
			compare(a, codes)
		}
	}
}

// TestPackNibbles packs every pair of codes.
func TestPackNibbles(t *testing.T) {
	g := Groups{Bits: 4, Size: 2, Type: dtype.F16}
	for _, inner := range []int{1, 4} {
		a := Array{1, 512 / inner, inner}
		want := make([]byte, 256)
		codes := make([]uint8, 512)
		for k := range want {
			want[k] = byte(k)
			first := k/inner*2*inner + k%inner
			codes[first], codes[first+inner] = byte(k)/16, byte(k)%16
		}
		packed, err := g.PackNibbles(a, codes)
		if err != nil || !slices.Equal(packed, want) {
			t.Fatalf("%v, %v", packed, err)
		}
		if back, err := g.UnpackNibbles(a, packed); err != nil || !slices.Equal(back, codes) {
			t.Fatalf("%v, %v", back, err)
		}
	}
}

func TestBytes(t *testing.T) {
	for _, c := range []struct {
		bits, size int
		format     dtype.DType
		want       float64 // bits per value
	}{
		{2, 32, dtype.F16, 3}, {4, 32, dtype.BF16, 5}, {2, 32, dtype.F32, 4}, {4, 128, dtype.F16, 4.25},
		{1, 32, dtype.F16, 2}, {3, 32, dtype.F16, 4}, {8, 64, dtype.F32, 9},
	} {
		g := Groups{Bits: c.bits, Size: c.size, Type: c.format}
		for _, a := range []Array{Keys(2, 128, 64), Values(2, 3, 128)} {
			n, err := g.Bytes(a)
			if got := float64(8*n) / float64(a.elements()); err != nil || got != c.want {
				t.Errorf("%+v of %+v: %g bits, %v, want %g", g, a, got, err, c.want)
			}
		}
	}
}

// TestPackBytes compares the bytes of a line with its words, and the fast readers of these bytes with
// Dequantize, with every number of bits.
func TestPackBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for bits := 1; bits <= MaxBits; bits++ {
		g := Groups{Bits: bits, Size: 32, Type: dtype.F32}
		random := func(a Array) Quantized {
			q := Quantized{make([]uint8, a.elements()), make([]float32, g.groups(a)), make([]float32, g.groups(a))}
			for i := range q.Codes {
				q.Codes[i] = uint8(r.UintN(1 << bits))
			}
			for i := range q.Scales {
				q.Scales[i], q.Minima[i] = r.Float32(), r.Float32()-0.5
			}
			return q
		}
		for _, a := range []Array{Keys(3, 64, 24), Values(2, 3, 96)} {
			q := random(a)
			packed, err := g.PackBytes(a, q.Codes)
			if err != nil {
				t.Fatal(err)
			}
			words, err := g.Pack(a, q.Codes)
			if err != nil {
				t.Fatal(err)
			}
			line := a.Length * bits / 8
			for i, b := range packed {
				o, k, j := i/a.Inner/line, i/a.Inner%line, i%a.Inner
				if want := byte(words[(o*line/4+k/4)*a.Inner+j] >> (k % 4 * 8)); b != want {
					t.Fatalf("%d bits, %+v: byte %d is %02x, want %02x", bits, a, i, b, want)
				}
			}
		}
		keys := Keys(1, 32, 24)
		q := random(keys)
		packed, _ := g.PackBytes(keys, q.Codes)
		want, _ := g.Dequantize(keys, q)
		for first := range 32 {
			got := make([]float32, 24*(32-first))
			ReadChannels(got, packed, q.Scales, q.Minima, bits, first)
			if !slices.Equal(got, want[first*24:]) {
				t.Fatalf("%d bits: keys from %d on differ", bits, first)
			}
		}
		values := Values(1, 5, 96)
		q = random(values)
		packed, _ = g.PackBytes(values, q.Codes)
		want, _ = g.Dequantize(values, q)
		var numbers []float32
		for token := range 5 {
			numbers = append(append(numbers, q.Scales[3*token:][:3]...), q.Minima[3*token:][:3]...)
		}
		got := make([]float32, 5*96)
		ReadTokens(got, packed, 96*bits/8, numbers, 96, 32, bits)
		if !slices.Equal(got, want) {
			t.Fatalf("%d bits: values differ", bits)
		}
	}
}

func TestPackRefused(t *testing.T) {
	codes := make([]uint8, 72)
	for _, c := range []struct {
		bits int
		want string
	}{{1, "multiple of 32"}, {2, "multiple of 16"}, {3, "multiple of 32"}, {6, "multiple of 16"}} {
		g, a := Groups{Bits: c.bits, Size: 8, Type: dtype.F16}, Values(1, 1, 72)
		_, errPack := g.Pack(a, codes)
		_, errUnpack := g.Unpack(a, nil)
		_, errBytes := g.Bytes(a)
		for _, err := range []error{errPack, errUnpack, errBytes} {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%d bits: %v, want %q", c.bits, err, c.want)
			}
		}
	}
	g, a := Groups{Bits: 2, Size: 16, Type: dtype.F16}, Values(1, 1, 16)
	if _, err := g.Pack(a, codes); err == nil {
		t.Error("72 codes of 16")
	}
	if _, err := g.Pack(a, slices.Repeat([]uint8{4}, 16)); err == nil {
		t.Error("a code of 3 bits in 2")
	}
	if _, err := g.Unpack(a, make([]uint32, 2)); err == nil {
		t.Error("2 words of 1")
	}
	if _, err := g.PackNibbles(a, codes[:16]); err == nil {
		t.Error("nibbles of 2 bits")
	}
	g.Bits = 4
	if _, err := g.UnpackNibbles(a, make([]byte, 7)); err == nil {
		t.Error("7 bytes of 8")
	}
	if _, err := (Groups{Bits: 4, Size: 3, Type: dtype.F16}).PackNibbles(Values(1, 1, 6), codes[:6]); err == nil {
		t.Error("groups of 3")
	}
}
