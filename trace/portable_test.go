package trace

import (
	"math"
	"testing"

	"kvcompress/internal/splitmix"
)

func TestSincos(t *testing.T) {
	worst := 0.0
	for i := range 1 << 16 {
		phase := uint32(i)<<16 + uint32(i*i)&0xffff
		sin, cos := sincos(phase)
		x := float64(phase) * (2 * math.Pi / (1 << 32))
		worst = max(worst, math.Abs(sin-math.Sin(x)), math.Abs(cos-math.Cos(x)))
	}
	if worst > 0x1p-50 {
		t.Errorf("off by %g", worst)
	}
	for _, tc := range []struct {
		phase    uint32
		sin, cos float64
	}{{0, 0, 1}, {1 << 30, 1, 0}, {1 << 31, 0, -1}, {3 << 30, -1, 0}} {
		if sin, cos := sincos(tc.phase); sin != tc.sin || cos != tc.cos {
			t.Errorf("%#x: %g, %g", tc.phase, sin, cos)
		}
	}
}

func TestLn(t *testing.T) {
	for i := range 100_000 {
		x := math.Float64frombits(splitmix.Mix(uint64(i)) >> 1)
		if !(x > 0x1p-1022) || math.IsInf(x, 1) {
			continue
		}
		if got, want := ln(x), math.Log(x); math.Abs(got-want) > 4e-16*max(1, math.Abs(want)) {
			t.Fatalf("ln %g: %g, want %g", x, got, want)
		}
	}
	for i := 1; i < 1000; i++ {
		x := float64(i) / 500
		if got, want := ln(x), math.Log(x); math.Abs(got-want) > 4e-16*math.Max(0.1, math.Abs(want)) {
			t.Errorf("ln %g: %g, want %g", x, got, want)
		}
	}
	if ln(1) != 0 {
		t.Error("ln 1 is not 0")
	}
}

func TestExp(t *testing.T) {
	for i := range uint64(100_000) {
		x := between(derive(3, i), -700, 700)
		if i%2 == 0 {
			x /= 1000
		}
		if got, want := exp(x), math.Exp(x); math.Abs(got-want) > 1e-15*want {
			t.Fatalf("exp %g: %g, want %g", x, got, want)
		}
	}
	if exp(0) != 1 {
		t.Error("exp 0 is not 1")
	}
}

func TestBelow(t *testing.T) {
	var count [7]int
	for i := range uint64(70_000) {
		count[below(derive(9, i), 7)]++
	}
	for i, n := range count {
		if n < 9_500 || n > 10_500 {
			t.Errorf("%d came %d times of 70,000", i, n)
		}
	}
	if below(math.MaxUint64, 1) != 0 || below(math.MaxUint64, 5) != 4 || below(0, 5) != 0 {
		t.Error("bounds")
	}
}

// TestPortable pins the bits of what synthesis computes with, so that a product
// that was fused after all shows at once, and not only where rounding lets it.
func TestPortable(t *testing.T) {
	var sum uint64
	for i := range uint64(100_000) {
		key := derive(1, i)
		sin, cos := sincos(uint32(key))
		for _, x := range []float64{sin, cos, ln(unit(key) + 0x1p-60), between(key, -0.3, 1.7)} {
			sum = splitmix.Mix(sum ^ math.Float64bits(x))
		}
	}
	if want := uint64(0x4a328b26de8074e1); sum != want {
		t.Errorf("got %#x, want %#x", sum, want)
	}
	sum = 0
	for i := range uint64(20_000) {
		key := derive(2, i)
		for _, x := range []float64{exp(between(key, -9, 9)), normal(key), exponential(key), gamma(key, 0.04), gamma(key, 3)} {
			sum = splitmix.Mix(sum ^ math.Float64bits(x))
		}
	}
	if want := uint64(0xd36ed567c021a9e); sum != want {
		t.Errorf("random numbers: got %#x, want %#x", sum, want)
	}
}
