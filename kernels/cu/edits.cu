// Edits of a compression other than dropping KVs (ref.Plan), done before the moves:
//
//   fold        replaces KVs by a stand-in, one entry that represents them
//   hide_kvs    sets which KVs are hidden from queries
//   hide_tokens hides new KVs from their own queries
#include "format.cuh"
#include "paging.cuh"

// mean writes 8 elements of the mean of KVs' rows to a slot, rounded to the cache's format,
// and unrounded to `means` if that is not null (ref/NUMERICS.md §9). A new stand-in begins with
// the slot's own row; an existing one already has `count` KVs in its mean. Magnitudes are cut to
// `limit`, the largest number of the format; fp8 saturates when it is encoded.
template <class format>
__device__ __forceinline__ void mean(format codec, char* rows, float* means, const int* __restrict__ folded,
                                     const int* __restrict__ table, int n, int slot, int count,
                                     int d, int column, int shift, float limit) {
  const auto read = [&](int from, float(&x)[8]) {
    float v[4];
    for (int half = 0; half < 2; half++) {
      codec.decode(rows + (int64(from) * d + column + 4 * half) * format::size, v);
      for (int j = 0; j < 4; j++) x[4 * half + j] = v[j] * format::lift;
    }
  };
  float m[8], x[8];
  float* exact = is_there(means) ? means + int64(slot) * d + column : nullptr;
  if (count == 0) {
    read(slot, x);
    for (int j = 0; j < 8; j++) m[j] = 0 + x[j];
    for (int i = 0; i < n; i++) {
      read(slot_of(table, folded[i], shift), x);
      for (int j = 0; j < 8; j++) m[j] = m[j] + x[j];
    }
    for (int j = 0; j < 8; j++) m[j] = m[j] / float(n + 1);
  } else {
    for (int j = 0; j < 8; j++) m[j] = exact[j];
    for (int i = 0; i < n; i++) {
      read(slot_of(table, folded[i], shift), x);
      for (int j = 0; j < 8; j++) m[j] = m[j] + (x[j] - m[j]) / float(count + i + 1);
    }
  }
  if (is_there(means)) {
    for (int j = 0; j < 8; j++) exact[j] = m[j];
  }
  for (int j = 0; j < 8 && format::size > 1; j++) m[j] = min(max(m[j], -limit), limit);
  char* to = rows + (int64(slot) * d + column) * format::size;
  *reinterpret_cast<typename format::eight*>(to) =
      codec.encode({{m[0], m[1], m[2], m[3]}}, {{m[4], m[5], m[6], m[7]}});
}

template <class format>
__device__ __forceinline__ void fold(format k_codec, format v_codec, const int* __restrict__ list,
                                     const int* __restrict__ offsets, const int* __restrict__ kvs, const int* __restrict__ made,
                                     const int* __restrict__ tables, char* keys, char* values,
                                     float* weights, float* key_means, float* value_means,
                                     int into, int d, int shift, int stride, float limit) {
  const int head = block_x();
  const int n = kvs[head];
  if (n == 0) return;
  const int* folded = list + offsets[head];
  const int* table = tables + int64(head) * stride;
  const int slot = slot_of(table, into, shift);
  const int count = made[head] ? 0 : int(weights[slot]);
  for (int i = 8 * thread_x(); i < 2 * d; i += 8 * threads_x()) {
    if (i < d) {
      mean(k_codec, keys, key_means, folded, table, n, slot, count, d, i, shift, limit);
    } else {
      mean(v_codec, values, value_means, folded, table, n, slot, count, d, i - d, shift, limit);
    }
  }
  block_barrier();  // all have read the weight
  if (thread_x() == 0 && is_there(weights)) {
    weights[slot] = float(count == 0 ? n + 1 : count + n);
  }
}

