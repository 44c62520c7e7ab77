// Integers, switches, structs, arrays, and variables with initialisers.
typedef unsigned int u32;

extern "C" __global__ void bits(const u32* x, u32* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  u32 v = x[i], w = x[(i + 1) % n];
  u32* o = y + 16 * i;
  o[0] = __popc(v); o[1] = __clz(v); o[2] = __ffs(v); o[3] = __brev(v);
  o[4] = __funnelshift_l(v, w, w); o[5] = __funnelshift_r(v, w, 7); o[6] = __byte_perm(v, w, 0x5140); o[7] = __byte_perm(v, w, w);
  o[8] = __umulhi(v, w); o[9] = __mulhi((int)v, (int)w); o[10] = (int)v % 7; o[11] = v / (w | 1);
  o[12] = __sad((int)v, (int)w, 1u); o[13] = __hadd((int)v, (int)w); o[14] = __umul24(v, w); o[15] = __vadd4(v, w);
}

extern "C" __global__ void choose(const int* x, int* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int v = x[i], r;
  switch (v) {
    case 0: r = i * 3; break;
    case 1: r = i ^ 0x55; break;
    case 2: r = -i; break;
    case 3: r = i << 4; break;
    case 4: r = x[(i + 5) % n]; break;
    case 5: r = i * i; break;
    case 6: for (r = 0; r * r < i; r++); break;
    case 7: r = i % 5; break;
    case 9: r = 99; break;
    default: r = -1;
  }
  y[i] = r;
}

struct Pair { int a; short b; char c; double d; float e[3]; };
struct Big { int n; int m[20]; long long q; };
__device__ __noinline__ Pair twist(Pair p, int k) { p.a += k; p.b *= 2; p.c ^= 0x55; p.d = p.d + k; p.e[k % 3] = k; return p; }
extern "C" __global__ void structs(const Pair* pp, const Big* pb, Pair* out) {
  Pair p = *pp; const Big big = *pb;
  int t = threadIdx.x;
  Pair q = twist(p, t);
  q.a += big.m[t % 20] + (int)big.q + big.n;
  out[t] = q;
}

extern "C" __global__ void local_array(const int* x, int* y, int n) {
  int a[32];
  int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= n) return;
  for (int i = 0; i < 32; i++) a[i] = x[(t + i) % n];
  for (int i = 1; i < 32; i++) { int v = a[i], j = i; while (j > 0 && a[j - 1] > v) { a[j] = a[j - 1]; j--; } a[j] = v; }
  y[t] = a[x[t] & 31];
}

__constant__ int table[8] = {3, 1, 4, 1, 5, 9, 2, 6};
__constant__ float coef[4] = {0.5f, -1.25f, 3.0f, 1e-3f};
__device__ const char text[] = "paged";
__device__ int counter = 7;
__device__ int* where = &counter;
struct Entry { const int* p; short k; };
__device__ Entry entries[2] = {{&counter, 5}, {0, -2}};
extern "C" __global__ void constants(int* y) {
  int t = threadIdx.x;
  y[t] = table[t % 8] + (int)(coef[t % 4] * 1000.f) + text[t % 5] + (t == 0 ? *where + *entries[0].p + entries[t % 2].k : 0);
}
