// Sums over the threads of a block: of integers, so that no order matters.
#pragma once
#include "cuda.cuh"

// warp_scan returns the sum of v over this lane and the lanes before it.
__word__ int warp_scan(int v) {
#pragma unroll
  for (int distance = 1; distance < warp_size; distance *= 2) {
    const int before = from_lane_before(v, distance);
    v += lane() >= distance ? before : 0;
  }
  return v;
}

// A block_sums is shared memory for one sum at a time: two uses of the same one
// need a block_barrier between them.
struct block_sums {
  int warps[warp_size];
};

// block_sum returns the sum of v over all threads of the block.
__word__ int block_sum(block_sums& sums, int v) {
  v = sum_of_lanes(v);
  if (lane() == 0) sums.warps[warp()] = v;
  block_barrier();
  return sum_of_lanes(lane() * warp_size < threads_x() ? sums.warps[lane()] : 0);
}

struct place {
  int before;  // sum over the threads before this one
  int total;   // over all of the block
};

// block_scan returns the sums of v in the order of the block's threads.
__word__ place block_scan(block_sums& sums, int v) {
  const int upto = warp_scan(v);
  if (lane() == warp_size - 1) sums.warps[warp()] = upto;
  block_barrier();
  const int other = lane() * warp_size < threads_x() ? sums.warps[lane()] : 0;
  const int warps_before = sum_of_lanes(lane() < warp() ? other : 0);
  return {warps_before + upto - v, sum_of_lanes(other)};
}
