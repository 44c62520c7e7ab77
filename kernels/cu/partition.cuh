// Attention of a few queries to one partition of a KV head: 128 KVs in a row, the
// work of one warp (ref/NUMERICS.md §4). Decode and prefill share it.
//
// A lane scores a KV against all queries, so that no lane waits for another's
// sums: a dot product's 32 partial sums (§3) are one lane's, which adds them up in
// the butterfly's order. The KVs' rows come into shared memory 32 at a time, as
// they lie in global memory, by copies that the lanes share.
#pragma once
#include "format.cuh"

constexpr int partition = 128;
constexpr int most_queries = 8;

// The shared memory of a warp, in this order.
struct share {
  int64* starts;   // [partition] where the KVs' rows begin, in bytes
  int* rows;       // [most_queries] each query's row in the arrays of global memory
  int* counts;     // [most_queries] the partition's KVs that it attends to
  float* weights;  // [queries, partition] s_i, then e_i
  char* tile;      // [warp_size, stride] bytes: rows of K or V
  float* rest;

  int stride;  // bytes from row to row of the tile
};

extern __shared__ words4 shared_memory[];

// piece is how many bytes of a row are copied at once.
template <class format>
constexpr int piece = format::size == 1 ? 8 : 16;

// share_of lays out the shared memory for rows of d elements. An odd number of
// pieces from row to row spreads the lanes' rows over the banks.
//
// Bytes: 1088 + queries·512 + 32·stride + the rest.
template <class format>
__device__ __forceinline__ share share_of(int queries, int d) {
  share s;
  char* at = reinterpret_cast<char*>(shared_memory);
  s.starts = reinterpret_cast<int64*>(at);
  s.rows = reinterpret_cast<int*>(at + 8 * partition);
  s.counts = s.rows + most_queries;
  s.weights = reinterpret_cast<float*>(s.counts + most_queries);
  s.tile = reinterpret_cast<char*>(s.weights + queries * partition);
  s.stride = (d * format::size / piece<format> | 1) * piece<format>;
  s.rest = reinterpret_cast<float*>(s.tile + warp_size * s.stride);
  return s;
}

// load brings rows of K or V into the tile: those of KVs first to first+rows-1.
template <class format>
__device__ __forceinline__ void load(const share& s, const char* __restrict__ from, int first,
                                     int rows, int d) {
  warp_barrier();  // all lanes have done with the tile
  const int pieces = d * format::size / piece<format>;
  const int width = smaller(pieces, warp_size);  // lanes on a row
  const int together = warp_size / width;        // rows at once
  const int column = lane() % width;
  // What is left over of the lanes, where the width divides them not, has no row.
  for (int row = lane() / width < together ? lane() / width : rows; row < rows; row += together) {
    char* to = s.tile + row * s.stride;
    const char* at = from + s.starts[first + row];
    for (int i = column; i < pieces; i += width) {
      copy_later<piece<format>>(to + i * piece<format>, at + i * piece<format>);
    }
  }
  copies_done();
  warp_barrier();
}

