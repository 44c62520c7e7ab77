// Paged attention and the copy of blocks, in the layouts that LLM servers use.
typedef unsigned int u32;
extern "C" __global__ void copy_blocks(const long long* keys, const long long* values, const long long* map, int elems) {
  unsigned short* k = (unsigned short*)keys[blockIdx.x];
  unsigned short* v = (unsigned short*)values[blockIdx.x];
  long long from = map[2 * blockIdx.y] * elems, to = map[2 * blockIdx.y + 1] * elems;
  for (int i = threadIdx.x; i < elems; i += blockDim.x) k[to + i] = k[from + i];
  for (int i = threadIdx.x; i < elems; i += blockDim.x) v[to + i] = v[from + i];
}
extern "C" __global__ void reshape_and_cache(const float* k, const float* v, float* kc, float* vc, const long long* slots, int heads, int dim, int bs, int x) {
  long long slot = slots[blockIdx.x];
  if (slot < 0) return;
  long long blk = slot / bs, off = slot % bs;
  for (int i = threadIdx.x; i < heads * dim; i += blockDim.x) {
    int h = i / dim, d = i % dim;
    kc[((blk * heads + h) * (dim / x) + d / x) * bs * x + off * x + d % x] = k[(long long)blockIdx.x * heads * dim + i];
    vc[((blk * heads + h) * dim + d) * bs + off] = v[(long long)blockIdx.x * heads * dim + i];
  }
}
template <int DIM, int BS, int THREADS>
__device__ void attend(float* out, const float* q, const float* kc, const float* vc, const int* tables, const int* lens, float scale, int maxb) {
  extern __shared__ char mem[];
  float* logits = (float*)mem;
  __shared__ float red[2 * THREADS / 32];
  const int h = blockIdx.x, s = blockIdx.y, H = gridDim.x, t = threadIdx.x, lane = t % 32, warp = t / 32;
  const int len = lens[s];
  const int* tab = tables + s * maxb;
  __shared__ float qs[DIM];
  for (int d = t; d < DIM; d += THREADS) qs[d] = q[(s * H + h) * DIM + d];
  __syncthreads();
  float m = -3.402823466e38f;
  for (int p = t; p < len; p += THREADS) {
    const float* k = kc + ((long long)tab[p / BS] * H + h) * DIM * BS + (p % BS) * 4;
    float dot = 0.f;
#pragma unroll
    for (int d = 0; d < DIM / 4; d++) {
      float4 kk = *(const float4*)(k + d * BS * 4);
      dot += qs[4 * d] * kk.x + qs[4 * d + 1] * kk.y + qs[4 * d + 2] * kk.z + qs[4 * d + 3] * kk.w;
    }
    dot *= scale;
    logits[p] = dot;
    m = fmaxf(m, dot);
  }
  for (int d = 16; d; d >>= 1) m = fmaxf(m, __shfl_xor_sync(~0u, m, d));
  if (lane == 0) red[warp] = m;
  __syncthreads();
  m = lane < THREADS / 32 ? red[lane] : -3.402823466e38f;
  for (int d = THREADS / 64; d; d >>= 1) m = fmaxf(m, __shfl_xor_sync(~0u, m, d));
  m = __shfl_sync(~0u, m, 0);
  float sum = 0.f;
  for (int p = t; p < len; p += THREADS) { float e = __expf(logits[p] - m); logits[p] = e; sum += e; }
  for (int d = 16; d; d >>= 1) sum += __shfl_xor_sync(~0u, sum, d);
  if (lane == 0) red[THREADS / 32 + warp] = sum;
  __syncthreads();
  sum = 0.f;
  for (int w = 0; w < THREADS / 32; w++) sum += red[THREADS / 32 + w];
  float inv = __fdividef(1.f, sum + 1e-6f);
  for (int d = t; d < DIM; d += THREADS) {
    float acc = 0.f;
    for (int p = 0; p < len; p++) acc += logits[p] * vc[(((long long)tab[p / BS] * H + h) * DIM + d) * BS + p % BS];
    out[(s * H + h) * DIM + d] = acc * inv;
  }
}
extern "C" __global__ void paged_attention(float* out, const float* q, const float* kc, const float* vc, const int* tables, const int* lens, float scale, int maxb) {
  attend<64, 16, 128>(out, q, kc, vc, tables, lens, scale, maxb);
}
