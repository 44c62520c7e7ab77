// Decode attention of the methods whose queries do not read KVs as they are stored
// (ref/NUMERICS.md §4, §9):
//
//   count_turns                  by how many positions each key is rotated
//   attend_partitions_adjusted   replaces attend_partitions: keys are rotated, stand-ins
//                                weigh more, hidden KVs have no weight
//
// Rows and partitions are those of attention.cu.
#include "attend.cuh"
#include "scan.cuh"

// count_turns computes by how many positions each KV's key is rotated towards the query:
// the number of evicted tokens that are newer than the key's.
//
//   sequences  int32 [batch]: each sequence's row of tables and lengths
//   times      int32 [batch]: position of each sequence's token
//   tables     int32 [sequences, heads of all layers, stride], from the layer's first head on
//   lengths    int32 [sequences, heads of all layers], likewise
//   positions  int32 [N·B]; those that a head holds are different
//   held       uint32 [batch·H, words], written: a bit for each position that is held
//   before     int32 [batch·H, words], written: positions held before the word's
//   turns      int32 [batch·H, partitions, 128], written
//   heads, all  H, and the heads of all layers
//   shift, stride  log2(B); blocks that a table has room for
//   words      of the longest sequence's positions: ⌈tokens/32⌉
//   partitions ⌈longest/128⌉
//
// Grid: batch·H blocks of 256 threads.
//
// Bytes: a KV's position twice, 4 for its turn and its bit; 12 for each word. Operations:
// 20 for each KV.
extern "C" __global__ void __launch_bounds__(256)
count_turns(const int* __restrict__ sequences, const int* __restrict__ times,
            const int* __restrict__ tables, const int* __restrict__ lengths,
            const int* __restrict__ positions, uint32* held, int* before,
            int* __restrict__ turns, int heads, int all, int shift, int stride, int words,
            int partitions) {
  __shared__ block_sums scans[2];
  const int head = block_x();
  const int64 at = place_of(sequences, head, heads, all);
  const int length = lengths[at], t = times[head / heads];
  const int* table = tables + at * stride;
  uint32* bits = held + int64(head) * words;
  int* sums = before + int64(head) * words;
  for (int i = thread_x(); i < words; i += threads_x()) bits[i] = 0;
  block_barrier();
  for (int i = thread_x(); i < length; i += threads_x()) {
    const int position = positions[slot_of(table, i, shift)];
    atomic_or(&bits[position / 32], 1u << position % 32);
  }
  block_barrier();
  int total = 0;
  for (int base = 0, turn = 0; base < words; base += threads_x(), turn ^= 1) {
    const int i = base + thread_x();
    const place n = block_scan(scans[turn], i < words ? count_bits(bits[i]) : 0);
    if (i < words) sums[i] = total + n.before;
    total += n.total;
  }
  block_barrier();
  int* to = turns + int64(head) * partitions * partition;
  for (int i = thread_x(); i < length; i += threads_x()) {
    const int position = positions[slot_of(table, i, shift)];
    const uint32 older = bits[position / 32] & ((1u << position % 32) - 1);
    const int newer = length - 1 - (sums[position / 32] + count_bits(older));
    to[i] = t - position - newer;
  }
}

// A direction is the sine and the cosine of the angle by which one pair of a key's
// elements is turned.
struct alignas(8) direction {
  float sine, cosine;
};

// adjusted reads KVs as a method wants them. A pointer that the method has no use for is 0.
struct adjusted {
  const float* stands;  // [N·B] the number of KVs that each entry represents
  const float* hidden;  // [N·B] not 0 where a KV is hidden

  const int* turns;             // [batch·H, partitions, 128] positions by which a key is turned
  const direction* directions;  // [turn, pairs]
  int pairs, step, partner;     // pair i of a key is elements i·step and i·step + partner

  // Keys that are turned lie in the tile as float32.
  template <class format>
  __device__ __forceinline__ share layout(int queries, int d) const {
    share s = share_of<format>(queries, d);
    if (is_there(turns)) s.q = share_of<f32>(queries, d).q;
    return s;
  }

  // load brings keys into the tile, those of KVs first to first+rows-1, and turns them.
  template <class format>
  __device__ __forceinline__ void load(const share& wide, format codec,
                                       const char* __restrict__ keys, const int* __restrict__ by,
                                       int first, int rows, int d) const {
    warp_barrier();  // no lane reads the old tile any more
    const uint32 quads = d / 4;
    for (uint32 i = lane(); i < rows * quads; i += warp_size) {
      const int row = i / quads, column = i % quads * 4;
      float k[4];
      codec.decode(keys + (int64(wide.row_index[first + row]) * d + column) * format::size, k);
      for (int j = 0; j < 4; j++) k[j] = k[j] * format::lift;
      *reinterpret_cast<float4*>(wide.tile + row * wide.stride + column * 4) = {
          {k[0], k[1], k[2], k[3]}};
    }
    warp_barrier();
    const int turn = lane() < rows ? by[first + lane()] : 0;
    if (turn != 0) {
      float* key = reinterpret_cast<float*>(wide.tile + lane() * wide.stride);
      const direction* to = directions + int64(turn) * pairs;
#pragma unroll 1
      for (int i = 0; i < pairs; i++) {
        float *x = key + i * step, *y = x + partner;
        const direction t = to[i];
        const float a = *x, b = *y;
        *x = a * t.cosine - b * t.sine;
        *y = a * t.sine + b * t.cosine;
      }
    }
    warp_barrier();
  }

