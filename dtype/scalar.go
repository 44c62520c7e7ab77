package dtype

import "math"

// Bit patterns of float32.
const (
	signMask = 0x8000_0000
	infBits  = 0x7f80_0000
)

// F16ToF32 returns the value of the binary16 number with the given bits; the
// conversion is exact. A NaN keeps its sign, has its payload shifted left by 13 bits
// and becomes quiet, as x86's VCVTPH2PS does.
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
// From 65520 in magnitude (halfway between 65504, the largest, and the next step) on, the
// result is infinity. A NaN keeps its sign and the upper ten bits of its payload and becomes
// quiet, as x86's VCVTPS2PH does.
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

// F32ToBF16 returns the bits of the bfloat16 number nearest to f, ties to even. A result beyond the largest
// finite number becomes infinity. A NaN keeps its sign and the upper seven bits of its payload and becomes
// quiet.
func F32ToBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if b&^signMask > infBits {
		return uint16(b>>16 | 0x40)
	}
	return uint16(roundShift(b, 16))
}

// E4M3ToF32 returns the value of the fp8 E4M3 number with the given bits. The
// format has no infinity. Its only NaN, of either sign, is S.1111.111: it becomes the
// quiet float32 NaN of that sign.
func E4M3ToF32(b uint8) float32 {
	magnitude := uint32(b & 0x7f)
	sign := uint32(b&0x80) << 24
	if magnitude == 0x7f {
		return math.Float32frombits(sign | 0x7fc0_0000)
	}
	return math.Float32frombits(sign | widen(magnitude, 3, 7))
}

// F32ToE4M3 returns the bits of the fp8 E4M3 number nearest to f, ties to even.
// Magnitudes above 448, infinities included, saturate to 448 with the sign kept, and
// every NaN becomes 0x7f, as PTX's cvt.rn.satfinite.e4m3x2.f32 does.
func F32ToE4M3(f float32) uint8 {
	magnitude, sign := split(f)
	if magnitude > infBits {
		return 0x7f
	}
	return uint8(sign>>24 | min(narrow(magnitude, 3, 7), 0x7e))
}

// E5M2ToF32 returns the value of the fp8 E5M2 number with the given bits. The
// format encodes infinities and NaNs as IEEE 754 does; a NaN becomes quiet.
func E5M2ToF32(b uint8) float32 {
	// E5M2 is the upper half of binary16.
	return F16ToF32(uint16(b) << 8)
}

// F32ToE5M2 returns the bits of the fp8 E5M2 number nearest to f, ties to even.
// Magnitudes above 57344, infinities included, saturate to 57344 with the sign kept, and
// every NaN becomes 0x7f, as PTX's cvt.rn.satfinite.e5m2x2.f32 does.
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

// narrow rounds the magnitude bits of a float32 that is not NaN to a format with mant stored mantissa bits
// and the given exponent bias. If the magnitude exceeds the format's largest, so do the resulting bits, and
// the caller clamps them.
func narrow(magnitude, mant, bias uint32) uint32 {
	rebias := (127 - bias) << 23
	if magnitude < rebias+1<<23 {
		// The result is subnormal, or the smallest normal number. The aligner is a float32
		// whose unit in the last place is the format's smallest subnormal, so that this
		// addition rounds the magnitude to a multiple of it.
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
