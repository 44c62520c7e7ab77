// Attention of a few queries to one partition of a KV head: 128 KVs in a row, the
// work of one warp (ref/NUMERICS.md §4). Decode and prefill share it.
//
// A lane scores a KV against all queries, so that no lane waits for another's
// sums: a dot product's 32 partial sums (§3) are one lane's, which adds them up in
// the butterfly's order. The KVs' rows come into shared memory 32 at a time, as
// they lie in global memory, by copies that the lanes share.
#pragma once
#include "format.cuh"

constexpr int partition = 128;   // KVs
constexpr int most_queries = 8;  // that a warp has at a time

// The shared memory of a warp, in this order.
struct share {
  int* row_index;  // [partition] each KV's row in the arrays of keys and values
  int* rows;       // [most_queries] each query's row in the arrays of global memory
  int* counts;     // [most_queries] the partition's KVs that it attends to
  float* weights;  // [queries, partition] s_i, then e_i
  char* tile;      // [warp_size, stride] bytes: rows of K or V
  float* q;        // [queries, D]; what is done with them may be overwritten

  int stride;  // bytes from row to row of the tile

  // How the lanes share the copies of a tile.
  int tile_rows;    // rows copied at once
  int row, column;  // a lane's own first row, and piece of it
};

extern __shared__ words4 shared_memory[];

// piece is how many bytes of a row are copied at once.
template <class format>
constexpr int piece = format::size == 1 ? 8 : 16;

// lanes_on_row is how many lanes copy a row.
template <class format>
__word__ int lanes_on_row(int d) {
  return min(d * format::size / piece<format>, warp_size);
}

// few_pitch is from one element's products to the next one's, where attention.cu keeps
// those in the tile instead of rows.
constexpr int few_pitch = warp_size + 4;

// share_of lays out the shared memory for rows of d elements. An odd number of
// pieces from row to row spreads the lanes' rows over the banks.
//
// Bytes: 576 + queries·(512 + 4·d) + the tile's: 32·stride, but where the queries'
// elements are no more than a warp's lanes at least 144 for each of them.
template <class format>
__device__ __forceinline__ share share_of(int queries, int d) {
  share s;
  s.row_index = reinterpret_cast<int*>(shared_memory);
  s.rows = s.row_index + partition;
  s.counts = s.rows + most_queries;
  s.weights = reinterpret_cast<float*>(s.counts + most_queries);
  s.tile = reinterpret_cast<char*>(s.weights + queries * partition);
  s.stride = (d * format::size / piece<format> | 1) * piece<format>;
  int tile = warp_size * s.stride;
  if (queries * d <= warp_size) tile = max(tile, queries * d * few_pitch * 4);
  s.q = reinterpret_cast<float*>(s.tile + tile);

  const uint32 width = lanes_on_row<format>(d);
  s.tile_rows = warp_size / width;
  s.row = lane() / width;
  s.column = lane() % width;
  return s;
}

// load brings rows of K or V into the tile: those of KVs first to first+rows-1.
template <class format>
__device__ __forceinline__ void load(const share& s, const char* __restrict__ from, int first,
                                     int rows, int d) {
  warp_barrier();  // all lanes have done with the tile
  // Lanes that are left over, where a row's do not divide the warp, have no row.
  if (s.row < s.tile_rows) {
    const int pieces = d * format::size / piece<format>;
    for (int i = s.column; i < pieces; i += lanes_on_row<format>(d)) {
      char* to = s.tile + s.row * s.stride + i * piece<format>;
      const char* at = from + i * piece<format>;
      const int* place = s.row_index + first + s.row;
      for (int row = s.row; row < rows; row += s.tile_rows) {
        copy_later<piece<format>>(to, at + int64(*place) * (d * format::size));
        to += s.tile_rows * s.stride;
        place += s.tile_rows;
      }
    }
  }
  copies_done();
  warp_barrier();
}

// bring_queries brings n queries, from the g-th on, to shared memory, times the lift of
// the keys' format: four elements of each of them, then the next four.
template <class format, int n>
__device__ __forceinline__ void bring_queries(const share& s, const float* __restrict__ q, int g,
                                              int d) {
  const float4* from = reinterpret_cast<const float4*>(q);
  float4* to = reinterpret_cast<float4*>(s.q + g * d);
  for (int i = lane(); i < n * d / 4; i += warp_size) {
    float4 x = from[int64(s.rows[g + i % n]) * (d / 4) + i / n];
    for (int j = 0; j < 4; j++) x.at[j] = x.at[j] * format::lift;
    to[i] = x;
  }
}

// partial_sums adds up the products of a key and n queries, in the order of §3, but
// for the last two steps: sum[j][i] is lane i's after distance 4.
//
// Four elements are four lanes' at once: quad v+8·m, m = 0, 1, …, is the m-th of
// lanes 4v to 4v+3. Those are what partial_sums<v, 8> adds up. <v, step> brings
// together quads v, v+step, v+2·step, … of the first 8: distances 16, 8 and 4 are
// steps 4, 2 and 1. What is beyond the head's size is left out: it would add +0.
//
// A sum starts from its first product, not from +0: it can be -0 where it should
// be +0, of which exp(s_i - m_p) knows nothing.
template <class format, int n, int v, int step>
__device__ __forceinline__ void partial_sums(format codec, const char* key, const float4* q,
                                             int quads, float (&sum)[n][4]) {
  if constexpr (step == 8) {
    float k[4];
    codec.decode(key + v * 4 * format::size, k);
    for (int j = 0; j < n; j++) {
      const float4 x = q[v * n + j];
      for (int i = 0; i < 4; i++) sum[j][i] = x.at[i] * k[i];
    }
    for (int c = v + 8; c < quads; c += 8) {
      codec.decode(key + c * 4 * format::size, k);
      for (int j = 0; j < n; j++) {
        const float4 x = q[c * n + j];
        for (int i = 0; i < 4; i++) sum[j][i] = sum[j][i] + x.at[i] * k[i];
      }
    }
  } else {
    partial_sums<format, n, v, 2 * step>(codec, key, q, quads, sum);
    if (v + step < quads) {
      float other[n][4];
      partial_sums<format, n, v + step, 2 * step>(codec, key, q, quads, other);
      for (int j = 0; j < n; j++) {
        for (int i = 0; i < 4; i++) sum[j][i] = sum[j][i] + other[j][i];
      }
    }
  }
}

