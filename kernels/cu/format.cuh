// The formats of keys and values in the cache, as package dtype has them: how a
// row is cut into pieces that one load or store moves, and the conversions.
#pragma once
#include "cuda.cuh"

// Words are read and written as vectors of 32-bit words.
struct alignas(8) words2 {
  uint32 at[2];
};
struct alignas(16) words4 {
  uint32 at[4];
};
struct alignas(16) float4 {
  float at[4];
};

__word__ uint32 bits_of(float v) { return __builtin_bit_cast(uint32, v); }
__word__ float float_of(uint32 bits) { return __builtin_bit_cast(float, bits); }

// narrow rounds the magnitude bits of a float to nearest, ties to even, in a
// format of mantissa stored bits and the exponent bias given (dtype.narrow).
// What is beyond the largest number goes on counting: the caller clamps it.
template <int mantissa, int bias>
__word__ uint32 narrow(uint32 magnitude) {
  constexpr uint32 rebias = uint32(127 - bias) << 23;
  constexpr uint32 aligner = uint32(127 + 23 + 1 - bias - mantissa) << 23;
  constexpr int shift = 23 - mantissa;
  // Added to a number whose last place is the smallest step, what becomes
  // subnormal is rounded to that step by the addition itself.
  const uint32 small = bits_of(float_of(magnitude) + float_of(aligner)) - aligner;
  const uint32 moved = magnitude - rebias;
  const uint32 large = (moved + (1u << (shift - 1)) - 1 + (moved >> shift & 1)) >> shift;
  return magnitude < rebias + (1u << 23) ? small : large;
}

// saturating rounds to an 8-bit format whose largest finite number has the bits
// given; what lies beyond becomes that.
template <int mantissa, int bias, uint32 largest>
__word__ uint32 saturating(float v) {
  const uint32 rounded = narrow<mantissa, bias>(bits_of(v) & 0x7fffffff);
  return (bits_of(v) >> 24 & 0x80) | (rounded < largest ? rounded : largest);
}

// A format has
//   size            bytes of an element
//   eight           8 elements as they lie in memory
//   encode(a, b)    8 floats, rounded
//   quad            4 elements as they lie in memory
//   decode(x)       4 elements, exactly
//
// decode knows no NaN and no infinity: the cache has none.

struct f32 {
  static constexpr int size = 4;
  struct alignas(16) eight {
    float4 at[2];
  };
  using quad = float4;
  __word__ static eight encode(float4 a, float4 b) { return {{a, b}}; }
  __word__ static float4 decode(quad x) { return x; }
};

struct f16 {
  static constexpr int size = 2;
  using eight = words4;
  using quad = words2;
  __word__ static uint32 pair(float low, float high) {
    return __builtin_bit_cast(uint32, __nvvm_ff2f16x2_rn(high, low));
  }
  __word__ static eight encode(float4 a, float4 b) {
    return {{pair(a.at[0], a.at[1]), pair(a.at[2], a.at[3]),
             pair(b.at[0], b.at[1]), pair(b.at[2], b.at[3])}};
  }
  __word__ static float one(uint32 x) { return float(__builtin_bit_cast(_Float16, uint16(x))); }
  __word__ static float4 decode(quad x) {
    return {{one(x.at[0]), one(x.at[0] >> 16), one(x.at[1]), one(x.at[1] >> 16)}};
  }
};

// A bfloat16 is the upper half of a float.
struct bf16 {
  static constexpr int size = 2;
  using eight = words4;
  using quad = words2;
  __word__ static uint32 pair(float low, float high) {
    return __builtin_bit_cast(uint32, __nvvm_ff2bf16x2_rn(high, low));
  }
  __word__ static eight encode(float4 a, float4 b) {
    return {{pair(a.at[0], a.at[1]), pair(a.at[2], a.at[3]),
             pair(b.at[0], b.at[1]), pair(b.at[2], b.at[3])}};
  }
  __word__ static float low(uint32 x) { return float_of(x << 16); }
  __word__ static float high(uint32 x) { return float_of(x & 0xffff0000); }
  __word__ static float4 decode(quad x) {
    return {{low(x.at[0]), high(x.at[0]), low(x.at[1]), high(x.at[1])}};
  }
};

// The two fp8 formats. Shifted to where a float has its exponent and mantissa, a
// number is too small by a power of two that depends on the bias alone,
// subnormals included, and the product puts that right exactly.
template <int mantissa, int bias, uint32 largest>
struct fp8 {
  static constexpr int size = 1;
  using eight = words2;
  using quad = uint32;
  __word__ static uint32 four(float4 v) {
    uint32 word = 0;
    for (int i = 0; i < 4; i++) word |= saturating<mantissa, bias, largest>(v.at[i]) << 8 * i;
    return word;
  }
  __word__ static eight encode(float4 a, float4 b) { return {{four(a), four(b)}}; }
  __word__ static float4 decode(quad x) {
    constexpr int exponent = 7 - mantissa;  // its bits
    constexpr uint32 mask = 0x80000000 | 0x7fu << (23 - mantissa);
    const float scale = float_of(uint32(127 + 127 - bias) << 23);
    float4 v;
    for (int i = 0; i < 4; i++) {
      // The arithmetic shift leaves room for the exponent's upper bits.
      const int top = int(x << (24 - 8 * i)) >> (8 - exponent);
      v.at[i] = float_of(uint32(top) & mask) * scale;
    }
    return v;
  }
};
using e4m3 = fp8<3, 7, 0x7e>;
using e5m2 = fp8<2, 15, 0x7b>;
