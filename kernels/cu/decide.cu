// The eviction decision of one sequence: which KVs are evicted to free a number of
// blocks (ref.Walk, ref/NUMERICS.md §6). Nothing is sorted.
//
// A "block" in the counts below is the ranking's unit: B KVs, or 1 for a method that
// counts KVs. The argument `shift` of sum_evicted and settle is log2 of the unit; that of
// the costs kernels, which compute slots, is log2(B).
//
// A KV's key is its cost as an integer of the same order. A head with `upto`
// candidates whose keys are at most a bound loses
//
//   evicted_blocks(upto) = ⌊(upto + empty) / B⌋
//
// blocks if all of these candidates may be evicted, where `empty` is the number of empty
// slots in its last block.
// So the E-th cheapest block of a quota has the smallest key for which the sum of
// evicted_blocks over the quota's heads reaches E. A radix select finds that key digit
// by digit, 8 bits at a time from the top, and looks only into the bucket that holds
// it:
//
//   1. costs          keys, and each head's counts of candidates by their first digit
//      sum_evicted    from a quota's counts: how many blocks are evicted up to each digit
//   2. count_digits   picks the digit; counts by the next one in the picked bucket
//      sum_evicted    ... and again, for 3 more digits
//   3. settle         how many blocks and KVs each head loses; ties go by head
//   4. list_evicted   the cheapest KVs of each head, that many, in logical order
//
// A quota is done, and its later rounds do nothing, as soon as a bucket ends
// with exactly the E-th block. Nothing is read back between the launches. A head
// loses up to B−1 fewer KVs than have keys up to the quota's bound. Its own bound
// mostly follows from the existing counts; otherwise list_evicted finds it by the
// same search.
//
// Scratch is 4 bytes for each KV, its key, and 4 for the result. In both arrays a
// head begins at offsets[head], a multiple of 4, so that 16 bytes are read or
// written at a time.
//
// Bytes for each KV, with f the fraction that is evicted:
//
//   costs         8 + 4/B read, 4 written
//   count_digits  4 read, 3 times at most
//   list_evicted  4 read, and 4 for each digit that is not known yet (usually 0 to
//                 2); 4·f written
//
// in all 28 + 4·f and 0 to 8 more. The floor is 8 + 4/B + 4·f: metric and position
// read, and the result written. Operations: about 15 for each KV in costs, 3 in
// count_digits, 10 in list_evicted. All kernels are bound by memory.
#include "scan.cuh"

constexpr int digits = 4, digit_bits = 8, digit_values = 1 << digit_bits;

// The key of KVs that are not candidates, and of the padding of a head to a multiple of
// 4. It exceeds the key of every cost, +∞ included. If it is counted in a bucket, it comes
// after the key that is searched for and changes nothing.
constexpr uint32 no_candidate = 0xffffffff;

// Types that one load or store moves.
using four_floats = float __attribute__((ext_vector_type(4)));
using four_ints = int __attribute__((ext_vector_type(4)));
using four_keys = uint32 __attribute__((ext_vector_type(4)));

// A bucket is the set of keys that have the same first digits.
struct alignas(16) bucket {
  uint32 prefix;  // the digits, in the low bits
  int known;      // how many
  int before;     // the count of everything before the bucket
  int whole;      // whether everything in the bucket is evicted
};

// A quota is a number of blocks to be freed from a run of heads.
struct alignas(16) quota {
  int first, heads;  // heads first to first+heads-1 of L·H
  int blocks;
  int keep;  // KVs that each head keeps at least
};

// counts_of is a head's counts by one digit. After sum_evicted they are sums: how
// many of the head's candidates have keys up to the end of each bucket.
__word__ int* counts_of(int* counts, int level, int heads, int head) {
  return counts + (int64(level) * heads + head) * digit_values;
}

// under returns how many of a head's candidates have keys before the bucket of the given
// known digits, according to the summed counts.
__device__ __forceinline__ int under(int* counts, int heads, int head, uint32 prefix, int known) {
  for (int level = known - 1; level >= 0; level--, prefix >>= digit_bits) {
    const uint32 digit = prefix % digit_values;
    if (digit > 0) return counts_of(counts, level, heads, head)[digit - 1];
  }
  return 0;
}

// empty_slots returns the number of empty slots in a head's last block.
__word__ int empty_slots(int length, int shift) { return -length & ((1 << shift) - 1); }

