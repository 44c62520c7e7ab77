// Decode: paged attention of a batch's new tokens in one layer, and what their
// attention adds to the metrics (ref/NUMERICS.md §4).
//
//   attend_partitions   scores, e_i, m_p, z_p, o_p: a warp for each partition
//   attend_factors      f_p
//   attend_combine      the output: Σ o_p·f_p
//   attend_record       the metrics: Σ_g gain(e_i·f_p)
//   attend_record_each  replaces it if a KV has a number for each query head
//
// A query's row is (sequence·H + KV head)·G + its place in the group, as in q.
// Arrays of per-partition results are [rows, partitions], with the partitions of
// the longest head of the launch. A head has ⌈length/128⌉ of them; the others are
// neither written nor read.
#include "attend.cuh"

// as_stored reads KVs as they are stored.
struct as_stored {
  template <class format>
  __device__ __forceinline__ share layout(int queries, int d) const {
    return share_of<format>(queries, d);
  }
  template <class format>
  __device__ __forceinline__ void weigh(const share& s, format codec, const float* __restrict__ q,
                                        const char* __restrict__ keys, int queries, int n, int d,
                                        float scale, float* __restrict__ weights,
                                        float* __restrict__ maxima, float* __restrict__ sums, int,
                                        int p, int partitions) const {
    scores(s, codec, q, keys, queries, n, d, scale);
    exponentials<format>(s, queries, weights, maxima, sums, p, partitions);
  }
};

// attend_partitions computes the attention of each partition.
//
//   q           float32 [batch, H·G, D]
//   keys        [N·B, D] in the cache's format; values likewise
//   sequences   int32 [batch]: each sequence's row of tables and lengths
//   tables      int32 [sequences, heads of all layers, stride], from the layer's first head on
//   lengths     int32 [sequences, heads of all layers], likewise
//   weights     float32 [rows, partitions, 128], written: e_i
//   maxima      float32 [rows, partitions], written: m_p
//   sums        float32 [rows, partitions], written: z_p
//   o           float32 [rows, partitions, D], written: o_p
//   heads, all  H, and the heads of all layers
//   group, d    G, D
//   shift       log2(B)
//   stride      blocks that a table has room for
//   partitions  ⌈longest/128⌉
//   scale       1/√D
//   k_scale, v_scale  fp8 caches only: what is read is multiplied by these
//
// Grid: (batch·H·⌈G/8⌉, partitions) blocks of 32 threads, with the shared memory of
// partition.cuh for min(G, 8) queries, or for G mod 8 where that is more. A warp has up to 8
// queries and 128 KVs; a warp without KVs does nothing. 16 warps fit a multiprocessor with
// 228 KiB: 128 registers a thread; 14 KiB at G = 4, D = 128, f16, with the 1 KiB that CUDA reserves.
//
// Order: §3 for a dot product; z_p by lanes and a butterfly; o_p ascending.
//
// Bytes: K and V are read once (for each 8 queries of a group), 2·D elements a KV;
// of partial results, 4·G bytes a KV of e_i are written, and D + 2 floats for each
// query and partition. At G = 4, D = 128, f16 that is 512 read and 32 written: 6 %
// more than the floor. Operations: a KV takes 4·D·G multiplications and additions,
// 2·D conversions, 29·G for the exponentials.
#define ATTEND_PARTITIONS(format)                                                             \
  extern "C" __global__ void __launch_bounds__(warp_size, 16) attend_partitions_##format(     \
      const float* q, const char* keys, const char* values, const int* sequences,             \
      const int* tables, const int* lengths, float* weights, float* maxima, float* sums,      \
      float* o, int heads, int all, int group, int d, int shift, int stride, int partitions,  \
      float scale) {                                                                          \
    attend_partitions(as_stored{}, format{}, format{}, q, keys, values, sequences, tables,    \
                      lengths, weights, maxima, sums, o, heads, all, group, d, shift, stride, \
                      partitions, scale);                                                     \
  }
ATTEND_PARTITIONS(f32)
ATTEND_PARTITIONS(f16)
ATTEND_PARTITIONS(bf16)
#define ATTEND_PARTITIONS_SCALED(format)                                                      \
  extern "C" __global__ void __launch_bounds__(warp_size, 16) attend_partitions_##format(     \
      const float* q, const char* keys, const char* values, const int* sequences,             \
      const int* tables, const int* lengths, float* weights, float* maxima, float* sums,      \
      float* o, int heads, int all, int group, int d, int shift, int stride, int partitions,  \
      float scale, float k_scale, float v_scale) {                                            \
    attend_partitions(as_stored{}, format{k_scale}, format{v_scale}, q, keys, values,         \
                      sequences, tables, lengths, weights, maxima, sums, o, heads, all,       \
                      group, d, shift, stride, partitions, scale);                            \
  }
ATTEND_PARTITIONS_SCALED(e4m3)
ATTEND_PARTITIONS_SCALED(e5m2)

// attend_factors computes the factor of each partition, by which its e_i and o_p
// are scaled.
//
//   sequences, lengths, maxima, sums, heads, all, group, partitions  as above
//   factors  float32 [rows, partitions], written: f_p
//   rows     batch·H·G
//   width    lanes that share a row: the least power of two that is at least
//            min(partitions, 32)
//
// Grid: ⌈rows·width / 128⌉ blocks of 128 threads.
//
// Order: Z ascending p.
//
// Bytes: 12 for each row and partition. Operations: 40 for each.
extern "C" __global__ void attend_factors(const int* __restrict__ sequences,
                                          const int* __restrict__ lengths,
                                          const float* __restrict__ maxima,
                                          const float* __restrict__ sums,
                                          float* __restrict__ f, int rows, int heads, int all,
                                          int group, int partitions, int width) {
  const int i = (block_x() * threads_x() + thread_x()) / width;
  const int row = min(i, rows - 1);
  const int length = lengths[place_of(sequences, row / group, heads, all)];
  const int count = (length + partition - 1) / partition;
  factors(maxima, sums, f, row, count, partitions, width, i < rows);
}

