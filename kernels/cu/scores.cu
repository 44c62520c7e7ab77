// Scores of a prompt's KVs in one layer that are no attention weights of its queries
// (ref.Scorer, ref/NUMERICS.md §11).
//
//   Knorm               row_norms, score_norms
//   KeyDiff             row_norms, sum_tokens, mean_tokens, score_cosines
//   LagKV               lag_ranges, lag_deviations, softmax_partitions, prefill_factors,
//                       score_lags; score_lag_rest
//   Expected Attention  turn_back of queries and keys, sum_tokens, mean_tokens, covariances,
//                       expected_logits, softmax_partitions, prefill_factors, row_norms;
//                       score_expected
//
// Keys, values and queries are float32 [tokens, heads, D], as the model computed them.
// What is computed for each row of them by itself is a warp's, the lanes side by side on
// its elements (§3).
#include "paging.cuh"
#include "partition.cuh"

// first_token is the first of a warp's 32 tokens, where a block has a partition of them.
__word__ int first_token() { return block_y() * partition + warp() * warp_size; }

// by_token has the warp compute a number for each of its tokens from first on, of n: all
// lanes together, one token after another. A lane gets its own token's.
template <class of_token>
__word__ float by_token(int first, int n, const of_token& of) {
  const int count = min(warp_size, n - first);
  float own = 0;
#pragma unroll 1
  for (int t = 0; t < count; t++) {
    const float v = of(first + t);
    if (lane() == t) own = v;
  }
  return own;
}

// row_norms computes ‖x‖ of every row.
//
//   rows      float32 [n, H, D]
//   norms     float32 [H, n], written
//   n, heads, d  tokens, H, D
//
// Grid: (H, ⌈n/128⌉) blocks of 128 threads; a warp for 32 tokens.
//
// Order: §3.
//
// Bytes: 4·D read and 4 written for each row: the floor.
extern "C" __global__ void row_norms(const float* __restrict__ rows, float* __restrict__ norms,
                                     int n, int heads, int d) {
  const int head = block_x(), first = first_token(), i = first + lane();
  const float norm = by_token(first, n, [&](int t) {
    const float* x = rows + (int64(t) * heads + head) * d;
    return square_root(warp_dot(x, x, d));
  });
  if (i < n) norms[int64(head) * n + i] = norm;
}

// score_norms writes 0 − ‖k‖.
//
//   norms      float32 [H, n]: of the keys
//   tables     int32 [H, stride]: the block tables of the layer's heads
//   numbers    float32 [N·B], written
//   n          tokens
//   shift, stride  log2(B); blocks that a table has room for
//
// Grid: (H, ⌈n/128⌉) blocks of 128 threads, a token each.
//
// Bytes: 8 for each KV. With row_norms 4·D + 12, the floor being 4·D + 4.
extern "C" __global__ void score_norms(const float* __restrict__ norms,
                                       const int* __restrict__ tables,
                                       float* __restrict__ numbers, int n, int shift,
                                       int stride) {
  const int head = block_x(), i = block_y() * partition + thread_x();
  if (i >= n) return;
  numbers[slot_of(tables + int64(head) * stride, i, shift)] = 0 - norms[int64(head) * n + i];
}

// sum_tokens adds up the rows of each partition of 128 tokens, where there are norms each
// divided by its own, which counts as at least 10⁻¹².
//
//   rows       float32 [n, heads, D]
//   norms      float32 [heads, n]; or 0
//   sums       float32 [⌈n/128⌉, heads·D], written
//   n, heads, d  tokens, rows of a token, D
//
// Grid: (⌈heads·D/128⌉, ⌈n/128⌉) blocks of 128 threads, an element each.
//
// Order: ascending tokens, from +0.
//
// Bytes: 4 for each element; with norms as many for each row, from the caches.
extern "C" __global__ void sum_tokens(const float* __restrict__ rows,
                                      const float* __restrict__ norms, float* __restrict__ sums,
                                      int n, int heads, int d) {
  const int width = heads * d, e = block_x() * threads_x() + thread_x();
  if (e >= width) return;
  const int first = block_y() * partition, last = min(n, first + partition);
  const int64 head = e / d;
  float sum = 0;
#pragma unroll 1
  for (int i = first; i < last; i++) {
    float x = rows[int64(i) * width + e];
    if (is_there(norms)) x = x / max(norms[head * n + i], 1e-12f);
    sum = sum + x;
  }
  sums[int64(block_y()) * width + e] = sum;
}

