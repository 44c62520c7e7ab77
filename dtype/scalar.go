package dtype

import "math"

// Bit patterns of float32.
const (
	signMask = 0x8000_0000
	infBits  = 0x7f80_0000
)

// F16ToF32 returns the value of the binary16 number with the given bits; the
// conversion is exact. A NaN stays a NaN of the same sign, its payload moved up
// by 13 bits, and becomes quiet, as VCVTPH2PS has it.
func F16ToF32(h uint16) float32 {
	magnitude := uint32(h & 0x7fff)
	sign := uint32(h&0x8000) << 16
	switch {
	case magnitude > 0x7c00:
		return math.Float32frombits(sign | 0x7fc0_0000 | magnitude<<13)
	case magnitude == 0x7c00:
		return math.Float32frombits(sign | infBits)
	}
	return math.Float32frombits(sign | widen(magnitude, 10, 15))
}

// F32ToF16 returns the bits of the binary16 number nearest to f, ties to even.
// From 65520, half a step above the largest finite number, it is infinity. A
// NaN stays a NaN of the same sign with the upper ten bits of its payload, and
// becomes quiet, as VCVTPS2PH has it.
func F32ToF16(f float32) uint16 {
	magnitude, sign := split(f)
	sign >>= 16
	if magnitude > infBits {
		return uint16(sign | 0x7e00 | magnitude>>13&0x3ff)
	}
	return uint16(sign | min(narrow(magnitude, 10, 15), 0x7c00))
}

// BF16ToF32 returns the value of the bfloat16 number with the given bits, which
// are the upper half of the float32's, signalling NaNs included.
func BF16ToF32(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// F32ToBF16 returns the bits of the bfloat16 number nearest to f, ties to even.
// From half a step above the largest finite number it is infinity. A NaN stays
// a NaN of the same sign with the upper seven bits of its payload, and becomes
// quiet.
func F32ToBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if b&^signMask > infBits {
		return uint16(b>>16 | 0x40)
	}
	return uint16(roundShift(b, 16))
}

// E4M3ToF32 returns the value of the fp8 E4M3 number with the given bits. The
// format has no infinity, and one NaN of either sign, S.1111.111, which becomes
// the quiet float32 NaN of that sign.
func E4M3ToF32(b uint8) float32 {
	magnitude := uint32(b & 0x7f)
	sign := uint32(b&0x80) << 24
	if magnitude == 0x7f {
		return math.Float32frombits(sign | 0x7fc0_0000)
	}
	return math.Float32frombits(sign | widen(magnitude, 3, 7))
}

// F32ToE4M3 returns the bits of the fp8 E4M3 number nearest to f, ties to even.
// What lies above 448 in magnitude, infinities included, becomes 448 of its
// sign, and every NaN 0x7f, as PTX's cvt.rn.satfinite.e4m3x2.f32 has it.
func F32ToE4M3(f float32) uint8 {
	magnitude, sign := split(f)
	if magnitude > infBits {
		return 0x7f
	}
	return uint8(sign>>24 | min(narrow(magnitude, 3, 7), 0x7e))
}

// E5M2ToF32 returns the value of the fp8 E5M2 number with the given bits. The
// format has infinities and NaNs as IEEE 754 lays them out; a NaN becomes quiet.
func E5M2ToF32(b uint8) float32 {
	// E5M2 is the upper half of binary16.
	return F16ToF32(uint16(b) << 8)
}

// F32ToE5M2 returns the bits of the fp8 E5M2 number nearest to f, ties to even.
// What lies above 57344 in magnitude, infinities included, becomes 57344 of its
// sign, and every NaN 0x7f, as PTX's cvt.rn.satfinite.e5m2x2.f32 has it.
func F32ToE5M2(f float32) uint8 {
	magnitude, sign := split(f)
	if magnitude > infBits {
		return 0x7f
	}
	return uint8(sign>>24 | min(narrow(magnitude, 2, 15), 0x7b))
}

func split(f float32) (magnitude, sign uint32) {
	b := math.Float32bits(f)
	return b &^ signMask, b & signMask
}

// widen returns the float32 bits of a finite magnitude whose format has mant
// stored mantissa bits and the given exponent bias.
func widen(magnitude, mant, bias uint32) uint32 {
	if magnitude>>mant == 0 {
		// A subnormal counts steps of 2^(1-bias-mant). The product is exact.
		step := math.Float32frombits((127 + 1 - bias - mant) << 23)
		return math.Float32bits(float32(magnitude) * step)
	}
	return magnitude<<(23-mant) + (127-bias)<<23
}

// narrow rounds the magnitude bits of a float32 that is no NaN to a format with
// mant stored mantissa bits and the given exponent bias. The result goes on
// counting past the format's last exponent, for the caller to clamp: bits of
// rising magnitudes rise.
func narrow(magnitude, mant, bias uint32) uint32 {
	rebias := (127 - bias) << 23
	if magnitude < rebias+1<<23 {
		// The result is subnormal, or the first normal number. Added to a
		// number whose last place is the format's smallest step, the magnitude
		// is rounded to that step by the addition itself.
		aligner := (127 + 23 + 1 - bias - mant) << 23
		sum := math.Float32frombits(magnitude) + math.Float32frombits(aligner)
		return math.Float32bits(sum) - aligner
	}
	return roundShift(magnitude-rebias, 23-mant)
}

// roundShift shifts b right by n bits, to nearest, ties to even.
func roundShift(b, n uint32) uint32 {
	odd := b >> n & 1
	return (b + 1<<(n-1) - 1 + odd) >> n
}
