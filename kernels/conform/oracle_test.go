package conform

import (
	"math"
	"math/big"
	"math/bits"
	"math/rand/v2"
	"testing"

	"kvcompress/dtype"
)

// These tests compare the oracle with independent implementations: Go's floats, the
// rounding of math/big, and package dtype.

func bitsOf32(f float32) uint64 { return uint64(math.Float32bits(f)) }
func float32Of(b uint64) float32 {
	return math.Float32frombits(uint32(b))
}

// same32 reports whether the oracle's bits equal Go's number; all NaNs are equal.
func same32(b uint64, f float32) bool {
	return f32.isNaN(b) && f != f || b == bitsOf32(f)
}

func same64(b uint64, f float64) bool {
	return f64.isNaN(b) && f != f || b == math.Float64bits(f)
}

// operandsOf draws rows of a table for a test.
func drawn(t table) [][]uint64 { return t(rand.New(rand.NewPCG(7, 7))) }

func TestArithmeticAgainstGo(t *testing.T) {
	for _, row := range drawn(rows(f32.numbers(), f32.numbers()).and(f32.sums(), f32.products(), f32.quotients())) {
		a, b := float32Of(row[0]), float32Of(row[1])
		for _, c := range []struct {
			op  string
			got uint64
			exp float32
		}{
			{"+", f32.add(row[0], row[1], nearest), a + b},
			{"-", f32.sub(row[0], row[1], nearest), a - b},
			{"*", f32.mul(row[0], row[1], nearest), a * b},
			{"/", f32.div(row[0], row[1], nearest), a / b},
			{"sqrt", f32.sqrt(row[0], nearest), float32(math.Sqrt(float64(a)))},
			{"rcp", f32.rcp(row[0], nearest), 1 / a},
		} {
			if !same32(c.got, c.exp) {
				t.Errorf("%g %s %g: %#x, not %#x", a, c.op, b, c.got, math.Float32bits(c.exp))
			}
		}
	}
	for _, row := range drawn(rows(f64.numbers(), f64.numbers()).and(f64.sums(), f64.products(), f64.quotients())) {
		a, b := math.Float64frombits(row[0]), math.Float64frombits(row[1])
		for _, c := range []struct {
			op  string
			got uint64
			exp float64
		}{
			{"+", f64.add(row[0], row[1], nearest), a + b},
			{"-", f64.sub(row[0], row[1], nearest), a - b},
			{"*", f64.mul(row[0], row[1], nearest), a * b},
			{"/", f64.div(row[0], row[1], nearest), a / b},
			{"sqrt", f64.sqrt(row[0], nearest), math.Sqrt(a)},
		} {
			if !same64(c.got, c.exp) {
				t.Errorf("%g %s %g: %#x, not %#x", a, c.op, b, c.got, math.Float64bits(c.exp))
			}
		}
	}
	for _, row := range drawn(f64.fused().and(rows(f64.numbers(), f64.numbers(), f64.numbers()))) {
		a, b, c := math.Float64frombits(row[0]), math.Float64frombits(row[1]), math.Float64frombits(row[2])
		if got, exp := f64.fma(row[0], row[1], row[2], nearest), math.FMA(a, b, c); !same64(got, exp) {
			t.Errorf("fma(%g, %g, %g): %#x, not %#x", a, b, c, got, math.Float64bits(exp))
		}
	}
}

var bigModes = map[rounding]big.RoundingMode{
	nearest: big.ToNearestEven, toZero: big.ToZero, down: big.ToNegativeInf, up: big.ToPositiveInf,
}

