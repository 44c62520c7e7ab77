// Keys and values of a head that lie in pages of their own, K or V alone, in units one after the other; and
// decode attention to them. A page is the B·D keys and then the B·D values of a block, as bytes.
#pragma once
#include "attend.cuh"

// The owner of a physical block. In a free one all four are −1.
struct alignas(16) owner {
  int sequence, layer, head, logical;
};

// owner_of_page is the owner of page number `page` of keys (part 0) or values (1) of a head, of
// which a layer has `of_layer`.
__word__ owner owner_of_page(int sequence, int head, int of_layer, int part, int page) {
  return {sequence, head / of_layer, head % of_layer, int(uint32(page) | uint32(part + 1) << 30)};
}

// one reads an element.
template <class format>
__word__ float one(const char* at) {
  if constexpr (format::size == 4) {
    return *reinterpret_cast<const float*>(at);
  } else {
    const uint16 x = *reinterpret_cast<const uint16*>(at);
    const uint32 both = x | uint32(x) << 16;
    float v[2];
    format::decode(reinterpret_cast<const char*>(&both), v);
    return v[0];
  }
}

// store_one rounds a number to the format, writes it and returns it.
template <class format>
__word__ float store_one(char* at, float v) {
  if constexpr (format::size == 4) {
    *reinterpret_cast<float*>(at) = v;
    return v;
  } else {
    const uint32 both = format::pair(v, v);
    *reinterpret_cast<uint16*>(at) = uint16(both);
    float rounded[2];
    format::decode(reinterpret_cast<const char*>(&both), rounded);
    return rounded[0];
  }
}

// four_of_row reads four elements of a key, or value, in a plain block.
template <class format>
__word__ float4 four_of_row(const char* at) {
  float v[4];
  format::decode(at, v);
  return {{v[0], v[1], v[2], v[3]}};
}

// The pages of a list, and how units lie in them.
struct units {
  char* keys;        // of the cache: a page's first half
  char* values;      // and its second
  const int* pages;  // the list's blocks
  int64 half;        // bytes of half a page
  int unit;          // bytes of a unit
  int each;          // units of a page

  __word__ static units of(char* keys, char* values, const int* pages, int64 half, int unit) {
    return {keys, values, pages, half, unit, int(2 * half) / unit};
  }

  // at is where a byte of a unit is. What is read or written at once, at a multiple of its
  // size up to 8 bytes, lies in one half of the page.
  __word__ char* at(int u, int byte) const {
    const int64 block = pages[u / each];
    const int64 in = int64(u % each) * unit + byte;
    return in < half ? keys + block * half + in : values + block * half + (in - half);
  }
};

// four_of_unit reads four elements in a unit, two at a time: the byte is at a multiple of their size.
template <class format>
__device__ __forceinline__ float4 four_of_unit(const units& from, int u, int byte) {
  float4 x;
  for (int half = 0; half < 4; half += 2) {
    float v[2];
    format::decode(from.at(u, byte + half * format::size), v);
    for (int j = 0; j < 2; j++) x.at[half + j] = v[j];
  }
  return x;
}

// What a warp attends to: 128 KVs of a head, with up to 8 queries.
struct warp_share {
  int sequence, head;  // of the batch
  int g, queries;      // the first query of the group; how many
  int p, n;            // the partition; its KVs
  int64 place;         // of the head in tables and lengths

  __word__ static warp_share of(const int* __restrict__ sequences, const int* __restrict__ lengths,
                                int heads, int all, int group) {
    const int tiles = (group + most_queries - 1) / most_queries;
    const int head = block_x() / tiles, g = block_x() % tiles * most_queries, p = block_y();
    const int64 place = place_of(sequences, head, heads, all);
    const int n = min(partition, lengths[place] - p * partition);
    return {head / heads, head, g, min(most_queries, group - g), p, n, place};
  }
};

// load_read loads KVs first to first + n - 1 of a partition into the tile, as float32. `from` decodes
// four elements of a KV at a time.
template <class reading>
__device__ __forceinline__ void load_read(const share& s, const reading& from, int start, int first,
                                          int n, int d) {
  warp_barrier();  // all lanes have done with the tile
  const uint32 quads = d / 4;
  for (uint32 i = lane(); i < n * quads; i += warp_size) {
    const int row = i / quads, column = i % quads * 4;
    *reinterpret_cast<float4*>(s.tile + row * s.stride + column * 4) =
        from.four(start + first + row, s.row_index[first + row], column, d);
  }
  warp_barrier();
}

// attend_read is attend_partitions with keys and values read by k and v: `find` sets row_index of a
// partition's KVs, and `four` reads four elements of one. There are KVs.
template <class reading>
__device__ __forceinline__ void attend_read(const warp_share& own, const reading& k, const reading& v,
                                            const float* __restrict__ q,
                                            float* __restrict__ weights, float* __restrict__ maxima,
                                            float* __restrict__ sums, float* __restrict__ o,
                                            int group, int d, int partitions, float scale) {
  const int start = own.p * partition, n = own.n, queries = own.queries;
  const share s = share_of<f32>(queries, d);
  if (lane() < queries) {
    s.rows[lane()] = own.head * group + own.g + lane();
    s.counts[lane()] = n;
  }
  k.find(s, start, n);
  warp_barrier();
  bring_all_queries<f32>(s, q, queries, d);
  for (int first = 0; first < n; first += warp_size) {
    const int rows = min(warp_size, n - first);
    load_read(s, k, start, first, rows, d);
    score_all(s, f32{}, queries, first, rows, d, scale);
  }
  exponentials<f32>(s, queries, weights, maxima, sums, own.p, partitions);
  v.find(s, start, n);
  for (int first = 0; first < n; first += warp_size) {
    const int rows = min(warp_size, n - first);
    load_read(s, v, start, first, rows, d);
    if (d / 4 * max(1, queries / 4) < 20) {
      accumulate<f32, 2, 1>(s, f32{}, 0, queries, first, rows, d);
    } else {
      const int fours = queries / 4, rest = fours * 4;
      if (fours > 0) accumulate<f32, 4, 4>(s, f32{}, 0, fours, first, rows, d);
      if (queries & 2) accumulate<f32, 4, 2>(s, f32{}, rest, 1, first, rows, d);
      if (queries & 1) accumulate<f32, 4, 1>(s, f32{}, queries - 1, 1, first, rows, d);
    }
  }
  warp_barrier();
  const float4* outputs = reinterpret_cast<const float4*>(s.q);
  for (int i = 0; i < queries; i++) {
    float4* to = reinterpret_cast<float4*>(o + (int64(s.rows[i]) * partitions + own.p) * d);
    for (int j = lane(); j < d / 4; j += warp_size) to[j] = outputs[i * (d / 4) + j];
  }
}

// The arguments that attend_partitions takes (attention.cu), of a kernel that reads pages of their own.
struct attention {
  const float* q;
  char* keys;
  char* values;
  const int* sequences;
  const int* tables;
  const int* lengths;
  float* weights;
  float* maxima;
  float* sums;
  float* o;
  int heads, all, group, d, shift, stride, partitions;
  float scale;
};

// attend_pages is attend_partitions, where reading(own, part) returns the reader of the keys (part 0) and
// the values (1) of a warp's share.
template <class making>
__device__ __forceinline__ void attend_pages(const attention& a, const making& reading) {
  const warp_share own = warp_share::of(a.sequences, a.lengths, a.heads, a.all, a.group);
  if (own.n <= 0) return;
  attend_read(own, reading(own, 0), reading(own, 1), a.q, a.weights, a.maxima, a.sums, a.o,
              a.group, a.d, a.partitions, a.scale);
}
