// Keys and values of pairs of layers, merged (ref/NUMERICS.md §13), in pages of their own:
//
//   measure_pairs              distances of the vectors of both layers
//   list_retained              which tokens are retained
//   give_merged                blocks for merged and retained pages
//   merge_pairs                directions and norms are written
//   retain_rows                what is retained is copied
//   attend_partitions_merged   replaces attend_partitions
//
// A direction is D elements in the cache's format; in merged_quantized.cu it is in quantized groups.
// free_entries of quantized.cu frees the blocks whose KVs are all merged.
#include "merge.cuh"
#include "scan.cuh"

// measure_pairs computes the distances of tokens of every pair of heads of a sequence. Arguments
// that merge_pairs has too:
//
//   keys, values  [N·B, D] in the cache's format
//   tables    int32 [heads of all layers, stride]: plain blocks of the sequence
//   layer, heads  the first layer that is merged; H
//   from, n   logical index of the first token; how many
//   d, shift, stride  D; log2(B); blocks that a table has room for
//   t, other, eps, low, high  of the slerp: the deeper layer's weight, the shallower one's; the
//             smallest norm; the smallest and largest cosine
//
//   distances  float32 [pairs, 2, n], written
//
// Grid: (⌈n/8⌉, pairs, 2) blocks of 256 threads, a warp for each token.
//
// Order: §3 for the three sums.
//
// Bytes: 2·D elements for each token and part. Operations: 8 for each pair of elements, two of
// them divisions, and 31 shuffles.
template <class format>
__device__ __forceinline__ void measure_pairs(const char* keys, const char* values,
                                              const int* tables, float* distances, int layer,
                                              int heads, int from, int n, int d, int shift,
                                              int stride, const slerp& by) {
  const token own = token::of(0, layer, heads);
  if (own.i >= n) return;
  const vectors v =
      own.bring<format>(keys, values, tables, from + own.i, heads, d, shift, stride, by);
  if (lane() == 0) distances[(own.pair * 2 + own.part) * int64(n) + own.i] = v.angle / half_turn;
}

// block_most returns the largest v of all threads of the block.
__word__ int block_most(block_sums& sums, int v) {
  v = most_of_lanes(v);
  if (lane() == 0) sums.warps[warp()] = v;
  block_barrier();
  return most_of_lanes(sums.warps[min(lane(), (threads_x() - 1) / warp_size)]);
}

// Rules by which tokens are retained.
enum { by_ratio, by_threshold, by_limit };

// list_retained lists the retained tokens of every pair of heads, separately for K and V. Distances
// are not negative, so as integers their bits have the same order.
//
//   distances  float32 [pairs, 2, n]
//   list       int32 [pairs, 2, n]: logical indices, ascending; the first `counts` are written
//   counts     int32 [pairs, 2], written
//   limits     float32 [heads of all layers, 2]: for heads of the shallower layer, the distance
//              above which later tokens are retained; read with rule 2, else written
//   layer, heads  the first layer that is merged; H
//   from, n    logical index of the first token; how many
//   rule       retained are, 0: the `most` largest distances, ties to the oldest; 1: those above
//              d_max − γ·(d_max − d_min); 2: those above the limit
//   most, gamma  parameters of rules 0 and 1
//
// Grid: (pairs, 2) blocks of a multiple of 32 threads, at most 256.
//
// Bytes: 4 for each distance, with rule 0 31 times as many from the cache. Operations: as many.
extern "C" __global__ void __launch_bounds__(256)
list_retained(const int* __restrict__ distances, int* __restrict__ list, int* __restrict__ counts,
              float* limits, int layer, int heads, int from, int n, int rule, int most,
              float gamma) {
  __shared__ block_sums sums[2];
  const int row = block_x() * 2 + block_y();
  const int* own = distances + int64(row) * n;
  float* limit = limits + 2 * shallow_head(block_x(), layer, heads) + block_y();
  int bound = 0, ties = 0;  // retained: all above the bound, and the first `ties` equal to it
  if (rule == by_ratio) {
    // The bound is the `most`-th largest distance.
    int turn = 0;
    for (uint32 bit = 1u << 30; bit != 0; bit >>= 1, turn ^= 1) {
      int reach = 0;
      for (int i = thread_x(); i < n; i += threads_x()) reach += own[i] >= int(bound | bit);
      if (block_sum(sums[turn], reach) >= most) bound |= bit;
    }
    int above = 0;
    for (int i = thread_x(); i < n; i += threads_x()) above += own[i] > bound;
    ties = most - block_sum(sums[turn], above);
    block_barrier();
  } else if (rule == by_threshold) {
    int top = 0, bottom = -0x7fffffff;  // the maxima of distances, and of negated distances
    for (int i = thread_x(); i < n; i += threads_x()) {
      top = max(top, own[i]);
      bottom = max(bottom, -own[i]);
    }
    const float high = float_of(block_most(sums[0], top));
    const float low = float_of(-block_most(sums[1], bottom));
    bound = bits_of(high - gamma * (high - low));
    block_barrier();
  } else {
    bound = bits_of(*limit);
  }
  int kept = 0, equal = 0, rest = -1;  // rest: the largest distance that is not retained
  for (int base = 0; base < n; base += threads_x()) {
    const int i = base + thread_x();
    const int x = i < n ? own[i] : -1;
    const place tie = block_scan(sums[0], i < n && x == bound);
    const bool keep = i < n && (x > bound || (x == bound && equal + tie.before < ties));
    const place before = block_scan(sums[1], keep);
    if (keep) {
      list[int64(row) * n + kept + before.before] = from + i;
    } else {
      rest = max(rest, x);
    }
    kept += before.total;
    equal += tie.total;
  }
  block_barrier();
  rest = block_most(sums[0], rest);
  if (thread_x() != 0) return;
  counts[row] = kept;
  if (rule == by_ratio) *limit = rest < 0 ? -1 : float_of(rest);
  if (rule == by_threshold) *limit = float_of(bound);
}