  template <class format>
  __device__ __forceinline__ void weigh(const share& s, format codec, const float* __restrict__ q,
                                        const char* __restrict__ keys, int queries, int n, int d,
                                        float scale, float* __restrict__ weights,
                                        float* __restrict__ maxima, float* __restrict__ sums,
                                        int head, int p, int partitions) const {
    if (is_there(turns)) {
      const share wide = share_of<f32>(queries, d);
      const int* by = turns + (int64(head) * partitions + p) * partition;
      warp_barrier();
      bring_all_queries<f32>(wide, q, queries, d);
      for (int first = 0; first < n; first += warp_size) {
        const int rows = min(warp_size, n - first);
        load(wide, codec, keys, by, first, rows, d);
        score_all(wide, f32{}, queries, first, rows, d, scale);
      }
    } else {
      scores(s, codec, q, keys, queries, n, d, scale);
    }
    for (int i = lane(); i < n; i += warp_size) {
      const int slot = s.row_index[i];
      const bool is_hidden = is_there(hidden) && hidden[slot] != 0;
      const float stands_for = is_there(stands) ? stands[slot] : 1;
      if (!is_hidden && stands_for == 1) continue;
      const float more = log_of(stands_for);
      for (int g = 0; g < queries; g++) {
        float* score = s.weights + g * partition + i;
        *score = is_hidden ? lowest() : *score + more;
      }
    }
    exponentials_of_seen<format>(s, queries, n, weights, maxima, sums, p, partitions);
  }

  // exponentials_of_seen is exponentials with hidden KVs, which have e_i = 0. A partition
  // with no other KVs has m_p = -∞ and z_p = 0.
  template <class format>
  __device__ __forceinline__ void exponentials_of_seen(const share& s, int queries, int n,
                                                       float* __restrict__ weights,
                                                       float* __restrict__ maxima,
                                                       float* __restrict__ sums, int p,
                                                       int partitions) const {
    for (int g = 0; g < queries; g++) {
      const int64 to = int64(s.rows[g]) * partitions + p;
      float* own = s.weights + g * partition;
      float top = lowest();
      for (int i = lane(); i < n; i += warp_size) top = max(top, own[i]);
      top = butterfly_max(top);
      float sum = 0;
      for (int i = lane(); i < n; i += warp_size) {
        const float e = own[i] == lowest() ? 0 : exp_of(own[i] - top);
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
};

// attend_partitions_adjusted is attend_partitions with these adjustments, as far as the
// method has them:
//
//   stands      float32 [N·B], or 0: ln w is added to the score of an entry that
//               represents w ≠ 1 KVs
//   hidden      float32 [N·B], or 0: a KV whose number is not 0 has e_i = 0 and no part in m_p
//   turns       int32 [batch·H, partitions, 128], or 0: by how many positions each key is
//               turned before it is scored; where it is 0, the key is as it is stored
//   directions  float32 [turns, pairs, 2]: sine and cosine of the angle of each pair of
//               elements, for every number of positions
//   pairs       of a key's elements that are turned
//   step, partner  pair i is elements i·step and i·step + partner
//   k_scale, v_scale  fp8 caches only: what is read is multiplied by these
//
// Other arguments and the grid: as in attend_partitions. With turns the shared memory is
// that for rows of float32.
//
// Bytes: 4 more for each KV and each of stands, hidden and turns; directions, which stay in
// the caches. Operations: 6 for each pair that is turned, and 30·G for a stand-in.
#define ATTEND_ADJUSTED(format)                                                               \
  extern "C" __global__ void __launch_bounds__(warp_size, 16)                                 \
  attend_partitions_adjusted_##format(                                                        \
      const float* q, const char* keys, const char* values, const int* sequences,             \
      const int* tables, const int* lengths, float* weights, float* maxima, float* sums,      \
      float* o, int heads, int all, int group, int d, int shift, int stride, int partitions,  \
      float scale, const float* stands, const float* hidden, const int* turns,                \
      const direction* directions, int pairs, int step, int partner) {                        \
    const adjusted read = {stands, hidden, turns, directions, pairs, step, partner};          \
    attend_partitions(read, format{}, format{}, q, keys, values, sequences, tables, lengths,  \
                      weights, maxima, sums, o, heads, all, group, d, shift, stride,          \
                      partitions, scale);                                                     \
  }
ATTEND_ADJUSTED(f32)
ATTEND_ADJUSTED(f16)
ATTEND_ADJUSTED(bf16)
#define ATTEND_ADJUSTED_SCALED(format)                                                        \
  extern "C" __global__ void __launch_bounds__(warp_size, 16)                                 \
  attend_partitions_adjusted_##format(                                                        \
      const float* q, const char* keys, const char* values, const int* sequences,             \
      const int* tables, const int* lengths, float* weights, float* maxima, float* sums,      \
      float* o, int heads, int all, int group, int d, int shift, int stride, int partitions,  \
      float scale, const float* stands, const float* hidden, const int* turns,                \
      const direction* directions, int pairs, int step, int partner, float k_scale,           \
      float v_scale) {                                                                        \
    const adjusted read = {stands, hidden, turns, directions, pairs, step, partner};          \
    attend_partitions(read, format{k_scale}, format{v_scale}, q, keys, values, sequences,     \
                      tables, lengths, weights, maxima, sums, o, heads, all, group, d, shift, \
                      stride, partitions, scale);                                             \
  }
ATTEND_ADJUSTED_SCALED(e4m3)
ATTEND_ADJUSTED_SCALED(e5m2)