// evicted_blocks returns how many blocks a head with `candidates` KVs up to the bound
// loses, if at most `most` of them may be evicted.
__word__ int evicted_blocks(int candidates, int most, int empty, int shift) {
  return (min(candidates, most) + empty) >> shift;
}

// max_evicted returns how many KVs may be evicted from a head of a quota.
__word__ int max_evicted(int length, const quota& q) { return max(0, length - q.keep); }

// A warp holds the counts of all digits: 8 in each lane.
struct digit_counts {
  int at[8];

  __word__ void read(const int* from) {
    const four_ints* f = reinterpret_cast<const four_ints*>(from) + 2 * lane();
    const four_ints a = f[0], b = f[1];
#pragma unroll
    for (int i = 0; i < 4; i++) at[i] = a[i], at[4 + i] = b[i];
  }
  __word__ void write(int* to) const {
    four_ints* t = reinterpret_cast<four_ints*>(to) + 2 * lane();
    t[0] = {at[0], at[1], at[2], at[3]};
    t[1] = {at[4], at[5], at[6], at[7]};
  }
  // sum replaces each count by start plus the sum of the counts up to it.
  __word__ void sum(int start) {
#pragma unroll
    for (int i = 1; i < 8; i++) at[i] += at[i - 1];
    const int before = start + warp_scan(at[7]) - at[7];
#pragma unroll
    for (int i = 0; i < 8; i++) at[i] += before;
  }
};

// add_counts adds the i-th four counts of a block of threads to the totals of all blocks
// of the grid's column, which begin at 0.
__word__ void add_counts(int* to, int i, four_ints counts) {
  if (blocks_y() == 1) {
    reinterpret_cast<four_ints*>(to)[i] = counts;
    return;
  }
#pragma unroll
  for (int e = 0; e < 4; e++)
    if (counts[e] != 0) atomic_add(&to[4 * i + e], counts[e]);
}

// A histogram counts keys by one digit, in shared memory, for a block of threads.
struct alignas(16) histogram {
  int counts[digit_values];

  __word__ void clear() {
    four_ints* c = reinterpret_cast<four_ints*>(counts);
    for (int i = thread_x(); i < digit_values / 4; i += threads_x()) c[i] = 0;
  }
  __word__ void add(uint32 digit) { atomic_add(&counts[digit], 1); }
  __word__ void add_to(int* to) const {
    const four_ints* from = reinterpret_cast<const four_ints*>(counts);
    for (int i = thread_x(); i < digit_values / 4; i += threads_x()) add_counts(to, i, from[i]);
  }
};

// narrower returns the bucket within b that contains the wanted-th item, given the
// ascending sums of counts; the last bucket if there are fewer items.
__device__ __forceinline__ bucket narrower(bucket b, const digit_counts& sums, int wanted) {
  int less = 0, most_less = -1, least_not = 0x7fffffff;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const bool is_less = sums.at[i] < wanted;
    less += is_less;
    most_less = is_less ? sums.at[i] : most_less;  // they ascend
    least_not = is_less ? least_not : min(least_not, sums.at[i]);
  }
  const int digit = sum_of_lanes(less);
  const int before = most_of_lanes(most_less);
  const int upto = least_of_lanes(least_not);
  return {b.prefix << digit_bits | min(digit, digit_values - 1), b.known + 1,
          digit > 0 ? before : b.before, digit == digit_values || upto == wanted};
}