// mean_tokens adds up the partitions' sums and divides by the tokens.
//
//   sums       float32 [⌈n/128⌉, width]
//   means      float32 [width], written
//   n, width   tokens, elements of a token
//
// Grid: ⌈width/128⌉ blocks of 128 threads, an element each.
//
// Order: ascending partitions, from +0.
//
// Bytes: 4 for each sum.
extern "C" __global__ void mean_tokens(const float* __restrict__ sums, float* __restrict__ means,
                                       int n, int width) {
  const int e = block_x() * threads_x() + thread_x();
  if (e >= width) return;
  float total = 0;
#pragma unroll 1
  for (int p = 0; p < (n + partition - 1) / partition; p++) {
    total = total + sums[int64(p) * width + e];
  }
  means[e] = total / float(n);
}

// score_cosines writes 0 − cos(k, a), of norms that count as at least 10⁻⁸.
//
//   k          float32 [n, H, D]
//   norms      float32 [H, n]: of the keys
//   means      float32 [H, D]: a
//   tables, numbers, shift, stride  as above
//   n, heads, d  tokens, H, D
//
// Grid: (H, ⌈n/128⌉) blocks of 128 threads; a warp for 32 tokens.
//
// Order: §3.
//
// Bytes: 4·D + 8 for each KV. The keys are read three times in all, by row_norms, by
// sum_tokens and here; the floor is twice, as the mean is needed first.
extern "C" __global__ void score_cosines(const float* __restrict__ k,
                                         const float* __restrict__ norms,
                                         const float* __restrict__ means,
                                         const int* __restrict__ tables,
                                         float* __restrict__ numbers, int n, int heads, int d,
                                         int shift, int stride) {
  const int head = block_x(), first = first_token(), i = first + lane();
  const float* a = means + head * d;
  const float length = max(square_root(warp_dot(a, a, d)), 1e-8f);
  const float dot = by_token(first, n, [&](int t) {
    return warp_dot(k + (int64(t) * heads + head) * d, a, d);
  });
  if (i >= n) return;
  const float norm = max(norms[int64(head) * n + i], 1e-8f);
  numbers[slot_of(tables + int64(head) * stride, i, shift)] = 0 - dot / (norm * length);
}

// LagKV cuts the tokens after the sinks into partitions of lag tokens: segments, to keep
// them apart from those of 128. Those that have a next one are scored: `segments` of them.
// Of the two tensors, keys come first.

// lag_ranges finds the smallest and the largest of each element in the next segment.
//
//   k, v       float32 [n, H, D]
//   lows       float32 [2, H, segments, D], written: the smallest
//   ranges     float32 [2, H, segments, D], written: the largest less the smallest
//   heads, d   H, D
//   sinks, lag, segments
//
// Grid: 2·H·segments blocks of ⌈D/32⌉·32 threads, an element each.
//
// Order: none, of a minimum.
//
// Bytes: 8·D read for each KV, and 16·D/lag written.
extern "C" __global__ void lag_ranges(const float* __restrict__ k, const float* __restrict__ v,
                                      float* __restrict__ lows, float* __restrict__ ranges,
                                      int heads, int d, int sinks, int lag, int segments) {
  const int segment = block_x() % segments, tensor = block_x() / segments / heads;
  const int head = block_x() / segments % heads, j = thread_x();
  if (j >= d) return;
  const int64 step = heads * d;
  const float* at = (tensor == 0 ? k : v) + (sinks + (segment + 1) * lag) * step + head * d + j;
  float low = *at, high = low;
#pragma unroll 1
  for (int t = 1; t < lag; t++) {
    at += step;
    low = min(low, *at);
    high = max(high, *at);
  }
  lows[int64(block_x()) * d + j] = low;
  ranges[int64(block_x()) * d + j] = high - low;
}