// TestRoundingsAgainstBig compares each rounding mode with big.Float, on sums, products
// and fused multiply-adds that are normal numbers: math/big has no subnormals.
func TestRoundingsAgainstBig(t *testing.T) {
	for r, mode := range bigModes {
		for _, f := range []format{f16, bf16, f32, f64} {
			for _, row := range drawn(f.fused()) {
				exact := func(a uint64) *big.Float {
					x := f.decode(a)
					v := new(big.Float).SetPrec(4096).SetInt(x.m)
					v.SetMantExp(v, x.e)
					if x.neg {
						v.Neg(v)
					}
					return v
				}
				if f.decode(row[2]).inf || f.decode(row[2]).nan {
					continue
				}
				a, b, c := exact(row[0]), exact(row[1]), exact(row[2])
				v := new(big.Float).SetPrec(4096).Mul(a, b)
				v.Add(v, c)
				if v.Sign() == 0 {
					continue
				}
				v.SetMode(mode).SetPrec(uint(f.man + 1))
				if e := v.MantExp(nil) - 1; e < f.minExp() || e > f.bias() {
					continue
				}
				got := f.decode(f.fma(row[0], row[1], row[2], r))
				g := new(big.Float).SetInt(got.m)
				g.SetMantExp(g, got.e)
				if got.neg {
					g.Neg(g)
				}
				if got.nan || got.inf || g.Cmp(v) != 0 {
					t.Errorf("fma.%s.%s(%#x, %#x, %#x): %v, not %v", r, f.name, row[0], row[1], row[2], g, v)
				}
			}
		}
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name     string
		got, exp uint64
	}{
		// The largest number and slightly more.
		{"max+half ulp rn", f32.add(0x7f7fffff, 0x73000000, nearest), 0x7f800000},
		{"max+less rn", f32.add(0x7f7fffff, 0x72ffffff, nearest), 0x7f7fffff},
		{"max+max rz", f32.add(0x7f7fffff, 0x7f7fffff, toZero), 0x7f7fffff},
		{"max+max rm", f32.add(0x7f7fffff, 0x7f7fffff, down), 0x7f7fffff},
		{"-max-max rm", f32.add(0xff7fffff, 0xff7fffff, down), 0xff800000},
		{"-max-max rp", f32.add(0xff7fffff, 0xff7fffff, up), 0xff7fffff},
		// The smallest number and less.
		{"min*half rn", f32.mul(1, 0x3f000000, nearest), 0},
		{"min*0.75 rn", f32.mul(1, 0x3f400000, nearest), 1},
		{"min*tiny rp", f32.mul(1, 1, up), 1},
		{"min*-tiny rp", f32.mul(1, 0x80000001, up), 0x80000000},
		{"min*-tiny rm", f32.mul(1, 0x80000001, down), 0x80000001},
		// Zeros.
		{"x-x rn", f32.sub(0x3f800000, 0x3f800000, nearest), 0},
		{"x-x rm", f32.sub(0x3f800000, 0x3f800000, down), 0x80000000},
		{"-0+-0", f32.add(0x80000000, 0x80000000, up), 0x80000000},
		{"+0+-0 rm", f32.add(0, 0x80000000, down), 0x80000000},
		{"+0+-0 rp", f32.add(0, 0x80000000, up), 0},
		{"fma -0*1+-0", f32.fma(0x80000000, 0x3f800000, 0x80000000, nearest), 0x80000000},
		{"fma -0*1+0", f32.fma(0x80000000, 0x3f800000, 0, nearest), 0},
		{"sqrt -0", f32.sqrt(0x80000000, down), 0x80000000},
		{"1/-0", f32.rcp(0x80000000, nearest), 0xff800000},
		// Slightly less than half a unit in the last place of 1 + 2^-23, relatively by
		// 2^-46: a double-precision fma would see a tie.
		{"fma below the middle", f32.fma(0x33800001, 0x3f7ffffe, 0x3f800001, nearest), 0x3f800001},
		// The smaller of zeros.
		{"min(+0,-0)", f32.minNum(0, 0x80000000), 0x80000000},
		{"max(-0,+0)", f32.maxNum(0x80000000, 0), 0},
		{"min(NaN,1)", f32.minNum(0x7f800001, 0x3f800000), 0x3f800000},
		{"max(1,NaN)", f32.maxNum(0x3f800000, 0xffffffff), 0x3f800000},
		// fp8.
		{"e4m3 448", satfinite(e4m3, f32, bitsOf32(448)), 0x7e},
		{"e4m3 1e9", satfinite(e4m3, f32, bitsOf32(1e9)), 0x7e},
		{"e4m3 -inf", satfinite(e4m3, f32, 0xff800000), 0xfe},
		{"e4m3 NaN", satfinite(e4m3, f32, 0x7fc00000), 0x7f},
		{"e5m2 61440", satfinite(e5m2, f32, bitsOf32(61440)), 0x7b},
		{"e5m2 inf", satfinite(e5m2, f32, 0x7f800000), 0x7b},
		// Integers.
		{"s32 of 2^31", s32.fromFloat(f32, bitsOf32(1<<31), toZero), 0x7fffffff},
		{"u32 of -0.5 rz", u32.fromFloat(f32, bitsOf32(-0.5), toZero), 0},
		{"u32 of -1", u32.fromFloat(f32, bitsOf32(-1), toZero), 0},
		{"s32 of -2.5 rn", s32.fromFloat(f32, bitsOf32(-2.5), nearest) & mask(32), 0xfffffffe},
		{"s32 of -2.5 rm", s32.fromFloat(f32, bitsOf32(-2.5), down) & mask(32), 0xfffffffd},
		{"s32 of a NaN", s32.fromFloat(f32, 0x7fffffff, down), 0},
		{"u32 of a NaN of f64", u32.fromFloat(f64, 0x7ff8000000000000, down), 0x80000000},
		{"s64 of a NaN", s64.fromFloat(f32, 0x7fffffff, down), 1 << 63},
		{"f16 of 65519", f16.fromInteger(s32, 65519, nearest), 0x7bff},
		{"f16 of 65520", f16.fromInteger(s32, 65520, nearest), 0x7c00},
		{"f16 of 65520 rz", f16.fromInteger(s32, 65520, toZero), 0x7bff},
	} {
		if c.got != c.exp {
			t.Errorf("%s: %#x, not %#x", c.name, c.got, c.exp)
		}
	}
}

