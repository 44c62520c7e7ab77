// Histogram of bytes: a histogram of each warp in shared memory, four bytes a load.
#include "cuda.cuh"

constexpr int bins = 256, warps = 8;

extern "C" __global__ void histogram(int* out, const uint32_t* in, int words) {
  __shared__ int counts[warps][bins];
  int t = threadIdx.x;
  int* mine = counts[t / 32];
  for (int i = t; i < warps * bins; i += blockDim.x) counts[0][i] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + t; i < words; i += gridDim.x * blockDim.x) {
    uint32_t w = in[i];
    atomicAdd(mine + (w & 255), 1);
    atomicAdd(mine + (w >> 8 & 255), 1);
    atomicAdd(mine + (w >> 16 & 255), 1);
    atomicAdd(mine + (w >> 24), 1);
  }
  __syncthreads();
  int sum = 0;
  for (int w = 0; w < warps; w++) sum += counts[w][t];
  atomicAdd(out + t, sum);
}
