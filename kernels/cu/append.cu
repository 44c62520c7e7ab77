// Append: new keys and values enter the cache, rounded to its format
// (ref/NUMERICS.md §2). Tables and lengths are as the allocation has left them.
//
// The kernels end in the name of the cache's format: append_prompt_f16.
#include "format.cuh"
#include "paging.cuh"

// store rounds 8 elements of a token's key and value, from element `from` on, and
// puts them in a slot: in the cache's format, with the scales of K and V where it has them. The first of its threads gives the slot its metric, 0, where
// there are metrics, and its position.
template <class format>
__device__ __forceinline__ void store(format k_codec, format v_codec, const float* __restrict__ k,
                                      const float* __restrict__ v,
                                      typename format::eight* __restrict__ keys,
                                      typename format::eight* __restrict__ values,
                                      float* __restrict__ metrics, int* __restrict__ positions,
                                      int slot, int piece, int pieces, int position) {
  const float4* k4 = reinterpret_cast<const float4*>(k);
  const float4* v4 = reinterpret_cast<const float4*>(v);
  const int64 to = int64(slot) * pieces + piece;
  keys[to] = k_codec.encode(k4[0], k4[1]);
  values[to] = v_codec.encode(v4[0], v4[1]);
  if (piece == 0) {
    positions[slot] = position;
    if (is_there(metrics)) metrics[slot] = 0;
  }
}

// append_prompt stores the keys and values of a prompt in the KV heads of one
// layer of one sequence.
//
//   k, v       float32 [n, H, D]
//   tables     int32 [H, stride]: the block tables of the layer's heads
//   keys       [N·B, D] in the cache's format, written; values likewise
//   metrics    float32 [N·B], written: 0. A null pointer if the method has no column of
//              width 1
//   positions  int32 [N·B], written: 0 to n-1
//   n, heads   tokens, H
//   pieces     D/8
//   shift      log2(B)
//   stride     blocks that a table has room for
//   k_scale, v_scale  of fp8 caches only: k and v are divided by these
//
// Grid: ⌈n·H·D/8 / 256⌉ blocks of 256 threads; a thread stores 8 elements of a key
// and of a value. n·H·D < 2^31.
//
// Bytes: for a KV 8·D of float32 are read, and 2·D elements, a metric and a position
// written; its table entry is read once for B of them. That is the floor.
// Operations: a conversion for each element.
template <class format>
__device__ __forceinline__ void append_prompt(
    format k_codec, format v_codec, const float* __restrict__ k, const float* __restrict__ v, const int* __restrict__ tables,
    typename format::eight* __restrict__ keys, typename format::eight* __restrict__ values,
    float* __restrict__ metrics, int* __restrict__ positions, int n, uint32 heads, uint32 pieces,
    int shift, int stride) {
  const uint32 i = block_x() * threads_x() + thread_x();
  const uint32 row = i / pieces, piece = i % pieces;
  const int token = row / heads, head = row % heads;
  if (token >= n) return;
  const int slot = slot_of(tables + int64(head) * stride, token, shift);
  store(k_codec, v_codec, k + int64(i) * 8, v + int64(i) * 8, keys, values, metrics, positions,
        slot, piece, pieces, token);
}

// append_tokens stores the key and value of a new token of each sequence of a
// batch, in the KV heads of one layer, as the last of each head.
//
//   k, v       float32 [batch, H, D]
//   sequences  int32 [batch]: each sequence's row of tables and lengths
//   times      int32 [batch]: the token's position
//   tables     int32 [rows, heads of all layers, stride], from the layer's first head on
//   lengths    int32 [rows, heads of all layers], likewise; the new KV is counted
//   keys       [N·B, D] in the cache's format, written; values likewise
//   metrics    float32 [N·B], written: 0; or null, as above
//   positions  int32 [N·B], written
//   batch, heads, all  sequences, H, and the heads of all layers
//   pieces     D/8
//   shift      log2(B)
//   stride     blocks that a table has room for
//   k_scale, v_scale  of fp8 caches only: k and v are divided by these
//
// Grid: ⌈batch·H·D/8 / 256⌉ blocks of 256 threads. Bytes: as append_prompt, and a
// length and a table entry for each KV.
template <class format>
__device__ __forceinline__ void append_tokens(
    format k_codec, format v_codec, const float* __restrict__ k, const float* __restrict__ v, const int* __restrict__ sequences,
    const int* __restrict__ times, const int* __restrict__ tables,
    const int* __restrict__ lengths, typename format::eight* __restrict__ keys,
    typename format::eight* __restrict__ values, float* __restrict__ metrics,
    int* __restrict__ positions, int batch, uint32 heads, int all, uint32 pieces, int shift,
    int stride) {
  const uint32 i = block_x() * threads_x() + thread_x();
  const uint32 row = i / pieces, piece = i % pieces;
  const int sequence = row / heads;
  if (sequence >= batch) return;
  const int64 place = place_of(sequences, row, heads, all);
  const int last = lengths[place] - 1;
  const int slot = slot_of(tables + place * stride, last, shift);
  store(k_codec, v_codec, k + int64(i) * 8, v + int64(i) * 8, keys, values, metrics, positions,
        slot, piece, pieces, times[sequence]);
}

