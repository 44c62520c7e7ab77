package dtype

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"kvcompress/internal/testsize"
)

var allTypes = []DType{F32, F16, BF16, E4M3, E5M2}

// layout describes a format by its standard's definition. The plain forms of all conversions,
// value and nearest, follow from it.
type layout struct {
	DType
	exp, mant int
	decode    func(bits uint32) float32
	encode    func(float32) uint32
}

var layouts = []layout{
	{F16, 5, 10, func(b uint32) float32 { return F16ToF32(uint16(b)) }, func(x float32) uint32 { return uint32(F32ToF16(x)) }},
	{BF16, 8, 7, func(b uint32) float32 { return BF16ToF32(uint16(b)) }, func(x float32) uint32 { return uint32(F32ToBF16(x)) }},
	{E4M3, 4, 3, func(b uint32) float32 { return E4M3ToF32(uint8(b)) }, func(x float32) uint32 { return uint32(F32ToE4M3(x)) }},
	{E5M2, 5, 2, func(b uint32) float32 { return E5M2ToF32(uint8(b)) }, func(x float32) uint32 { return uint32(F32ToE5M2(x)) }},
}

func (l layout) count() uint32 { return 1 << (1 + l.exp + l.mant) }

func (l layout) sign(bits uint32) bool { return bits >= l.count()/2 }

// value returns the number that the format's definition assigns to bits.
func (l layout) value(bits uint32) float64 {
	m := int(bits) & (1<<l.mant - 1)
	e := int(bits) >> l.mant & (1<<l.exp - 1)
	bias := 1<<(l.exp-1) - 1
	var v float64
	switch last := e == 1<<l.exp-1; {
	case last && l.DType == E4M3 && m == 7, last && l.DType != E4M3 && m != 0:
		return math.NaN()
	case last && l.DType != E4M3:
		v = math.Inf(1)
	case e == 0:
		v = math.Ldexp(float64(m), 1-bias-l.mant)
	default:
		v = math.Ldexp(float64(m+1<<l.mant), e-bias-l.mant)
	}
	if l.sign(bits) {
		v = math.Copysign(v, -1)
	}
	return v
}

// magnitudes lists the finite values of the format's bits 0, 1, 2, …. All are exact in float64,
// and so are their midpoints.
func (l layout) magnitudes() []float64 {
	var vs []float64
	for b := range l.count() / 2 {
		if v := l.value(b); v <= float64(l.Max()) {
			vs = append(vs, v)
		}
	}
	if !slices.IsSorted(vs) {
		panic("magnitudes do not rise with their bits")
	}
	return vs
}

// nearest returns the bits of x rounded to the format, by searching all magnitudes of the format.
func (l layout) nearest(magnitudes []float64, x float32) uint32 {
	var sign uint32
	if math.Signbit(float64(x)) {
		sign = l.count() / 2
	}
	a := math.Abs(float64(x))
	n := len(magnitudes)
	step := magnitudes[n-1] - magnitudes[n-2]
	if saturates := l.Size() == 1; !saturates && a >= magnitudes[n-1]+step/2 {
		return sign | uint32(n) // infinity follows the largest finite number
	}
	above := sort.SearchFloat64s(magnitudes, a)
	if above == n {
		return sign | uint32(n-1)
	}
	if above == 0 {
		return sign
	}
	below := above - 1
	switch d := (a - magnitudes[below]) - (magnitudes[above] - a); {
	case d < 0, d == 0 && below%2 == 0:
		return sign | uint32(below)
	default:
		return sign | uint32(above)
	}
}

func TestDecodeEvery(t *testing.T) {
	for _, l := range layouts {
		t.Run(l.String(), func(t *testing.T) {
			for b := range l.count() {
				got, want := float64(l.decode(b)), l.value(b)
				same := got == want && math.Signbit(got) == math.Signbit(want)
				if math.IsNaN(want) {
					same = math.IsNaN(got) && math.Signbit(got) == l.sign(b)
				}
				if !same {
					t.Fatalf("%#x decodes to %g, want %g", b, got, want)
				}
			}
		})
	}
}

