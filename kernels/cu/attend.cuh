// Decode attention of one partition of a KV head (ref/NUMERICS.md §4). Its parameter is
// how KVs are read: as they are stored (attention.cu), or adjusted (adjusted.cu).
#pragma once
#include "paging.cuh"
#include "partition.cuh"

// accumulate adds e_i·v_i of the tile's rows to the partition's outputs, i
// ascending. In this file the weights are multiplied by the lift of the format. A lane has `width` elements of the outputs of `queries` queries at a time.
// Between tiles the outputs of queries `from` on, a multiple of `queries` of them, are
// kept in the memory of q.
template <class format, int width, int queries>
__device__ __forceinline__ void accumulate(const share& s, format codec, int from, int multiple,
                                           int first, int rows, int d) {
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
        codec.decode(value + (row + r) * s.stride, v);
        for (int j = 0; j < queries; j++) {
          for (int i = 0; i < width; i++) sum[j][i] = sum[j][i] + e[j].at[r] * v[i];
        }
      }
    }
    for (; row < rows; row++) {
      float v[width];
      codec.decode(value + row * s.stride, v);
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

// values adds up o_p of all queries, if they have more elements than a warp has lanes.
// A lane has four elements of several queries, so that a value is read and converted
// once. If that would leave more than 12 lanes idle, a lane has two elements of one
// query.
template <class format>
__device__ __forceinline__ void values(const share& s, format codec,
                                       const char* __restrict__ from, float* __restrict__ o,
                                       int queries, int n, int d, int p, int partitions) {
  for (int first = 0; first < n; first += warp_size) {
    const int rows = min(warp_size, n - first);
    load<format>(s, from, first, rows, d);
    if (d / 4 * max(1, queries / 4) < 20) {
      accumulate<format, 2, 1>(s, codec, 0, queries, first, rows, d);
    } else {
      const int fours = queries / 4, g = fours * 4;
      if (fours > 0) accumulate<format, 4, 4>(s, codec, 0, fours, first, rows, d);
      if (queries & 2) accumulate<format, 4, 2>(s, codec, g, 1, first, rows, d);
      if (queries & 1) accumulate<format, 4, 1>(s, codec, queries - 1, 1, first, rows, d);
    }
  }
  warp_barrier();
  const float4* sums = reinterpret_cast<const float4*>(s.q);
  for (int g = 0; g < queries; g++) {
    float4* to = reinterpret_cast<float4*>(o + (int64(s.rows[g]) * partitions + p) * d);
    for (int i = lane(); i < d / 4; i += warp_size) to[i] = sums[g * (d / 4) + i];
  }
}

// values_of_few does the same if the queries have at most one element per lane: a lane
// multiplies the value of one KV by the weights of all queries, and then adds up the
// products of one element.
template <class format>
__device__ __forceinline__ void values_of_few(const share& s, format codec,
                                              const char* __restrict__ from,
                                              float* __restrict__ o, int queries, int n, int d,
                                              int p, int partitions) {
  float* products = reinterpret_cast<float*>(s.tile);  // [queries, d, few_pitch]
  const float4* own = reinterpret_cast<const float4*>(products + lane() * few_pitch);
  const bool adds = lane() < d * queries;
  float sum = 0;
  for (int first = 0; first < n; first += warp_size) {
    const int rows = min(warp_size, n - first);
    warp_barrier();  // all lanes have done with the tile
    if (lane() < rows) {
      const char* value = from + int64(s.row_index[first + lane()]) * (d * format::size);
      const float* weights = s.weights + first + lane();
      for (int column = 0; column < d; column += 4) {
        float v[4];
        codec.decode(value + column * format::size, v);
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

// outputs adds up o_p of all queries, by values or values_of_few.
template <class format>
__device__ __forceinline__ void outputs(const share& s, format codec,
                                        const char* __restrict__ from, float* __restrict__ o,
                                        int queries, int n, int d, int p, int partitions) {
  if (d * queries <= warp_size) {
    values_of_few(s, codec, from, o, queries, n, d, p, partitions);
  } else {
    values(s, codec, from, o, queries, n, d, p, partitions);
  }
}

// attend_partitions computes the attention of one partition: `reading` lays out the shared
// memory, and computes e_i, m_p and z_p from the partition's keys. k_codec and v_codec are
// the cache's format, with the scales of K and V if it has scales.
template <class format, class reading>
__device__ __forceinline__ void attend_partitions(
    const reading& read, format k_codec, format v_codec, const float* __restrict__ q, const char* __restrict__ keys,
    const char* __restrict__ v, const int* __restrict__ sequences, const int* __restrict__ tables,
    const int* __restrict__ lengths, float* __restrict__ weights, float* __restrict__ maxima,
    float* __restrict__ sums, float* __restrict__ o, int heads, int all, int group, int d,
    int shift, int stride, int partitions, float scale) {
  const int tiles = (group + most_queries - 1) / most_queries;
  const int head = block_x() / tiles, g = block_x() % tiles * most_queries;
  const int p = block_y();
  const int64 place = place_of(sequences, head, heads, all);
  const int n = min(partition, lengths[place] - p * partition);
  if (n <= 0) return;
  const int queries = min(most_queries, group - g);

  const share s = read.template layout<format>(queries, d);
  if (lane() < queries) {
    s.rows[lane()] = head * group + g + lane();
    s.counts[lane()] = n;
  }
  for (int i = lane(); i < n; i += warp_size) {
    s.row_index[i] = slot_of(tables + place * stride, p * partition + i, shift);
  }
  read.weigh(s, k_codec, q, keys, queries, n, d, scale, weights, maxima, sums, head, p,
             partitions);
  outputs(s, v_codec, v, o, queries, n, d, p, partitions);
}
