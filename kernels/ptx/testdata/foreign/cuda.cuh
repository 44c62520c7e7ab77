// The names of CUDA that these kernels use, so that clang builds them without an SDK.
#pragma once

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __forceinline__ __inline__ __attribute__((always_inline))

struct dim3;
struct uint3;
#include <__clang_cuda_builtin_vars.h>

typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef long long int64_t;

struct __attribute__((aligned(8))) float2 { float x, y; };
struct __attribute__((aligned(16))) float4 { float x, y, z, w; };
struct __attribute__((aligned(8))) uint2 { uint32_t x, y; };
struct __attribute__((aligned(16))) uint4 { uint32_t x, y, z, w; };

__device__ __forceinline__ float __shfl_xor_sync(uint32_t mask, float v, int lane) { return __nvvm_shfl_sync_bfly_f32(mask, v, lane, 31); }
__device__ __forceinline__ float __shfl_sync(uint32_t mask, float v, int lane) { return __nvvm_shfl_sync_idx_f32(mask, v, lane, 31); }
__device__ __forceinline__ float __shfl_down_sync(uint32_t mask, float v, int delta) { return __nvvm_shfl_sync_down_f32(mask, v, delta, 31); }
__device__ __forceinline__ int __shfl_up_sync(uint32_t mask, int v, int delta) { return __nvvm_shfl_sync_up_i32(mask, v, delta, 0); }
__device__ __forceinline__ float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
__device__ __forceinline__ float fmaxf(float a, float b) { return __builtin_fmaxf(a, b); }
__device__ __forceinline__ float sqrtf(float a) { return __nvvm_sqrt_rn_f(a); }
__device__ __forceinline__ float __expf(float x) { return __nvvm_ex2_approx_f(x * 1.4426950408889634f); }
__device__ __forceinline__ int atomicAdd(int* p, int v) { return __nvvm_atom_add_gen_i(p, v); }
