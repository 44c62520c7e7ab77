package vec

import (
	"hash/fnv"
	"math"
	"testing"
)

// logMaxUlp is the bound derived in NUMERICS.md, "Stand-ins".
const logMaxUlp = 0.81

// TestLog tries every integer from 1 to 2^24 (with -short every 97th): Log is within its bound and never
// decreases.
func TestLog(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 97
	}
	worst, at, below := 0.0, 0, float32(0)
	for n := 1; n <= 1<<24; n += step {
		y := Log(float32(n))
		if !(y >= below) {
			t.Fatalf("Log(%d) is %g, but below it there is %g", n, y, below)
		}
		below = y
		if ulp := ulpsFrom(y, math.Log(float64(n))); n > 1 && ulp > worst {
			worst, at = ulp, n
		}
	}
	t.Logf("at most %.4f ulp from math.Log, at %d", worst, at)
	if worst > logMaxUlp {
		t.Errorf("%g ulp at %d, want at most %g", worst, at, logMaxUlp)
	}
}

func TestLogValues(t *testing.T) {
	for _, c := range []struct{ x, want float32 }{
		{1, 0},
		{2, 0x1.62e43p-1},
		{3, 0x1.193ea8p+0},
		{4, 0x1.62e43p+0},
		{10, 0x1.26bb1cp+1},
		{1 << 20, 0x1.bb9d3cp+3},
		{1<<24 - 1, 0x1.0a2b24p+4},
		{1 << 24, 0x1.0a2b24p+4},
	} {
		if got := Log(c.x); math.Float32bits(got) != math.Float32bits(c.want) {
			t.Errorf("Log(%g) = %x, want %x", c.x, got, c.want)
		}
	}
}

// TestLogDigest checks a digest of results, which must be the same on every platform.
func TestLogDigest(t *testing.T) {
	const want = 0xfaa66f0688878368
	digest := fnv.New64a()
	for n := 1; n <= 1<<24; n += 101 {
		y := math.Float32bits(Log(float32(n)))
		digest.Write([]byte{byte(y), byte(y >> 8), byte(y >> 16), byte(y >> 24)})
	}
	if got := digest.Sum64(); got != want {
		t.Errorf("the results have the digest %#x, want %#x", got, uint64(want))
	}
}
