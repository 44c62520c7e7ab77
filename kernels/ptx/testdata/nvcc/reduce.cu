// Sums of a block and of a grid.
typedef unsigned int u32;

extern "C" __global__ void sum_tree(const int* x, int* out, int n) {
  __shared__ int part[256];
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  part[threadIdx.x] = i < n ? x[i] : 0;
  __syncthreads();
  for (int s = blockDim.x / 2; s > 0; s >>= 1) {
    if (threadIdx.x < s) part[threadIdx.x] += part[threadIdx.x + s];
    __syncthreads();
  }
  if (threadIdx.x == 0) out[blockIdx.x] = part[0];
}

extern "C" __global__ void sum_shuffle(const float* x, float* out, int n) {
  __shared__ float part[32];
  float v = 0.f;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v = __fadd_rn(v, x[i]);
  for (int d = 16; d > 0; d >>= 1) v = __fadd_rn(v, __shfl_xor_sync(0xffffffffu, v, d));
  if ((threadIdx.x & 31) == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  if (threadIdx.x < 32) {
    v = threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0.f;
    for (int d = 16; d > 0; d >>= 1) v = __fadd_rn(v, __shfl_xor_sync(0xffffffffu, v, d));
    if (threadIdx.x == 0) out[blockIdx.x] = v;
  }
}

__device__ unsigned int blocks_done = 0;

extern "C" __global__ void sum_last_block(const int* x, volatile int* partial, int* total, int n) {
  __shared__ bool last;
  __shared__ int part[128];
  int v = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += x[i];
  part[threadIdx.x] = v;
  __syncthreads();
  for (int s = 64; s > 0; s >>= 1) {
    if (threadIdx.x < s) part[threadIdx.x] += part[threadIdx.x + s];
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = part[0];
    __threadfence();
    last = atomicInc(&blocks_done, gridDim.x) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    int s = 0;
    for (unsigned b = 0; b < gridDim.x; b++) s += partial[b];
    *total = s;
    atomicExch(&blocks_done, 0u);
  }
}

// The old way: a volatile pointer in the last warp, with __syncwarp
__device__ void warp_reduce(volatile int* s, int t) {
  int v = s[t];
  v += s[t + 32]; __syncwarp(); s[t] = v; __syncwarp();
  v += s[t + 16]; __syncwarp(); s[t] = v; __syncwarp();
  v += s[t + 8]; __syncwarp(); s[t] = v; __syncwarp();
  v += s[t + 4]; __syncwarp(); s[t] = v; __syncwarp();
  v += s[t + 2]; __syncwarp(); s[t] = v; __syncwarp();
  v += s[t + 1]; __syncwarp(); s[t] = v; __syncwarp();
}

extern "C" __global__ void sum_volatile(const int* x, int* out) {
  extern __shared__ int dyn[];
  int t = threadIdx.x, b = blockDim.x;
  dyn[t] = x[blockIdx.x * b + t];
  __syncthreads();
  for (int s = b / 2; s > 32; s >>= 1) { if (t < s) dyn[t] += dyn[t + s]; __syncthreads(); }
  if (t < 32) warp_reduce(dyn, t);
  if (t == 0) out[blockIdx.x] = dyn[0];
}

extern "C" __global__ void sum_redux(const u32* x, u32* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  u32 v = i < n ? x[i] : 0;
  u32 s = __reduce_add_sync(~0u, v), m = __reduce_max_sync(~0u, v), o = __reduce_or_sync(~0u, v);
  if ((threadIdx.x & 31) == 0) { out[3 * (i / 32)] = s; out[3 * (i / 32) + 1] = m; out[3 * (i / 32) + 2] = o; }
}