// attend_combine adds up the output.
//
//   sequences, lengths, o, heads, all, group, partitions  as above
//   f       float32 [rows, partitions]: f_p
//   out     float32 [rows, D], written
//   rows    batch·H·G
//   quads   D/4
//
// Grid: ⌈rows·D/4 / 128⌉ blocks of 128 threads, each with 4 elements.
//
// Order: ascending p.
//
// Bytes: D + 1 floats for each row and partition read, D for each row written: that
// is the floor. Operations: 2·D for each row and partition.
extern "C" __global__ void attend_combine(const int* __restrict__ sequences,
                                          const int* __restrict__ lengths,
                                          const float4* __restrict__ o,
                                          const float* __restrict__ f,
                                          float4* __restrict__ out, int rows, int heads,
                                          int all, int group, int quads, int partitions) {
  const uint32 i = block_x() * threads_x() + thread_x();
  const int row = i / uint32(quads), column = i % uint32(quads);
  if (row >= rows) return;
  const int length = lengths[place_of(sequences, row / group, heads, all)];
  const int count = (length + partition - 1) / partition;
  const int64 at = int64(row) * partitions;
  float4 sum = {};
  for (int p = 0; p < count; p++) {
    const float4 part = o[(at + p) * quads + column];
    const float factor = f[at + p];
    for (int j = 0; j < 4; j++) sum.at[j] = sum.at[j] + part.at[j] * factor;
  }
  out[int64(row) * quads + column] = sum;
}

// record adds the queries' gains to the numbers of every KV: their sum to a single
// number, or each query's gain to its own of G numbers.
template <bool each>
__device__ __forceinline__ void record(
    const int* __restrict__ sequences, const int* __restrict__ times,
    const int* __restrict__ tables, const int* __restrict__ lengths,
    const float* __restrict__ weights, const float* __restrict__ f,
    const int* __restrict__ positions, float* __restrict__ numbers, int heads, int all,
    int group, int shift, int stride, int partitions, int buffer, int squared) {
  const int head = block_x(), p = block_y();
  const int64 place = place_of(sequences, head, heads, all);
  const int n = min(partition, lengths[place] - p * partition);
  const int* table = tables + place * stride;
  const int last = times[head / heads] - buffer;
  const int64 row = int64(head) * group * partitions + p;
  for (int i = thread_x(); i < n; i += threads_x()) {
    const int slot = slot_of(table, p * partition + i, shift);
    if (positions[slot] > last) continue;
    const float* weight = weights + row * partition + i;
    const float* factor = f + row;
    float* own = numbers + int64(slot) * (each ? group : 1);
    float gained = 0;
    for (int g = 0; g < group; g++) {
      const float more = gain(*weight * *factor, squared);
      if (each)
        own[g] = own[g] + more;
      else
        gained = gained + more;
      weight += partitions * partition;
      factor += partitions;
    }
    if (!each) *own = *own + gained;
  }
}

// attend_record adds the gains of the group's queries to the metric of every KV whose
// position is at most the token's minus the buffer.
//
//   sequences, tables, lengths, heads, all, group, shift, stride, partitions  as above
//   times      int32 [batch]: position of each sequence's token
//   weights    float32 [rows, partitions, 128]: e_i
//   f          float32 [rows, partitions]: f_p
//   positions  int32 [N·B]
//   metrics    float32 [N·B], read and written
//   buffer     positions that a token must be behind to gain
//   squared    1 for norm L2, 0 for L1
//
// Grid: (batch·H, partitions) blocks of 32 threads, with 4 KVs each.
//
// Order: ascending index in the group; then the sum is added to the metric.
//
// Bytes: a KV's position, metric and 4·G bytes of e_i read, its metric written, and
// the table entry once for B of them: 12 + 4·G. Without the weights, which a fused
// kernel need not store, it would be 12. Operations: 4·G.
extern "C" __global__ void attend_record(
    const int* sequences, const int* times, const int* tables, const int* lengths,
    const float* weights, const float* f, const int* positions, float* metrics, int heads, int all,
    int group, int shift, int stride, int partitions, int buffer, int squared) {
  record<false>(sequences, times, tables, lengths, weights, f, positions, metrics, heads, all,
                group, shift, stride, partitions, buffer, squared);
}

// attend_record_each adds the gain of each query of the group to its own of the G numbers
// of every KV whose position is at most the token's minus the buffer.
//
//   numbers  float32 [N·B, G], read and written
//
// Other arguments, grid and block: as in attend_record.
//
// Bytes: a KV's position and 4·G bytes of e_i read, its 4·G of numbers read and written,
// and the table entry once for B of them: 4 + 12·G. Operations: 3·G.
extern "C" __global__ void attend_record_each(
    const int* sequences, const int* times, const int* tables, const int* lengths,
    const float* weights, const float* f, const int* positions, float* numbers, int heads, int all,
    int group, int shift, int stride, int partitions, int buffer, int squared) {
  record<true>(sequences, times, tables, lengths, weights, f, positions, numbers, heads, all,
               group, shift, stride, partitions, buffer, squared);
}