// lag_deviations computes σ of every row of the segments: the standard deviation, with
// divisor D−1, of its elements in units of the next segment's range.
//
//   k, v           float32 [n, H, D]
//   lows, ranges   float32 [2, H, segments, D]
//   sigmas         float32 [2, H, segments·lag], written
//   heads, d       H, D
//   sinks, lag, segments
//
// Grid: (2·H, ⌈segments·lag/128⌉) blocks of 128 threads; a warp for 32 tokens.
//
// Order: §3 for the mean and for the squares.
//
// Bytes: 8·D read for each KV, and 8 written; the ranges come from the caches. With
// lag_ranges the rows are read twice; the floor is once, with a segment on chip until the
// next one's range is known.
extern "C" __global__ void lag_deviations(const float* __restrict__ k,
                                          const float* __restrict__ v,
                                          const float* __restrict__ lows,
                                          const float* __restrict__ ranges,
                                          float* __restrict__ sigmas, int heads, int d,
                                          int sinks, int lag, int segments) {
  constexpr int most = 256 / warp_size;  // elements of a lane
  constexpr float most_variation = 0x1p40f;
  const int scored = segments * lag, first = first_token(), i = first + lane();
  const float* x = block_x() < heads ? k : v;
  const int head = block_x() % heads;
  const float sigma = by_token(first, scored, [&](int t) {
    const float* row = x + (int64(sinks + t) * heads + head) * d;
    const int64 range = (int64(block_x()) * segments + t / lag) * d;
    float y[most], sum = 0;
#pragma unroll
    for (int e = 0; e < most; e++) {
      const int j = lane() + e * warp_size;
      y[e] = 0;
      if (j >= d) continue;
      const float r = ranges[range + j];
      if (r > 0) {
        const float in_ranges = (row[j] - lows[range + j]) / r;
        y[e] = max(-most_variation, min(most_variation, in_ranges));
      }
      sum = sum + y[e];
    }
    const float mean = butterfly_sum(sum) / float(d);
    float squares = 0;
#pragma unroll
    for (int e = 0; e < most; e++) {
      if (lane() + e * warp_size >= d) continue;
      const float off = y[e] - mean;
      squares = squares + off * off;
    }
    return square_root(butterfly_sum(squares) / float(d - 1));
  });
  if (i < scored) sigmas[int64(block_x()) * scored + i] = sigma;
}

// softmax_partitions replaces rows of scores by their e_i, in partitions of 128;
// prefill_factors then computes the factors.
//
//   scores     float32 [rows, count], read and written
//   maxima     float32 [rows, partitions], written: m_p
//   sums       float32 [rows, partitions], written: z_p
//   count      scores of a row
//   partitions ⌈count/128⌉
//
// Grid: (rows, partitions) blocks of 32 threads.
//
// Order: z_p by lanes and a butterfly.
//
// Bytes: 8 for each score. Operations: 29.
extern "C" __global__ void softmax_partitions(float* __restrict__ scores,
                                              float* __restrict__ maxima,
                                              float* __restrict__ sums, int count,
                                              int partitions) {
  const int64 row = block_x();
  const int first = block_y() * partition, n = min(partition, count - first);
  float* own = scores + row * count + first;
  float top = lowest();
#pragma unroll 1
  for (int i = lane(); i < n; i += warp_size) top = max(top, own[i]);
  top = butterfly_max(top);
  float sum = 0;
#pragma unroll 1
  for (int i = lane(); i < n; i += warp_size) {
    const float e = exp_of(own[i] - top);
    own[i] = e;
    sum = sum + e;
  }
  sum = butterfly_sum(sum);
  if (lane() == 0) {
    maxima[row * partitions + block_y()] = top;
    sums[row * partitions + block_y()] = sum;
  }
}

