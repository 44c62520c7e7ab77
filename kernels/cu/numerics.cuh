// The arithmetic of ref/NUMERICS.md that kernels share.
#pragma once
#include "cuda.cuh"

__word__ uint32 bits_of(float v) { return __builtin_bit_cast(uint32, v); }
__word__ float float_of(uint32 bits) { return __builtin_bit_cast(float, bits); }

__word__ float max(float a, float b) { return __nvvm_fmax_f(a, b); }
__word__ float min(float a, float b) { return __nvvm_fmin_f(a, b); }

// Below every float: what a maximum starts from.
__word__ float lowest() { return float_of(0xff800000); }

// butterfly_sum adds the lanes' values as §3 has it: at distances 16, 8, 4, 2, 1.
__word__ float butterfly_sum(float v) {
  for (int distance = 16; distance > 0; distance /= 2) v = v + from_lane_xor(v, distance);
  return v;
}

// butterfly_max returns the largest of the lanes' values.
__word__ float butterfly_max(float v) {
  for (int distance = 16; distance > 0; distance /= 2) v = max(v, from_lane_xor(v, distance));
  return v;
}

// exp_of is e^x for finite x <= 0, as §5 has it (vec.Exp).
__word__ float exp_of(float x) {
  constexpr float log2e = 0x1.715476p+0f, ln2hi = 0x1.62e4p-1f, ln2lo = 0x1.7f7d1cp-20f;
  constexpr float round = 0x1.8p+23f + 160;
  const float t = x * log2e + round;
  const float n = t - round;
  const float r = (x - n * ln2hi) - n * ln2lo;
  const float q =
      (((0x1.6a23dp-10f * r + 0x1.123a2p-7f) * r + 0x1.5558f2p-5f) * r + 0x1.555492p-3f) * r +
      0x1.fffffcp-2f;
  const float p = 1 + (r + q * (r * r));
  const float scaled = (p * float_of(bits_of(t) << 23)) * 0x1p-33f;
  return x < -104 ? 0 : scaled;
}

// log_of is ln x for finite x >= 1, as §9 has it (vec.Log).
__word__ float log_of(float x) {
  constexpr float ln2hi = 0x1.62e4p-1f, ln2lo = 0x1.7f7d1cp-20f;
  constexpr int root = 0x3f3504f3;  // bits of √½
  const int above = int(bits_of(x)) - root;
  const float e = float(above >> 23);
  const float f = float_of(uint32((above & 0x7fffff) + root)) - 1;
  const float s = f / (2 + f);
  const float z = s * s;
  const float r = (0x1.2eeb9p-2f * z + 0x1.997c06p-2f) * z + 0x1.55555cp-1f;
  const float c = s * (f - z * r);
  return e * ln2hi + (f - (c - e * ln2lo));
}

constexpr float quarter_turn = 0x1.921fb6p+0f;       // H of §13
constexpr float quarter_turn_rest = -0x1.777a5cp-25f;  // L
constexpr float half_turn = 2 * quarter_turn;

// arccos_of is arccos c for c from -1 to 1, as §13 has it (vec.Acos).
__word__ float arccos_of(float c) {
  const float magnitude = float_of(bits_of(c) & 0x7fffffff);
  const bool beyond = magnitude > 0.5f;
  const float z = beyond ? (1 - magnitude) * 0.5f : magnitude * magnitude;
  const float s = beyond ? __nvvm_sqrt_rn_f(z) : magnitude;
  const float p = (((0x1.599f2ep-5f * z + 0x1.8bf124p-6f) * z + 0x1.748376p-5f) * z +
                   0x1.3301b4p-4f) * z + 0x1.5555cap-3f;
  const float w = s * (z * p);
  const float below = quarter_turn - (s + (w - quarter_turn_rest));
  if (c > 0.5f) return 2 * (s + w);
  if (c < -0.5f) return 2 * below;
  return c < 0 ? quarter_turn + (s + (w + quarter_turn_rest)) : below;
}

// sine_of is sin x for x from 0 to half_turn, as §13 has it (vec.Sin).
__word__ float sine_of(float x) {
  const float r = x > quarter_turn ? (2 * quarter_turn - x) + 2 * quarter_turn_rest : x;
  const float z = r * r;
  const float p = ((0x1.5dbc58p-19f * z + -0x1.9f6fe2p-13f) * z + 0x1.110ed2p-7f) * z +
                  -0x1.55554cp-3f;
  return r + r * (z * p);
}

// gain is what a KV's metric gains from an attention weight (§4): its square, or
// itself, which a product with 1 leaves as it is.
__word__ float gain(float weight, bool squared) { return weight * (squared ? weight : 1); }

__word__ float square_root(float v) { return __nvvm_sqrt_rn_f(v); }

// warp_dot is the sum of the products of two vectors of d elements, as §3 has it. All
// lanes have it.
__word__ float warp_dot(const float* a, const float* b, int d) {
  float sum = 0;
  for (int i = lane(); i < d; i += warp_size) sum = sum + a[i] * b[i];
  return butterfly_sum(sum);
}
