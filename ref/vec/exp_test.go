package vec

import (
	"hash/fnv"
	"math"
	"runtime"
	"sync"
	"testing"

	"kvcompress/internal/testsize"
)

// expMaxUlp bounds the error of Exp against math.Exp, in units in the last place of the result; for
// subnormals a unit is 2^-149.
const expMaxUlp = 0.98

// TestExp tries every 101st float32 from -0 to -104.5 and all near the boundaries of Exp's cases, or every
// float32 with KVC_TESTS=full. It checks the error of Exp, that Exp never decreases with x, and that ExpSub
// gives the same on every instruction set.
func TestExp(t *testing.T) {
	first, last := math.Float32bits(float32(math.Copysign(0, -1))), math.Float32bits(-104.5)
	if step := testsize.Of[uint32](9973, 101, 1); step > 1 {
		var whole expReport
		around := testsize.Of[uint32](1<<8, 1<<12, 0)
		for _, b := range expBoundaries() {
			whole.add(checkExp(t, max(b, first+around)-around, b+around, 1))
		}
		whole.add(checkExp(t, first, last, step))
		whole.log(t)
		return
	}

	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		whole   expReport
		workers = uint32(runtime.GOMAXPROCS(0))
		share   = (last-first)/workers + 1
	)
	for w := range workers {
		wg.Go(func() {
			from := first + w*share
			to := min(from+share, last) // includes the next range's first number, so that every adjacent pair is compared
			part := checkExp(t, from, to, 1)
			mu.Lock()
			defer mu.Unlock()
			whole.add(part)
		})
	}
	wg.Wait()
	whole.log(t)
}

// expBoundaries lists the bits of numbers at which Exp changes its computation: powers of two, changes of n,
// 0, and where results become subnormal or 0.
func expBoundaries() []uint32 {
	bits := []uint32{
		math.Float32bits(-0x1.5d58ap+6),  // ln(2^-126)
		math.Float32bits(-0x1.9fe368p+6), // ln(2^-150)
		math.Float32bits(expLowest),
	}
	for exponent := range uint32(127 + 7) {
		bits = append(bits, 1<<31|exponent<<23)
	}
	for n := range 151 {
		bits = append(bits, math.Float32bits(-float32((float64(n)+0.5)*math.Ln2)))
	}
	return bits
}

// expReport is the result of checkExp.
type expReport struct {
	numbers int
	ulp     float64 // largest error against math.Exp
	at      float32
}

func (r *expReport) add(s expReport) {
	r.numbers += s.numbers
	if s.ulp > r.ulp {
		r.ulp, r.at = s.ulp, s.at
	}
}

func (r *expReport) log(t *testing.T) {
	t.Logf("%d numbers: at most %.4f ulp from math.Exp, at %x = %[3]g", r.numbers, r.ulp, r.at)
	if r.ulp > expMaxUlp {
		t.Errorf("%g ulp at %x, want at most %g", r.ulp, r.at, expMaxUlp)
	}
}

// checkExp tries the float32 of every step-th bit pattern between two, in the direction from -0 to -∞.
func checkExp(t *testing.T, from, to, step uint32) expReport {
	report := expReport{}
	above := float32(1)
	const batch = 4096
	xs, ys, got := make([]float32, 0, batch), make([]float32, batch), make([]float32, batch)
	for b := from; b <= to; {
		xs = xs[:0]
		for ; b <= to && len(xs) < cap(xs); b += step {
			xs = append(xs, math.Float32frombits(b))
		}
		for i, x := range xs {
			y := Exp(x)
			if !(y <= above) || math.Signbit(float64(y)) {
				t.Errorf("Exp(%x) is %g, but above it there is %g", x, y, above)
				return report
			}
			above = y
			ys[i] = y
			if x >= -0x1p-26 {
				// math.Exp would be slow; 1 is within 2^-26, or 0.25 ulp.
				if y != 1 {
					t.Errorf("Exp(%x) is %x, want 1", x, y)
					return report
				}
				continue
			}
			if ulp := ulpsFrom(y, math.Exp(float64(x))); ulp > report.ulp {
				report.ulp, report.at = ulp, x
			}
		}
		for _, s := range supported {
			if s == plain {
				continue // plain ExpSub is a loop over Exp
			}
			s.expSub(got[:len(xs)], xs, 0)
			for i, x := range xs {
				if math.Float32bits(got[i]) != math.Float32bits(ys[i]) {
					t.Errorf("%v: ExpSub of %x is %x, want %x", s, x, got[i], ys[i])
					return report
				}
			}
		}
		report.numbers += len(xs)
	}
	return report
}

// ulpsFrom returns |got − want| in units in want's last place.
func ulpsFrom(got float32, want float64) float64 {
	exponent := int(math.Float64bits(want)>>52) - 1023
	ulp := math.Float64frombits(uint64(max(exponent, -126)-23+1023) << 52)
	return math.Abs(float64(got)-want) / ulp
}

func TestExpValues(t *testing.T) {
	for _, c := range []struct{ x, want float32 }{
		{0, 1},
		{float32(math.Copysign(0, -1)), 1},
		{-math.SmallestNonzeroFloat32, 1},
		{-0x1p-26, 1},
		{-0x1.62e43p-1, 0.5}, // ln(1/2)
		{-1, 0x1.78b564p-2},
		{-10, 0x1.7cd79cp-15},
		{-50, 0x1.d257d6p-73},
		{-0x1.5d589ep+6, 0x1.00004cp-126}, // the last normal result
		{-0x1.5d58ap+6, 0x1.ffff98p-127},
		{-0x1.6158ap+6, 0x1.78b518p-128},
		{-0x1.9fe368p+6, 0x1p-149}, // ln(2^-150)
		{-103.98, 0},
		{-104, 0},
		{-math.MaxFloat32, 0},
	} {
		if got := Exp(c.x); math.Float32bits(got) != math.Float32bits(c.want) {
			t.Errorf("Exp(%x) = %x, want %x", c.x, got, c.want)
		}
	}
}

// TestExpDigest checks a digest of results, which must be the same on every platform.
func TestExpDigest(t *testing.T) {
	const want = 0xf39f3c8fd17a5b66
	digest := fnv.New64a()
	for b := math.Float32bits(-0x1p-30); b < math.Float32bits(-105); b += 1009 {
		y := math.Float32bits(Exp(math.Float32frombits(b)))
		digest.Write([]byte{byte(y), byte(y >> 8), byte(y >> 16), byte(y >> 24)})
	}
	if got := digest.Sum64(); got != want {
		t.Errorf("the results have the digest %#x, want %#x", got, uint64(want))
	}
}
