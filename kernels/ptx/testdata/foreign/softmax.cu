// Softmax of rows, a warp for each, with the maximum and the sum found in one pass.
#include "cuda.cuh"

extern "C" __global__ void softmax(float* out, const float* in, int rows, int width) {
  int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= rows) return;
  const float* x = in + row * width;
  float* y = out + row * width;
  float top = -__builtin_inff(), sum = 0;
  for (int i = lane; i < width; i += 32) {
    float v = x[i], m = fmaxf(top, v);
    sum = fmaf(sum, __expf(top - m), __expf(v - m));
    top = m;
  }
#pragma unroll
  for (int d = 16; d > 0; d /= 2) {
    float m = __shfl_xor_sync(0xffffffff, top, d), s = __shfl_xor_sync(0xffffffff, sum, d), most = fmaxf(top, m);
    sum = fmaf(sum, __expf(top - most), s * __expf(m - most));
    top = most;
  }
  float scale = 1 / sum;
  for (int i = lane; i < width; i += 32) y[i] = __expf(x[i] - top) * scale;
}
