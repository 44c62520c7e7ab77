// Decode: paged attention of a batch's new tokens in one layer, and what their
// attention adds to the metrics (ref/NUMERICS.md §4).
//
//   attend_partitions   scores, e_i, m_p, z_p, o_p: a warp for each partition
//   attend_factors      f_p
//   attend_combine      the output: Σ o_p·f_p
//   attend_record       the metrics: Σ_g gain(e_i·f_p)
//   attend_record_each  in its place, where a KV has a number for each query head
//
// A query's row is (sequence·H + KV head)·G + its place in the group, as in q.
// Arrays of what was computed for it are [rows, partitions], where partitions is
// what the longest head of the launch has. A head's own are ⌈length/128⌉; the rest
// is neither written nor read.
#include "paging.cuh"
#include "partition.cuh"

// accumulate adds e_i·v_i of the tile's rows to the partition's outputs, i
// ascending. A lane has `width` elements of `queries` queries' outputs at a time.
// The outputs of queries `from` on, a multiple of `queries` of them, are where q was
// from tile to tile.
template <class format, int width, int queries>
__device__ __forceinline__ void accumulate(const share& s, int from, int multiple, int first,
                                           int rows, int d) {
  const int columns = d / width;
  for (int item = lane(); item < columns * multiple; item += warp_size) {
    const int g = from + uint32(item) / uint32(columns) * queries;
    const int column = uint32(item) % uint32(columns) * width;
    float* own = s.q + g * d + column;
    float sum[queries][width];
    for (int j = 0; j < queries; j++) {
      for (int i = 0; i < width; i++) sum[j][i] = first == 0 ? 0 : own[j * d + i];
    }
    const char* value = s.tile + column * format::size;
    const float* weights = s.weights + g * partition + first;
    int row = 0;
    for (; row + 4 <= rows; row += 4) {
      float4 e[queries];
      for (int j = 0; j < queries; j++) {
        e[j] = *reinterpret_cast<const float4*>(weights + j * partition + row);
      }
      for (int r = 0; r < 4; r++) {
        float v[width];
        format::decode(value + (row + r) * s.stride, v);
        for (int j = 0; j < queries; j++) {
          for (int i = 0; i < width; i++) sum[j][i] = sum[j][i] + e[j].at[r] * v[i];
        }
      }
    }
    for (; row < rows; row++) {
      float v[width];
      format::decode(value + row * s.stride, v);
      for (int j = 0; j < queries; j++) {
        const float e = weights[j * partition + row];
        for (int i = 0; i < width; i++) sum[j][i] = sum[j][i] + e * v[i];
      }
    }
    for (int j = 0; j < queries; j++) {
      for (int i = 0; i < width; i++) own[j * d + i] = sum[j][i];
    }
  }
}

// values adds up o_p of all queries, whose elements are more than a warp has lanes.
// A lane has four elements and several queries, so that a value is read and converted
// once; where that would leave more than 12 lanes idle, it has two elements of one
// query.
template <class format>
__device__ __forceinline__ void values(const share& s, const char* __restrict__ from,
                                       float* __restrict__ o, int queries, int n, int d, int p,
                                       int partitions) {
  for (int first = 0; first < n; first += warp_size) {
    const int rows = smaller(warp_size, n - first);
    load<format>(s, from, first, rows, d);
    if (d / 4 * larger(1, queries / 4) < 20) {
      accumulate<format, 2, 1>(s, 0, queries, first, rows, d);
    } else {
      const int fours = queries / 4, g = fours * 4;
      if (fours > 0) accumulate<format, 4, 4>(s, 0, fours, first, rows, d);
      if (queries & 2) accumulate<format, 4, 2>(s, g, 1, first, rows, d);
      if (queries & 1) accumulate<format, 4, 1>(s, queries - 1, 1, first, rows, d);
    }
  }
  warp_barrier();
  const float4* sums = reinterpret_cast<const float4*>(s.q);
  for (int g = 0; g < queries; g++) {
    float4* to = reinterpret_cast<float4*>(o + (int64(s.rows[g]) * partitions + p) * d);
    for (int i = lane(); i < d / 4; i += warp_size) to[i] = sums[g * (d / 4) + i];
  }
}

// values_of_few does the same where the queries' elements are no more than the lanes:
// a lane multiplies a KV's value, which is a few bytes, by all of its weights, and
// then adds up the products of one element.
template <class format>
__device__ __forceinline__ void values_of_few(const share& s, const char* __restrict__ from,
                                              float* __restrict__ o, int queries, int n, int d,
                                              int p, int partitions) {
  float* products = reinterpret_cast<float*>(s.tile);  // [queries, d, few_pitch]
  const float4* own = reinterpret_cast<const float4*>(products + lane() * few_pitch);
  const bool adds = lane() < d * queries;
  float sum = 0;
  for (int first = 0; first < n; first += warp_size) {
    const int rows = smaller(warp_size, n - first);
    warp_barrier();  // all lanes have done with the tile
    if (lane() < rows) {
      const char* value = from + int64(s.places[first + lane()]) * (d * format::size);
      const float* weights = s.weights + first + lane();
      for (int column = 0; column < d; column += 4) {
        float v[4];
        format::decode(value + column * format::size, v);
        float* to = products + column * few_pitch + lane();
        for (int g = 0; g < queries; g++) {
          const float e = weights[g * partition];
          for (int i = 0; i < 4; i++) to[i * few_pitch] = e * v[i];
          to += d * few_pitch;
        }
      }
    }
    warp_barrier();
    if (adds) {
      if (rows == warp_size) {
#pragma unroll
        for (int four = 0; four < warp_size / 4; four++) {
          const float4 x = own[four];
          for (int i = 0; i < 4; i++) sum = sum + x.at[i];
        }
      } else {
        for (int row = 0; row < rows; row++) sum = sum + own->at[row];
      }
    }
  }
  if (adds) o[(int64(s.rows[lane() / d]) * partitions + p) * d + lane() % d] = sum;
}