// score writes the scores of the tile's KVs for n queries, from the g-th on. Lanes
// beyond the last row repeat it; what they write is never read.
template <class format, int n>
__device__ __forceinline__ void score(const share& s, format codec, int g, int first, int rows,
                                      int d, float scale) {
  const char* key = s.tile + min(lane(), rows - 1) * s.stride;
  float sum[n][4];
  const float4* q = reinterpret_cast<const float4*>(s.q + g * d);
  partial_sums<format, n, 0, 1>(codec, key, q, d / 4, sum);
  float* to = s.weights + g * partition + first + lane();
  for (int j = 0; j < n; j++) {
    const float dot = (sum[j][0] + sum[j][2]) + (sum[j][1] + sum[j][3]);
    to[j * partition] = dot * scale;
  }
}

// bring_all_queries brings all queries, those of rows s.rows of q: by four, two and one,
// as score_all takes them.
template <class format>
__device__ __forceinline__ void bring_all_queries(const share& s, const float* __restrict__ q,
                                                  int queries, int d) {
  const int fours = queries & ~3, twos = queries & ~1;
  for (int g = 0; g < fours; g += 4) bring_queries<format, 4>(s, q, g, d);
  if (fours < twos) bring_queries<format, 2>(s, q, fours, d);
  if (twos < queries) bring_queries<format, 1>(s, q, twos, d);
}

// score_all writes the scores of the tile's KVs for all queries.
template <class format>
__device__ __forceinline__ void score_all(const share& s, format codec, int queries, int first,
                                          int rows, int d, float scale) {
  const int fours = queries & ~3, twos = queries & ~1;
  for (int g = 0; g < fours; g += 4) score<format, 4>(s, codec, g, first, rows, d, scale);
  if (fours < twos) score<format, 2>(s, codec, fours, first, rows, d, scale);
  if (twos < queries) score<format, 1>(s, codec, twos, first, rows, d, scale);
}

// scores writes s_i of the partition's n KVs for all queries to the weights.
template <class format>
__device__ __forceinline__ void scores(const share& s, format codec, const float* __restrict__ q,
                                       const char* __restrict__ keys, int queries, int n, int d,
                                       float scale) {
  warp_barrier();
  bring_all_queries<format>(s, q, queries, d);
  for (int first = 0; first < n; first += warp_size) {
    const int rows = min(warp_size, n - first);
    load<format>(s, keys, first, rows, d);
    score_all(s, codec, queries, first, rows, d, scale);
  }
}

// exponentials replaces the scores by e_i = exp(s_i - m_p), and writes to global
// memory e_i, m_p and z_p: a query's are at its row of [rows, partitions, 128] and
// [rows, partitions], in partition p. Those that replace the scores are times the lift of
// the values' format. A lane reads only scores that it wrote.
template <class format>
__device__ __forceinline__ void exponentials(const share& s, int queries,
                                             float* __restrict__ weights,
                                             float* __restrict__ maxima,
                                             float* __restrict__ sums, int p, int partitions) {
  for (int g = 0; g < queries; g++) {
    const int n = s.counts[g];
    if (n <= 0) continue;
    const int64 to = int64(s.rows[g]) * partitions + p;
    float* own = s.weights + g * partition;
    float top = lowest();
    for (int i = lane(); i < n; i += warp_size) top = max(top, own[i]);
    top = butterfly_max(top);
    float sum = 0;
    for (int i = lane(); i < n; i += warp_size) {
      const float e = exp_of(own[i] - top);
      own[i] = e * format::lift;
      weights[to * partition + i] = e;
      sum = sum + e;
    }
    sum = butterfly_sum(sum);
    if (lane() == 0) {
      maxima[to] = top;
      sums[to] = sum;
    }
  }
}

// factors writes f_p of a query that attends to `count` partitions; no query of the
// launch attends to more than `partitions`. `width` adjacent lanes share the
// query: a power of two up to 32. All lanes of a warp call it together; those whose
// `valid` is false write nothing.
__device__ __forceinline__ void factors(const float* __restrict__ maxima,
                                        const float* __restrict__ sums,
                                        float* __restrict__ factors, int64 row, int count,
                                        int partitions, int width, bool valid) {
  const int own = lane() % width, first = lane() - own;
  const int64 at = row * partitions;
  float top = lowest();
  for (int p = own; p < count; p += width) top = max(top, maxima[at + p]);
  for (int distance = width / 2; distance > 0; distance /= 2) {
    top = max(top, from_lane_xor(top, distance));
  }
  float total = 0;
  for (int base = 0; base < partitions; base += width) {
    const int p = base + own;
    float term = 0;
    if (p < count) {
      const float w = exp_of(maxima[at + p] - top);
      if (valid) factors[at + p] = w;
      term = w * sums[at + p];
    }
    for (int j = 0; j < width; j++) total = total + from_lane(term, first + j);
  }
  if (!valid) return;
  for (int p = own; p < count; p += width) factors[at + p] = factors[at + p] / total;
}