// fold folds KVs of each head into its stand-in. A new stand-in is made from the KV at
// index `into` and the folded KVs.
//
//   list      int32: from offsets[head] on the logical indices that are folded, ascending
//   offsets   int32 [heads]
//   kvs       int32 [heads]: how many; a head with 0 does not change
//   made      int32 [heads]: 1 if the stand-in is new, 0 if it exists
//   tables    int32 [heads, stride]
//   keys      [N·B, D] in the cache's format, read, and written in the stand-in's slot;
//             values likewise
//   weights   float32 [N·B], or 0 if every stand-in is new: the number of KVs that an entry
//             represents. Read and written in the stand-in's slot
//   key_means, value_means  float32 [N·B, D], or 0 if every stand-in is new: the means
//             before they are rounded. Read and written in the stand-in's slot
//   into      logical index of the stand-in, in every head
//   d         D
//   shift, stride  log2(B); blocks that a table has room for
//   limit     the largest number of the format
//   k_scales, v_scales  float32 [heads], of fp8 caches only: those of each head's layer. What
//             is read is times these, what is written is divided by them
//
// Grid: a block for each head, of D/4 threads rounded up to 32; a thread for 8 elements of
// the mean key or value.
//
// Order: the KV at `into`, then those of the list, ascending.
//
// Bytes: K and V of folded KVs are read once. Operations: 1 and a conversion for each
// element; if the stand-in exists, 3, one of them a division.
#define FOLD(format)                                                                            \
  extern "C" __global__ void __launch_bounds__(256) fold_##format(                              \
      const int* list, const int* offsets, const int* kvs, const int* made, const int* tables,  \
      char* keys, char* values, float* weights, float* key_means, float* value_means, int into, \
      int d, int shift, int stride, float limit) {                                              \
    fold(format{}, format{}, list, offsets, kvs, made, tables, keys, values, weights,           \
         key_means, value_means, into, d, shift, stride, limit);                                \
  }
FOLD(f32)
FOLD(f16)
FOLD(bf16)
#define FOLD_SCALED(format)                                                                     \
  extern "C" __global__ void __launch_bounds__(256) fold_##format(                              \
      const int* list, const int* offsets, const int* kvs, const int* made, const int* tables,  \
      char* keys, char* values, float* weights, float* key_means, float* value_means, int into, \
      int d, int shift, int stride, float limit, const float* k_scales,                         \
      const float* v_scales) {                                                                  \
    const int head = block_x();                                                                 \
    fold(format{k_scales[head]}, format{v_scales[head]}, list, offsets, kvs, made, tables,      \
         keys, values, weights, key_means, value_means, into, d, shift, stride, limit);         \
  }
FOLD_SCALED(e4m3)
FOLD_SCALED(e5m2)

// hide_kvs hides the KVs of a list and the oldest `also` KVs of the window; all others become visible.
//
//   list     int32: from offsets[head] on the logical indices that are hidden, ascending
//   offsets  int32 [heads]
//   kvs      int32 [heads]: how many
//   lengths  int32 [heads]
//   tables   int32 [heads, stride]
//   hidden   float32 [N·B], written for every KV: 1 where it is hidden, else 0
//   window   the newest KVs
//   also     how many of them are hidden, oldest first
//   shift, stride  log2(B); blocks that a table has room for
//
// Grid: a block for each head, of a multiple of 32 threads, at most 256. Bytes: 4 written for each KV and for each
// that is hidden.
extern "C" __global__ void __launch_bounds__(256)
hide_kvs(const int* __restrict__ list, const int* __restrict__ offsets,
         const int* __restrict__ kvs, const int* __restrict__ lengths,
         const int* __restrict__ tables, float* hidden, int window, int also, int shift,
         int stride) {
  const int head = block_x();
  const int length = lengths[head], from = length - window;
  const int* table = tables + int64(head) * stride;
  for (int i = thread_x(); i < length; i += threads_x()) {
    hidden[slot_of(table, i, shift)] = i >= from && i < from + also ? 1 : 0;
  }
  block_barrier();
  const int* listed = list + offsets[head];
  for (int i = thread_x(); i < kvs[head]; i += threads_x()) {
    hidden[slot_of(table, listed[i], shift)] = 1;
  }
}

// hide_tokens hides the new KVs of a batch in one layer, the last of each head.
//
//   sequences  int32 [batch]: each sequence's row of tables and lengths
//   tables     int32 [rows, heads of all layers, stride], from the layer's first head on
//   lengths    int32 [rows, heads of all layers], likewise; the new KV is counted
//   which      int32 [batch·H]: 1 where it is hidden
//   hidden     float32 [N·B], written there: 1
//   batch, heads, all  sequences, H, and the heads of all layers
//   shift, stride  log2(B); blocks that a table has room for
//
// Grid: ⌈batch·H / 256⌉ blocks of 256 threads, a KV each.
extern "C" __global__ void __launch_bounds__(256)
hide_tokens(const int* __restrict__ sequences, const int* __restrict__ tables,
            const int* __restrict__ lengths, const int* __restrict__ which,
            float* __restrict__ hidden, int batch, int heads, int all, int shift, int stride) {
  const int i = block_x() * threads_x() + thread_x();
  if (i >= batch * heads || which[i] == 0) return;
  const int64 at = place_of(sequences, i, heads, all);
  hidden[slot_of(tables + at * stride, lengths[at] - 1, shift)] = 1;
}
