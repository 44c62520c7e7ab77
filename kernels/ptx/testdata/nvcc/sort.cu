// Scans, counts and sorts.
typedef unsigned int u32;

extern "C" __global__ void scan_warps(const int* x, int* out, int n) {
  __shared__ int totals[32];
  int t = threadIdx.x, lane = t & 31, warp = t >> 5;
  int v = t < n ? x[t] : 0;
  for (int d = 1; d < 32; d <<= 1) { int y = __shfl_up_sync(~0u, v, d); if (lane >= d) v += y; }
  if (lane == 31) totals[warp] = v;
  __syncthreads();
  if (warp == 0) {
    int s = lane < blockDim.x / 32 ? totals[lane] : 0;
    for (int d = 1; d < 32; d <<= 1) { int y = __shfl_up_sync(~0u, s, d); if (lane >= d) s += y; }
    totals[lane] = s;
  }
  __syncthreads();
  if (warp > 0) v += totals[warp - 1];
  if (t < n) out[t] = v;
}

// Compaction of the positive ones: ballot, popc, one atomic for a warp.
extern "C" __global__ void compact(const int* x, int* out, int* count, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  bool keep = i < n && x[i] > 0;
  u32 m = __ballot_sync(~0u, keep);
  if (keep) {
    u32 act = __activemask();
    int leader = __ffs(act) - 1;
    int lane = threadIdx.x & 31;
    u32 below; asm("mov.u32 %0, %%lanemask_lt;" : "=r"(below));
    int base = 0;
    if (lane == leader) base = atomicAdd(count, __popc(act));
    base = __shfl_sync(act, base, leader);
    out[base + __popc(m & below)] = x[i];
  }
}

extern "C" __global__ void histogram(const unsigned char* x, u32* bins, int n) {
  __shared__ u32 h[256];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) h[i] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) atomicAdd(&h[x[i]], 1);
  __syncthreads();
  for (int i = threadIdx.x; i < 256; i += blockDim.x) if (h[i]) atomicAdd(&bins[i], h[i]);
}

// One pass of a radix sort of 4 bits over one block's keys, stable.
extern "C" __global__ void radix_pass(const u32* in, u32* out, int n, int shift) {
  __shared__ u32 count[16][8];
  __shared__ u32 base[16][8];
  int t = threadIdx.x, lane = t & 31, warp = t >> 5;
  if (t < 128) count[t / 8][t % 8] = 0;
  __syncthreads();
  bool have = t < n;
  u32 key = have ? in[t] : 0xffffffffu;
  u32 digit = (key >> shift) & 15;
  u32 peers = __match_any_sync(~0u, digit);
  u32 lt = (1u << lane) - 1;
  u32 rank = __popc(peers & lt);
  if (rank == 0) count[digit][warp] = __popc(peers);
  __syncthreads();
  if (t == 0) { u32 s = 0; for (int d = 0; d < 16; d++) for (int w = 0; w < 8; w++) { base[d][w] = s; s += count[d][w]; } }
  __syncthreads();
  u32 to = base[digit][warp] + rank;
  if (have) out[to] = key;
}

extern "C" __global__ void bitonic(int* x) {
  extern __shared__ int s[];
  int t = threadIdx.x;
  s[t] = x[t];
  __syncthreads();
  for (int k = 2; k <= blockDim.x; k <<= 1)
    for (int j = k >> 1; j > 0; j >>= 1) {
      int o = t ^ j;
      if (o > t) {
        bool up = (t & k) == 0;
        if ((s[t] > s[o]) == up) { int tmp = s[t]; s[t] = s[o]; s[o] = tmp; }
      }
      __syncthreads();
    }
  x[t] = s[t];
}
