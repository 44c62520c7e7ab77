// Layer norm of rows of f32, four values a load, and RMS norm of rows of bf16, two of them
// a load, with a residual that is added first.
#include "cuda.cuh"

__device__ __forceinline__ float block_sum(float v, float* shared) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffff, v, d);
  if (lane == 0) shared[warp] = v;
  __syncthreads();
  v = lane < blockDim.x / 32 ? shared[lane] : 0.f;
#pragma unroll
  for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffff, v, d);
  __syncthreads();
  return v;
}

extern "C" __global__ void layer_norm(float* out, const float* in, const float* gamma, const float* beta, int width, float epsilon) {
  __shared__ float shared[32];
  const float4* x = (const float4*)(in + blockIdx.x * width);
  float4* y = (float4*)(out + blockIdx.x * width);
  float sum = 0;
  for (int i = threadIdx.x; i < width / 4; i += blockDim.x) {
    float4 v = x[i];
    sum += v.x + v.y + v.z + v.w;
  }
  float mean = block_sum(sum, shared) / width;
  float squares = 0;
  for (int i = threadIdx.x; i < width / 4; i += blockDim.x) {
    float4 v = x[i];
    float a = v.x - mean, b = v.y - mean, c = v.z - mean, d = v.w - mean;
    squares = fmaf(a, a, fmaf(b, b, fmaf(c, c, fmaf(d, d, squares))));
  }
  float scale = 1 / sqrtf(block_sum(squares, shared) / width + epsilon);
  for (int i = threadIdx.x; i < width / 4; i += blockDim.x) {
    float4 v = x[i], g = ((const float4*)gamma)[i], b = ((const float4*)beta)[i];
    y[i] = float4{fmaf((v.x - mean) * scale, g.x, b.x), fmaf((v.y - mean) * scale, g.y, b.y), fmaf((v.z - mean) * scale, g.z, b.z),
                  fmaf((v.w - mean) * scale, g.w, b.w)};
  }
}

__device__ __forceinline__ float2 widen(uint32_t v) {
  float2 f;
  f.x = __builtin_bit_cast(float, v << 16);
  f.y = __builtin_bit_cast(float, v & 0xffff0000);
  return f;
}

__device__ __forceinline__ uint32_t narrow(float lo, float hi) {
  uint32_t v;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(hi), "f"(lo));
  return v;
}

extern "C" __global__ void add_rms_norm(uint32_t* x, uint32_t* residual, const uint32_t* weight, int pairs, float epsilon) {
  __shared__ float shared[32];
  x += blockIdx.x * pairs, residual += blockIdx.x * pairs;
  float squares = 0;
  for (int i = threadIdx.x; i < pairs; i += blockDim.x) {
    float2 a = widen(x[i]), r = widen(residual[i]);
    float2 s = widen(narrow(a.x + r.x, a.y + r.y));
    squares = fmaf(s.x, s.x, fmaf(s.y, s.y, squares));
    residual[i] = narrow(s.x, s.y);
  }
  float scale = 1 / sqrtf(block_sum(squares, shared) / (2 * pairs) + epsilon);
  for (int i = threadIdx.x; i < pairs; i += blockDim.x) {
    float2 r = widen(residual[i]), w = widen(weight[i]);
    x[i] = narrow(r.x * scale * w.x, r.y * scale * w.y);
  }
}
