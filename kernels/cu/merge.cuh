// Keys and values of pairs of layers, merged (ref/NUMERICS.md §13), in pages of their own. Vectors are
// keys (part 0) or values (part 1) of a head, as the cache has them: x is the deeper layer's, y the
// shallower one's. Pair i of a method that merges layers First, First + 1, … has head i mod H of layers
// First + 2·⌊i/H⌋ and the next.
//
// A head has four lists of pages: of keys and then of values, the merged ones and then the retained
// ones. Merged ones are the shallower layer's head's alone. Their units are tokens:
//
//   merged    the direction; the norm in the shallower layer, in the deeper one
//   retained  the logical index; the key or value
#pragma once
#include "pages.cuh"

constexpr int norm_bytes = 4, index_bytes = 4;

// shallow_head returns the head, of L·H, of a pair's shallower layer; the other one is H further
// on.
__word__ int shallow_head(int pair, int layer, int heads) {
  return (layer + pair / heads * 2) * heads + pair % heads;
}

// list_of returns a list of a head's pages.
template <class lists_of>
__word__ lists_of* list_of(lists_of* lists, int64 head, int part, bool retained, int stride) {
  return lists + ((head * 2 + part) * 2 + retained) * stride;
}

// The pages of a list of retained keys or values.
__word__ units retained_units(char* keys, char* values, const int* list, int row, int shift) {
  return units::of(keys, values, list, int64(row) << shift, row + index_bytes);
}

// How vectors are merged.
struct slerp {
  float t, other;   // weight of the deeper layer, and of the shallower one
  float eps;        // the smallest norm
  float low, high;  // bounds on cosines
};

// A vector of at most 256 elements: a lane has every 32nd of them. All lanes have the same number
// of elements; those beyond the vector's end are 0.
using vector = float[8];

// each_element calls f(j) for each element number j of a lane.
template <class function>
__word__ void each_element(int d, const function& f) {
#pragma unroll
  for (int j = 0; j < 8; j++) {
    if (j * warp_size >= d) break;
    f(j);
  }
}

// dot is the sum of the products of two vectors.
__word__ float dot(const vector& a, const vector& b, int d) {
  float sum = 0;
  each_element(d, [&](int j) { sum = sum + a[j] * b[j]; });
  return butterfly_sum(sum);
}

// Two vectors, as unit vectors and norms, and the angle between them.
struct vectors {
  vector x, y;
  float deep, shallow, angle;
};

// unit loads the vector at `row` into v, divided by its norm, and returns the norm.
template <class format>
__device__ __forceinline__ float unit(const char* row, int d, const slerp& by, vector& v) {
  each_element(d, [&](int j) {
    const int i = lane() + j * warp_size;
    v[j] = i < d ? one<format>(row + i * format::size) : 0;
  });
  const float norm = max(square_root(dot(v, v, d)), by.eps);
  each_element(d, [&](int j) { v[j] = v[j] / norm; });
  return norm;
}

// Directions of merged vectors in units of pages; the two norms are the last bytes of a unit. A kind
// of them has
//
//   four(u, column, d)       elements column to column + 3 of direction u
//   write(u, e, length, d)   e / length as direction u, by a warp
//
// Those of `stored` are rows in the cache's format.
template <class format>
struct stored : units {
  __word__ static stored of(char* keys, char* values, const int* list, int d, int shift) {
    const int row = d * format::size;
    return {units::of(keys, values, list, int64(row) << shift, row + 2 * norm_bytes)};
  }

  __device__ __forceinline__ float4 four(int u, int column, int) const {
    return four_of_unit<format>(*this, u, column * format::size);
  }

  __device__ __forceinline__ void write(int u, const vector& e, float length, int d) const {
    each_element(d, [&](int j) {
      const int i = lane() + j * warp_size;
      if (i < d) store_one<format>(at(u, i * format::size), e[j] / length);
    });
  }
};

// The key, or value, of a token in both layers of a pair.
struct token {
  int pair, part, i;  // i counts from the launch's first token
  int head;           // of the shallower layer

  // of says which a warp has: blocks of 8 warps along x, pairs along y, parts along z.
  __word__ static token of(int first, int layer, int heads) {
    const int pair = first + block_y();
    return {pair, block_z(), int(block_x() * threads_x() + thread_x()) / warp_size,
            shallow_head(pair, layer, heads)};
  }

  template <class format>
  __device__ __forceinline__ vectors bring(const char* keys, const char* values, const int* tables,
                                           int logical, int heads, int d, int shift, int stride,
                                           const slerp& by) const {
    const char* rows = part == 0 ? keys : values;
    const int* table = tables + int64(head) * stride;
    const int64 shallow = slot_of(table, logical, shift);
    const int64 deep = slot_of(table + int64(heads) * stride, logical, shift);
    vectors v;
    v.deep = unit<format>(rows + deep * d * format::size, d, by, v.x);
    v.shallow = unit<format>(rows + shallow * d * format::size, d, by, v.y);
    v.angle = arccos_of(min(max(dot(v.x, v.y, d), by.low), by.high));
    return v;
  }
};