template <class format>
__device__ __forceinline__ void attend_partitions(
    const float* __restrict__ q, const char* __restrict__ keys, const char* __restrict__ v,
    const int* __restrict__ sequences, const int* __restrict__ tables,
    const int* __restrict__ lengths, float* __restrict__ weights, float* __restrict__ maxima,
    float* __restrict__ sums, float* __restrict__ o, int heads, int all, int group, int d,
    int shift, int stride, int partitions, float scale) {
  const int tiles = (group + most_queries - 1) / most_queries;
  const int head = block_x() / tiles, g = block_x() % tiles * most_queries;
  const int p = block_y();
  const int64 place = place_of(sequences, head, heads, all);
  const int n = smaller(partition, lengths[place] - p * partition);
  if (n <= 0) return;
  const int queries = smaller(most_queries, group - g);

  const share s = share_of<format>(queries, d);
  if (lane() < queries) {
    s.rows[lane()] = head * group + g + lane();
    s.counts[lane()] = n;
  }
  for (int i = lane(); i < n; i += warp_size) {
    s.places[i] = slot_of(tables + place * stride, p * partition + i, shift);
  }
  scores<format>(s, q, keys, queries, n, d, scale);
  exponentials(s, queries, weights, maxima, sums, p, partitions);
  if (d * queries <= warp_size) {
    values_of_few<format>(s, v, o, queries, n, d, p, partitions);
  } else {
    values<format>(s, v, o, queries, n, d, p, partitions);
  }
}

// attend_partitions attends to each partition by itself.
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
//
// Grid: (batch·H·⌈G/8⌉, partitions) blocks of 32 threads, with the shared memory of
// partition.cuh for min(G, 8) queries, or for G mod 8 where that is more. A warp has up to 8
// queries and 128 KVs; those without KVs do nothing. 16 warps are to fit a multiprocessor of
// 228 KiB: 128 registers a thread; at G = 4, D = 128, f16 14 KiB, with the system's one.
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
    attend_partitions<format>(q, keys, values, sequences, tables, lengths, weights, maxima,   \
                              sums, o, heads, all, group, d, shift, stride, partitions,       \
                              scale);                                                         \
  }
ATTEND_PARTITIONS(f32)
ATTEND_PARTITIONS(f16)
ATTEND_PARTITIONS(bf16)
ATTEND_PARTITIONS(e4m3)
ATTEND_PARTITIONS(e5m2)

// attend_factors computes the factor of each partition, by which its e_i and o_p
// are scaled.
//
//   sequences, lengths, maxima, sums, heads, all, group, partitions  as above
//   factors  float32 [rows, partitions], written: f_p
//   rows     batch·H·G
//   width    lanes that share a row: a power of two, as many as there are
//            partitions or 32
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
  const int row = smaller(i, rows - 1);
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

// record adds to the numbers of every KV what the queries gave it: to one number their
// sum, or to each of G its query's.
template <bool each>
__device__ __forceinline__ void record(
    const int* __restrict__ sequences, const int* __restrict__ times,
    const int* __restrict__ tables, const int* __restrict__ lengths,
    const float* __restrict__ weights, const float* __restrict__ f,
    const int* __restrict__ positions, float* __restrict__ numbers, int heads, int all,
    int group, int shift, int stride, int partitions, int buffer, int squared) {
  const int head = block_x(), p = block_y();
  const int64 place = place_of(sequences, head, heads, all);
  const int n = smaller(partition, lengths[place] - p * partition);
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

// attend_record adds to the metric of every KV what the group's queries gave it, if
// its position is at most the token's less the buffer.
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
// Order: ascending place in the group; then the sum is added to the metric.
//
// Bytes: a KV's position, metric and 4·G bytes of e_i read, its metric written, and
// the table entry once for B of them: 12 + 4·G. The floor, if no weights were
// written and read again, would be 12. Operations: 4·G.
extern "C" __global__ void attend_record(
    const int* sequences, const int* times, const int* tables, const int* lengths,
    const float* weights, const float* f, const int* positions, float* metrics, int heads, int all,
    int group, int shift, int stride, int partitions, int buffer, int squared) {
  record<false>(sequences, times, tables, lengths, weights, f, positions, metrics, heads, all,
                group, shift, stride, partitions, buffer, squared);
}

// attend_record_each adds to the G numbers of every KV what each query of the group gave
// it, if its position is at most the token's less the buffer.
//
//   numbers  float32 [N·B, G], read and written
//
// The rest, grid and block: as attend_record has them.
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