// partial_sums adds up the products of a key and each query, in the order of §3,
// but for the last two steps: sum[j][i] is lane i's after distance 4.
//
// Four elements are four lanes' at once: quad v+8·n, n = 0, 1, …, is the n-th of
// lanes 4v to 4v+3. Those are what tree<v, 8> sums. tree<v, step> brings together
// quads v, v+step, v+2·step, … of the first 8: distances 16, 8 and 4 are steps 4,
// 2 and 1. What is beyond the head's size is left out: it would add +0.
//
// A partial sum starts from its first product, not from +0: it can be -0 where it
// should be +0, of which exp(s_i - m_p) knows nothing.
template <class format, int queries, int v, int step>
__device__ __forceinline__ void tree(const char* key, const float4* const (&q)[queries],
                                     int quads, float (&sum)[queries][4]) {
  if constexpr (step == 8) {
    float k[4];
    format::decode(key + v * 4 * format::size, k);
    for (int j = 0; j < queries; j++) {
      const float4 x = q[j][v];
      for (int i = 0; i < 4; i++) sum[j][i] = x.at[i] * k[i];
    }
    for (int c = v + 8; c < quads; c += 8) {
      format::decode(key + c * 4 * format::size, k);
      for (int j = 0; j < queries; j++) {
        const float4 x = q[j][c];
        for (int i = 0; i < 4; i++) sum[j][i] = sum[j][i] + x.at[i] * k[i];
      }
    }
  } else {
    tree<format, queries, v, 2 * step>(key, q, quads, sum);
    if (v + step < quads) {
      float other[queries][4];
      tree<format, queries, v + step, 2 * step>(key, q, quads, other);
      for (int j = 0; j < queries; j++) {
        for (int i = 0; i < 4; i++) sum[j][i] = sum[j][i] + other[j][i];
      }
    }
  }
}

// score writes the scores of the tile's KVs for `queries` queries, from the g-th on.
// Lanes beyond the last row repeat it; what they write is never read.
template <class format, int queries>
__device__ __forceinline__ void score(const share& s, const float* __restrict__ q, int g,
                                      int first, int rows, int d, float scale) {
  const float4* at[queries];
  for (int j = 0; j < queries; j++) {
    at[j] = reinterpret_cast<const float4*>(q + int64(s.rows[g + j]) * d);
  }
  const char* key = s.tile + smaller(lane(), rows - 1) * s.stride;
  float sum[queries][4];
  tree<format, queries, 0, 1>(key, at, d / 4, sum);
  for (int j = 0; j < queries; j++) {
    const float dot = (sum[j][0] + sum[j][2]) + (sum[j][1] + sum[j][3]);
    s.weights[(g + j) * partition + first + lane()] = dot * scale;
  }
}

// scores writes s_i of the partition's n KVs for all queries to the weights. The
// queries are those of rows s.rows of q.
template <class format>
__device__ __forceinline__ void scores(const share& s, const float* __restrict__ q,
                                       const char* __restrict__ keys, int queries, int n, int d,
                                       float scale) {
  for (int first = 0; first < n; first += warp_size) {
    const int rows = smaller(warp_size, n - first);
    load<format>(s, keys, first, rows, d);
    int g = 0;
    for (; g + 4 <= queries; g += 4) score<format, 4>(s, q, g, first, rows, d, scale);
    if (g + 2 <= queries) {
      score<format, 2>(s, q, g, first, rows, d, scale);
      g += 2;
    }
    if (g < queries) score<format, 1>(s, q, g, first, rows, d, scale);
  }
}

// exponentials replaces the scores by e_i = exp(s_i - m_p), and writes to global
// memory e_i, m_p and z_p: a query's are at its row of [rows, partitions, 128] and
// [rows, partitions], in partition p. A lane reads only scores that it wrote.
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
    for (int i = lane(); i < n; i += warp_size) top = larger(top, own[i]);
    top = butterfly_max(top);
    float sum = 0;
    for (int i = lane(); i < n; i += warp_size) {
      const float e = exp_of(own[i] - top);
      own[i] = e;
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

// factors writes f_p of a query that attends to `count` partitions, of at most
// `partitions` that a query of the launch does. `width` lanes in a row share the
// query: a power of two up to 32. All lanes of a warp call it together; those whose
// `valid` is false write nothing.
__device__ __forceinline__ void factors(const float* __restrict__ maxima,
                                        const float* __restrict__ sums,
                                        float* __restrict__ factors, int64 row, int count,
                                        int partitions, int width, bool valid) {
  const int own = lane() % width, first = lane() - own;
  const int64 at = row * partitions;
  float top = lowest();
  for (int p = own; p < count; p += width) top = larger(top, maxima[at + p]);
  for (int distance = width / 2; distance > 0; distance /= 2) {
    top = larger(top, from_lane_xor(top, distance));
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
