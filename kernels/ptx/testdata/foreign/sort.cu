// Bitonic sort of 1024 keys with values a block, in shared memory.
#include "cuda.cuh"

constexpr int keys = 1024;

__device__ __forceinline__ void order(uint32_t& ka, uint32_t& va, uint32_t& kb, uint32_t& vb, bool up) {
  if ((ka > kb) == up) {
    uint32_t k = ka, v = va;
    ka = kb, va = vb;
    kb = k, vb = v;
  }
}

extern "C" __global__ void bitonic_sort(uint32_t* outKeys, uint32_t* outValues, const uint32_t* inKeys, const uint32_t* inValues) {
  __shared__ uint32_t k[keys], v[keys];
  int base = blockIdx.x * keys, t = threadIdx.x;
  k[t] = inKeys[base + t], v[t] = inValues[base + t];
  k[t + keys / 2] = inKeys[base + t + keys / 2], v[t + keys / 2] = inValues[base + t + keys / 2];
  for (int size = 2; size <= keys; size *= 2) {
    bool up = size == keys || !(t & (size / 2));
    for (int stride = size / 2; stride > 0; stride /= 2) {
      __syncthreads();
      int pos = 2 * t - (t & (stride - 1));
      order(k[pos], v[pos], k[pos + stride], v[pos + stride], up);
    }
  }
  __syncthreads();
  outKeys[base + t] = k[t], outValues[base + t] = v[t];
  outKeys[base + t + keys / 2] = k[t + keys / 2], outValues[base + t + keys / 2] = v[t + keys / 2];
}
