// Keys and values in quantized groups (ref/NUMERICS.md §12), in pages of their own:
//
//   give_quantized                blocks for quantized pages
//   quantize_channels             groups of tokens of a channel become codes
//   quantize_tokens               groups of channels of a token do
//   free_entries                  blocks whose KVs are all quantized are freed
//   attend_partitions_quantized   replaces attend_partitions
#include "groups.cuh"

// give_quantized appends taken blocks to the page lists of quantized keys and values of
// heads of a sequence, in (head, keys before values, page) order.
//
//   taken   int32 [heads of the launch, more_keys + more_values]: physical blocks
//   lists   int32 [heads of all layers, 2, stride]: of the sequence, written
//   owners  int32 [N, 4], written
//   sequence  its number
//   first, heads, of_layer  the first head of the launch; how many; H
//   keys, values            pages that each head's lists have
//   more_keys, more_values  pages to add to each
//   stride  entries from one list to the next
//
// Grid: ⌈heads·(more_keys + more_values)/256⌉ blocks of 256 threads. Bytes: 24 for each block.
extern "C" __global__ void __launch_bounds__(256)
give_quantized(const int* __restrict__ taken, int* __restrict__ lists, owner* __restrict__ owners,
               int sequence, int first, int heads, int of_layer, int keys, int values,
               int more_keys, int more_values, int stride) {
  const int i = block_x() * threads_x() + thread_x();
  const int each = more_keys + more_values;
  if (i >= heads * each) return;
  const int head = first + i / each, j = i % each;
  const int part = j < more_keys ? 0 : 1;
  const int page = part == 0 ? keys + j : values + (j - more_keys);
  const int block = taken[i];
  lists[(int64(head) * 2 + part) * stride + page] = block;
  owners[block] = owner_of_page(sequence, head, of_layer, part, page);
}

// quantize_channels quantizes KVs of heads of a sequence, in groups of Size tokens of a channel
// (KIVI's keys). Arguments that quantize_tokens has too:
//
//   keys, values  [N·B, D] in the cache's format: the elements are read in the plain blocks
//             of `keys` (part 0) or `values` (part 1); codes, scales and minima are written to
//             quantized pages
//   tables    int32 [heads of all layers, stride]: plain blocks of the sequence
//   lists     int32 [heads of all layers, 2, list_stride]: pages of quantized keys and values
//   part      0 of keys, 1 of values
//   first     the launch's first head
//   from, n   logical index of the first KV; how many: whole units
//   d, shift, stride, list_stride  D; log2(B); blocks that a table has room for; entries from one
//             list to the next
//   bits, size  of a code; of a group
//
// Grid: (⌈n/Size·D / 256⌉, heads) blocks of 256 threads, a group each.
//
// Bytes: D elements a KV are read, the second time from the cache; D·bits/8 written, and for
// each group two elements. Operations: 6 for each element, one of them a division.
template <class format>
__device__ __forceinline__ void quantize_channels(char* keys, char* values, const int* tables,
                                                  const int* lists, int part, int first, int from,
                                                  int n, int d, int shift, int stride,
                                                  int list_stride, int bits, int size) {
  const int i = block_x() * threads_x() + thread_x();
  if (i >= n / size * d) return;
  const int head = first + block_y(), group = i / d, j = i % d;
  const int* table = tables + int64(head) * stride;
  const packed to = packed::of_channels<format>(
      keys, values, lists + (int64(head) * 2 + part) * list_stride, d, shift, bits, size);
  const char* rows = part == 0 ? keys : values;
  const int start = from + group * size, u = start / size;
  line codes = {to, u, j, d, bits};
  make_codes<format>(
      size, bits, to.at(u, to.codes + j * format::size),
      to.at(u, to.codes + (d + j) * format::size),
      [&](int t) {
        return one<format>(rows + (int64(slot_of(table, start + t, shift)) * d + j) * format::size);
      },
      [&](uint32 code) { codes.put(code); });
}

// quantize_tokens quantizes KVs of heads of a sequence, in groups of Size channels of a token
// (KIVI's values, FlexGen).
//
//   piece  channels that a thread has: whole groups, and codes that fill whole bytes
//
// Grid: (⌈n·D/piece / 256⌉, heads) blocks of 256 threads. Bytes and operations: as
// quantize_channels.
template <class format>
__device__ __forceinline__ void quantize_tokens(char* keys, char* values, const int* tables,
                                                const int* lists, int part, int first, int from,
                                                int n, int d, int shift, int stride,
                                                int list_stride, int bits, int size, int piece) {
  const int i = block_x() * threads_x() + thread_x();
  const int pieces = d / piece;
  if (i >= n * pieces) return;
  const int head = first + block_y(), u = from + i / pieces, column = i % pieces * piece;
  const int* table = tables + int64(head) * stride;
  const packed to = packed::of_tokens<format>(
      keys, values, lists + (int64(head) * 2 + part) * list_stride, d, shift, bits, size, 0);
  const char* row = (part == 0 ? keys : values) + int64(slot_of(table, u, shift)) * d * format::size;
  make_piece<format>(to, u, column, piece, d,
                     [&](int j) { return one<format>(row + j * format::size); });
}