// score_lags writes the scores of the segments: the mean of keys' and values' weights, or
// its rank in the segment, the smallest first and equal ones in order, over lag.
//
//   weights    float32 [2, H, segments, lag]: e_i; of the keys overwritten
//   f          float32 [2, H, segments, partitions]: f_p
//   tables, numbers, shift, stride  as above
//   heads      H
//   sinks, lag, segments
//   partitions ⌈lag/128⌉
//   cross      1: the mean, 0: its rank
//
// Grid: H·segments blocks of 256 threads, or of ⌈lag/32⌉·32 if that is less.
//
// Order: keys, then values.
//
// Bytes: 12 for each KV, with ranks 20. A rank takes lag comparisons, of numbers that all
// lanes read together.
extern "C" __global__ void score_lags(float* weights, const float* __restrict__ f,
                                      const int* __restrict__ tables,
                                      float* __restrict__ numbers, int heads, int sinks, int lag,
                                      int segments, int partitions, int cross, int shift,
                                      int stride) {
  const int64 keys = block_x(), values = int64(heads) * segments + keys;
  float* means = weights + keys * lag;
  const int first = sinks + block_x() % segments * lag;
  const int* table = tables + int64(block_x() / segments) * stride;
#pragma unroll 1
  for (int i = thread_x(); i < lag; i += threads_x()) {
    const float of_k = means[i] * f[keys * partitions + i / partition];
    const float of_v = weights[values * lag + i] * f[values * partitions + i / partition];
    const float mean = (of_k + of_v) / 2;
    if (cross)
      numbers[slot_of(table, first + i, shift)] = mean;
    else
      means[i] = mean;
  }
  if (cross) return;
  block_barrier();
#pragma unroll 1
  for (int i = thread_x(); i < lag; i += threads_x()) {
    const float own = means[i];
    int rank = 0;
#pragma unroll 1
    for (int j = 0; j < lag; j++) rank += means[j] < own || (means[j] == own && j < i);
    numbers[slot_of(table, first + i, shift)] = float(rank) / float(lag);
  }
}

// score_lag_rest writes the scores of the tokens that are in no scored segment: 1, or where
// no segment is scored, after the sinks, (i − sinks)/(n − sinks).
//
//   tables, numbers, shift, stride  as above
//   n, sinks   tokens
//   scored     tokens after the sinks that have scores: segments·lag
//
// Grid: (H, ⌈n/128⌉) blocks of 128 threads, a token each.
//
// Bytes: 4 for each KV that it writes.
extern "C" __global__ void score_lag_rest(const int* __restrict__ tables,
                                          float* __restrict__ numbers, int n, int sinks,
                                          int scored, int shift, int stride) {
  const int head = block_x(), i = block_y() * partition + thread_x();
  const int after = i - sinks;
  if (i >= n || (after >= 0 && after < scored)) return;
  const float score = after >= 0 && scored == 0 ? float(after) / float(n - sinks) : 1;
  numbers[slot_of(tables + int64(head) * stride, i, shift)] = score;
}

// within bounds what expected attention counts of an element of a query or a key.
__word__ float within(float v) { return max(-0x1p24f, min(0x1p24f, v)); }

// turn_back multiplies rows by the transpose of a rotation: (a·cos + b·sin, b·cos − a·sin).
// Elements, those that no pair has included, count as at most 2²⁴ in magnitude.
//
//   rows       float32 [n, heads, D], read and written
//   angles     float32 [n, 2, pairs]: cosines and sines; with pitch 0, [2, pairs] for all
//   n, heads, d  tokens, rows of a token, D
//   pairs, step, partner  pair i is elements i·step and i·step + partner; pairs may be 0
//   pitch      1, or 0
//
// Grid: ⌈n·heads·(D − pairs)/256⌉ blocks of 256 threads, a pair or an element each.
//
// Bytes: 8·D for each row, and 8·pairs for each token: the floor.
extern "C" __global__ void turn_back(float* __restrict__ rows, const float* __restrict__ angles,
                                     int n, int heads, int d, int pairs, int step, int partner,
                                     int pitch) {
  const int64 at = int64(block_x()) * threads_x() + thread_x();
  const int64 row = at / uint32(d - pairs);
  const int j = at % uint32(d - pairs);
  if (row >= int64(n) * heads) return;
  float* x = rows + row * d;
  if (j >= pairs) {
    x[pairs + j] = within(x[pairs + j]);
    return;
  }
  const float* turn = angles + row / heads * pitch * (2 * pairs) + j;
  const float cos = turn[0], sin = turn[pairs];
  const float a = within(x[j * step]), b = within(x[j * step + partner]);
  x[j * step] = a * cos + b * sin;
  x[j * step + partner] = b * cos - a * sin;
}

