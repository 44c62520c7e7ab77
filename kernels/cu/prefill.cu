// Prefill: the first numbers of a prompt's KVs in one layer, from its last queries
// (ref.Observation.Prompt): KV-Compress's metrics, other methods' scores.
//
//   prefill_partitions   scores, e_i, m_p, z_p: a warp for 8 queries and a partition
//   prefill_factors      f_p
//   prefill_gains        a_i = Σ_t gain(e_i·f_p)
//   prefill_finish       the metric: scaled, max-pooled and summed over the group
//   prefill_numbers      replaces it for every other way to compute numbers from a_i
//
// A launch handles the queries of some positions, in ascending order, to bound the
// memory of intermediate results; a_i accumulates over the launches.
//
// A query's row is (index in the launch·H + KV head)·G + its index in the group, as
// in q. Arrays of per-partition results are [rows, partitions], with the partitions
// of the whole prompt; those after the query's own position are not written.
#include "paging.cuh"
#include "partition.cuh"

// prefill_partitions scores the causal keys.
//
//   q           float32 [queries, H·G, D], of positions first to first+queries-1
//   k           float32 [n, H, D], as the model computed it
//   weights     float32 [rows, partitions, 128], written: e_i
//   maxima      float32 [rows, partitions], written: m_p
//   sums        float32 [rows, partitions], written: z_p
//   first       position of the first query; the last is at most n-1
//   heads       H
//   group, d    G, D
//   queries     positions
//   partitions  ⌈n/128⌉
//   scale       1/√D
//
// Grid: (H·⌈queries·G/8⌉, ⌈(first+queries)/128⌉) blocks of 32 threads, with the shared memory of
// partition.cuh for min(queries·G, 8) queries of f32. A warp has 8 queries of one
// head, ordered by position and then by index in the group. It does nothing if none
// of them sees a key.
//
// Order: §3 for a dot product; z_p by lanes and a butterfly.
//
// Bytes: the keys are read from memory once, 4·D a KV, and come from the L2 cache for
// every 8 queries after that; e_i is written, 4 bytes for each query and key. The
// floor is the operations: 2·D + 29 for each query and key.
extern "C" __global__ void __launch_bounds__(warp_size, 12) prefill_partitions(
    const float* __restrict__ q, const char* __restrict__ k, float* __restrict__ weights,
    float* __restrict__ maxima, float* __restrict__ sums, int first, int heads, int group, int d,
    int queries, int partitions, float scale) {
  const int all = queries * group;  // of a head
  const int tiles = (all + most_queries - 1) / most_queries;
  const int head = block_x() / tiles, from = block_x() % tiles * most_queries;
  const int mine = min(most_queries, all - from);
  const int start = block_y() * partition;
  // The last query sees the most.
  const int n = min(partition, first + (from + mine - 1) / group + 1 - start);
  if (n <= 0) return;

  const share s = share_of<f32>(min(most_queries, all), d);
  if (lane() < mine) {
    const int place = (from + lane()) / group;
    s.rows[lane()] = (place * heads + head) * group + (from + lane()) % group;
    s.counts[lane()] = min(partition, first + place + 1 - start);
  }
  for (int i = lane(); i < n; i += warp_size) {
    s.row_index[i] = (start + i) * heads + head;
  }
  scores(s, f32{}, q, k, mine, n, d, scale);
  exponentials<f32>(s, mine, weights, maxima, sums, block_y(), partitions);
}

// prefill_factors computes the factor of each partition.
//
//   maxima, sums, first, partitions  as above
//   f             float32 [rows, partitions], written: f_p
//   rows          queries·H·G
//   heads         H·G: query heads
//   width         lanes that share a row: the least power of two that is at least
//                 min(partitions, 32)
//
// Grid: ⌈rows·width / 128⌉ blocks of 128 threads.
//
// Order: Z ascending p.
//
// Bytes: 12 for each row and partition. Operations: 40 for each.
extern "C" __global__ void prefill_factors(const float* __restrict__ maxima,
                                           const float* __restrict__ sums,
                                           float* __restrict__ f, int first, int rows,
                                           int heads, int partitions, int width) {
  const int i = (block_x() * threads_x() + thread_x()) / width;
  const int row = min(i, rows - 1);
  const int count = (first + row / heads) / partition + 1;
  factors(maxima, sums, f, row, count, partitions, width, i < rows);
}