// give_merged appends taken blocks to the page lists of pairs of heads of a sequence, pair by
// pair. The order in a pair: merged keys, retained keys, merged values and retained values of the
// shallower layer's head, then retained keys and retained values of the deeper layer's.
//
//   taken    int32: physical blocks
//   offsets  int32 [pairs of the launch]: where a pair's begin
//   lists    int32 [heads of all layers, 2, 2, stride]: of the sequence, written
//   owners   int32 [N, 4], written
//   held     int32 [heads of all layers, 2]: KVs that were retained before
//   counts   int32 [pairs, 2]: KVs that are retained in addition
//   sequence  its number
//   first    the launch's first pair
//   layer, heads  the first layer that is merged; H
//   have, more    merged pages that a list has; pages to add
//   each     KVs of a page of retained ones
//   stride   pages that a list has room for
//
// Grid: a block of a multiple of 32 threads, at most 256, for each pair. Bytes: 24 for each block.
extern "C" __global__ void __launch_bounds__(256)
give_merged(const int* __restrict__ taken, const int* __restrict__ offsets, int* __restrict__ lists,
            owner* __restrict__ owners, const int* __restrict__ held,
            const int* __restrict__ counts, int sequence, int first, int layer, int heads,
            int have, int more, int each, int stride) {
  const int pair = first + block_x();
  const int shallow = shallow_head(pair, layer, heads);
  const int* from = taken + offsets[block_x()];
  for (int run = 0; run < 6; run++) {
    const bool deep = run >= 4, retained = deep || run % 2 == 1;
    const int part = deep ? run - 4 : run / 2, head = deep ? shallow + heads : shallow;
    int start = have, pages = more;
    if (retained) {
      const int kvs = held[2 * shallow + part];
      start = (kvs + each - 1) / each;
      pages = (kvs + counts[2 * pair + part] + each - 1) / each - start;
    }
    int* list = list_of(lists, head, part, retained, stride) + start;
    for (int i = thread_x(); i < pages; i += threads_x()) {
      list[i] = from[i];
      owners[from[i]] = owner_of_page(sequence, head, heads, part, start + i);
    }
    from += pages;
  }
}