// covariances computes (Σ_t (u_t − μ)(u_t − μ)ᵀ) / n of every query head.
//
//   rows       float32 [n, heads, D]: u_t
//   means      float32 [heads, D]: μ
//   c          float32 [heads, D, D], written
//   n, heads, d  tokens, H·G, D
//
// Grid: (H·G, ⌈D/32⌉, ⌈D/32⌉) blocks of 64 threads. A block has 32×32 elements, a thread 4×4
// of them; of two that mirror each other one writes both, and the other does nothing.
//
// Order: ascending tokens in partitions of 128, then ascending partitions, each from +0.
//
// Bytes: a row is read ⌈D/32⌉ + 1 times, from the caches but once: 4·D for each. The floor is
// the operations, D·(D+1) for each row; the blocks on the diagonal make a few more.
extern "C" __global__ void covariances(const float* __restrict__ rows,
                                       const float* __restrict__ means, float* __restrict__ c,
                                       int n, int heads, int d) {
  constexpr int side = 32, stage = 16, each = 4;
  __shared__ float4 left[stage][side / each], right[stage][side / each];
  const int row = block_y() * side, column = block_z() * side;
  if (column < row) return;
  const int y = thread_x() / (side / each), x = thread_x() % (side / each);
  const float* mean = means + int64(block_x()) * d;
  float sum[each][each] = {}, total[each][each] = {};
#pragma unroll 1
  for (int first = 0; first < n; first += stage) {
    const int tokens = min(stage, n - first);
    block_barrier();  // all have done with the rows before
#pragma unroll 1
    for (int t = warp(); t < tokens; t += threads_x() / warp_size) {
      const float* u = rows + (int64(first + t) * heads + block_x()) * d;
      const auto centred = [&](int e) { return e < d ? u[e] - mean[e] : 0; };
      left[t][lane() / each].at[lane() % each] = centred(row + lane());
      right[t][lane() / each].at[lane() % each] = centred(column + lane());
    }
    block_barrier();
#pragma unroll 1
    for (int t = 0; t < tokens; t++) {
      const float4 a = left[t][y], b = right[t][x];
      for (int i = 0; i < each; i++) {
        for (int j = 0; j < each; j++) sum[i][j] = sum[i][j] + a.at[i] * b.at[j];
      }
    }
    if ((first + stage) % partition != 0 && first + stage < n) continue;
    for (int i = 0; i < each; i++) {
      for (int j = 0; j < each; j++) {
        total[i][j] = total[i][j] + sum[i][j];
        sum[i][j] = 0;
      }
    }
  }
  float* to = c + int64(block_x()) * d * d;
  for (int i = 0; i < each; i++) {
    for (int j = 0; j < each; j++) {
      const int p = row + y * each + i, q = column + x * each + j;
      if (p >= d || q >= d) continue;
      const float v = total[i][j] / float(n);
      to[p * d + q] = v;
      if (row != column) to[q * d + p] = v;
    }
  }
}

// sums_across gives lane l the sum over all lanes of v[l], in the order of §3: at each
// distance a lane keeps one half of its numbers and passes on the other.
template <int distance = warp_size / 2>
__word__ float sums_across(float (&v)[warp_size]) {
  const bool upper = lane() & distance;
#pragma unroll
  for (int i = 0; i < distance; i++) {
    const float low = v[i], high = v[i + distance];  // selected as numbers, not by address
    v[i] = (upper ? high : low) + from_lane_xor(upper ? low : high, distance);
  }
  if constexpr (distance > 1) return sums_across<distance / 2>(v);
  return v[0];
}