// mix is the finalizer of SplitMix64 after one step of its counter.
__word__ uint64 mix(uint64 x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

// ordered maps a float that is neither NaN nor −0 to an integer of the same order.
__word__ uint32 ordered(float f) {
  const int bits = __builtin_bit_cast(int, f);
  return bits ^ (bits >> 31 | 0x80000000);
}

// plain_cost is the metric itself.
struct plain_cost {
  __word__ float operator()(float metric, int) const { return metric + 0.0f; }  // −0 becomes +0
};

// metric_cost is the cost of a KV by its metric, with all options.
struct metric_cost {
  int newest;         // position of the newest KV
  bool average;       // over the queries after the KV
  const int* starts;  // of the bins of the head bias, ascending from 0
  const float* bias;  // of the head: for each bin, times the weight
  int bins;           // 0 without a bias

  __word__ float operator()(float metric, int position) const {
    float cost = metric;
    if (average) {
      const int after = newest - position;
      if (after == 0) return __builtin_inff();
      cost = cost / float(after);
    }
    if (bins > 0) {
      int bin = 0;  // the last one that starts at the position or before it
      for (int beyond = bins; beyond - bin > 1;) {
        const int middle = (bin + beyond) / 2;
        (starts[middle] <= position ? bin : beyond) = middle;
      }
      cost = cost + bias[bin];
    }
    return cost + 0.0f;
  }
};

// random_cost is a seeded hash, in place of the metric.
struct random_cost {
  uint64 state;  // of seed, sequence, layer and head

  __word__ float operator()(float, int position) const {
    return float(uint32(mix(state ^ uint32(position)) >> 40)) * 0x1p-24f;
  }
};

// shared_cost is a metric's cost times the head's share.
struct shared_cost {
  metric_cost cost;
  float share;

  __word__ float operator()(float metric, int position) const {
    return cost(metric, position) * share;
  }
};

// position_cost is the position: the oldest goes first.
struct position_cost {
  __word__ float operator()(float, int position) const { return float(position); }
};

// seen_cost is the number of a KV, or −∞ for a KV that is hidden and stays hidden.
struct seen_cost {
  int stay;  // hidden KVs at lower positions stay hidden

  __word__ float operator()(float number, int position) const {
    const uint32 bits = __builtin_bit_cast(uint32, number);
    if (bits >> 31 != 0 && position < stay) return -__builtin_inff();
    return __builtin_bit_cast(float, bits & 0x7fffffff);
  }
};

// The scores from which costs are computed: of one KV (at), or of 4 consecutive ones (four).
struct one_number {
  const float* numbers;  // [N·B]
  __word__ float at(int slot) const { return numbers[slot]; }
  __word__ four_floats four(int slot) const {
    return *reinterpret_cast<const four_floats*>(numbers + slot);
  }
};

// sum_of_numbers is the sum of a KV's numbers, in their order.
struct sum_of_numbers {
  const float* numbers;  // [N·B, width]
  int width;
  __word__ float at(int slot) const {
    const float* own = numbers + int64(slot) * width;
    float sum = 0;
#pragma unroll 1
    for (int i = 0; i < width; i++) sum = sum + own[i];
    return sum;
  }
  __word__ four_floats four(int slot) const {
    return {at(slot), at(slot + 1), at(slot + 2), at(slot + 3)};
  }
};

// seen_number is a non-negative number; its sign bit says that the KV is hidden.
struct seen_number {
  const float* numbers;  // [N·B]
  const float* hidden;   // [N·B]
  __word__ float at(int slot) const {
    return hidden[slot] != 0 ? -numbers[slot] : numbers[slot];
  }
  __word__ four_floats four(int slot) const {
    return {at(slot), at(slot + 1), at(slot + 2), at(slot + 3)};
  }
};

struct no_numbers {
  __word__ float at(int) const { return 0; }
  __word__ four_floats four(int) const { return 0; }
};

// costs_of writes the keys of one part of a head's KVs and counts them by their
// first digit.
template <class scores, class cost_function>
__device__ __forceinline__ void costs_of(const scores& score, const cost_function& cost,
                                         histogram& first_digits,
                                         const int* __restrict__ table, int length,
                                         const int* __restrict__ positions,
                                         uint32* __restrict__ keys, int* __restrict__ counts,
                                         int shift, int sinks, int last) {
  const int fours = (length + 3) / 4;
  int i = block_y() * threads_x() + thread_x();
  if (i - thread_x() >= fours) return;
  first_digits.clear();
  block_barrier();
  const int mask = (1 << shift) - 1;
  const uint32 candidates = last < sinks ? 0 : last - sinks + 1;  // positions of them
  for (; i < fours; i += threads_x() * blocks_y()) {
    const int from = 4 * i;
    four_floats m = 0;
    four_ints p = -1;  // no candidate
    if (shift >= 2 && from + 4 <= length) {  // in one block
      const int slot = (table[from >> shift] << shift) + (from & mask);
      m = score.four(slot);
      p = *reinterpret_cast<const four_ints*>(positions + slot);
    } else {
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int logical = from + e;
        if (logical < length) {
          const int slot = (table[logical >> shift] << shift) + (logical & mask);
          m[e] = score.at(slot);
          p[e] = positions[slot];
        }
      }
    }
    four_keys k;
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const uint32 key = ordered(cost(m[e], p[e]));
      k[e] = uint32(p[e] - sinks) < candidates ? key : no_candidate;
    }
    reinterpret_cast<four_keys*>(keys)[i] = k;
#pragma unroll
    for (int e = 0; e < 4; e++)
      if (k[e] != no_candidate) first_digits.add(k[e] >> (32 - digit_bits));
  }
  block_barrier();
  first_digits.add_to(counts);
}

