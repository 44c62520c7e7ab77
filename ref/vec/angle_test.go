package vec

import (
	"flag"
	"hash/fnv"
	"math"
	"runtime"
	"sync"
	"testing"
)

var everyAngle = flag.Bool("every", false, "try every float32 in TestAcos and TestSin, 3.2 thousand million of them")

// The bounds derived in NUMERICS.md, "Merged vectors".
const (
	acosMaxUlp = 1.4
	sinMaxUlp  = 3.1
)

// angles is the result of checking a range of float32 numbers.
type angles struct {
	numbers int
	ulp     float64 // largest error against package math
	at      float32
	failed  bool
}

func (a *angles) add(b angles) {
	a.numbers += b.numbers
	a.failed = a.failed || b.failed
	if b.ulp > a.ulp {
		a.ulp, a.at = b.ulp, b.at
	}
}

// try calls check for ranges of float32 bits that cover first to last, where each range ends with the first
// number of the next. A step above 1 samples a range, except near powers of two.
func try(first, last uint32, check func(from, to, step uint32) angles) angles {
	if !*everyAngle {
		step := uint32(4099)
		if testing.Short() {
			step = 99991
		}
		whole := check(first, last, step)
		for b := first &^ (1<<23 - 1); b <= last; b += 1 << 23 {
			whole.add(check(max(b, first+64)-64, min(b+64, last), 1))
		}
		whole.add(check(last-1024, last, 1))
		return whole
	}
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		whole   angles
		workers = uint32(runtime.GOMAXPROCS(0))
		share   = (last-first)/workers + 1
	)
	for w := range workers {
		wg.Go(func() {
			from := first + w*share
			part := check(from, min(from+share, last), 1)
			mu.Lock()
			defer mu.Unlock()
			whole.add(part)
		})
	}
	wg.Wait()
	return whole
}

func (a *angles) log(t *testing.T, limit float64) {
	t.Helper()
	t.Logf("%d numbers: at most %.4f ulp, at %x = %[3]g", a.numbers, a.ulp, a.at)
	if a.ulp > limit {
		t.Errorf("%g ulp at %x, want at most %g", a.ulp, a.at, limit)
	}
}

// TestAcos compares Acos with math.Acos and checks that it never increases. With -every it tries all float32
// from −1 to 1, otherwise every 4,099th and those near powers of two.
func TestAcos(t *testing.T) {
	whole := try(0, math.Float32bits(1), func(from, to, step uint32) (a angles) {
		below, above := float32(math.Inf(1)), float32(0) // of Acos(c) and Acos(−c) so far
		for b := from; b <= to; b += step {
			c := math.Float32frombits(b)
			y, n := Acos(c), Acos(-c)
			if !(y <= below && n >= above && y >= 0) {
				t.Errorf("Acos(±%x) is %g and %g: nearer to 0 there are %g and %g", c, y, n, below, above)
				a.failed = true
				return a
			}
			below, above = y, n
			a.numbers += 2
			if c < 0x1p-26 {
				if y != anglePi2Hi || n != anglePi2Hi {
					t.Errorf("Acos(±%x) is %x and %x, want the nearest to π/2", c, y, n)
					return a
				}
				continue // math.Acos would be slow here
			}
			if c == 1 {
				continue // covered by TestAngleValues
			}
			half := math.Asin(float64(c))
			a.add(angles{ulp: ulpsFrom(y, math.Pi/2-half), at: c})
			a.add(angles{ulp: ulpsFrom(n, math.Pi/2+half), at: -c})
		}
		return a
	})
	whole.log(t, acosMaxUlp)
}

// TestSin compares Sin with math.Sin. With -every it tries all float32 from 0 to π.
func TestSin(t *testing.T) {
	whole := try(0, math.Float32bits(math.Pi), func(from, to, step uint32) (a angles) {
		for b := from; b <= to; b += step {
			x := math.Float32frombits(b)
			y := Sin(x)
			a.numbers++
			if x < 0x1p-13 {
				if y != x {
					t.Errorf("Sin(%x) is %x", x, y)
					return a
				}
				continue
			}
			want := math.Sin(float64(x))
			if want < 0 {
				want, y = -want, -y
			}
			a.add(angles{ulp: ulpsFrom(y, want), at: x})
		}
		return a
	})
	whole.log(t, sinMaxUlp)
}

func TestAngleValues(t *testing.T) {
	for _, v := range []struct {
		name    string
		f       func(float32) float32
		x, want float32
	}{
		{"Acos", Acos, 1, 0},
		{"Acos", Acos, -1, math.Pi},
		{"Acos", Acos, 0, math.Pi / 2},
		{"Acos", Acos, float32(math.Copysign(0, -1)), math.Pi / 2},
		{"Acos", Acos, 0.5, math.Pi / 3},
		{"Acos", Acos, -0.5, 2 * math.Pi / 3},
		{"Acos", Acos, 1 - 0x11p-24, 0x1.752e52p-10}, // the largest cosine of NUMERICS.md §13
		{"Sin", Sin, 0, 0},
		{"Sin", Sin, math.SmallestNonzeroFloat32, math.SmallestNonzeroFloat32},
		{"Sin", Sin, math.Pi / 6, 0.5},
		{"Sin", Sin, math.Pi / 2, 1 - 0x1p-24},
		{"Sin", Sin, math.Pi, -0x1.777a5cp-24},
	} {
		if got := v.f(v.x); math.Float32bits(got) != math.Float32bits(v.want) {
			t.Errorf("%s(%x) = %x, want %x", v.name, v.x, got, v.want)
		}
	}
}

// TestAngleDigest checks a digest of results, which must be the same on every platform.
func TestAngleDigest(t *testing.T) {
	const want = 0x840f7a6671d8d82a
	digest := fnv.New64a()
	sum := func(y float32) {
		b := math.Float32bits(y)
		digest.Write([]byte{byte(b), byte(b >> 8), byte(b >> 16), byte(b >> 24)})
	}
	for b := uint32(0); b < math.Float32bits(1); b += 10007 {
		sum(Acos(math.Float32frombits(b)))
		sum(Acos(-math.Float32frombits(b)))
	}
	for b := uint32(0); b < math.Float32bits(math.Pi); b += 10007 {
		sum(Sin(math.Float32frombits(b)))
	}
	if got := digest.Sum64(); got != want {
		t.Errorf("the results have the digest %#x, want %#x", got, uint64(want))
	}
}