// quadratic_form is x·(C x), C being [d, d]: 32 elements of C x at a time, of which a lane
// gets one.
__word__ float quadratic_form(const float* x, const float* c, int d) {
  constexpr int tile = 8;  // d is a multiple of it
  float sum = 0;
#pragma unroll 1
  for (int first = 0; first < d; first += warp_size) {
    const int rows = min(warp_size, d - first);
    float y[warp_size] = {};
#pragma unroll 1
    for (int i = lane(); i < d; i += warp_size) {
      const float own = x[i];
      const float* at = c + first * d + i;
#pragma unroll
      for (int r = 0; r < warp_size; r += tile) {
        if (r >= rows) continue;
#pragma unroll
        for (int j = 0; j < tile; j++) y[r + j] = y[r + j] + own * at[(r + j) * d];
      }
    }
    const float own = sums_across(y);
    if (lane() < rows) sum = sum + x[first + lane()] * own;
  }
  return butterfly_sum(sum);
}

// expected_logits computes (μ·κ)·(1/√D) + (κ·(C κ))/(2D) of every key, for each query head.
//
//   k          float32 [count, H, D]: κ
//   means      float32 [H·G, D]: μ
//   c          float32 [H·G, D, D]: C; or 0, and the second term is not there
//   logits     float32 [H·G, count], written
//   heads, group, d  H, G, D
//   count      keys
//   scale      1/√D
//
// Grid: (H·G, ⌈count/128⌉) blocks of 128 threads; a warp for 32 keys.
//
// Order: §3 for each product of vectors; that of a key with C κ is over C κ's elements.
//
// Bytes: a key is read from memory once, 4·D, and C for every 32 keys from the caches. The
// floor is the operations, 2·D² for each key and query head.
extern "C" __global__ void expected_logits(const float* __restrict__ k,
                                           const float* __restrict__ means,
                                           const float* __restrict__ c,
                                           float* __restrict__ logits, int heads, int group,
                                           int d, int count, float scale) {
  const int first = first_token(), i = first + lane();
  const int head = block_x() / group;
  const float* mean = means + int64(block_x()) * d;
  const float* rows = c + int64(block_x()) * d * d;
  const float logit = by_token(first, count, [&](int t) {
    const float* key = k + (int64(t) * heads + head) * d;
    float s = warp_dot(mean, key, d) * scale;
    if (is_there(c)) s = s + quadratic_form(key, rows, d) / float(2 * d);
    return s;
  });
  if (i < count) logits[int64(block_x()) * count + i] = logit;
}

// score_expected writes ((Σ_g P_g) / G + ε)·‖v‖, and 0 for sinks.
//
//   weights    float32 [H·G, n − sinks]: e_i
//   f          float32 [H·G, partitions]: f_p
//   norms      float32 [H, n]: of the values; or 0, and the score is (Σ_g P_g) / G
//   tables, numbers, shift, stride  as above
//   n, sinks   tokens; there may be no more than sinks
//   group, partitions  G, ⌈(n − sinks)/128⌉
//   epsilon    ε
//
// Grid: (H, ⌈n/128⌉) blocks of 128 threads, a token each.
//
// Order: ascending place in the group.
//
// Bytes: 4·G + 8 for each KV.
extern "C" __global__ void score_expected(const float* __restrict__ weights,
                                          const float* __restrict__ f,
                                          const float* __restrict__ norms,
                                          const int* __restrict__ tables,
                                          float* __restrict__ numbers, int n, int sinks,
                                          int group, int partitions, float epsilon, int shift,
                                          int stride) {
  const int head = block_x(), i = block_y() * partition + thread_x();
  if (i >= n) return;
  float score = 0;
  if (const int at = i - sinks; at >= 0) {
#pragma unroll 1
    for (int64 row = int64(head) * group; row < int64(head + 1) * group; row++) {
      score = score + weights[row * (n - sinks) + at] * f[row * partitions + at / partition];
    }
    score = score / float(group);
    if (is_there(norms)) score = (score + epsilon) * norms[int64(head) * n + i];
  }
  numbers[slot_of(tables + int64(head) * stride, i, shift)] = score;
}
