#include <cuda_fp16.h>

extern "C" __global__ void half2_ops(const __half2* x, __half2* y, int n) {
  int i = threadIdx.x; if (i >= n) return;
  __half2 a = x[i], b = x[(i + 1) % n]; __half2* o = y + 10 * i;
  o[0] = __hadd2(a, b); o[1] = __hsub2(a, b); o[2] = __hmul2(a, b); o[3] = __hfma2(a, b, a); o[4] = __hmax2(a, b); o[5] = __hmin2(a, b); o[6] = __hneg2(a); o[7] = __habs2(a); o[8] = __hge2(a, b); o[9] = __lows2half2(a, b);
}

extern "C" __global__ void half_matmul(const __half* A, const __half* B, float* C, int N) {
  __shared__ __half a[16][16], b[16][18];
  int r = blockIdx.y * 16 + threadIdx.y, c = blockIdx.x * 16 + threadIdx.x; float acc = 0.f;
  for (int k0 = 0; k0 < N; k0 += 16) {
    a[threadIdx.y][threadIdx.x] = A[r * N + k0 + threadIdx.x]; b[threadIdx.x][threadIdx.y] = B[(k0 + threadIdx.y) * N + c];
    __syncthreads();
    for (int k = 0; k < 16; k += 2) { float2 u = __half22float2(*(__half2*)&a[threadIdx.y][k]), v = __half22float2(*(__half2*)&b[threadIdx.x][k]); acc = __fmaf_rn(u.x, v.x, acc); acc = __fmaf_rn(u.y, v.y, acc); }
    __syncthreads();
  }
  C[r * N + c] = acc;
}