// TestFusedOnce: results that change if the product is rounded before the sum, or if
// the whole is first rounded to double precision.
func TestFusedOnce(t *testing.T) {
	twice, double := 0, 0
	for _, row := range drawn(f32.fused()) {
		a, b, c := float32Of(row[0]), float32Of(row[1]), float32Of(row[2])
		got := f32.fma(row[0], row[1], row[2], nearest)
		if p := float32(a * b); !same32(got, p+c) {
			twice++
		}
		if !same32(got, float32(math.FMA(float64(a), float64(b), float64(c)))) {
			double++
		}
	}
	if twice < 20 || double < 5 {
		t.Errorf("only %d rows of fma tell a product rounded first, and %d a double rounding", twice, double)
	}
}

func TestFormatsAgainstDtype(t *testing.T) {
	for i := range uint64(1 << 16) {
		if got, exp := convert(f32, f16, i, nearest), dtype.F16ToF32(uint16(i)); !same32(got, exp) {
			t.Fatalf("f16 %#x: %#x, not %#x", i, got, math.Float32bits(exp))
		}
		if got, exp := convert(f32, bf16, i, nearest), dtype.BF16ToF32(uint16(i)); !same32(got, exp) {
			t.Fatalf("bf16 %#x: %#x, not %#x", i, got, math.Float32bits(exp))
		}
	}
	for i := range uint64(1 << 8) {
		if got, exp := convert(f32, e4m3, i, nearest), dtype.E4M3ToF32(uint8(i)); !same32(got, exp) {
			t.Fatalf("e4m3 %#x: %#x, not %#x", i, got, math.Float32bits(exp))
		}
		if got, exp := convert(f32, e5m2, i, nearest), dtype.E5M2ToF32(uint8(i)); !same32(got, exp) {
			t.Fatalf("e5m2 %#x: %#x, not %#x", i, got, math.Float32bits(exp))
		}
	}
	for _, to := range []format{f16, bf16, e4m3, e5m2} {
		for _, row := range drawn(rows(f32.numbers()).and(halves(to, f32), f32.anywhere(), to.around(f32))) {
			x := float32Of(row[0])
			if x != x {
				continue
			}
			var got, exp uint64
			switch to.name {
			case "f16":
				got, exp = convert(to, f32, row[0], nearest), uint64(dtype.F32ToF16(x))
			case "bf16":
				got, exp = convert(to, f32, row[0], nearest), uint64(dtype.F32ToBF16(x))
			case "e4m3":
				got, exp = satfinite(to, f32, row[0]), uint64(dtype.F32ToE4M3(x))
			case "e5m2":
				got, exp = satfinite(to, f32, row[0]), uint64(dtype.F32ToE5M2(x))
			}
			if got != exp {
				t.Errorf("%s of %g (%#x): %#x, not %#x", to.name, x, row[0], got, exp)
			}
		}
	}
}

func TestIntegersAgainstGo(t *testing.T) {
	for _, row := range drawn(rows(u64.domain(), u64.domain())) {
		a, b := row[0], row[1]
		hi, lo := bits.Mul64(a, b)
		p := new(big.Int).Mul(u64.value(a), u64.value(b))
		if wrap(p, 64) != lo || wrap(new(big.Int).Rsh(p, 64), 64) != hi {
			t.Errorf("%#x · %#x", a, b)
		}
		if b := int64(b); b != 0 {
			for op, exp := range map[string]int64{"div": int64(a) / b, "rem": int64(a) % b} {
				if w := s64.quotient(op, a, uint64(b)); int64(w.bits) != exp {
					t.Errorf("%s.s64 %d, %d: %d, not %d", op, int64(a), b, int64(w.bits), exp)
				}
			}
		}
		if got, exp := s16.extend(a), uint64(int64(int16(a))); got != exp {
			t.Errorf("s16 of %#x: %#x, not %#x", a, got, exp)
		}
		for _, c := range []struct {
			got uint64
			exp float64
		}{
			{f64.fromInteger(u64, a, nearest), float64(a)},
			{f64.fromInteger(s64, a, nearest), float64(int64(a))},
		} {
			if !same64(c.got, c.exp) {
				t.Errorf("float of %#x: %#x, not %#x", a, c.got, math.Float64bits(c.exp))
			}
		}
		if got, exp := f32.fromInteger(u64, a, nearest), float32(a); !same32(got, exp) {
			t.Errorf("f32 of %#x: %#x, not %#x", a, got, math.Float32bits(exp))
		}
	}
}
