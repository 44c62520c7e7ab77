// Kernels that access variables of shared and constant memory as programs do, for the compiler to transform.
// With another n than the one it is meant for, a kernel accesses the variable beside. Built by ./build.
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#define noinline __attribute__((noinline))
#define kernel extern "C" __global__ void

using uint8 = unsigned char;
using uint16 = unsigned short;
using uint32 = unsigned;
using uint64 = unsigned long;
struct __attribute__((aligned(16))) float4 { float x, y, z, w; };

static __device__ __attribute__((nodebug, always_inline)) int thread() { return __nvvm_read_ptx_sreg_tid_x(); }

// A struct with arrays; the second is read.
struct Arrays { float a[8]; int n; float b[8]; };
kernel structure(uint32 *out, int n) {
  __shared__ Arrays s;
  __shared__ uint32 beside[32];
  beside[thread()] = 7;
  if (thread() < 8) s.a[thread()] = s.b[thread()] = thread();
  __syncthreads();
  out[thread()] = (uint32)s.b[n] + beside[thread()];
}

// The bytes of a union.
union Words { uint32 words[8]; uint8 bytes[32]; };
kernel bytes_of_union(uint32 *out, int n) {
  __shared__ Words u;
  __shared__ uint32 beside[64];
  beside[thread()] = beside[thread() + 32] = 7;
  if (thread() < 8) u.words[thread()] = thread();
  __syncthreads();
  out[thread()] = u.bytes[(thread() & 3) + n] + beside[thread()];
}

// Dynamic shared memory, split by hand.
extern __shared__ __attribute__((aligned(16))) uint8 dynamic[];
kernel split(uint32 *out, int n) {
  float *a = (float *)dynamic;
  uint32 *b = (uint32 *)(a + n);
  uint16 *c = (uint16 *)(b + n);
  a[thread()] = b[thread()] = c[thread()] = thread();
  __syncthreads();
  int other = n - 1 - thread();
  out[thread()] = (uint32)a[other] + b[other] + c[other];
}

// An array of structs.
struct Point { short x, y; float z; };
kernel points(uint32 *out, int n) {
  __shared__ Point p[32], q[32];
  p[thread()] = q[thread()] = Point{(short)thread(), 1, 2};
  __syncthreads();
  Point *own = p + thread();
  out[thread()] = own[n].x + q[thread()].y;
}

// A function that gets pointers to one of two arrays, and one that gets pointers to one.
static noinline __device__ uint32 get(const uint32 *p, int i) { return p[i]; }
static noinline __device__ void put(uint32 *p, int i, uint32 v) { p[i] = v; }
static noinline __device__ uint32 get_of_one(const uint32 *p, int i) { return p[i]; }
kernel called(uint32 *out, int n) {
  __shared__ uint32 a[32], b[32];
  put(a, thread(), 1);
  put(b, thread(), 2);
  __syncthreads();
  out[thread()] = get(a, thread() ^ 1) + get(b, thread() ^ 1) + get_of_one(a, thread() + n);
}

// A queue with member functions.
struct Queue {
  uint32 data[16], head;
  noinline __device__ void push(uint32 v) { data[head++] = v; }
  noinline __device__ uint32 at(int i) const { return data[i]; }
};
kernel object(uint32 *out, int n) {
  __shared__ Queue q;
  __shared__ uint32 beside[32];
  beside[thread()] = 7;
  if (thread() == 0) {
    q.head = 0;
    for (int i = 0; i < 16; i++) q.push(i);
  }
  __syncthreads();
  out[thread()] = q.at(n) + beside[thread()];
}

// One of two arrays, by a lane's number; and of three, by a switch.
kernel one_of(uint32 *out, int n) {
  __shared__ uint32 a[32], b[32], c[32];
  a[thread()] = 1;
  b[thread()] = 2;
  c[thread()] = 3;
  __syncthreads();
  uint32 *p = thread() & 1 ? a : b, *q;
  switch (n) {
  case 0: q = a; break;
  case 1: q = b; break;
  default: q = c;
  }
  out[thread()] = p[thread() ^ 1] + q[31 - thread()];
}

// Two buffers that are exchanged, by a function.
static noinline __device__ void exchange(uint32 **p, uint32 **q) {
  uint32 *t = *p;
  *p = *q;
  *q = t;
}
kernel two_buffers(uint32 *out, int n) {
  __shared__ uint32 a[32], b[32];
  uint32 *from = a, *to = b;
  from[thread()] = thread();
  __syncthreads();
  for (int i = 0; i < n; i++) {
    to[thread()] = from[thread() ^ 1] + 1;
    __syncthreads();
    exchange(&from, &to);
  }
  out[thread()] = from[thread()];
}

