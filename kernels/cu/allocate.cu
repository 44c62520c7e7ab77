// Allocation: blocks are taken from the free list and given to heads, and come
// back to it. The lowest-numbered free block goes first, in the order that
// ref/NUMERICS.md §7 states.
//
// The free list has a bit for each block of the cache. A block of threads handles
// a chunk of it, one word per thread.
//
//   1. count_free counts the free blocks of every chunk (not needed for one chunk)
//   2. take_blocks takes the `need` lowest ones, in ascending order
//   3. give_prompt or give_tokens enters them in tables and owners
//
// free_blocks frees blocks. All sums are of integers, so their order is irrelevant.
#include "scan.cuh"

// The owner of a physical block. In a free one all four are −1.
struct alignas(16) owner {
  int sequence, layer, head, logical;
};

// blocks_before returns the sum of the counts of the blocks of threads before
// this one.
__word__ int blocks_before(block_sums& sums, const int* __restrict__ counts) {
  int n = 0;
  for (int i = thread_x(); i < block_x(); i += threads_x()) n += counts[i];
  return block_sum(sums, n);
}

// count_free counts the free blocks of each chunk of the free list.
//
//   free    uint32 [words]: the free list
//   counts  int32 [grid], written
//   words   ⌈N/32⌉
//
// Grid: ⌈words/threads⌉ blocks of a multiple of 32 threads, at most 1024; the same
// as of take_blocks. Bytes: N/8 read. That is the floor.
extern "C" __global__ void __launch_bounds__(1024)
count_free(const uint32* __restrict__ free, int* __restrict__ counts, int words) {
  __shared__ block_sums sums;
  const int i = block_x() * threads_x() + thread_x();
  const int n = block_sum(sums, i < words ? count_bits(free[i]) : 0);
  if (thread_x() == 0) counts[block_x()] = n;
}

// take_blocks takes the `need` lowest blocks from the free list, which has at least
// that many, and lists them in ascending order.
//
//   free    uint32 [words]: the free list; taken blocks' bits are cleared
//   counts  int32 [grid]: of count_free; not read by the first block of the grid
//   taken   int32 [need], written
//   words   ⌈N/32⌉
//   need    how many
//
// Grid and block: as in count_free. Bytes: N/8 read, less the chunks after the
// last block taken, which are skipped; written are 4 for each block taken, and
// the words with its bit. The floor is the part of the list up to the last block
// taken: a decode step of Llama-3.1-8B at batch 64 takes some 1,000
// blocks, and a cache of 70 GB has a free list of 1 MB, a microsecond's work.
extern "C" __global__ void __launch_bounds__(1024)
take_blocks(uint32* __restrict__ free, const int* __restrict__ counts,
            int* __restrict__ taken, int words, int need) {
  __shared__ block_sums before_sums, sums;
  int at = blocks_before(before_sums, counts);
  if (at >= need) return;
  const int i = block_x() * threads_x() + thread_x();
  uint32 word = i < words ? free[i] : 0;
  at += block_scan(sums, count_bits(word)).before;
  if (word == 0 || at >= need) return;
  do {
    taken[at++] = i * 32 + lowest_bit(word);
    word &= word - 1;
  } while (word != 0 && at < need);
  free[i] = word;
}

// give_prompt assigns the taken blocks to the heads of a sequence, the same number
// to each, in (layer, head, logical block) order.
//
//   taken    int32 [all·each]: physical blocks
//   tables   int32 [all, stride]: the block tables of the sequence's heads, written
//   owners   int32 [N, 4], written
//   lengths  int32 [all], written: tokens
//   sequence, tokens
//   each     blocks of a head: ⌈tokens/B⌉
//   all, heads  L·H, H
//   stride   blocks that a table has room for
//
// Grid: ⌈all·each/256⌉ blocks of 256 threads, or one of fewer. Bytes: 24 for each
// block. The floor is 20, for tables and owners; the other 4 are read from `taken`.
extern "C" __global__ void __launch_bounds__(256)
give_prompt(const int* __restrict__ taken, int* __restrict__ tables,
            owner* __restrict__ owners, int* __restrict__ lengths, int sequence, int tokens,
            int each, int all, int heads, int stride) {
  const int i = block_x() * threads_x() + thread_x();
  if (i >= all * each) return;
  const int head = i / each, logical = i % each;
  const int block = taken[i];
  tables[int64(head) * stride + logical] = block;
  owners[block] = {sequence, head / heads, head % heads, logical};
  if (logical == 0) lengths[head] = tokens;
}

