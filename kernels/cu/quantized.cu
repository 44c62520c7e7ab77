// Keys and values in quantized groups (ref/NUMERICS.md §12), in pages of their own:
//
//   give_quantized                blocks for quantized pages
//   quantize_channels             groups of tokens of a channel become codes
//   quantize_tokens               groups of channels of a token do
//   free_entries                  blocks whose KVs are all quantized come free
//   attend_partitions_quantized   in the place of attend_partitions
//
// A page is the B·D keys and then the B·D values of a block, as bytes. A quantized one has
// units one after the other, each with its codes, then its scales, then its minima:
//
//   by channels  Size tokens: byte k of the line of channel j is byte k·D + j; D scales, D minima
//   by tokens    1 token: its line of D·b/8 bytes; D/Size scales and as many minima
#include "pages.cuh"

// A list of quantized keys, or values, of a head, and how they lie in its pages.
struct packed : units {
  int bits, size;  // of a code; of a group
  int codes;       // bytes of a unit's codes

  template <class format>
  __word__ static packed of(char* keys, char* values, const int* pages, int d, int shift, int bits,
                            int size, bool by_channels) {
    const int codes = (by_channels ? size : 1) * bits * d / 8;
    const int unit = codes + 2 * format::size * (by_channels ? d : d / size);
    return {units::of(keys, values, pages, int64(d * format::size) << shift, unit), bits, size,
            codes};
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
    low = smaller(low, x);
    high = larger(high, x);
  }
  low = low + 0;
  const float scale = store_one<format>(scale_at, ((high - low) + 0) / top);
  store_one<format>(minimum_at, low);
  for (int i = 0; i < size; i++) {
    uint32 code = 0;
    if (scale != 0) {
      const float quotient = smaller((read(i) - low) / scale, top);
      code = bits_of(quotient + 0x1.8p+23f) & 0xff;
    }
    put(code);
  }
}

// A line writes codes one after the other, as bytes that lie `pitch` apart.
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

// give_quantized gives blocks that were taken to the lists of quantized keys and values of
// heads of a sequence, in (head, keys before values, page) order.
//
//   taken   int32 [heads of the launch, more_keys + more_values]: physical blocks
//   lists   int32 [heads of all layers, 2, stride]: of the sequence, written
//   owners  int32 [N, 4], written
//   sequence  its number
//   first, heads, of_layer  the first head of the launch; how many; H
//   keys, values            pages that each head's lists have
//   more_keys, more_values  pages that they get
//   stride  pages that a list has room for
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

// quantize_channels quantizes tokens of a channel of heads of a sequence, in groups of Size
// tokens (KIVI's keys). The names that it has in common with quantize_tokens:
//
//   keys, values  [N·B, D] in the cache's format: the elements are read in the plain blocks
//             of `keys` (part 0) or `values` (part 1); codes, scales and minima are written to
//             quantized pages
//   tables    int32 [heads of all layers, stride]: plain blocks of the sequence
//   lists     int32 [heads of all layers, 2, list_stride]: pages of quantized keys and values
//   part      0 of keys, 1 of values
//   first     the launch's first head
//   from, n   logical index of the first KV; how many: whole units
//   d, shift, stride, list_stride  D; log2(B); blocks that a table, and a list, have room for
//   bits, size  of a code; of a group
//
// Grid: (⌈n/Size·D / 256⌉, heads) blocks of 256 threads, a group each.
//
// Bytes: D elements a KV are read, the second time from the cache; D·bits/8 written, and for
// each group two elements. Operations: 6 for each element, of which a division.
template <class format>
__device__ __forceinline__ void quantize_channels(char* keys, char* values, const int* tables,
                                                  const int* lists, int part, int first, int from,
                                                  int n, int d, int shift, int stride,
                                                  int list_stride, int bits, int size) {
  const int i = block_x() * threads_x() + thread_x();
  if (i >= n / size * d) return;
  const int head = first + block_y(), group = i / d, j = i % d;
  const int* table = tables + int64(head) * stride;
  const packed to = packed::of<format>(keys, values, lists + (int64(head) * 2 + part) * list_stride,
                                       d, shift, bits, size, true);
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

// quantize_tokens quantizes tokens of heads of a sequence, in groups of Size channels
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
  const packed to = packed::of<format>(keys, values, lists + (int64(head) * 2 + part) * list_stride,
                                       d, shift, bits, size, false);
  const char* row = (part == 0 ? keys : values) + int64(slot_of(table, u, shift)) * d * format::size;
  line codes = {to, u, column * bits / 8, 1, bits};
  for (int j = column; j < column + piece; j += size) {
    make_codes<format>(
        size, bits, to.at(u, to.codes + j / size * format::size),
        to.at(u, to.codes + (d / size + j / size) * format::size),
        [&](int k) { return one<format>(row + (j + k) * format::size); },
        [&](uint32 code) { codes.put(code); });
  }
}

// free_entries gives the blocks of some entries of heads' tables back to the free list.
//
//   tables  int32: of head h the entries are from h·stride on; they become −1, as those are of
//           which there are no blocks
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

