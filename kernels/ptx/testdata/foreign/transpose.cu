// Transpose of a matrix through a padded tile in shared memory.
#include "cuda.cuh"

constexpr int tile = 32, rows = 8;

extern "C" __global__ void transpose(float* out, const float* in, int width, int height) {
  __shared__ float t[tile][tile + 1];
  int x = blockIdx.x * tile + threadIdx.x, y = blockIdx.y * tile + threadIdx.y;
  for (int j = 0; j < tile; j += rows) t[threadIdx.y + j][threadIdx.x] = in[(y + j) * width + x];
  __syncthreads();
  x = blockIdx.y * tile + threadIdx.x, y = blockIdx.x * tile + threadIdx.y;
  for (int j = 0; j < tile; j += rows) out[(y + j) * height + x] = t[threadIdx.x][threadIdx.y + j];
}