#define ENTRIES(format)                                                                     \
  extern "C" __global__ void append_prompt_##format(                                        \
      const float* k, const float* v, const int* tables, format::eight* keys,               \
      format::eight* values, float* metrics, int* positions, int n, uint32 heads, uint32 pieces, \
      int shift, int stride) {                                                              \
    append_prompt(format{}, format{}, k, v, tables, keys, values, metrics, positions, n,    \
                  heads, pieces, shift, stride);                                            \
  }                                                                                         \
  extern "C" __global__ void append_tokens_##format(                                        \
      const float* k, const float* v, const int* sequences, const int* times, const int* tables, \
      const int* lengths, format::eight* keys, format::eight* values, float* metrics,       \
      int* positions, int batch, uint32 heads, int all, uint32 pieces, int shift, int stride) {   \
    append_tokens(format{}, format{}, k, v, sequences, times, tables, lengths, keys, values, \
                  metrics, positions, batch, heads, all, pieces, shift, stride);            \
  }
ENTRIES(f32)
ENTRIES(f16)
ENTRIES(bf16)
#define ENTRIES_SCALED(format)                                                              \
  extern "C" __global__ void append_prompt_##format(                                        \
      const float* k, const float* v, const int* tables, format::eight* keys,               \
      format::eight* values, float* metrics, int* positions, int n, uint32 heads, uint32 pieces, \
      int shift, int stride, float k_scale, float v_scale) {                                \
    append_prompt(format{k_scale}, format{v_scale}, k, v, tables, keys, values, metrics,    \
                  positions, n, heads, pieces, shift, stride);                              \
  }                                                                                         \
  extern "C" __global__ void append_tokens_##format(                                        \
      const float* k, const float* v, const int* sequences, const int* times, const int* tables, \
      const int* lengths, format::eight* keys, format::eight* values, float* metrics,       \
      int* positions, int batch, uint32 heads, int all, uint32 pieces, int shift, int stride,   \
      float k_scale, float v_scale) {                                                       \
    append_tokens(format{k_scale}, format{v_scale}, k, v, sequences, times, tables, lengths, \
                  keys, values, metrics, positions, batch, heads, all, pieces, shift, stride);   \
  }
ENTRIES_SCALED(e4m3)
ENTRIES_SCALED(e5m2)

// fill sets the numbers of a KV in a column of `width` for each.
__word__ void fill(float* __restrict__ numbers, int slot, int width, float initial) {
#pragma unroll 1
  for (int i = 0; i < width; i++) numbers[int64(slot) * width + i] = initial;
}

// fill_prompt is what append_prompt does to the metrics, for a column of several
// numbers for each KV, or one that does not begin with 0.
//
//   tables         int32 [H, stride]: the block tables of the layer's heads
//   numbers        float32 [N·B, width], written: initial
//   n, heads       tokens, H
//   width, initial numbers for each KV, and what each of them is
//   shift, stride  log2(B); blocks that a table has room for
//
// Grid: ⌈n·H / 256⌉ blocks of 256 threads, a KV each. Bytes: 4·width written.
extern "C" __global__ void fill_prompt(const int* __restrict__ tables, float* __restrict__ numbers,
                                        int n, uint32 heads, int width, float initial, int shift,
                                       int stride) {
  const uint32 i = block_x() * threads_x() + thread_x();
  const int token = i / heads, head = i % heads;
  if (token >= n) return;
  fill(numbers, slot_of(tables + int64(head) * stride, token, shift), width, initial);
}

// fill_tokens is what append_tokens does to the metrics, likewise.
//
//   sequences  int32 [batch]: each sequence's row of tables and lengths
//   tables     int32 [rows, heads of all layers, stride], from the layer's first head on
//   lengths    int32 [rows, heads of all layers], likewise; the new KV is counted
//   numbers    float32 [N·B, width], written: initial
//   batch, heads, all     sequences, H, and the heads of all layers
//   width, initial, shift, stride  as above
//
// Grid: ⌈batch·H / 256⌉ blocks of 256 threads, a KV each.
extern "C" __global__ void fill_tokens(const int* __restrict__ sequences,
                                        const int* __restrict__ tables,
                                        const int* __restrict__ lengths,
                                        float* __restrict__ numbers, int batch, uint32 heads,
                                        int all, int width, float initial, int shift, int stride) {
  const uint32 row = block_x() * threads_x() + thread_x();
  if (int(row / heads) >= batch) return;
  const int64 place = place_of(sequences, row, heads, all);
  fill(numbers, slot_of(tables + place * stride, lengths[place] - 1, shift), width, initial);
}