// prefill_gains adds up the gains that each key gets from the queries, for each query head.
//
//   weights     float32 [rows, partitions, 128]: e_i
//   f           float32 [rows, partitions]: f_p
//   gains       float32 [H·G, partitions, 128]: a_i, written; read where go_on is 1
//   first, queries, partitions  as above
//   n           keys
//   buffer      positions that a query must be past a key to count
//   squared     1 for norm L2, 0 for L1
//   go_on       0 for the first queries of a prompt
//
// Grid: (H·G, partitions; with go_on ⌈(first+queries)/128⌉) blocks of 128 threads, a key each.
//
// Order: ascending t.
//
// Bytes: 4 for each query and key: the e_i. Operations: 3 for each.
extern "C" __global__ void prefill_gains(const float* __restrict__ weights,
                                         const float* __restrict__ f,
                                         float* __restrict__ gains, int first, int queries,
                                         int n, int partitions, int buffer, int squared,
                                         int go_on) {
  const int p = block_y(), i = p * partition + thread_x();
  if (i >= n) return;
  const int64 own = (int64(block_x()) * partitions + p) * partition + thread_x();
  float sum = go_on ? gains[own] : 0;
  for (int t = max(0, i + buffer - first); t < queries; t++) {
    const int64 at = (int64(t) * blocks_x() + block_x()) * partitions + p;
    sum = sum + gain(weights[at * partition + thread_x()] * f[at], squared);
  }
  gains[own] = sum;
}

// How an observation turns gains into numbers: the values of ref.Scale, ref.PoolKind
// and ref.GroupReduction.
constexpr int scale_by_position = 1, scale_by_window = 2, scale_by_age = 3;
constexpr int max_pool = 1, avg_pool = 2;
constexpr int group_mean = 1, group_max = 2, group_each = 3;

// A reduction computes a KV's numbers from the gains of the key and its neighbours.
struct reduction {
  const float* gains;  // of the head: float32 [G, pitch], a_i
  int pitch;
  int n;         // keys
  int scored;    // keys that have numbers; the rest have 0 and no pool includes them
  int observed;  // W, queries in all
  int group;     // G
  int scale;
  int pool, reach, width;  // reach: neighbours on either side
  int over_group;
  bool group_first;  // the group is reduced before pooling

  // scaled returns a query head's a_j, scaled.
  __word__ float scaled(int g, int j) const {
    const float a = gains[int64(g) * pitch + j];
    if (scale == scale_by_position) return a * (float(j + 1) / float(observed));
    if (scale == scale_by_window) return a / float(observed);
    if (scale == scale_by_age) return a / float(n - j);
    return a;
  }

  // pooled returns what the pool takes of the values of key i and its neighbours: the
  // largest, or their sum, ascending, over the width.
  template <class of_key>
  __word__ float pooled(int i, const of_key& of) const {
    if (pool == 0) return of(i);
    const int from = max(0, i - reach), to = min(scored - 1, i + reach);
    float top = lowest(), sum = 0;
    for (int j = from; j <= to; j++) {
      const float v = of(j);
      if (pool == avg_pool)
        sum = sum + v;
      else
        top = max(top, v);
    }
    return pool == avg_pool ? sum / float(width) : top;
  }

  // grouped returns the sum, mean or maximum over the query heads, ascending.
  template <class of_query_head>
  __word__ float grouped(const of_query_head& of) const {
    float all = 0;
    for (int g = 0; g < group; g++) {
      const float v = of(g);
      all = over_group == group_max && g > 0 ? max(all, v) : all + v;
    }
    return over_group == group_mean ? all / float(group) : all;
  }

  // write writes the numbers of key i: one, or G.
  __word__ void write(float* __restrict__ to, int i) const {
    const auto of_head = [&](int g) {
      return pooled(i, [&](int j) { return scaled(g, j); });
    };
    if (over_group == group_each) {
      for (int g = 0; g < group; g++) to[g] = i < scored ? of_head(g) : 0;
    } else if (i >= scored) {
      *to = 0;
    } else if (group_first) {
      *to = pooled(i, [&](int j) { return grouped([&](int g) { return scaled(g, j); }); });
    } else {
      *to = grouped(of_head);
    }
  }
};