// free_entries returns the blocks of some entries of the heads' tables to the free list.
//
//   tables  int32: the entries of head h begin at h·stride. They become −1; entries that are −1
//           already have no block
//   free    uint32 [⌈N/32⌉]: their bits are set
//   owners  int32 [N, 4]: theirs become −1
//   first   the launch's first head
//   from, to  the entries of each head
//   stride  entries from one head to the next
//
// Grid: heads blocks of a multiple of 32 threads, at most 256. Bytes: 24 and an atomic for each block.
extern "C" __global__ void __launch_bounds__(256)
free_entries(int* __restrict__ tables, uint32* __restrict__ free, owner* __restrict__ owners,
             int first, int from, int to, int stride) {
  int* table = tables + int64(first + block_x()) * stride;
  for (int i = from + thread_x(); i < to; i += threads_x()) {
    const int block = table[i];
    if (block < 0) continue;
    table[i] = -1;
    owners[block] = {-1, -1, -1, -1};
    atomic_or(&free[block / 32], 1u << block % 32);
  }
}

// quantized reads a partition's keys, or values. The first `count` KVs of the head are
// quantized, and the others are in the plain blocks of `rows`.
template <class format>
struct quantized {
  packed from;
  const char* rows;
  const int* table;
  int shift;
  int count;
  bool by_channels;

  // find records the slots of the partition's KVs that are in plain blocks.
  __device__ __forceinline__ void find(const share& s, int start, int n) const {
    for (int i = lane(); i < n; i += warp_size) {
      s.row_index[i] = start + i < count ? 0 : slot_of(table, start + i, shift);
    }
  }

  // four reads elements column to column + 3 of a KV.
  __device__ __forceinline__ float4 four(int logical, int slot, int column, int d) const {
    if (logical >= count) return four_of_row<format>(rows + (int64(slot) * d + column) * format::size);
    return by_channels ? from.template four_of_channels<format>(logical, column, d)
                       : from.template four_of_token<format>(logical, column, d);
  }
};

// The arguments of attend_partitions_quantized that attend_partitions does not have.
struct quantized_lists {
  const int* counts;
  const int* lists;
  int list_stride, k_channels, k_bits, v_bits, size;
};

// attend_quantized is attend_partitions with both parts read by `quantized`.
template <class format>
__device__ __forceinline__ void attend_quantized(const attention& a, const quantized_lists& z) {
  attend_pages(a, [&](const warp_share& own, int part) {
    const bool by_channels = part == 0 && z.k_channels != 0;
    const int* list = z.lists + (own.place * 2 + part) * z.list_stride;
    const int bits = part == 0 ? z.k_bits : z.v_bits;
    const packed from = by_channels
        ? packed::of_channels<format>(a.keys, a.values, list, a.d, a.shift, bits, z.size)
        : packed::of_tokens<format>(a.keys, a.values, list, a.d, a.shift, bits, z.size, 0);
    return quantized<format>{from, part == 0 ? a.keys : a.values, a.tables + own.place * a.stride,
                             a.shift, z.counts[2 * own.sequence + part], by_channels};
  });
}

// attend_partitions_quantized is attend_partitions for heads whose oldest keys and values are
// quantized. A code is decoded to c·S + m in registers before it is written to the tile of shared
// memory.
//
//   counts       int32 [batch, 2]: how many keys and values of each of a sequence's heads are quantized
//   lists        int32 [sequences, heads of all layers, 2, list_stride], from the layer's first head
//                on: pages of quantized keys and values
//   list_stride  entries from one list to the next
//   k_channels   1 where the keys' groups are tokens of a channel, 0 where they are channels of a token
//   k_bits, v_bits, size  of a code of keys, of values; of a group
//
// Other arguments and the grid: as in attend_partitions. Table entries of blocks whose KVs are
// all quantized are not read. The shared memory is that for rows of float32.
//
// Bytes: for a KV 2·D·bits/8 of codes and 4·D/Size elements of scales and minima, in place of 2·D elements.
// Operations: 5 more for each element.
#define QUANTIZED(format)                                                                       \
  extern "C" __global__ void __launch_bounds__(256) quantize_channels_##format(                 \
      char* keys, char* values, const int* tables, const int* lists, int part, int first,       \
      int from, int n, int d, int shift, int stride, int list_stride, int bits, int size) {     \
    quantize_channels<format>(keys, values, tables, lists, part, first, from, n, d, shift,      \
                              stride, list_stride, bits, size);                                 \
  }                                                                                             \
  extern "C" __global__ void __launch_bounds__(256) quantize_tokens_##format(                   \
      char* keys, char* values, const int* tables, const int* lists, int part, int first,       \
      int from, int n, int d, int shift, int stride, int list_stride, int bits, int size,       \
      int piece) {                                                                              \
    quantize_tokens<format>(keys, values, tables, lists, part, first, from, n, d, shift,        \
                            stride, list_stride, bits, size, piece);                            \
  }                                                                                             \
  extern "C" __global__ void __launch_bounds__(warp_size, 16)                                   \
  attend_partitions_quantized_##format(                                                         \
      const float* q, char* keys, char* values, const int* sequences, const int* tables,        \
      const int* lengths, float* weights, float* maxima, float* sums, float* o, int heads,      \
      int all, int group, int d, int shift, int stride, int partitions, float scale,            \
      const int* counts, const int* lists, int list_stride, int k_channels, int k_bits,         \
      int v_bits, int size) {                                                                   \
    attend_quantized<format>(                                                                   \
        attention{q, keys, values, sequences, tables, lengths, weights, maxima, sums, o, heads, \
                  all, group, d, shift, stride, partitions, scale},                             \
        quantized_lists{counts, lists, list_stride, k_channels, k_bits, v_bits, size});         \
  }
QUANTIZED(f32)
QUANTIZED(f16)
QUANTIZED(bf16)