// merge_pairs merges tokens of some pairs of heads of a sequence: directions_of(head, part) says
// where those of a head of a shallower layer are written. The names of the arguments are those of
// measure_pairs, and of the kernel.
template <class format, class listing>
__device__ __forceinline__ void merge_pairs(const char* keys, const char* values, const int* tables,
                                            int first, int layer, int heads, int from, int n, int d,
                                            int shift, int stride, const slerp& by,
                                            const listing& directions_of) {
  const token own = token::of(first, layer, heads);
  if (own.i >= n) return;
  vectors v = own.bring<format>(keys, values, tables, from + own.i, heads, d, shift, stride, by);
  const float sine = sine_of(v.angle);
  float deep = by.t, shallow = by.other;
  if (sine > by.eps || sine < -by.eps) {
    shallow = sine_of(shallow * v.angle) / sine;
    deep = sine_of(deep * v.angle) / sine;
  }
  const float more = deep - shallow;
  vector e;
  each_element(d, [&](int j) { e[j] = shallow * (v.y[j] + v.x[j]) + more * v.x[j]; });
  const float length = max(square_root(dot(e, e, d)), by.eps);
  const auto to = directions_of(own.head, own.part);
  const int u = from + own.i;
  to.write(u, e, length, d);
  if (lane() < 2) {
    *reinterpret_cast<float*>(to.at(u, to.unit - (2 - lane()) * norm_bytes)) =
        lane() == 0 ? v.shallow : v.deep;
  }
}

// merged reads a partition's keys, or values. The first `count` KVs of the head are merged, and
// the others are in the plain blocks of `rows`. For merged KVs that are retained, the retained
// copy is read.
template <class format, class kind>
struct merged {
  kind directions;
  units retained;
  const char* rows;
  const int* table;
  int shift;
  int count, held;  // merged; retained
  int norm;         // byte of a unit that the layer's norm is at

  // find notes the slots of KVs in plain blocks, of retained ones which they are, and of others −1.
  __device__ __forceinline__ void find(const share& s, int start, int n) const {
    for (int i = lane(); i < n; i += warp_size) {
      s.row_index[i] = start + i < count ? -1 : slot_of(table, start + i, shift);
    }
    warp_barrier();
    int low = 0, high = held;  // the first that is not before the partition
    while (low < high) {
      const int middle = (low + high) / 2;
      if (index(middle) < start) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    for (int k = low + lane(); k < held; k += warp_size) {
      const int i = index(k) - start;
      if (i >= n) break;
      s.row_index[i] = k;
    }
  }

  __device__ __forceinline__ int index(int k) const {
    return *reinterpret_cast<const int*>(retained.at(k, 0));
  }

  // four reads elements column to column + 3 of a KV.
  __device__ __forceinline__ float4 four(int logical, int place, int column, int d) const {
    if (logical >= count) return four_of_row<format>(rows + (int64(place) * d + column) * format::size);
    if (place >= 0) return four_retained(place, column);
    const float length = *reinterpret_cast<const float*>(directions.at(logical, norm));
    float4 x = directions.four(logical, column, d);
    for (int j = 0; j < 4; j++) x.at[j] = x.at[j] * length;
    return x;
  }

  // four_retained reads elements of a retained KV, which begins at a multiple of 4 bytes.
  __device__ __forceinline__ float4 four_retained(int k, int column) const {
    const int byte = index_bytes + column * format::size;
    if constexpr (format::size == 2) return four_of_unit<format>(retained, k, byte);
    float4 x;
    for (int j = 0; j < 4; j++) x.at[j] = one<format>(retained.at(k, byte + j * format::size));
    return x;
  }
};

// The arguments of attend_partitions_merged that attend_partitions does not have.
struct merged_lists {
  const int* counts;
  const int* lists;
  const int* held;
  int list_stride, deep;
};

// attend_merged is attend_partitions with both parts read by `merged`: directions_of(list) are those
// of a list.
template <class format, class listing>
__device__ __forceinline__ void attend_merged(const attention& a, const merged_lists& z,
                                              const listing& directions_of) {
  attend_pages(a, [&](const warp_share& own, int part) {
    const int64 shallow = own.place - (z.deep != 0 ? a.heads : 0);
    const auto directions = directions_of(list_of(z.lists, shallow, part, false, z.list_stride));
    const units retained = retained_units(
        a.keys, a.values, list_of(z.lists, own.place, part, true, z.list_stride),
        a.d * format::size, a.shift);
    const int norm = directions.unit - (z.deep != 0 ? 1 : 2) * norm_bytes;
    return merged<format, decltype(directions)>{
        directions, retained, part == 0 ? a.keys : a.values, a.tables + own.place * a.stride,
        a.shift, z.counts[2 * own.sequence + part], z.held[2 * own.place + part], norm};
  });
}