func TestRoundTripEvery(t *testing.T) {
	for _, l := range layouts {
		t.Run(l.String(), func(t *testing.T) {
			for b := range l.count() {
				want := b
				switch v := l.value(b); {
				case math.IsNaN(v) && l.Size() == 1:
					want = 0x7f
				case math.IsNaN(v):
					want = b | 1<<(l.mant-1) // quiet, with its payload
				case math.IsInf(v, 0) && l.Size() == 1:
					want = b - 1 // the largest finite number
				}
				if got := l.encode(l.decode(b)); got != want {
					t.Fatalf("%#x comes back as %#x, want %#x", b, got, want)
				}
			}
		})
	}
}

// TestEncodeBoundaries encodes every number of a format, every midpoint between two of them, and
// the float32 on either side of each.
func TestEncodeBoundaries(t *testing.T) {
	for _, l := range layouts {
		t.Run(l.String(), func(t *testing.T) {
			ms := l.magnitudes()
			for i := range ms {
				step := ms[max(i, 1)] - ms[max(i, 1)-1]
				for _, at := range []float64{ms[i], ms[i] + step/2, ms[i] + step} {
					x := float32(at)
					for _, x := range []float32{math.Nextafter32(x, 0), x, math.Nextafter32(x, float32(math.Inf(1)))} {
						for _, x := range []float32{x, -x} {
							if got, want := l.encode(x), l.nearest(ms, x); got != want {
								t.Fatalf("%g (%#x) encodes to %#x, want %#x", x, math.Float32bits(x), got, want)
							}
						}
					}
				}
			}
		})
	}
}

func TestEncodeRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, l := range layouts {
		t.Run(l.String(), func(t *testing.T) {
			ms := l.magnitudes()
			for range draws() {
				// All bit patterns of float32, and as many numbers within the format's range.
				x := math.Float32frombits(rng.Uint32())
				y := float32(rng.NormFloat64() * math.Ldexp(1, rng.IntN(2*l.exp*l.exp)-l.exp*l.exp))
				for _, x := range []float32{x, y} {
					if err := checkEncode(l, ms, x); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

// draws returns the number of random numbers of a test.
func draws() int {
	return testsize.Of(1<<15, 1<<18, 1<<20)
}

func checkEncode(l layout, magnitudes []float64, x float32) error {
	bits := math.Float32bits(x)
	got := l.encode(x)
	if x != x {
		if v := l.value(got); !math.IsNaN(v) {
			return fmt.Errorf("%v: NaN %#x encodes to %#x, which is %g", l.DType, bits, got, v)
		}
		return nil
	}
	if want := l.nearest(magnitudes, x); got != want {
		return fmt.Errorf("%v: %g (%#x) encodes to %#x, want %#x", l.DType, x, bits, got, want)
	}
	return nil
}

func TestEncodeNaN(t *testing.T) {
	for _, c := range []struct {
		bits                  uint32
		f16, bf16, e4m3, e5m2 uint32
	}{
		{0x7fc0_0000, 0x7e00, 0x7fc0, 0x7f, 0x7f},
		{0xffc0_0000, 0xfe00, 0xffc0, 0x7f, 0x7f},
		{0x7f80_0001, 0x7e00, 0x7fc0, 0x7f, 0x7f}, // signalling; its payload is cut off
		{0xffbf_ffff, 0xffff, 0xffff, 0x7f, 0x7f},
		{0x7fc5_4321, 0x7e2a, 0x7fc5, 0x7f, 0x7f},
	} {
		for i, want := range []uint32{c.f16, c.bf16, c.e4m3, c.e5m2} {
			if got := layouts[i].encode(math.Float32frombits(c.bits)); got != want {
				t.Errorf("%v: NaN %#x encodes to %#x, want %#x", layouts[i].DType, c.bits, got, want)
			}
		}
	}
}

func FuzzEncode(f *testing.F) {
	for _, bits := range []uint32{0, 1, 0x3380_0000, 0x3f80_0000, 0x477f_f000, 0x7f7f_ffff, 0x7f80_0000, 0x7fc0_0000, 0x8000_0000} {
		f.Add(bits)
	}
	magnitudes := make([][]float64, len(layouts))
	for i, l := range layouts {
		magnitudes[i] = l.magnitudes()
	}
	f.Fuzz(func(t *testing.T, bits uint32) {
		for i, l := range layouts {
			if err := checkEncode(l, magnitudes[i], math.Float32frombits(bits)); err != nil {
				t.Error(err)
			}
		}
	})
}
