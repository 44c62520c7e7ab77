// Where a head's KVs are.
#pragma once
#include "cuda.cuh"

// place_of returns where a KV head of a batch is in tables and lengths, which hold
// the heads of all layers for each sequence's row, and begin at the layer's first.
__word__ int64 place_of(const int* __restrict__ sequences, int head, int heads, int all) {
  return int64(sequences[head / heads]) * all + head % heads;
}

// slot_of returns the physical slot of a head's KV. There are at most 2^31 slots:
// what is reckoned in bytes or elements needs 64 bits, a slot does not.
__word__ int slot_of(const int* __restrict__ table, int logical, int shift) {
  return (table[logical >> shift] << shift) + (logical & ((1 << shift) - 1));
}