// A head of one layer of one sequence of a batch, by its place i in
// (layer, sequence, head) order.
struct batch_head {
  int layer, sequence, head;
  __word__ batch_head(int i, int batch, int heads)
      : layer(i / (batch * heads)), sequence(i / heads % batch), head(i % heads) {}
  // at is its index in lengths.
  __word__ int64 at(const int* __restrict__ rows, int all, int heads) const {
    return int64(rows[sequence]) * all + layer * heads + head;
  }
};

// count_full counts the heads whose last block is full, for each chunk of the
// batch's heads, in (layer, sequence, head) order.
//
//   rows     int32 [batch]: each sequence's row
//   lengths  int32 [rows, all]
//   counts   int32 [grid], written
//   batch, all, heads  sequences, L·H, H
//   block_size         B
//
// Grid: ⌈batch·all/threads⌉ blocks of a multiple of 32 threads, at most 1024; the
// same as of give_tokens. Bytes: 4 for each head. Not needed for one chunk.
extern "C" __global__ void __launch_bounds__(1024)
count_full(const int* __restrict__ rows, const int* __restrict__ lengths,
           int* __restrict__ counts, int batch, int all, int heads, int block_size) {
  __shared__ block_sums sums;
  const int i = block_x() * threads_x() + thread_x();
  bool full = false;
  if (i < batch * all) {
    const batch_head h(i, batch, heads);
    full = lengths[h.at(rows, all, heads)] % unsigned(block_size) == 0;
  }
  const int n = block_sum(sums, full);
  if (thread_x() == 0) counts[block_x()] = n;
}

// give_tokens makes room for one KV in every head of the batch: it assigns the
// taken blocks to the heads whose last block is full, in
// (layer, sequence, head) order.
//
//   rows, ids  int32 [batch]: each sequence's row, and its number
//   counts     int32 [grid]: of count_full; not read by the first block of the grid
//   taken      int32 [heads that are full]: physical blocks
//   tables     int32 [rows, all, stride], written
//   owners     int32 [N, 4], written
//   lengths    int32 [rows, all]: 1 is added
//   batch, all, heads  sequences, L·H, H
//   shift      log2(B)
//   stride     blocks that a table has room for
//
// Grid and block: as count_full has them. Bytes: 8 for each head, and 24 for each
// block given.
extern "C" __global__ void __launch_bounds__(1024)
give_tokens(const int* __restrict__ rows, const int* __restrict__ ids,
            const int* __restrict__ counts, const int* __restrict__ taken,
            int* __restrict__ tables, owner* __restrict__ owners, int* __restrict__ lengths,
            int batch, int all, int heads, int shift, int stride) {
  __shared__ block_sums before_sums, sums;
  const int i = block_x() * threads_x() + thread_x();
  const batch_head h(i, batch, heads);
  int64 at = 0;
  int length = 1;  // beyond the last head: counts as not full
  if (i < batch * all) {
    at = h.at(rows, all, heads);
    length = lengths[at];
    lengths[at] = length + 1;
  }
  const bool full = i < batch * all && length % (1u << shift) == 0;
  const int before = blocks_before(before_sums, counts);
  const int rank = before + block_scan(sums, full).before;
  if (!full) return;
  const int block = taken[rank], logical = length >> shift;
  tables[at * stride + logical] = block;
  owners[block] = {ids[h.sequence], h.layer, h.head, logical};
}

// free_blocks removes the last KVs of the heads of a sequence, and returns the
// blocks that become empty to the free list.
//
//   lost     int32 [heads]: KVs that each head loses; all of its KVs to release
//            the sequence
//   lengths  int32 [heads], written
//   tables   int32 [heads, stride]: the entries of the freed blocks become −1
//   free     uint32 [⌈N/32⌉]: their bits are set
//   owners   int32 [N, 4]: theirs become −1
//   shift    log2(B)
//   stride   blocks that a table has room for
//
// Grid: a block of a multiple of 32 threads, at most 256, for each head. Bytes: 12
// for each head, and 24 and an atomic for each block freed. That is the floor
// except for the atomic, which is needed because blocks share a word.
extern "C" __global__ void __launch_bounds__(256)
free_blocks(const int* lost, int* lengths, int* __restrict__ tables,
            uint32* __restrict__ free, owner* __restrict__ owners, int shift, int stride) {
  const int head = block_x();
  const int length = lengths[head], left = length - lost[head];
  block_barrier();  // all have read the length
  if (thread_x() == 0) lengths[head] = left;
  const int last = (1 << shift) - 1;
  const int blocks = (length + last) >> shift;
  for (int i = ((left + last) >> shift) + thread_x(); i < blocks; i += threads_x()) {
    int& entry = tables[int64(head) * stride + i];
    const int block = entry;
    entry = -1;
    owners[block] = {-1, -1, -1, -1};
    atomic_or(&free[block / 32], 1u << block % 32);
  }
}