// prefill_finish computes a KV's metric from its gains.
//
//   gains      float32 [H·G, partitions, 128]: a_i
//   tables     int32 [H, stride]: the block tables of the layer's heads
//   metrics    float32 [N·B], written
//   n          keys
//   group, partitions, shift, stride  as above; log2(B); blocks a table has room for
//   reach      max_pool/2
//   average    0, or with reduction avg the number of queries in all
//
// Grid: (H, partitions) blocks of 128 threads, a key each.
//
// Order: ascending place in the group.
//
// Bytes: 4·G a key read (the pool's neighbours come from the cache), 4 written.
// Operations: G·(1 + 2·reach) maxima, and with avg as many quotients and products.
extern "C" __global__ void prefill_finish(const float* __restrict__ gains,
                                          const int* __restrict__ tables,
                                          float* __restrict__ metrics, int n, int group,
                                          int partitions, int shift, int stride, int reach,
                                          int average) {
  const int head = block_x();
  const int i = block_y() * partition + thread_x();
  if (i >= n) return;
  const int pitch = partitions * partition;
  const int scale = average > 0 ? scale_by_position : 0;
  const reduction r = {gains + int64(head) * group * pitch, pitch, n, n, average, group, scale,
                       max_pool, reach, 0, 0, false};
  r.write(metrics + slot_of(tables + int64(head) * stride, i, shift), i);
}

// prefill_numbers computes a KV's numbers from its gains, for all other settings of an
// observation: how they are scaled, pooled and reduced over the group.
//
//   gains        float32 [H·G, partitions, 128]: a_i
//   tables       int32 [H, stride]: the block tables of the layer's heads
//   numbers      float32 [N·B], or [N·B, G] where reduce is 3, written
//   n            keys
//   scored       keys that have numbers, from 0 on; the rest get 0 and no pool includes them
//   observed     W, the number of queries in all
//   group, partitions, shift, stride  as above
//   scale        0 none, 1 times (i+1)/W, 2 over W, 3 over n−i
//   pool         0 none, 1 max, 2 average
//   width        of the pool; the average divides by it at the edges too
//   reduce       over the group: 0 sum, 1 mean, 2 max, 3 a number for each query head
//   group_first  1: the group is reduced before pooling; not with reduce 3
//
// Grid: (H, partitions) blocks of 128 threads, a key each.
//
// Order: ascending neighbours, ascending place in the group.
//
// Bytes: 4·G a key read (the pool's neighbours come from the cache), 4 or 4·G written.
// Operations: 2·G·width, and as many quotients as the scale has.
extern "C" __global__ void prefill_numbers(const float* __restrict__ gains,
                                           const int* __restrict__ tables,
                                           float* __restrict__ numbers, int n, int scored,
                                           int observed, int group, int partitions, int shift,
                                           int stride, int scale, int pool, int width,
                                           int reduce, int group_first) {
  const int head = block_x();
  const int i = block_y() * partition + thread_x();
  if (i >= n) return;
  const int pitch = partitions * partition;
  const reduction r = {gains + int64(head) * group * pitch, pitch, n, scored, observed, group,
                       scale, pool, width / 2, width, reduce, group_first != 0};
  const int64 slot = slot_of(tables + int64(head) * stride, i, shift);
  r.write(numbers + slot * (reduce == group_each ? group : 1), i);
}

// layer_mean replaces each number of a prompt's KVs by its mean over the layer's KV heads.
//
//   tables     int32 [H, stride]: the block tables of the layer's heads
//   numbers    float32 [N·B, width], read and written
//   n, heads   keys, H
//   width      numbers for each KV
//   shift, stride  log2(B); blocks that a table has room for
//
// Grid: ⌈n·width / 256⌉ blocks of 256 threads, a number of all heads each.
//
// Order: heads ascending, then divided by their number.
//
// Bytes: 8·width for each KV.
extern "C" __global__ void layer_mean(const int* __restrict__ tables, float* __restrict__ numbers,
                                      int n, int heads, int width, int shift, int stride) {
  const int64 at = int64(block_x()) * threads_x() + thread_x();
  const int i = at / uint32(width), number = at % uint32(width);
  if (i >= n) return;
  const auto of_head = [&](int head) {
    return numbers + int64(slot_of(tables + int64(head) * stride, i, shift)) * width + number;
  };
  float sum = 0;
#pragma unroll 1
  for (int head = 0; head < heads; head++) sum = sum + *of_head(head);
  const float mean = sum / float(heads);
#pragma unroll 1
  for (int head = 0; head < heads; head++) *of_head(head) = mean;
}
