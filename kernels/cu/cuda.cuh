// The parts of CUDA that the kernels use, so that clang builds them without
// an SDK.
#pragma once

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#define __forceinline__ __inline__ __attribute__((always_inline))
// __word__ marks a helper whose instructions get the line number of its caller, so that
// reports name the line of the kernel.
#define __word__ __device__ __inline__ __attribute__((always_inline, nodebug))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))

using int8 = signed char;
using uint8 = unsigned char;
using int16 = short;
using uint16 = unsigned short;
using int32 = int;
using uint32 = unsigned int;
using int64 = long long;
using uint64 = unsigned long long;

__word__ int thread_x() { return __nvvm_read_ptx_sreg_tid_x(); }
__word__ int threads_x() { return __nvvm_read_ptx_sreg_ntid_x(); }
__word__ int block_x() { return __nvvm_read_ptx_sreg_ctaid_x(); }
__word__ int block_y() { return __nvvm_read_ptx_sreg_ctaid_y(); }
__word__ int block_z() { return __nvvm_read_ptx_sreg_ctaid_z(); }
__word__ int blocks_x() { return __nvvm_read_ptx_sreg_nctaid_x(); }
__word__ int blocks_y() { return __nvvm_read_ptx_sreg_nctaid_y(); }

constexpr int warp_size = 32;
constexpr uint32 all_lanes = 0xffffffff;

__word__ int lane() { return thread_x() % warp_size; }
__word__ int warp() { return thread_x() / warp_size; }

// block_barrier waits for every thread of the block. Afterwards all of them see what
// each wrote before.
__word__ void block_barrier() { __syncthreads(); }

// warp_barrier does the same for the lanes of a warp.
__word__ void warp_barrier() { __nvvm_bar_warp_sync(all_lanes); }

// from_lane_xor returns another lane's value: that of lane ^ distance.
__word__ float from_lane_xor(float v, int distance) {
  return __nvvm_shfl_sync_bfly_f32(all_lanes, v, distance, 0x1f);
}
__word__ int from_lane_xor(int v, int distance) {
  return __nvvm_shfl_sync_bfly_i32(all_lanes, v, distance, 0x1f);
}

// from_lane_before returns the value of lane - distance, or the lane's own where
// there is none; from_lane that of the lane given.
__word__ int from_lane_before(int v, int distance) {
  return __nvvm_shfl_sync_up_i32(all_lanes, v, distance, 0);
}
__word__ int from_lane(int v, int source) {
  return __nvvm_shfl_sync_idx_i32(all_lanes, v, source, 0x1f);
}
__word__ float from_lane(float v, int source) {
  return __nvvm_shfl_sync_idx_f32(all_lanes, v, source, 0x1f);
}

// ballot returns a bit for each lane for which the condition holds.
__word__ uint32 ballot(bool condition) {
  return __nvvm_vote_ballot_sync(all_lanes, condition);
}

// lanes_below is the mask of the lanes before this one.
__word__ uint32 lanes_below() { return (1u << lane()) - 1; }

// sum_of_lanes, most_of_lanes and least_of_lanes reduce a value of every lane, and
// give all lanes the result.
__word__ int sum_of_lanes(int v) { return __nvvm_redux_sync_add(v, all_lanes); }
__word__ int most_of_lanes(int v) { return __nvvm_redux_sync_max(v, all_lanes); }
__word__ int least_of_lanes(int v) { return __nvvm_redux_sync_min(v, all_lanes); }

// is_there reports whether a pointer is not null. The empty asm statement makes it an
// integer, which clang compares in one instruction; a pointer takes three.
__word__ bool is_there(const void* p) {
  uint64 address = reinterpret_cast<uint64>(p);
  __asm__("" : "+l"(address));
  return address != 0;
}

// atomic_add and atomic_or change a word that other threads change as well.
__word__ void atomic_add(int* to, int v) { __nvvm_atom_add_gen_i(to, v); }
__word__ void atomic_or(uint32* to, uint32 v) {
  __nvvm_atom_or_gen_i(reinterpret_cast<int*>(to), v);
}

__word__ int count_bits(uint32 v) { return __builtin_popcount(v); }
// lowest_bit returns the index of the lowest set bit of v, which must not be 0.
__word__ int lowest_bit(uint32 v) { return __builtin_ctz(v); }

__word__ int min(int a, int b) { return a < b ? a : b; }
__word__ int max(int a, int b) { return a > b ? a : b; }

// copy_later starts an asynchronous copy of 16 or 8 bytes from global to shared memory;
// copies_done waits for all copies that the thread has started.
template <int bytes>
__word__ void copy_later(void* shared, const void* global) {
  using to = __attribute__((address_space(3))) void*;
  using from = const __attribute__((address_space(1))) void*;
  static_assert(bytes == 16 || bytes == 8, "a copy has 16 bytes or 8");
  if (bytes == 16) {
    __nvvm_cp_async_cg_shared_global_16((to)shared, (from)global);
  } else {
    __nvvm_cp_async_ca_shared_global_8((to)shared, (from)global);
  }
}
__word__ void copies_done() { __nvvm_cp_async_wait_all(); }