// quantized reads a partition's keys, or values: the first `count` KVs of the head are
// quantized, and the others in the plain blocks of `rows`.
template <class format>
struct quantized {
  packed from;
  const char* rows;
  const int* table;
  int shift;
  int count;
  bool by_channels;

  // find notes the slots of those of the partition's KVs that are in plain blocks.
  __device__ __forceinline__ void find(const share& s, int start, int n) const {
    for (int i = lane(); i < n; i += warp_size) {
      s.places[i] = start + i < count ? 0 : slot_of(table, start + i, shift);
    }
  }

  // four reads elements column to column + 3 of a KV.
  __device__ __forceinline__ float4 four(int logical, int slot, int column, int d) const {
    float4 x;
    if (logical >= count) {
      float v[4];
      format::decode(rows + (int64(slot) * d + column) * format::size, v);
      for (int j = 0; j < 4; j++) x.at[j] = v[j];
      return x;
    }
    const uint32 mask = (1u << from.bits) - 1;
    if (by_channels) {
      const int u = logical / from.size, bit = logical % from.size * from.bits;
      const uint32 low = *reinterpret_cast<const uint32*>(from.at(u, bit / 8 * d + column));
      uint32 high = 0;
      if (bit % 8 + from.bits > 8) {
        high = *reinterpret_cast<const uint32*>(from.at(u, (bit / 8 + 1) * d + column));
      }
      for (int half = 0; half < 4; half += 2) {
        float scale[2], minimum[2];
        format::decode(from.at(u, from.codes + (column + half) * format::size), scale);
        format::decode(from.at(u, from.codes + (d + column + half) * format::size), minimum);
        for (int j = 0; j < 2; j++) {
          const int at = 8 * (half + j);
          const uint32 code = ((low >> at & 0xff) | (high >> at & 0xff) << 8) >> (bit % 8) & mask;
          x.at[half + j] = float(code) * scale[j] + minimum[j];
        }
      }
      return x;
    }
    const int bit = column * from.bits, groups = d / from.size;
    uint32 codes = *reinterpret_cast<const uint8*>(from.at(logical, bit / 8));
    if (bit % 8 + 4 * from.bits > 8) {
      codes |= uint32(*reinterpret_cast<const uint8*>(from.at(logical, bit / 8 + 1))) << 8;
    }
    for (int j = 0; j < 4; j++) {
      const int group = (column + j) / from.size;
      const float scale = one<format>(from.at(logical, from.codes + group * format::size));
      const float minimum =
          one<format>(from.at(logical, from.codes + (groups + group) * format::size));
      x.at[j] = float(codes >> (bit % 8 + j * from.bits) & mask) * scale + minimum;
    }
    return x;
  }
};

// attend_quantized is attend_partitions with both parts read by `quantized`.
template <class format>
__device__ __forceinline__ void attend_quantized(
    const float* __restrict__ q, char* keys, char* values, const int* __restrict__ sequences,
    const int* __restrict__ tables, const int* __restrict__ lengths, float* __restrict__ weights,
    float* __restrict__ maxima, float* __restrict__ sums, float* __restrict__ o, int heads,
    int all, int group, int d, int shift, int stride, int partitions, float scale,
    const int* __restrict__ counts, const int* __restrict__ lists, int list_stride, int k_channels,
    int k_bits, int v_bits, int size) {
  const warp_share own = warp_share::of(sequences, lengths, heads, all, group);
  if (own.n <= 0) return;
  const int* list = lists + own.place * 2 * list_stride;
  const int* table = tables + own.place * stride;
  const int* count = counts + 2 * own.sequence;
  const quantized<format> k = {
      packed::of<format>(keys, values, list, d, shift, k_bits, size, k_channels != 0), keys, table,
      shift, count[0], k_channels != 0};
  const quantized<format> v = {
      packed::of<format>(keys, values, list + list_stride, d, shift, v_bits, size, false), values,
      table, shift, count[1], false};
  attend_read(own, k, v, q, weights, maxima, sums, o, group, d, partitions, scale);
}

// attend_partitions_quantized attends to each partition by itself, as attend_partitions does,
// to KVs of which the oldest keys and values are quantized: a code becomes c·S + m in registers,
// on its way to the tile.
//
//   counts       int32 [batch, 2]: of each sequence's heads the keys and the values that are quantized
//   lists        int32 [sequences, heads of all layers, 2, list_stride], from the layer's first head
//                on: pages of quantized keys and values
//   list_stride  pages that a list has room for
//   k_channels   1 where the keys' groups are tokens of a channel, 0 where they are channels of a token
//   k_bits, v_bits, size  of a code of keys, of values; of a group
//
// The rest, and the grid, as attend_partitions has them; of the tables no entry is read whose
// KVs are all quantized. The shared memory is that for rows of float32.
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
    attend_quantized<format>(q, keys, values, sequences, tables, lengths, weights, maxima,      \
                             sums, o, heads, all, group, d, shift, stride, partitions, scale,   \
                             counts, lists, list_stride, k_channels, k_bits, v_bits, size);     \
  }
QUANTIZED(f32)
QUANTIZED(f16)
QUANTIZED(bf16)