// costs_by writes the keys of one part of a head by a cost.
template <class scores, class cost_function>
__device__ __forceinline__ void costs_by(
    const scores& score, const cost_function& cost, const int* __restrict__ tables,
    const int* __restrict__ lengths, int row, const int* __restrict__ positions,
    const int* __restrict__ quota_of, const int* __restrict__ offsets, uint32* __restrict__ keys,
    int* __restrict__ counts, int stride, int shift, int sinks, int last) {
  __shared__ histogram first_digits;
  const int head = block_x();
  if (quota_of[head] < 0) return;
  const int64 place = int64(row) * blocks_x() + head;
  costs_of(score, cost, first_digits, tables + place * stride, lengths[place], positions,
           keys + offsets[head], counts_of(counts, 0, 0, head), shift, sinks, last);
}

// costs_by_score writes the keys of one part of a head by its KVs' scores.
template <class scores>
__device__ __forceinline__ void costs_by_score(
    const scores& score, const int* __restrict__ tables, const int* __restrict__ lengths, int row,
    const int* __restrict__ positions, const int* __restrict__ quota_of,
    const int* __restrict__ offsets, uint32* __restrict__ keys, int* __restrict__ counts,
    int stride, int shift, int sinks, int last, int newest, int average, int bins,
    const int* __restrict__ starts, const float* __restrict__ bias) {
  __shared__ histogram first_digits;
  const int head = block_x();
  if (quota_of[head] < 0) return;
  const int64 place = int64(row) * blocks_x() + head;
  const auto with = [&](const auto& cost) {
    costs_of(score, cost, first_digits, tables + place * stride, lengths[place], positions,
             keys + offsets[head], counts_of(counts, 0, 0, head), shift, sinks, last);
  };
  if (average == 0 && bins == 0)
    with(plain_cost{});
  else
    with(metric_cost{newest, average != 0, starts, bias + int64(head) * bins, bins});
}

// costs writes every KV's key, and counts the candidates of each head by its first
// digit.
//
//   tables     int32 [rows, heads, stride]: block tables
//   lengths    int32 [rows, heads]
//   row        the sequence's
//   metrics    float32 [N·B]
//   positions  int32 [N·B]
//   quota_of   int32 [heads]: the quota that a head belongs to, −1 for none
//   offsets    int32 [heads+1], multiples of 4: where each head's keys begin
//   keys       uint32 [offsets[heads]], written
//   counts     int32 [4, heads, 256]: level 0 is written; zeros before
//   stride     blocks that a table has room for
//   shift      log2(B)
//   sinks      the first position that may be evicted
//   last       the last position that may be evicted
//   newest     the newest KV's position
//   average    whether a metric is averaged over the queries after its KV
//   bins       how many bins the head bias has; 0 without
//   starts     int32 [bins]: the first position of each, ascending from 0
//   bias       float32 [heads, bins], times the bias weight, rounded
//
// Grid: heads × parts blocks of a multiple of 32 threads, at most 256. A thread
// does 4 KVs at a time, in ascending order of KVs over the parts.
extern "C" __global__ void __launch_bounds__(256)
costs(const int* tables, const int* lengths, int row, const float* metrics, const int* positions,
      const int* quota_of, const int* offsets, uint32* keys, int* counts, int stride, int shift,
      int sinks, int last, int newest, int average, int bins, const int* starts,
      const float* bias) {
  costs_by_score(one_number{metrics}, tables, lengths, row, positions, quota_of, offsets, keys,
                 counts, stride, shift, sinks, last, newest, average, bins, starts, bias);
}

