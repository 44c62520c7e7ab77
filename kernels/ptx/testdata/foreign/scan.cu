// Inclusive prefix sums of each block's 1024 numbers: four a thread, by shuffles within a
// warp, and through shared memory across warps.
#include "cuda.cuh"

extern "C" __global__ void scan(int* out, const int* in) {
  __shared__ int sums[8];
  int t = threadIdx.x, lane = t % 32, warp = t / 32;
  int base = (blockIdx.x * blockDim.x + t) * 4;
  struct __attribute__((aligned(16))) int4 { int x, y, z, w; };
  int4 v = *(const int4*)(in + base);
  v.y += v.x, v.z += v.y, v.w += v.z;
  int sum = v.w;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    int other = __shfl_up_sync(0xffffffff, sum, d);
    if (lane >= d) sum += other;
  }
  if (lane == 31) sums[warp] = sum;
  __syncthreads();
  if (warp == 0) {
    int s = lane < 8 ? sums[lane] : 0;
#pragma unroll
    for (int d = 1; d < 8; d *= 2) {
      int other = __shfl_up_sync(0xffffffff, s, d);
      if (lane >= d) s += other;
    }
    if (lane < 8) sums[lane] = s;
  }
  __syncthreads();
  int before = sum - v.w + (warp > 0 ? sums[warp - 1] : 0);
  *(int4*)(out + base) = int4{v.x + before, v.y + before, v.z + before, v.w + before};
}
