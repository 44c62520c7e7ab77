// Merged keys and values whose directions are quantized (ref/NUMERICS.md §13, §12), in groups of
// channels:
//
//   merge_pairs_quantized                replaces merge_pairs
//   attend_partitions_merged_quantized   replaces attend_partitions_merged
//
// The other kernels are those of merged.cu. In merged pages, a unit's direction is its codes, its
// scales and its minima.
#include "groups.cuh"
#include "merge.cuh"

// How directions are quantized.
struct groups_of {
  int bits, size;  // of a code; of a group
  int piece;       // channels that a lane quantizes; of those that are read, 0
};

// Directions in groups of channels.
template <class format>
struct grouped : packed {
  int piece;

  __word__ static grouped of(char* keys, char* values, const int* list, int d, int shift,
                             const groups_of& by) {
    return {packed::of_tokens<format>(keys, values, list, d, shift, by.bits, by.size,
                                      2 * norm_bytes),
            by.piece};
  }

  __device__ __forceinline__ float4 four(int u, int column, int d) const {
    return four_of_token<format>(u, column, d);
  }

  // write rounds the direction to the cache's format and quantizes the result. A lane has some of
  // the groups.
  __device__ __forceinline__ void write(int u, const vector& e, float length, int d) const {
    __shared__ float rows[8][256];
    char* row = reinterpret_cast<char*>(rows[warp()]);
    each_element(d, [&](int j) {
      const int i = lane() + j * warp_size;
      if (i < d) store_one<format>(row + i * format::size, e[j] / length);
    });
    warp_barrier();
    const int column = lane() * piece;
    if (column < d) {
      make_piece<format>(*this, u, column, piece, d,
                         [&](int j) { return one<format>(row + j * format::size); });
    }
  }
};

// merge_pairs_quantized is merge_pairs where directions are quantized.
//
//   bits, size  of a code; of a group
//   piece       channels that a lane quantizes: whole groups, and codes that fill whole bytes
//
// Bytes: as merge_pairs, with a smaller unit. Operations: 6 more for each element, one a division.
//
// attend_partitions_merged_quantized is attend_partitions_merged where directions are quantized: c·S +
// m and the product with the norm are made in registers, on the way to the tile.
//
//   bits, size  of a code; of a group
//
// Bytes: for a merged KV 2·D·bits/8 of codes, 4·D/Size elements of scales and minima, and 8 bytes of
// norms. Operations: 6 more for each element than those of attend_partitions.
#define MERGED_QUANTIZED(format)                                                                \
  extern "C" __global__ void __launch_bounds__(256) merge_pairs_quantized_##format(             \
      char* keys, char* values, const int* tables, const int* lists, int first, int layer,      \
      int heads, int from, int n, int d, int shift, int stride, int list_stride, float t,       \
      float other, float eps, float low, float high, int bits, int size, int piece) {           \
    merge_pairs<format>(keys, values, tables, first, layer, heads, from, n, d, shift, stride,   \
                        slerp{t, other, eps, low, high}, [&](int head, int part) {              \
                          return grouped<format>::of(                                           \
                              keys, values, list_of(lists, head, part, false, list_stride), d,  \
                              shift, groups_of{bits, size, piece});                             \
                        });                                                                     \
  }                                                                                             \
  extern "C" __global__ void __launch_bounds__(warp_size, 16)                                   \
  attend_partitions_merged_quantized_##format(                                                  \
      const float* q, char* keys, char* values, const int* sequences, const int* tables,        \
      const int* lengths, float* weights, float* maxima, float* sums, float* o, int heads,      \
      int all, int group, int d, int shift, int stride, int partitions, float scale,            \
      const int* counts, const int* lists, const int* held, int list_stride, int deep,          \
      int bits, int size) {                                                                     \
    attend_merged<format>(                                                                      \
        attention{q, keys, values, sequences, tables, lengths, weights, maxima, sums, o, heads, \
                  all, group, d, shift, stride, partitions, scale},                             \
        merged_lists{counts, lists, held, list_stride, deep}, [&](const int* list) {            \
          return grouped<format>::of(keys, values, list, d, shift, groups_of{bits, size, 0});   \
        });                                                                                     \
  }
MERGED_QUANTIZED(f32)
MERGED_QUANTIZED(f16)
MERGED_QUANTIZED(bf16)