// costs_sum is costs for a column of several numbers for each KV: a KV's metric is
// their sum, in their order.
//
//   numbers  float32 [N·B, width], in place of the metrics
//   width    numbers for each KV
//
// Other arguments, grid and block: as in costs. Bytes: 4 + 4·width + 4/B read for a KV.
extern "C" __global__ void __launch_bounds__(256)
costs_sum(const int* tables, const int* lengths, int row, const float* numbers,
          const int* positions, const int* quota_of, const int* offsets, uint32* keys,
          int* counts, int stride, int shift, int sinks, int last, int newest, int average,
          int bins, const int* starts, const float* bias, int width) {
  costs_by_score(sum_of_numbers{numbers, width}, tables, lengths, row, positions, quota_of,
                 offsets, keys, counts, stride, shift, sinks, last, newest, average, bins, starts,
                 bias);
}

// costs_shared is costs_sum with every cost multiplied by its head's share, which changes
// how evictions are divided among heads. Costs are not negative.
//
//   numbers  float32 [N·B, width]; width may be 1
//   shares   float32 [heads]
//
// The rest, grid and block: as costs_sum has them.
extern "C" __global__ void __launch_bounds__(256)
costs_shared(const int* tables, const int* lengths, int row, const float* numbers,
             const int* positions, const int* quota_of, const int* offsets, uint32* keys,
             int* counts, int stride, int shift, int sinks, int last, int newest, int average,
             int bins, const int* starts, const float* bias, int width, const float* shares) {
  const int head = block_x();
  const metric_cost cost = {newest, average != 0, starts, bias + int64(head) * bins, bins};
  costs_by(sum_of_numbers{numbers, width}, shared_cost{cost, shares[head]}, tables, lengths, row,
           positions, quota_of, offsets, keys, counts, stride, shift, sinks, last);
}

// costs_seen is costs by the metric alone, which is not negative, except that hidden KVs at
// positions below `stay` cost less than all others.
//
// Its arguments are those of costs up to last, and
//
//   hidden  float32 [N·B]: not 0 where a KV is hidden
//   stay    a position
//
// The rest, grid and block: as costs has them.
extern "C" __global__ void __launch_bounds__(256)
costs_seen(const int* tables, const int* lengths, int row, const float* metrics,
           const int* positions, const int* quota_of, const int* offsets, uint32* keys,
           int* counts, int stride, int shift, int sinks, int last, const float* hidden,
           int stay) {
  costs_by(seen_number{metrics, hidden}, seen_cost{stay}, tables, lengths, row, positions,
           quota_of, offsets, keys, counts, stride, shift, sinks, last);
}

// costs_random is costs with a hash of seed, sequence, layer, head and position in
// place of the metric.
//
//   metrics   not read
//   heads     H, of one layer
//   sequence  its number
//   seed
//
// The rest, grid and block: as costs has them.
extern "C" __global__ void __launch_bounds__(256)
costs_random(const int* tables, const int* lengths, int row,
             [[maybe_unused]] const float* metrics, const int* positions, const int* quota_of,
             const int* offsets, uint32* keys, int* counts, int stride, int shift, int sinks,
             int last, int heads, int sequence, uint64 seed) {
  const int head = block_x();
  const uint64 of_head = uint64(head / heads) << 32 ^ uint32(head % heads);
  const random_cost cost = {mix(mix(seed ^ uint32(sequence)) ^ of_head)};
  costs_by(no_numbers{}, cost, tables, lengths, row, positions, quota_of, offsets, keys, counts,
           stride, shift, sinks, last);
}

// costs_position is costs with the position in place of the metric: the oldest KVs are
// evicted first. Positions are less than 2^24, so they are exact as floats.
//
// Its arguments are those of costs up to last, without the metrics. The rest, grid and
// block: as costs has them.
extern "C" __global__ void __launch_bounds__(256)
costs_position(const int* tables, const int* lengths, int row, const int* positions,
               const int* quota_of, const int* offsets, uint32* keys, int* counts, int stride,
               int shift, int sinks, int last) {
  costs_by(no_numbers{}, position_cost{}, tables, lengths, row, positions, quota_of, offsets, keys,
           counts, stride, shift, sinks, last);
}

