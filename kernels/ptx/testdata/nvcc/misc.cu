// Output, assertions, copies in assembly, votes and barriers.
typedef unsigned int u32;

typedef unsigned long long u64;
extern "C" __device__ void __assertfail(const char* m, const char* file, unsigned line, const char* fn, size_t size) __attribute__((noreturn));
#define assert(e) ((e) ? (void)0 : __assertfail(#e, __FILE__, __LINE__, __func__, sizeof(char)))

extern "C" __global__ void says(int* out) { if (threadIdx.x < 2) printf("thread %d of %s: %f\n", threadIdx.x, "block", 1.5); out[threadIdx.x] = threadIdx.x; }

extern "C" __global__ void asserts(const int* x) { assert(x[threadIdx.x] >= 0); }

extern "C" __global__ void asm_copy_tail(const char* in, char* out, int n) {
  __shared__ __align__(16) char s[1024];
  int t = threadIdx.x;
  u32 a = (u32)__cvta_generic_to_shared(s + 4 * t);
  int left = max(0, min(4, n - 4 * t));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(a), "l"(in + (left ? 4 * t : 0)), "r"(left));
  asm volatile("cp.async.wait_all;\n" ::);
  __syncthreads();
  ((int*)out)[t] = ((int*)s)[t ^ 1];
}

extern "C" __global__ void votes(const int* x, u32* y) {
  int t = threadIdx.x; int v = x[t];
  u32 a = __any_sync(~0u, v > 50) | __all_sync(~0u, v < 200) << 1;
  int same; u32 m = __match_all_sync(~0u, v, &same);
  u32 odd = 0;
  if (v & 1) { u32 act = __activemask(); odd = __shfl_sync(act, t, __ffs(act) - 1) + __popc(act) * 1000; }
  y[4 * t] = a; y[4 * t + 1] = m + same; y[4 * t + 2] = odd; y[4 * t + 3] = __match_any_sync(~0u, (u64)(v % 3) << 33);
}

extern "C" __global__ void barriers(int* x) {
  __shared__ int s[64];
  int t = threadIdx.x; s[t] = x[t];
  int c = __syncthreads_count(s[t] > 10), a = __syncthreads_and(s[t] >= 0), o = __syncthreads_or(s[t] == 3);
  x[t] = c * 100 + (a != 0) * 10 + (o != 0) + s[63 - t];
}

// One warp writes and the other reads, with named barriers.
extern "C" __global__ void named(int* x, int rounds) {
  __shared__ int s[32];
  int t = threadIdx.x & 31, acc = 0;
  if (threadIdx.x < 32) for (int r = 0; r < rounds; r++) { asm volatile("bar.sync 1, 64;" ::: "memory"); s[t] = r * t; asm volatile("bar.arrive 2, 64;" ::: "memory"); }
  else { for (int r = 0; r < rounds; r++) { asm volatile("bar.arrive 1, 64;" ::: "memory"); asm volatile("bar.sync 2, 64;" ::: "memory"); acc += s[31 - t]; } x[t] = acc; }
}
