// The formats of keys and values in the cache, as package dtype has them: how
// elements lie in memory, and the conversions.
#pragma once
#include "numerics.cuh"

// Words that one load or store moves.
struct alignas(8) words2 {
  uint32 at[2];
};
struct alignas(16) words4 {
  uint32 at[4];
};
struct alignas(8) float2 {
  float at[2];
};
struct alignas(16) float4 {
  float at[4];
};

// A format has
//   size            bytes of an element
//   eight           8 elements as they are stored
//   lift            a power of two that decoded elements are divided by
//   encode(a, b)    rounds 8 floats
//   decode(at, v)   sets v to the 2 or 4 elements at an address, divided by lift
//
// An fp8 format is made with a scale s: it encodes x / s, and decodes x·s.
//
// A row of K or V is a multiple of 8 elements, and begins at a multiple of them.
// decode need not handle NaN and infinity: the cache has none.

struct f32 {
  static constexpr int size = 4;
  static constexpr float lift = 1;
  struct alignas(16) eight {
    float4 at[2];
  };
  __word__ static eight encode(float4 a, float4 b) { return {{a, b}}; }

  __word__ static void decode(const char* at, float (&v)[2]) {
    const float2 x = *reinterpret_cast<const float2*>(at);
    for (int i = 0; i < 2; i++) v[i] = x.at[i];
  }
  __word__ static void decode(const char* at, float (&v)[4]) {
    const float4 x = *reinterpret_cast<const float4*>(at);
    for (int i = 0; i < 4; i++) v[i] = x.at[i];
  }
};

// The 2-byte formats; `half` converts elements.
template <class half>
struct two_bytes : half {
  static constexpr int size = 2;
  static constexpr float lift = 1;
  using eight = words4;
  __word__ static eight encode(float4 a, float4 b) {
    return {{half::pair(a.at[0], a.at[1]), half::pair(a.at[2], a.at[3]),
             half::pair(b.at[0], b.at[1]), half::pair(b.at[2], b.at[3])}};
  }
};

struct binary16 {
  using two = _Float16 __attribute__((ext_vector_type(2)));
  using four = _Float16 __attribute__((ext_vector_type(4)));
  __word__ static uint32 pair(float low, float high) {
    return __builtin_bit_cast(uint32, __nvvm_ff2f16x2_rn(high, low));
  }
  __word__ static void decode(const char* at, float (&v)[2]) {
    const two x = *reinterpret_cast<const two*>(at);
    for (int i = 0; i < 2; i++) v[i] = x[i];
  }
  __word__ static void decode(const char* at, float (&v)[4]) {
    const four x = *reinterpret_cast<const four*>(at);
    for (int i = 0; i < 4; i++) v[i] = x[i];
  }
};
using f16 = two_bytes<binary16>;

// A bfloat16 is the upper half of a float.
struct bfloat16 {
  using four = uint32 __attribute__((ext_vector_type(2)));
  __word__ static float low(uint32 x) { return float_of(x << 16); }
  __word__ static float high(uint32 x) { return float_of(x & 0xffff0000); }
  __word__ static uint32 pair(float low, float high) {
    return __builtin_bit_cast(uint32, __nvvm_ff2bf16x2_rn(high, low));
  }
  __word__ static void decode(const char* at, float (&v)[2]) {
    const uint32 x = *reinterpret_cast<const uint32*>(at);
    v[0] = low(x);
    v[1] = high(x);
  }
  __word__ static void decode(const char* at, float (&v)[4]) {
    const four x = *reinterpret_cast<const four*>(at);
    for (int i = 0; i < 2; i++) {
      v[2 * i] = low(x[i]);
      v[2 * i + 1] = high(x[i]);
    }
  }
};
using bf16 = two_bytes<bfloat16>;

// The fp8 formats: the stored bits of the mantissa, the exponent's bias, and the
// bits of the largest finite number, to which larger ones saturate.
template <int mantissa, int bias, uint32 largest>
struct fp8 {
  static constexpr int size = 1;
  static constexpr float lift = 0x1p40f;  // the largest scale
  using eight = words2;

  float scale;

  // To nearest, ties to even (dtype.narrow).
  __word__ static uint32 one(float v) {
    constexpr uint32 rebias = uint32(127 - bias) << 23;
    constexpr uint32 aligner = uint32(127 + 23 + 1 - bias - mantissa) << 23;
    constexpr int shift = 23 - mantissa;
    const uint32 magnitude = bits_of(v) & 0x7fffffff;
    // Adding a number whose last place is the format's smallest step rounds a
    // result that is subnormal to that step.
    const uint32 small = bits_of(float_of(magnitude) + float_of(aligner)) - aligner;
    const uint32 moved = magnitude - rebias;
    const uint32 normal = (moved + (1u << (shift - 1)) - 1 + (moved >> shift & 1)) >> shift;
    const uint32 rounded = magnitude < rebias + (1u << 23) ? small : normal;
    return (bits_of(v) >> 24 & 0x80) | (rounded < largest ? rounded : largest);
  }
  __word__ uint32 four(float4 v) const {
    return one(v.at[0] / scale) | one(v.at[1] / scale) << 8 | one(v.at[2] / scale) << 16 |
           one(v.at[3] / scale) << 24;
  }
  __word__ eight encode(float4 a, float4 b) const { return {{four(a), four(b)}}; }

  // With its exponent and mantissa in the places of a float's, a number is too small by
  // a power of two that depends on the bias alone, subnormals included. The
  // arithmetic shift leaves room for the exponent's upper bits.
  //
  // One multiplication, by this power of two times the scale s, corrects it and applies the
  // scale. It is rounded once, as x·s is specified to be. The factor could exceed the largest
  // float, so it is divided by `lift`. The result, x·s / lift, is a normal number and has the
  // bits of x·s except for the exponent. The query or weight that it is multiplied by has been
  // multiplied by `lift`, which is exact, since its magnitude is at most 2^56. So the product of
  // the two is the same as with x·s.
  __word__ float element(uint32 x, int i) const {
    constexpr uint32 mask = 0x80000000 | 0x7fu << (23 - mantissa);
    const int moved = int(x << (24 - 8 * i)) >> (mantissa + 1);
    const float unit = scale * (float_of(uint32(127 + 127 - bias) << 23) / lift);
    return float_of(uint32(moved) & mask) * unit;
  }
  __word__ void decode(const char* at, float (&v)[2]) const {
    const uint32 x = *reinterpret_cast<const uint16*>(at);
    for (int i = 0; i < 2; i++) v[i] = element(x, i);
  }
  __word__ void decode(const char* at, float (&v)[4]) const {
    const uint32 x = *reinterpret_cast<const uint32*>(at);
    for (int i = 0; i < 4; i++) v[i] = element(x, i);
  }
};
using e4m3 = fp8<3, 7, 0x7e>;
using e5m2 = fp8<2, 15, 0x7b>;
