// Paged attention in f16, in the layouts and the manner of vLLM's first kernel: keys as
// [block, head, dim/8, token, 8], values as [block, head, dim, token], a group of two
// threads for each key, products of keys in f32, of values in f16x2. As nvcc writes it:
// PTX's f16 instructions by name.
#include "cuda.cuh"

constexpr int head_size = 128, block_size = 16, threads = 128, warps = threads / 32;
constexpr int group = 32 / block_size;          // threads of a key
constexpr int vec = 16 / (group * 2);           // f16 of a key that a thread reads at once
constexpr int vecs = head_size / group / vec;   // how often

__device__ __forceinline__ float2 half2_to_float2(uint32_t v) {
  uint16_t lo, hi;
  float2 f;
  asm volatile("mov.b32 {%0, %1}, %2;\n" : "=h"(lo), "=h"(hi) : "r"(v));
  asm volatile("cvt.f32.f16 %0, %1;\n" : "=f"(f.x) : "h"(lo));
  asm volatile("cvt.f32.f16 %0, %1;\n" : "=f"(f.y) : "h"(hi));
  return f;
}
__device__ __forceinline__ uint32_t float2_to_half2(float lo, float hi) {
  uint32_t v;
  asm volatile("cvt.rn.f16x2.f32 %0, %1, %2;\n" : "=r"(v) : "f"(hi), "f"(lo));
  return v;
}
__device__ __forceinline__ uint32_t mul2(uint32_t a, uint32_t b) {
  uint32_t c;
  asm volatile("mul.f16x2 %0, %1, %2;\n" : "=r"(c) : "r"(a), "r"(b));
  return c;
}
__device__ __forceinline__ uint32_t add2(uint32_t a, uint32_t b) {
  uint32_t c;
  asm volatile("add.f16x2 %0, %1, %2;\n" : "=r"(c) : "r"(a), "r"(b));
  return c;
}
__device__ __forceinline__ uint32_t fma2(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm volatile("fma.rn.f16x2 %0, %1, %2, %3;\n" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// block_sum sums a value of each warp's lanes and of the warps.
__device__ __forceinline__ float block_sum(float* shared, float sum) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int d = 16; d >= 1; d /= 2) sum += __shfl_xor_sync(0xffffffff, sum, d);
  if (lane == 0) shared[warp] = sum;
  __syncthreads();
  if (lane < warps) sum = shared[lane];
#pragma unroll
  for (int d = warps / 2; d >= 1; d /= 2) sum += __shfl_xor_sync(0xffffffff, sum, d);
  return __shfl_sync(0xffffffff, sum, 0);
}

extern "C" __global__ void paged_attention_f16(uint16_t* out, const uint16_t* q, const uint16_t* keys, const uint16_t* values, int kv_heads,
                                               float scale, const int* block_tables, const int* seq_lens, int max_blocks, int q_stride,
                                               int block_stride, int head_stride) {
  extern __shared__ float logits[];
  __shared__ uint2 qs[group][vecs];
  __shared__ float red[2 * warps];
  int seq = blockIdx.y, head = blockIdx.x, t = threadIdx.x, warp = t / 32, lane = t % 32;
  int kv_head = head / (gridDim.x / kv_heads);
  int len = seq_lens[seq], blocks = (len + block_size - 1) / block_size;
  const int* table = block_tables + seq * max_blocks;
  int in_group = t % group, key = t / group;
  const uint16_t* query = q + seq * q_stride + head * head_size;
  for (int i = key; i < vecs; i += threads / group) qs[in_group][i] = *(const uint2*)(query + (in_group + i * group) * vec);
  __syncthreads();

  float top = -3.402823466e38f;
  for (int b = warp; b < blocks; b += warps) {
    int64_t block = table[b];
    int offset = key % block_size, token = b * block_size + offset;
    uint2 k[vecs];
#pragma unroll
    for (int j = 0; j < vecs; j++) {
      int at = (in_group + j * group) * vec;
      k[j] = *(const uint2*)(keys + block * block_stride + kv_head * head_stride + offset * 8 + at / 8 * block_size * 8 + at % 8);
    }
    float dots[4] = {};
#pragma unroll
    for (int j = 0; j < vecs; j++) {
      float2 a = half2_to_float2(qs[in_group][j].x), b = half2_to_float2(k[j].x);
      float2 c = half2_to_float2(qs[in_group][j].y), d = half2_to_float2(k[j].y);
      dots[0] = fmaf(a.x, b.x, dots[0]);
      dots[1] = fmaf(a.y, b.y, dots[1]);
      dots[2] = fmaf(c.x, d.x, dots[2]);
      dots[3] = fmaf(c.y, d.y, dots[3]);
    }
    float dot = dots[0] + dots[1] + (dots[2] + dots[3]);
    for (int d = group / 2; d >= 1; d /= 2) dot += __shfl_xor_sync(0xffffffff, dot, d);
    dot *= scale;
    if (in_group == 0) {
      bool masked = token >= len;
      logits[token] = masked ? 0.f : dot;
      top = masked ? top : fmaxf(top, dot);
    }
  }
#pragma unroll
  for (int d = 16; d >= group; d /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, d));
  if (lane == 0) red[warp] = top;
  __syncthreads();
  top = lane < warps ? red[lane] : -3.402823466e38f;
