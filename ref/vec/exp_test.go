package vec

import (
	"math"
	"runtime"
	"sync"
	"testing"
)

// TestExpEvery looks at every float32 from -0 to below -104: that Exp never
// falls as x rises, and how far it is from math.Exp, in units in the last place
// of the result (2^-149 for subnormals).
func TestExpEvery(t *testing.T) {
	const maxUlp = 0.98
	first, last := math.Float32bits(float32(math.Copysign(0, -1))), math.Float32bits(-104.5)
	if testing.Short() {
		t.Skip("TestExpEdges looks at a part of them")
	}
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		worst    float64
		worstAt  float32
		workers  = uint32(runtime.GOMAXPROCS(0))
		span     = (last-first)/workers + 1
		finished uint32
	)
	for w := range workers {
		wg.Go(func() {
			from := first + w*span
			to := min(from+span, last) // each looks at the next one's first, too
			u, at := checkExp(t, from, to, 1)
			mu.Lock()
			defer mu.Unlock()
			finished += to - from
			if u > worst {
				worst, worstAt = u, at
			}
		})
	}
	wg.Wait()
	t.Logf("%d numbers: at most %.4f ulp from math.Exp, at %x = %[3]g", finished+1, worst, worstAt)
	if worst > maxUlp {
		t.Errorf("%g ulp at %x, want at most %g", worst, worstAt, maxUlp)
	}
}

// checkExp looks at the float32 of every step-th bit pattern from one to
// another, which fall from -0 towards -∞. It returns the largest error in ulp.
func checkExp(t *testing.T, from, to, step uint32) (worst float64, at float32) {
	above := float32(1)
	for b := from; b <= to; b += step {
		x := math.Float32frombits(b)
		y := Exp(x)
		if !(y <= above) || math.Signbit(float64(y)) {
			t.Errorf("Exp(%x) = %g, but above it there is %g", x, y, above)
			return
		}
		above = y
		if u := ulpsFrom(y, math.Exp(float64(x))); u > worst {
			worst, at = u, x
		}
	}
	return worst, at
}

// ulpsFrom returns the distance of got from want, in units in want's last place.
func ulpsFrom(got float32, want float64) float64 {
	const minExponent = -126
	exponent := int(math.Float64bits(want)>>52) - 1023
	ulp := math.Float64frombits(uint64(max(exponent, minExponent)-23+1023) << 52)
	return math.Abs(float64(got)-want) / ulp
}
