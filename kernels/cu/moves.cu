// Moves: the survivors of a compression are packed into the blocks that stay
// (ref.Moves). With m the new length of a head, the destinations are the evicted
// logical indices before m, ascending; the sources are the surviving ones from m
// on, descending; paired in that order.
#include "cuda.cuh"

struct alignas(8) pair {
  int destination, source;  // slots
};

// pair_moves writes the moves of every head, in (layer, head) order.
//
//   list     int32: from offsets[head] on the evicted logical indices, ascending
//   offsets  int32 [heads]
//   kvs      int32 [heads]: how many are evicted
//   holes    int32 [heads]: how many of them are less than m = lengths − kvs
//   lengths  int32 [heads]: before the moves
//   tables   int32 [heads, stride]
//   firsts   int32 [heads]: where a head's moves begin, the sum of the holes before
//   moves    int32 [sum of the holes, 2], written: destination and source slots
//   shift    log2(B)
//   stride   blocks that a table has room for
//
// Grid: heads × ⌈most holes of a head/threads⌉ blocks of a multiple of 32 threads, at
// most 256; a thread for a move. The source of the i-th of k moves is the
// (k−1−i)-th survivor from m on, counted upwards from 0; a binary search over the
// evicted indices from m on says how many of those lie before it.
//
// Bytes: 8 written for each move and 4 read, with 8 for the tables' entries; the
// search's reads, of some 4·kvs bytes a head, stay in the caches. Operations: about
// 40, and 10 for each step of the search.
extern "C" __global__ void __launch_bounds__(256)
pair_moves(const int* __restrict__ list, const int* __restrict__ offsets,
           const int* __restrict__ kvs, const int* __restrict__ holes,
           const int* __restrict__ lengths, const int* __restrict__ tables,
           const int* __restrict__ firsts, pair* __restrict__ moves, int shift, int stride) {
  const int head = block_x();
  const int k = holes[head];
  const int i = block_y() * threads_x() + thread_x();
  if (i >= k) return;
  const int n = kvs[head], m = lengths[head] - n;
  const int* evicted = list + offsets[head];
  const int* table = tables + int64(head) * stride;
  const int hole = evicted[i];

  const int rank = k - 1 - i;
  const int* tail = evicted + k;  // those from m on
  int before = 0;
  for (int beyond = n - k; before < beyond;) {
    const int middle = (before + beyond) / 2;
    if (tail[middle] - m - middle <= rank)  // survivors before it
      before = middle + 1;
    else
      beyond = middle;
  }
  const int survivor = m + rank + before;

  const int mask = (1 << shift) - 1;
  moves[firsts[head] + i] = {(table[hole >> shift] << shift) + (hole & mask),
                             (table[survivor >> shift] << shift) + (survivor & mask)};
}

using bytes16 = uint32 __attribute__((ext_vector_type(4)));
using bytes8 = uint32 __attribute__((ext_vector_type(2)));

// move_kvs moves KVs from slot to slot: key, value, metric and position. No
// destination is a source.
//
//   moves      int32 [n, 2]: destination and source slots
//   keys       [N·B, pieces] of 16 or 8 bytes each
//   values     likewise
//   metrics    4 bytes [N·B]. A null pointer if the method has no column of one number
//              for each KV
//   positions  int32 [N·B]
//   n          moves
//   pieces     of a key, and of a value: its bytes by 16, or by 8
//   shift      log2 of the lanes of a group: 1 to 5
//
// Grid: a thread for each lane of the ⌈n/4⌉ groups, in blocks of 256 or one of
// fewer. A group of lanes does 4 moves: its lanes take the pieces of key and value
// in turn, and read those of all 4 moves before they write, so that enough reads
// are under way. The first two lanes take metric and position.
//
// Bytes: 2·(row bytes of K and V + 8) for each move and 8 for the pair, of which
// metric and position, 4 bytes each, move a sector of 32: for D = 128 in f16
// 1,048, and 1,160 with whole sectors. The floor is 1,040. Operations: 1 load and
// 1 store of 16 bytes and a few to address them.
template <class piece>
__device__ __forceinline__ void move_kvs(const pair* __restrict__ moves, piece* keys, piece* values,
                                         uint32* metrics, uint32* positions, int n, int pieces,
                                         int shift) {
  constexpr int per_group = 4;
  const int64 i = int64(block_x()) * threads_x() + thread_x();
  const int lanes = 1 << shift, lane = i & (lanes - 1);
  const int64 first = (i >> shift) * per_group;
  if (first >= n) return;
  const int last = min(per_group, n - first) - 1;
  pair at[per_group];  // the last group repeats its last move
#pragma unroll
  for (int m = 0; m < per_group; m++) at[m] = moves[first + min(m, last)];

  const int row = pieces * int(sizeof(piece));
  for (int p = lane; p < 2 * pieces; p += lanes) {
    char* rows = reinterpret_cast<char*>(p < pieces ? keys + p : values + (p - pieces));
    piece held[per_group];
#pragma unroll
    for (int m = 0; m < per_group; m++)
      held[m] = *reinterpret_cast<piece*>(rows + int64(at[m].source) * row);
#pragma unroll
    for (int m = 0; m < per_group; m++)
      *reinterpret_cast<piece*>(rows + int64(at[m].destination) * row) = held[m];
  }
  if (lane < 2) {
    uint32* scalars = lane == 0 ? metrics : positions;
    if (!is_there(scalars)) return;
    uint32 held[per_group];
#pragma unroll
    for (int m = 0; m < per_group; m++) held[m] = scalars[at[m].source];
#pragma unroll
    for (int m = 0; m < per_group; m++) scalars[at[m].destination] = held[m];
  }
}

// move_kvs_16 moves rows of 16-byte pieces, move_kvs_8 of 8-byte ones: the rows of
// fp8 keys whose D is no multiple of 16.
extern "C" __global__ void __launch_bounds__(256)
move_kvs_16(const pair* moves, bytes16* keys, bytes16* values, uint32* metrics,
            uint32* positions, int n, int pieces, int shift) {
  move_kvs(moves, keys, values, metrics, positions, n, pieces, shift);
}
extern "C" __global__ void __launch_bounds__(256)
move_kvs_8(const pair* moves, bytes8* keys, bytes8* values, uint32* metrics,
           uint32* positions, int n, int pieces, int shift) {
  move_kvs(moves, keys, values, metrics, positions, n, pieces, shift);
}

// move_numbers moves the numbers of KVs from slot to slot, in a column that has several
// for each. No destination is a source.
//
//   moves    int32 [n, 2]: destination and source slots
//   numbers  4 bytes [N·B, width]
//   n        moves
//   width    numbers for each KV
//
// Grid: ⌈n / 256⌉ blocks of 256 threads, a move each. Bytes: 8·width for each move, and
// 8 for the pair.
extern "C" __global__ void __launch_bounds__(256)
move_numbers(const pair* __restrict__ moves, uint32* numbers, int n, int width) {
  const int i = block_x() * threads_x() + thread_x();
  if (i >= n) return;
  const pair move = moves[i];
  const uint32* from = numbers + int64(move.source) * width;
  uint32* to = numbers + int64(move.destination) * width;
#pragma unroll 1
  for (int e = 0; e < width; e++) to[e] = from[e];
}
