package dtype

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// eachISA runs test for plain Go and every instruction set that the conversions support and the
// processor has.
func eachISA(t *testing.T, test func(t *testing.T, s isa)) {
	t.Logf("supported here: %v", supported)
	for _, s := range supported {
		t.Run(s.String(), func(t *testing.T) { test(t, s) })
	}
}

// scalar converts single numbers of t to float32, and back, by their bits.
func (t DType) scalar() (decode func(uint32) float32, encode func(float32) uint32) {
	for _, l := range layouts {
		if l.DType == t {
			return l.decode, l.encode
		}
	}
	return math.Float32frombits, math.Float32bits
}

// put and get are a number's bits in memory.
func (t DType) put(dst []byte, bits uint32) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], bits)
	copy(dst[:t.Size()], b[:])
}

func (t DType) get(src []byte) uint32 {
	var b [4]byte
	copy(b[:], src[:t.Size()])
	return binary.LittleEndian.Uint32(b[:])
}

// everyBits returns all bit patterns of t in ascending order, or 65536 random ones if t is F32.
func (t DType) everyBits() []uint32 {
	if t == F32 {
		rng := rand.New(rand.NewPCG(5, 6))
		bits := make([]uint32, 1<<16)
		for i := range bits {
			bits[i] = rng.Uint32()
		}
		return bits
	}
	bits := make([]uint32, 1<<(8*t.Size()))
	for i := range bits {
		bits[i] = uint32(i)
	}
	return bits
}

func TestDecodeEveryByISA(t *testing.T) {
	eachISA(t, func(t *testing.T, s isa) {
		for _, d := range allTypes {
			decode, _ := d.scalar()
			bits := d.everyBits()
			src := make([]byte, len(bits)*d.Size())
			for i, b := range bits {
				d.put(src[i*d.Size():], b)
			}
			dst := make([]float32, len(bits))
			s.decode(d, dst, src)
			for i, b := range bits {
				got, want := math.Float32bits(dst[i]), math.Float32bits(decode(b))
				if got != want {
					t.Fatalf("%v: %#x decodes to %#x, want %#x", d, b, got, want)
				}
			}
		}
	})
}

func TestEncodeByISA(t *testing.T) {
	// Every number of every format, every midpoint between two, and the float32
	// around them, then random bits.
	rng := rand.New(rand.NewPCG(7, 8))
	var xs []float32
	for _, l := range layouts {
		ms := l.magnitudes()
		for i := range ms {
			step := ms[max(i, 1)] - ms[max(i, 1)-1]
			for _, at := range []float64{ms[i], ms[i] + step/2, ms[i] + step} {
				x := float32(at)
				xs = append(xs, math.Nextafter32(x, 0), x, math.Nextafter32(x, float32(math.Inf(1))))
			}
		}
	}
	for i := range len(xs) {
		xs = append(xs, -xs[i])
	}
	for range draws() {
		xs = append(xs, math.Float32frombits(rng.Uint32()), math.Float32frombits(rng.Uint32()|0x7f80_0000))
	}
	rng.Shuffle(len(xs), func(i, j int) { xs[i], xs[j] = xs[j], xs[i] })

	eachISA(t, func(t *testing.T, s isa) {
		for _, d := range allTypes {
			_, encode := d.scalar()
			dst := make([]byte, len(xs)*d.Size())
			s.encode(d, dst, xs)
			for i, x := range xs {
				if got, want := d.get(dst[i*d.Size():]), encode(x); got != want {
					t.Fatalf("%v: %g (%#x) encodes to %#x, want %#x", d, x, math.Float32bits(x), got, want)
				}
			}
		}
	})
}

// TestLengths converts slices of all lengths around the vector lengths, at odd addresses, and
// checks that nothing around them is written.
func TestLengths(t *testing.T) {
	const margin = 5
	rng := rand.New(rand.NewPCG(9, 10))
	eachISA(t, func(t *testing.T, s isa) {
		for _, d := range allTypes {
			for n := range 131 {
				numbers := make([]float32, n+2*margin)
				for i := range numbers {
					numbers[i] = float32(rng.NormFloat64())
				}
				in := numbers[margin : margin+n]

				coded := bytes.Repeat([]byte{0xa5}, n*d.Size()+2*margin)
				out := coded[margin : margin+n*d.Size()]
				want := slices.Clone(coded)
				encodePlain(d, want[margin:], in)
				s.encode(d, out, in)
				if !bytes.Equal(coded, want) {
					t.Fatalf("%v, %d numbers: encoded to\n%x\nwant\n%x", d, n, coded, want)
				}

				decoded, wantDecoded := slices.Clone(numbers), slices.Clone(numbers)
				decodePlain(d, wantDecoded[margin:margin+n], out)
				s.decode(d, decoded[margin:margin+n], out)
				if !slices.Equal(decoded, wantDecoded) {
					t.Fatalf("%v, %d numbers: decoded to\n%g\nwant\n%g", d, n, decoded, wantDecoded)
				}
			}
		}
	})
}

// TestLongerThanNeeded passes more bytes than the numbers need.
func TestLongerThanNeeded(t *testing.T) {
	for _, d := range allTypes {
		coded := bytes.Repeat([]byte{0x3c}, 100*d.Size())
		dst := make([]float32, 40)
		d.Decode(dst, coded)
		d.Encode(coded, make([]float32, 40))
		if i := slices.Index(coded, 0x3c); i != 40*d.Size() {
			t.Errorf("%v: 40 numbers were encoded to %d bytes", d, i)
		}
	}
}

// The benchmarks convert a block's K, and count the bytes of its format.

func BenchmarkDecode(b *testing.B) {
	for _, d := range allTypes {
		for _, s := range supported {
			b.Run(d.String()+"/"+s.String(), func(b *testing.B) {
				dst := make([]float32, 16*128)
				src := make([]byte, len(dst)*d.Size())
				encodePlain(d, src, randomNormal(len(dst)))
				b.SetBytes(int64(len(src)))
				for b.Loop() {
					s.decode(d, dst, src)
				}
			})
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, d := range allTypes {
		for _, s := range supported {
			b.Run(d.String()+"/"+s.String(), func(b *testing.B) {
				src := randomNormal(16 * 128)
				dst := make([]byte, len(src)*d.Size())
				b.SetBytes(int64(len(dst)))
				for b.Loop() {
					s.encode(d, dst, src)
				}
			})
		}
	}
}

func randomNormal(n int) []float32 {
	rng := rand.New(rand.NewPCG(11, 12))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}
