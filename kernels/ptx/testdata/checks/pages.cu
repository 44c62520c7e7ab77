// Kernels that are right, and read memory that nothing has written: attention over a
// page that is not full, a reduction over fewer warps than there is room for, and a copy
// of whole pages. Built by ./build.
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define kernel extern "C" __global__ void

using half = _Float16;
struct alignas(16) Half8 {
  half v[8];
};

static __device__ int thread() { return __nvvm_read_ptx_sreg_tid_x(); }
static __device__ void warp_barrier() { __nvvm_bar_warp_sync(0xffffffff); }

static __device__ float across(float x, int distance) {
  return __builtin_bit_cast(float, __nvvm_shfl_sync_bfly_i32(-1, __builtin_bit_cast(int, x), distance, 31));
}

// Two pages of 16 tokens and a head of 16 elements, one warp. Keys lie token by token,
// values element by element, as vLLM's: a vector of 8 values reaches past the context.
kernel attend(half *out, const half *keys, const half *values, const float *query, int context) {
  __shared__ float logits[32];
  int t = thread();
  float score = 0;
  for (int d = 0; d < 16; d += 8) {
    Half8 key = *(const Half8 *)(keys + t * 16 + d);
    for (int i = 0; i < 8; i++) score += (float)key.v[i] * query[d + i];
  }
  bool past = t >= context;
  logits[t] = past ? 0.0f : score;
  float most = past ? -1e30f : score;
  for (int d = 16; d > 0; d /= 2) {
    float other = across(most, d);
    most = other > most ? other : most;
  }
  warp_barrier();
  float sum = 0;
  if (t < context) {
    logits[t] -= most - 1.0f;
    sum = logits[t];
  }
  for (int d = 16; d > 0; d /= 2) sum += across(sum, d);
  warp_barrier();
  float acc = 0;
  for (int page = 0; page < 2; page++) {
    int token = page * 16 + t % 2 * 8;
    Half8 value = *(const Half8 *)(values + page * 256 + t / 2 * 16 + t % 2 * 8);
    if (token + 8 > context)
      for (int i = 0; i < 8; i++) value.v[i] = token + i < context ? value.v[i] : (half)0;
    for (int i = 0; i < 8; i++) acc += logits[token + i] * (float)value.v[i];
  }
  acc += across(acc, 1);
  if (t % 2 == 0) out[t / 2] = (half)(acc / sum);
}

// One value a thread, of a block that may have 32 warps.
kernel sum(float *out, const float *in, int n) {
  __shared__ float warps[32];
  int t = thread();
  float s = t < n ? in[t] : 0;
  for (int d = 1; d < 32; d *= 2) s += across(s, d);
  if (t % 32 == 0) warps[t / 32] = s;
  asm volatile("bar.sync 0;" ::: "memory");
  if (t > 0) return;
  for (int w = 1; w < 32; w++) {
    float more = warps[w];
    if (w * 32 < n) s += more;
  }
  out[0] = s;
}

// Whole pages, full or not.
kernel copy_pages(half *to, const half *from) { *(Half8 *)(to + thread() * 8) = *(const Half8 *)(from + thread() * 8); }
