package ptx

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestHalves compares fast f16 and bf16 arithmetic with the plain form, on special numbers, random ones, and
// ones near a tie.
func TestHalves(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for op, f := range halfLanes {
		format := formatOf(op.typ)
		t.Run(op.op+"."+op.typ.String(), func(t *testing.T) {
			value := func(round int) uint16 {
				edges := []uint64{0, 1, 2, 1<<format.mantissa - 1, 1 << format.mantissa, format.maximum, format.infinity, format.nan, format.infinity + 1, format.one(), format.one() + 1}
				switch {
				case round%2 == 0:
					return uint16(edges[rng.IntN(len(edges))] | uint64(rng.IntN(2))<<15)
				case round%4 == 1: // of similar size
					return uint16(format.one() + uint64(rng.Uint32N(4<<format.mantissa)) | uint64(rng.IntN(2))<<15)
				}
				return uint16(rng.Uint32())
			}
			for i := range 100000 {
				a, b, c := value(i), value(i/4), value(i/16)
				if got, want := f(a, b, c), half(format, softNames[op.op], a, b, c); got != want {
					t.Fatalf("of %#x, %#x, %#x: %#x, want %#x", a, b, c, got, want)
				}
			}
		})
	}
}

// TestExp2 compares 2^x with package math's, rounded to float32. They are equal unless one is within its
// error of a tie, which is rare.
func TestExp2(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	for i := range 500000 {
		x := math.Float32frombits(rng.Uint32())
		if i%2 == 0 {
			x = float32(rng.NormFloat64() * 50)
		}
		got, want := exp2Single(x), canonical(float32(math.Exp2(float64(x))))
		if math.Float32bits(got) != math.Float32bits(want) {
			t.Fatalf("2^%v is %v (%#x), want %v (%#x)", x, got, math.Float32bits(got), want, math.Float32bits(want))
		}
	}
}