// retain_rows appends newly retained keys and values of some pairs of heads of a sequence to their
// lists. Each is stored after its index.
//
//   keys, values  [N·B, row] bytes: read in plain blocks, written in pages of retained ones
//   tables   int32 [heads of all layers, stride]: plain blocks of the sequence
//   lists    int32 [heads of all layers, 2, 2, list_stride]: of the sequence
//   list, counts  as list_retained leaves them
//   held     int32 [heads of all layers, 2]: KVs that were retained before
//   first    the launch's first pair
//   layer, heads  the first layer that is merged; H
//   n        entries of list for each pair and part
//   row, shift, stride, list_stride  bytes of a key; log2(B); room of a table and of a list
//
// Grid: (⌈most/8⌉, pairs of the launch, 4) blocks of 256 threads, for the most that a pair retains
// of K or V: a warp for each; along z keys and values of the shallower layer and of the deeper one.
//
// Bytes: a row read and a unit written, each. That is the floor.
extern "C" __global__ void __launch_bounds__(256)
retain_rows(char* keys, char* values, const int* __restrict__ tables,
            const int* __restrict__ lists, const int* __restrict__ list,
            const int* __restrict__ counts, const int* __restrict__ held, int first, int layer,
            int heads, int n, int row, int shift, int stride, int list_stride) {
  const int pair = first + block_y(), part = block_z() % 2;
  const int shallow = shallow_head(pair, layer, heads);
  const int head = shallow + block_z() / 2 * heads;
  const int k = (block_x() * threads_x() + thread_x()) / warp_size;
  if (k >= counts[2 * pair + part]) return;
  const int logical = list[(2 * pair + part) * int64(n) + k];
  const units to =
      retained_units(keys, values, list_of(lists, head, part, true, list_stride), row, shift);
  const int64 slot = slot_of(tables + int64(head) * stride, logical, shift);
  const char* from = (part == 0 ? keys : values) + slot * row;
  const int u = held[2 * shallow + part] + k;
  if (lane() == 0) *reinterpret_cast<int*>(to.at(u, 0)) = logical;
  for (int i = 4 * lane(); i < row; i += 4 * warp_size) {
    *reinterpret_cast<uint32*>(to.at(u, index_bytes + i)) =
        *reinterpret_cast<const uint32*>(from + i);
  }
}

// merge_pairs merges tokens of some pairs of heads of a sequence.
//
//   keys, values  units are written to merged pages
//   lists    int32 [heads of all layers, 2, 2, list_stride]: of the sequence
//   first    the launch's first pair
//   list_stride  pages that a list has room for
//
// Grid: (⌈n/8⌉, pairs of the launch, 2) blocks of 256 threads, a warp for each token.
//
// Bytes: 2·D elements are read and a unit written, for each token and part. Operations: 16 for each
// pair of elements, three of them divisions; 36 shuffles.
//
// attend_partitions_merged is attend_partitions for a layer that is merged with another
// one.
//
//   counts       int32 [batch, 2]: how many keys and values of each of a sequence's heads are merged
//   lists        int32 [sequences, heads of all layers, 2, 2, list_stride], from the layer's first
//                head on
//   held         int32 [sequences, heads of all layers, 2], likewise: keys and values that are retained
//   list_stride  pages that a list has room for
//   deep         1 in the deeper layer of a pair: merged pages are those of the heads H before
//
// Other arguments and the grid: as in attend_partitions. Table entries of blocks whose KVs are
// all merged are not read. The shared memory is that for rows of float32.
//
// Bytes: for a merged KV 2·D elements and 8 bytes of norms; of a retained one its index, too.
// Operations: one more for each element.
#define MERGED(format)                                                                          \
  extern "C" __global__ void __launch_bounds__(256) measure_pairs_##format(                     \
      const char* keys, const char* values, const int* tables, float* distances, int layer,     \
      int heads, int from, int n, int d, int shift, int stride, float t, float other,           \
      float eps, float low, float high) {                                                       \
    measure_pairs<format>(keys, values, tables, distances, layer, heads, from, n, d, shift,     \
                          stride, slerp{t, other, eps, low, high});                             \
  }                                                                                             \
  extern "C" __global__ void __launch_bounds__(256) merge_pairs_##format(                       \
      char* keys, char* values, const int* tables, const int* lists, int first, int layer,      \
      int heads, int from, int n, int d, int shift, int stride, int list_stride, float t,       \
      float other, float eps, float low, float high) {                                          \
    merge_pairs<format>(keys, values, tables, first, layer, heads, from, n, d, shift, stride,   \
                        slerp{t, other, eps, low, high}, [&](int head, int part) {              \
                          return stored<format>::of(                                            \
                              keys, values, list_of(lists, head, part, false, list_stride), d,  \
                              shift);                                                           \
                        });                                                                     \
  }                                                                                             \
  extern "C" __global__ void __launch_bounds__(warp_size, 16) attend_partitions_merged_##format( \
      const float* q, char* keys, char* values, const int* sequences, const int* tables,        \
      const int* lengths, float* weights, float* maxima, float* sums, float* o, int heads,      \
      int all, int group, int d, int shift, int stride, int partitions, float scale,            \
      const int* counts, const int* lists, const int* held, int list_stride, int deep) {        \
    attend_merged<format>(                                                                      \
        attention{q, keys, values, sequences, tables, lengths, weights, maxima, sums, o, heads, \
                  all, group, d, shift, stride, partitions, scale},                             \
        merged_lists{counts, lists, held, list_stride, deep}, [&](const int* list) {            \
          return stored<format>::of(keys, values, list, d, shift);                              \
        });                                                                                     \
  }
MERGED(f32)
MERGED(f16)
MERGED(bf16)