// sum_evicted replaces the counts of a level by prefix sums, and adds up how many blocks
// of a quota are evicted up to each digit.
//
//   lengths  int32 [heads]
//   quotas   int32 [grid x, 4]: first head, heads, blocks, KVs that a head keeps at least
//   buckets  int32 [4, quotas, 4]: prefix, known, before, whole; of the level: what
//            is known of the quota's bound. Of level 0: zeros
//   counts   int32 [4, heads, 256]: of this level: counts; written: sums
//   sums     int32 [4, quotas, 256]: of this level: zeros; written
//   level    0 to 3
//   heads    L·H
//   shift    log2 of the KVs that are counted as a block: B, or 1
//
// Grid: quotas × ⌈heads of the largest quota/warps⌉ blocks of at most 8 warps, a
// warp for a head. Bytes: 2048 for each head, and 1024 for each block.
extern "C" __global__ void __launch_bounds__(256)
sum_evicted(const int* __restrict__ lengths, const quota* __restrict__ quotas,
            const bucket* __restrict__ buckets, int* __restrict__ counts,
            int* __restrict__ sums, int level, int heads, int shift) {
  alignas(16) __shared__ int rows[8][digit_values];
  const int64 at = int64(level) * blocks_x() + block_x();
  const bucket b = buckets[at];
  if (b.whole) return;
  const quota q = quotas[block_x()];
  const int warps = threads_x() / warp_size;
  const int first = block_y() * warps;
  if (first >= q.heads) return;
  const int rows_used = min(warps, q.heads - first);
  if (warp() < rows_used) {
    const int head = q.first + first + warp();
    int* mine = counts_of(counts, level, heads, head);
    const int empty = empty_slots(lengths[head], shift);
    const int most = max_evicted(lengths[head], q);
    digit_counts n;
    n.read(mine);
    n.sum(under(counts, heads, head, b.prefix, level));
    n.write(mine);
#pragma unroll
    for (int i = 0; i < 8; i++) n.at[i] = evicted_blocks(n.at[i], most, empty, shift);
    n.write(rows[warp()]);
  }
  block_barrier();
  for (int i = thread_x(); i < digit_values / 4; i += threads_x()) {
    four_ints sum = 0;
#pragma unroll 1
    for (int row = 0; row < rows_used; row++)
      sum += reinterpret_cast<const four_ints*>(rows[row])[i];
    add_counts(sums + at * digit_values, i, sum);
  }
}

// count_digits picks the next digit of each quota's bound. Of each head's
// candidates whose keys begin with the known digits, it counts the values of the
// digit after those.
//
//   offsets   int32 [heads+1]
//   keys      uint32 [offsets[heads]]
//   quota_of  int32 [heads]
//   quotas    int32 [Q, 4]
//   sums      int32 [4, Q, 256]: of the level before
//   buckets   int32 [4, Q, 4]: of the level before; of this level, written
//   counts    int32 [4, heads, 256]: of this level: zeros; written
//   level     1 to 3
//   heads     L·H
//   Q         quotas
//
// Grid and block: as costs has them.
extern "C" __global__ void __launch_bounds__(256)
count_digits(const int* __restrict__ offsets, const uint32* __restrict__ keys,
             const int* __restrict__ quota_of, const quota* __restrict__ quotas,
             const int* __restrict__ sums, bucket* __restrict__ buckets,
             int* __restrict__ counts, int level, int heads, int Q) {
  __shared__ histogram next_digits;
  __shared__ bucket shared_bucket;
  const int head = block_x();
  const int number = quota_of[head];
  if (number < 0) return;
  const quota q = quotas[number];
  const int from = offsets[head] / 4, fours = offsets[head + 1] / 4 - from;
  int i = block_y() * threads_x() + thread_x();
  // Only the first block of a quota does this, for all blocks of the quota.
  const bool speaker = head == q.first && block_y() == 0;
  if (i - thread_x() >= fours && !speaker) return;
  if (warp() == 0) {
    const int64 before = int64(level - 1) * Q + number;
    bucket b = buckets[before];
    if (!b.whole) {
      digit_counts n;
      n.read(sums + before * digit_values);
      b = narrower(b, n, q.blocks);
    }
    if (lane() == 0) {
      shared_bucket = b;
      if (speaker) buckets[before + Q] = b;
    }
  }
  next_digits.clear();
  block_barrier();
  const uint32 prefix = shared_bucket.prefix;
  if (shared_bucket.whole) return;
  const int open = 32 - digit_bits * level;
  for (; i < fours; i += threads_x() * blocks_y()) {
    const four_keys k = reinterpret_cast<const four_keys*>(keys)[from + i];
#pragma unroll
    for (int e = 0; e < 4; e++)
      if (k[e] >> open == prefix) next_digits.add((k[e] >> (open - digit_bits)) % digit_values);
  }
  block_barrier();
  next_digits.add_to(counts_of(counts, level, heads, head));
}

