package trace

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// TestAngles compares sines and cosines with those of the angle reduced modulo 2π in 200
// bits, and 0 and quarter turns with what they are exactly.
func TestAngles(t *testing.T) {
	pi, _, err := big.ParseFloat("3.14159265358979323846264338327950288419716939937510582097494459", 10, 200, big.ToNearestEven)
	if err != nil {
		t.Fatal(err)
	}
	turn := new(big.Float).Mul(pi, big.NewFloat(2))
	reduce := func(angle float64) float64 {
		x := new(big.Float).SetPrec(200).SetFloat64(angle)
		n, _ := new(big.Float).Quo(x, turn).Int(nil)
		x.Sub(x, new(big.Float).SetPrec(200).Mul(new(big.Float).SetInt(n), turn))
		r, _ := x.Float64()
		return r
	}
	rng := rand.New(rand.NewPCG(1, 2))
	angles := []float64{0, 1, math.Pi / 4, math.Pi / 2, math.Pi, 1 << 24, 1<<24 - 1}
	for range 100_000 {
		angles = append(angles, float64(float32(math.Ldexp(rng.Float64(), rng.IntN(25)))))
	}
	for _, angle := range angles {
		sin, cos := Sincos(angle)
		r := reduce(angle)
		if d := max(math.Abs(sin-math.Sin(r)), math.Abs(cos-math.Cos(r))); d > 0x1p-48 {
			t.Fatalf("angle %v: sine and cosine %v, %v are off by %g", angle, sin, cos, d)
		}
	}

	rope := Rope{Base: 10000, RotarySize: 16, Pairing: Half}
	freqs := rope.InverseFrequencies()
	cos, sin := make([]float32, len(freqs)), make([]float32, len(freqs))
	Angles(cos, sin, freqs, 0)
	for i := range freqs {
		if cos[i] != 1 || sin[i] != 0 {
			t.Errorf("pair %d at position 0: %v, %v", i, cos[i], sin[i])
		}
	}
	Angles(cos, sin, freqs, 1)
	for i, f := range freqs {
		if want := float32(math.Cos(float64(f))); cos[i] != want {
			t.Errorf("pair %d at position 1: cosine %v, want %v", i, cos[i], want)
		}
	}
}