// Pointers in memory: in an array of local memory, copied byte by byte, and in shared memory.
struct Pointers { uint32 *p[2]; };
kernel pointers(uint32 *out, int n) {
  __shared__ uint32 a[32], b[32];
  __shared__ uint32 *kept[2];
  a[thread()] = 1;
  b[thread()] = 2;
  Pointers own, copy;
  own.p[0] = a;
  own.p[1] = b;
  for (uint32 i = 0; i < sizeof own; i++) ((volatile uint8 *)&copy)[i] = ((volatile uint8 *)&own)[i];
  if (thread() == 0) kept[0] = a, kept[1] = b;
  __syncthreads();
  out[thread()] = own.p[n][thread()] + copy.p[n ^ 1][thread()] + kept[n][thread() ^ 1];
}

// The distance of two arrays.
kernel distance(uint32 *out, int n) {
  __shared__ uint32 a[32], b[32];
  a[thread()] = 1;
  b[thread()] = 2;
  __syncthreads();
  uint64 between = (uint64)b - (uint64)a;
  out[thread()] = *(uint32 *)((uint64)(a + thread()) + between * n);
}

// Indexes from constants before the element.
kernel backward(uint32 *out, int n) {
  __shared__ uint32 a[64], b[64];
  for (int i = thread(); i < 64; i += 32) a[i] = b[i] = i;
  __syncthreads();
  const uint32 *p = b + thread() + n;
  out[thread()] = p[-32] + p[-1] + a[thread()];
}

// Pointers that walk up to an end, and down to a start.
kernel walks(uint32 *out, int n) {
  __shared__ uint32 a[48], b[48], c[48];
  for (int i = thread(); i < 48; i += 32) a[i] = b[i] = c[i] = i;
  __syncthreads();
  uint32 sum = a[thread()] + c[thread()];
  for (uint32 *p = b, *end = b + n; p != end; ++p) sum += *p;
  for (uint32 *p = b + 47; p >= b + 48 - n; --p) sum ^= *p;
  out[thread()] = sum;
}

// Rows with padding.
kernel rows(uint32 *out, int n) {
  __shared__ float t[8][33], u[8][33];
  for (int r = 0; r < 8; r++) t[r][thread()] = u[r][thread()] = r;
  __syncthreads();
  float sum = u[0][thread()];
  for (int r = 0; r < n; r++) sum += t[r][(thread() + r) & 31];
  out[thread()] = (uint32)sum;
}

// Floats, read as vectors and as integers.
kernel vectors(uint32 *out, int n) {
  __shared__ __attribute__((aligned(16))) float a[128], b[128];
  ((float4 *)a)[thread()] = ((float4 *)b)[thread()] = float4{1, 2, 3, 4};
  __syncthreads();
  float4 v = ((float4 *)a)[thread() + n];
  out[thread()] = (uint32)(v.x + v.w) + (uint32)(*(uint64 *)&b[2 * thread()] >> 32);
}

// An address that is aligned at run time.
kernel aligned(uint32 *out, int n) {
  __shared__ uint8 raw[32 * 4 + 63];
  __shared__ uint32 beside[64];
  uint32 *a = (uint32 *)(((uint64)raw + 63) & ~63ul);
  a[thread()] = beside[thread()] = beside[thread() + 32] = thread();
  __syncthreads();
  out[thread()] = a[thread() ^ n] + beside[thread()];
}

// Atomics.
kernel counts(uint32 *out, int n) {
  __shared__ int count[16], beside[16];
  if (thread() < 16) count[thread()] = beside[thread()] = 0;
  __syncthreads();
  __nvvm_atom_add_gen_i(&count[(thread() & 7) + n], 1);
  __syncthreads();
  if (thread() < 16) out[thread()] = count[thread()] + beside[thread()];
}

// Variables of other sizes side by side.
kernel sizes(uint32 *out, int n) {
  __shared__ uint8 flag;
  __shared__ uint16 half[2];
  __shared__ uint32 word;
  __shared__ uint64 wide;
  if (thread() == 0) flag = half[0] = half[1] = word = wide = 3;
  __syncthreads();
  out[thread()] = flag + half[n] + word + (uint32)wide;
}

// Tables of constants.
__constant__ uint32 first[8] = {1, 2, 3, 4, 5, 6, 7, 8};
__constant__ uint32 second[8] = {10, 20, 30, 40, 50, 60, 70, 80};
kernel tables(uint32 *out, int n) {
  const uint32 *t = n & 1 ? first : second;
  out[thread()] = first[(thread() & 3) + n] + second[thread() & 7] + t[thread() & 7];
}
