// Quantized groups (ref/NUMERICS.md §12), in units of pages: each has its codes, then its scales,
// then its minima.
//
//   by channels  Size tokens: byte k of the line of channel j is byte k·D + j; D scales, D minima
//   by tokens    1 token: its line of D·b/8 bytes; D/Size scales and as many minima
#pragma once
#include "pages.cuh"

// A list of quantized keys, or values, of a head, and how they lie in its pages.
struct packed : units {
  int bits, size;  // of a code; of a group
  int codes;       // bytes of a unit's codes

  // of_channels is a list with groups of Size tokens of a channel; of_tokens has groups of Size
  // channels of a token, and `more` bytes after the minima of each unit.
  template <class format>
  __word__ static packed of_channels(char* keys, char* values, const int* pages, int d, int shift,
                                     int bits, int size) {
    return of<format>(keys, values, pages, d, shift, bits, size, size * bits * d / 8, d, 0);
  }
  template <class format>
  __word__ static packed of_tokens(char* keys, char* values, const int* pages, int d, int shift,
                                   int bits, int size, int more) {
    return of<format>(keys, values, pages, d, shift, bits, size, bits * d / 8, d / size, more);
  }

  // four_of_channels reads elements column to column + 3 of a KV whose group is a unit.
  template <class format>
  __device__ __forceinline__ float4 four_of_channels(int logical, int column, int d) const {
    float4 x;
    const uint32 mask = (1u << bits) - 1;
    const int u = logical / size, bit = logical % size * bits;
    const uint32 low = *reinterpret_cast<const uint32*>(at(u, bit / 8 * d + column));
    uint32 high = 0;
    if (bit % 8 + bits > 8) {
      high = *reinterpret_cast<const uint32*>(at(u, (bit / 8 + 1) * d + column));
    }
    for (int half = 0; half < 4; half += 2) {
      float scale[2], minimum[2];
      format::decode(at(u, codes + (column + half) * format::size), scale);
      format::decode(at(u, codes + (d + column + half) * format::size), minimum);
      for (int j = 0; j < 2; j++) {
        const int at = 8 * (half + j);
        const uint32 code = ((low >> at & 0xff) | (high >> at & 0xff) << 8) >> (bit % 8) & mask;
        x.at[half + j] = float(code) * scale[j] + minimum[j];
      }
    }
    return x;
  }

  // four_of_token reads elements column to column + 3 of unit u, a token.
  template <class format>
  __device__ __forceinline__ float4 four_of_token(int u, int column, int d) const {
    float4 x;
    const uint32 mask = (1u << bits) - 1;
    const int bit = column * bits, groups = d / size;
    uint32 word = *reinterpret_cast<const uint8*>(at(u, bit / 8));
    if (bit % 8 + 4 * bits > 8) {
      word |= uint32(*reinterpret_cast<const uint8*>(at(u, bit / 8 + 1))) << 8;
    }
    for (int j = 0; j < 4; j++) {
      const int group = (column + j) / size;
      const float scale = one<format>(at(u, codes + group * format::size));
      const float minimum = one<format>(at(u, codes + (groups + group) * format::size));
      x.at[j] = float(word >> (bit % 8 + j * bits) & mask) * scale + minimum;
    }
    return x;
  }

 private:
  template <class format>
  __word__ static packed of(char* keys, char* values, const int* pages, int d, int shift, int bits,
                            int size, int codes, int groups, int more) {
    return {units::of(keys, values, pages, int64(d * format::size) << shift,
                      codes + 2 * format::size * groups + more),
            bits, size, codes};
  }
};

// make_codes quantizes one group: `read` gives its element i, and `put` takes its code. It
// writes scale and minimum. A code is the integer nearest to (x − m)/S, ties to even: added
// to 3·2²², a number below 2²² is rounded to it.
template <class format, class reading, class putting>
__device__ __forceinline__ void make_codes(int size, int bits, char* scale_at, char* minimum_at,
                                           const reading& read, const putting& put) {
  const float top = float((1 << bits) - 1);
  float low = read(0), high = low;
  for (int i = 1; i < size; i++) {
    const float x = read(i);
    low = min(low, x);
    high = max(high, x);
  }
  low = low + 0;
  const float scale = store_one<format>(scale_at, ((high - low) + 0) / top);
  store_one<format>(minimum_at, low);
  for (int i = 0; i < size; i++) {
    uint32 code = 0;
    if (scale != 0) {
      const float quotient = min((read(i) - low) / scale, top);
      code = bits_of(quotient + 0x1.8p+23f) & 0xff;
    }
    put(code);
  }
}

// A line packs consecutive codes into bytes that are `pitch` bytes apart.
struct line {
  const packed& to;
  int unit, byte, pitch, bits;
  uint32 held = 0;
  int count = 0;

  __device__ __forceinline__ void put(uint32 code) {
    held |= code << count;
    count += bits;
    if (count >= 8) {
      *reinterpret_cast<uint8*>(to.at(unit, byte)) = uint8(held);
      byte += pitch;
      held >>= 8;
      count -= 8;
    }
  }
};

// make_piece quantizes `piece` channels of a token, unit u, from `column` on: whole groups, and
// codes that fill whole bytes. `read` gives the token's element j.
template <class format, class reading>
__device__ __forceinline__ void make_piece(const packed& to, int u, int column, int piece, int d,
                                           const reading& read) {
  const int groups = d / to.size;
  line codes = {to, u, column * to.bits / 8, 1, to.bits};
  for (int j = column; j < column + piece; j += to.size) {
    const int group = j / to.size;
    make_codes<format>(
        to.size, to.bits, to.at(u, to.codes + group * format::size),
        to.at(u, to.codes + (groups + group) * format::size),
        [&](int k) { return read(j + k); }, [&](uint32 code) { codes.put(code); });
  }
}