#pragma unroll
  for (int d = warps / 2; d >= 1; d /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, d));
  top = __shfl_sync(0xffffffff, top, 0);

  float sum = 0;
  for (int i = t; i < len; i += threads) {
    float e = __expf(logits[i] - top);
    logits[i] = e;
    sum += e;
  }
  sum = block_sum(red + warps, sum);
  float inverse = 1 / (sum + 1e-6f);
  for (int i = t; i < len; i += threads) logits[i] *= inverse;
  __syncthreads();

  // Eight values of a row a thread; two threads have a row of a block.
  constexpr int per_row = block_size / 8, rows_per_iter = 32 / per_row, rows = head_size / rows_per_iter;
  float acc[rows] = {};
  for (int b = warp; b < blocks; b += warps) {
    int64_t block = table[b];
    int offset = lane % per_row * 8, token = b * block_size + offset;
    float4 p = *(const float4*)(logits + token), r = *(const float4*)(logits + token + 4);
    uint4 weights = {float2_to_half2(p.x, p.y), float2_to_half2(p.z, p.w), float2_to_half2(r.x, r.y), float2_to_half2(r.z, r.w)};
    const uint16_t* v = values + block * block_stride + kv_head * head_stride;
#pragma unroll
    for (int i = 0; i < rows; i++) {
      int row = lane / per_row + i * rows_per_iter;
      uint4 x = *(const uint4*)(v + row * block_size + offset);
      if (b == blocks - 1) {
        uint16_t* h = (uint16_t*)&x;
#pragma unroll
        for (int j = 0; j < 8; j++) h[j] = token + j < len ? h[j] : 0;
      }
      uint32_t s = add2(mul2(weights.x, x.x), mul2(weights.y, x.y));
      s = fma2(weights.z, x.z, s);
      s = fma2(weights.w, x.w, s);
      float2 f = half2_to_float2(s);
      acc[i] += f.x + f.y;
    }
  }
#pragma unroll
  for (int i = 0; i < rows; i++)
#pragma unroll
    for (int d = per_row / 2; d >= 1; d /= 2) acc[i] += __shfl_xor_sync(0xffffffff, acc[i], d);
  __syncthreads();
  float* partial = logits;
#pragma unroll
  for (int i = warps; i > 1; i /= 2) {
    int mid = i / 2;
    if (warp >= mid && warp < i) {
      float* dst = partial + (warp - mid) * head_size;
#pragma unroll
      for (int j = 0; j < rows; j++)
        if (lane % per_row == 0) dst[lane / per_row + j * rows_per_iter] = acc[j];
    }
    __syncthreads();
    if (warp < mid) {
      const float* src = partial + warp * head_size;
#pragma unroll
      for (int j = 0; j < rows; j++)
        if (lane % per_row == 0) acc[j] += src[lane / per_row + j * rows_per_iter];
    }
    __syncthreads();
  }
  if (warp == 0) {
    uint16_t* o = out + seq * q_stride + head * head_size;
#pragma unroll
    for (int j = 0; j < rows; j++)
      if (lane % per_row == 0) {
        uint16_t h;
        asm volatile("cvt.rn.f16.f32 %0, %1;\n" : "=h"(h) : "f"(acc[j]));
        o[lane / per_row + j * rows_per_iter] = h;
      }
  }
}
