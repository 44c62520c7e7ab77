// Two matrix products C = A·B of n×n matrices: a thread for each element, with tiles in
// shared memory, as the CUDA samples have it; and tiles of registers, as in SGEMM.
#include "cuda.cuh"

constexpr int tile = 32;

extern "C" __global__ void matmul_tiled(float* C, const float* A, const float* B, int n) {
  __shared__ float As[tile][tile], Bs[tile][tile];
  int tx = threadIdx.x, ty = threadIdx.y;
  int row = blockIdx.y * tile + ty, col = blockIdx.x * tile + tx;
  float sum = 0;
  for (int t = 0; t < n; t += tile) {
    As[ty][tx] = A[row * n + t + tx];
    Bs[ty][tx] = B[(t + ty) * n + col];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < tile; k++) sum = fmaf(As[ty][k], Bs[k][tx], sum);
    __syncthreads();
  }
  C[row * n + col] = sum;
}

// 64×64 of C a block of 256 threads, 4×4 a thread, 16 of the inner dimension at a time.
extern "C" __global__ void sgemm(float* C, const float* A, const float* B, int n) {
  __shared__ float As[16][64 + 4], Bs[16][64];
  int t = threadIdx.x, tx = t % 16, ty = t / 16;
  const float* a = A + (blockIdx.y * 64 + t / 4) * n + t % 4 * 4;
  const float* b = B + t / 16 * n + blockIdx.x * 64 + tx * 4;
  float acc[4][4] = {};
  for (int k0 = 0; k0 < n; k0 += 16) {
    float4 av = *(const float4*)(a + k0), bv = *(const float4*)(b + k0 * n);
    As[t % 4 * 4 + 0][t / 4] = av.x;
    As[t % 4 * 4 + 1][t / 4] = av.y;
    As[t % 4 * 4 + 2][t / 4] = av.z;
    As[t % 4 * 4 + 3][t / 4] = av.w;
    *(float4*)&Bs[t / 16][tx * 4] = bv;
    __syncthreads();
#pragma unroll
    for (int k = 0; k < 16; k++) {
      float4 x = *(const float4*)&As[k][ty * 4], y = *(const float4*)&Bs[k][tx * 4];
      float xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) acc[i][j] = fmaf(xs[i], ys[j], acc[i][j]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; i++)
    *(float4*)(C + (blockIdx.y * 64 + ty * 4 + i) * n + blockIdx.x * 64 + tx * 4) = float4{acc[i][0], acc[i][1], acc[i][2], acc[i][3]};
}