// loss_of returns the smallest bucket known from the summed counts that holds the n-th
// cheapest of a head's candidates; 1 ≤ n, and it is not after the quota's bucket b.
__device__ __forceinline__ bucket loss_of(bucket b, int* counts, int heads, int head, int n) {
  uint32 prefix = b.prefix;
  int known = b.known;
  int before = under(counts, heads, head, prefix, known);
  if (n > before) {  // in the quota's own bucket
    const int upto = counts_of(counts, known - 1, heads, head)[prefix % digit_values];
    return {prefix, known, before, n == upto};
  }
  do {  // the digits that it shares with the bound
    known--;
    prefix >>= digit_bits;
    before = under(counts, heads, head, prefix, known);
  } while (n <= before);
  const int* mine = counts_of(counts, known, heads, head);
  int digit = 0;
  for (int beyond = digit_values; digit < beyond;) {  // the first with n up to its end
    const int middle = (digit + beyond) / 2;
    if (mine[middle] < n)
      digit = middle + 1;
    else
      beyond = middle;
  }
  return {prefix << digit_bits | digit, known + 1, digit > 0 ? mine[digit - 1] : before,
          n == mine[digit]};
}

// settle computes how many blocks and KVs each head loses. Blocks whose key equals
// the quota's bound are evicted in (layer, head) order until the quota is
// reached.
//
//   lengths  int32 [heads]
//   quotas   int32 [Q, 4]
//   sums     int32 [4, Q, 256]: of the last level
//   buckets  int32 [4, Q, 4]: of the last level
//   counts   int32 [4, heads, 256]: sums
//   blocks   int32 [heads], written: blocks evicted. Not written for a head of no
//            quota: zeros before
//   kvs      int32 [heads], likewise: KVs evicted
//   losses   int32 [heads, 4], written where a head loses anything: the bucket
//            (prefix, known, before, whole) of the last evicted KV
//   heads    L·H
//   shift    log2 of the KVs that are counted as a block: B, or 1
//
// Grid: a block of a multiple of 32 threads, at most 256, for each quota; a thread
// for a head. Bytes: 1024 for each quota, about 100 for each head.
extern "C" __global__ void __launch_bounds__(256)
settle(const int* __restrict__ lengths, const quota* __restrict__ quotas,
       const int* __restrict__ sums, const bucket* __restrict__ buckets,
       int* __restrict__ counts, int* __restrict__ blocks, int* __restrict__ kvs,
       bucket* __restrict__ losses, int heads, int shift) {
  __shared__ bucket shared_bucket;
  __shared__ block_sums scans[2];
  const quota q = quotas[block_x()];
  if (warp() == 0) {
    const int64 last = int64(digits - 1) * blocks_x() + block_x();
    bucket b = buckets[last];
    if (!b.whole) {
      digit_counts n;
      n.read(sums + last * digit_values);
      b = narrower(b, n, q.blocks);
    }
    if (lane() == 0) shared_bucket = b;
  }
  block_barrier();
  const bucket b = shared_bucket;
  int wanted = q.blocks - b.before;  // of the blocks with the bound as key
  for (int base = 0, turn = 0; base < q.heads; base += threads_x(), turn ^= 1) {
    const int i = base + thread_x(), head = q.first + i;
    int sure = 0, equal = 0, empty = 0;
    if (i < q.heads) {
      empty = empty_slots(lengths[head], shift);
      const int most = max_evicted(lengths[head], q);
      const int* last = counts_of(counts, b.known - 1, heads, head);
      const int upto = evicted_blocks(last[b.prefix % digit_values], most, empty, shift);
      const int before = under(counts, heads, head, b.prefix, b.known);
      sure = b.whole ? upto : evicted_blocks(before, most, empty, shift);
      equal = upto - sure;
    }
    const place ties = block_scan(scans[turn], equal);
    if (i < q.heads) {
      const int lost = sure + max(0, min(equal, wanted - ties.before));
      const int n = lost > 0 ? (lost << shift) - empty : 0;
      blocks[head] = lost;
      kvs[head] = n;
      if (n > 0) losses[head] = loss_of(b, counts, heads, head, n);
    }
    wanted -= ties.total;
  }
}

// list_evicted lists the evicted KVs in logical order: the cheapest of each head;
// among equal keys, the first in logical order.
//
//   offsets  int32 [heads+1]
//   keys     uint32 [offsets[heads]]
//   kvs      int32 [heads]: KVs evicted
//   lengths  int32 [heads]
//   losses   int32 [heads, 4], as settle has left it
//   list     int32 [offsets[heads]]: kvs[head] logical indices from offsets[head] on
//            are written
//   holes    int32 [heads]: how many of them are less than the head's new length,
//            lengths − kvs; not written for a head that loses nothing: zeros before
//
// Grid: a block of a multiple of 32 threads, at most 1024, for each head.
extern "C" __global__ void __launch_bounds__(1024)
list_evicted(const int* __restrict__ offsets, const uint32* __restrict__ keys,
             const int* __restrict__ kvs, const int* __restrict__ lengths,
             const bucket* __restrict__ losses, int* __restrict__ list,
             int* __restrict__ holes) {
  __shared__ histogram next_digits;
  __shared__ bucket shared_bucket;
  __shared__ block_sums scans[2];
  const int head = block_x();
  const int n = kvs[head];
  if (n == 0) return;
  const int from = offsets[head] / 4, fours = offsets[head + 1] / 4 - from;
  const four_keys* mine = reinterpret_cast<const four_keys*>(keys) + from;

  bucket b = losses[head];
  while (!b.whole && b.known < digits) {
    next_digits.clear();
    block_barrier();
    const int open = 32 - digit_bits * b.known;
    for (int i = thread_x(); i < fours; i += threads_x()) {
      const four_keys k = mine[i];
#pragma unroll
      for (int e = 0; e < 4; e++)
        if (k[e] >> open == b.prefix) next_digits.add((k[e] >> (open - digit_bits)) % digit_values);
    }
    block_barrier();
    if (warp() == 0) {
      digit_counts counts;
      counts.read(next_digits.counts);
      counts.sum(b.before);
      b = narrower(b, counts, n);
      if (lane() == 0) shared_bucket = b;
    }
    block_barrier();
    b = shared_bucket;
  }

  // All KVs with keys below the limit are evicted, and this many with keys equal to it.
  uint32 limit = b.prefix;
  int equals = n - b.before;
  if (b.whole) {
    const int open = 32 - digit_bits * b.known;
    if (open > 0) limit = limit << open | ((1u << open) - 1);
    if (limit != no_candidate) limit++;
    equals = 0;
  }
  const int length = lengths[head] - n;  // after the moves
  int* to = list + 4 * from;

  int less_before = 0, equal_before = 0;
  for (int base = 0, turn = 0; 2 * base < fours; base += threads_x(), turn ^= 1) {
    const int i = 2 * (base + thread_x());
    const four_keys k[2] = {i < fours ? mine[i] : no_candidate,
                            i + 1 < fours ? mine[i + 1] : no_candidate};
    uint32 fall = 0, equal = 0;  // a bit for each of the 8
#pragma unroll
    for (int e = 0; e < 8; e++) fall |= k[e / 4][e % 4] < limit ? 1u << e : 0;
    if (equals > 0) {
#pragma unroll
      for (int e = 0; e < 8; e++) equal |= k[e / 4][e % 4] == limit ? 1u << e : 0;
    }
    const place p = block_scan(scans[turn], count_bits(fall) | count_bits(equal) << 16);
    const int equal_here = equal_before + (p.before >> 16);
    int at = less_before + (p.before & 0xffff) + min(equal_here, equals);
    for (int left = equals - equal_here; equal != 0 && left > 0; left--, equal &= equal - 1)
      fall |= equal & -equal;
    const uint32 before_length = (1u << length % 8) - 1;
    if (i / 2 == length / 8) holes[head] = at + count_bits(fall & before_length);
#pragma unroll
    for (int e = 0; e < 8; e++)
      if (fall >> e & 1) to[at++] = 4 * i + e;
    less_before += p.total & 0xffff;
    equal_before += p.total >> 16;
  }
}
