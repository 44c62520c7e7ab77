// Kernels that each have one bug, and beside them the same without it: the
// checkers' tests run both. A kernel's name ends in what is wrong, after two
// underscores. Built by ./build.
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define kernel extern "C" __global__ void

using uint8 = unsigned char;
using uint16 = unsigned short;
using uint32 = unsigned;

static __device__ __attribute__((nodebug)) int thread() { return __nvvm_read_ptx_sreg_tid_x(); }
static __device__ __attribute__((nodebug)) int threads() { return __nvvm_read_ptx_sreg_ntid_x(); }
static __device__ __attribute__((nodebug)) int block() { return __nvvm_read_ptx_sreg_ctaid_x(); }
static __device__ __attribute__((nodebug)) int blocks() { return __nvvm_read_ptx_sreg_nctaid_x(); }
static __device__ __attribute__((nodebug)) int lane() { return thread() % 32; }
static __device__ __attribute__((nodebug)) void warp_barrier() { __nvvm_bar_warp_sync(0xffffffff); }
static __device__ __attribute__((nodebug)) void fence() { __nvvm_membar_gl(); }

// Each block adds up its threads' numbers as a tree in shared memory.
template <bool barrier>
static __device__ void tree(uint32 *out, const uint32 *in) {
  __shared__ uint32 sum[128];
  sum[thread()] = in[block() * threads() + thread()];
  for (int half = threads() / 2; half > 0; half /= 2) {
    if (barrier) __syncthreads();
    if (thread() < half) sum[thread()] += sum[thread() + half];
  }
  if (thread() == 0) out[block()] = sum[0];
}
kernel tree_sum(uint32 *out, const uint32 *in) { tree<true>(out, in); }
kernel tree_sum__no_barrier(uint32 *out, const uint32 *in) { tree<false>(out, in); }

// The lanes of a warp take their neighbours' numbers through shared memory.
template <bool barrier>
static __device__ void neighbour(uint32 *out, const uint32 *in) {
  __shared__ uint32 row[32];
  row[lane()] = in[thread()];
  if (barrier) warp_barrier();
  out[thread()] = row[lane() ^ 1];
}
kernel swap_lanes(uint32 *out, const uint32 *in) { neighbour<true>(out, in); }
kernel swap_lanes__no_warp_barrier(uint32 *out, const uint32 *in) { neighbour<false>(out, in); }

// A tile goes through shared memory again and again.
template <bool barrier>
static __device__ void tiles(uint32 *out, const uint32 *in) {
  __shared__ uint32 tile[64];
  uint32 sum = 0;
  for (int i = 0; i < 4; i++) {
    tile[thread()] = in[i * 64 + thread()];
    __syncthreads();
    sum += tile[63 - thread()];
    if (barrier) __syncthreads();
  }
  out[thread()] = sum;
}
kernel tile_loop(uint32 *out, const uint32 *in) { tiles<true>(out, in); }
kernel tile_loop__no_second_barrier(uint32 *out, const uint32 *in) { tiles<false>(out, in); }

// Every block writes a row of its own, or all write the first.
kernel rows(uint32 *out) { out[block() * threads() + thread()] = block(); }
kernel rows__same_cell(uint32 *out) { out[thread()] = block(); }

// Neighbours write the bytes of one word.
kernel bytes(uint8 *out) { out[block() * threads() + thread()] = thread(); }
kernel bytes__overlap(uint8 *out) {
  if (thread() == 5) *(uint16 *)(out + 4) = 1;
  else out[thread()] = thread();
}

// Lanes of one store to one place: the same value, or each its own.
kernel one_cell(uint32 *out) { out[block()] = 7; }
kernel one_cell__values(uint32 *out) { out[block()] = thread(); }

kernel count(uint32 *out) { __nvvm_atom_add_gen_i((int *)out, 1); }
kernel count__plain(uint32 *out) { *out += 1; }
kernel count__block_scope(uint32 *out) { asm volatile("red.relaxed.cta.global.add.u32 [%0], 1;" ::"l"(out) : "memory"); }

// A counter in shared memory is zeroed, counted up and read.
template <bool first, bool second>
static __device__ void counter(uint32 *out) {
  __shared__ uint32 n;
  if (thread() == 0) n = 0;
  if (first) __syncthreads();
  __nvvm_atom_add_gen_i((int *)&n, 1);
  if (second) __syncthreads();
  if (thread() == 0) out[block()] = n;
}
kernel shared_count(uint32 *out) { counter<true, true>(out); }
kernel shared_count__no_barrier_after_zero(uint32 *out) { counter<false, true>(out); }
kernel shared_count__no_barrier_before_read(uint32 *out) { counter<true, false>(out); }

// Every block writes a row; the last one to finish adds them up.
template <bool barrier, bool release, bool acquire>
static __device__ void last(uint32 *out, uint32 *part, uint32 *ticket) {
  __shared__ bool is_last;
  part[block() * threads() + thread()] = block() + thread();
  if (barrier) __syncthreads();
  if (thread() == 0) {
    if (release) fence();
    is_last = __nvvm_atom_add_gen_i((int *)ticket, 1) == blocks() - 1;
    if (acquire) fence();
  }
  __syncthreads();
  if (!is_last) return;
  uint32 sum = 0;
  for (int b = 0; b < blocks(); b++) sum += part[b * threads() + (thread() + 1) % threads()];
  out[thread()] = sum;
}
kernel last_block(uint32 *out, uint32 *part, uint32 *ticket) { last<true, true, true>(out, part, ticket); }
kernel last_block__no_barrier(uint32 *out, uint32 *part, uint32 *ticket) { last<false, true, true>(out, part, ticket); }
kernel last_block__no_fence(uint32 *out, uint32 *part, uint32 *ticket) { last<true, false, true>(out, part, ticket); }
kernel last_block__no_second_fence(uint32 *out, uint32 *part, uint32 *ticket) { last<true, true, false>(out, part, ticket); }

// Blocks take turns at a cell, with a lock.
template <bool fences>
static __device__ void locked(uint32 *cell, uint32 *lock) {
  if (thread() != 0) return;
  while (__nvvm_atom_cas_gen_i((int *)lock, 0, 1) != 0) {}
  if (fences) fence();
  cell[0] += block();
  if (fences) fence();
  __nvvm_atom_xchg_gen_i((int *)lock, 0);
}
kernel lock(uint32 *cell, uint32 *lock) { locked<true>(cell, lock); }
kernel lock__no_fence(uint32 *cell, uint32 *lock) { locked<false>(cell, lock); }

// One warp hands a row to another over a barrier of their own.
template <bool wait>
static __device__ void hand_over(uint32 *out) {
  __shared__ uint32 row[32];
  if (thread() < 32) {
    row[lane()] = lane();
    asm volatile("bar.arrive 1, 64;" ::: "memory");
  } else if (thread() < 64) {
    if (wait) asm volatile("bar.sync 1, 64;" ::: "memory");
    else asm volatile("bar.sync 2, 32;" ::: "memory");
    out[lane()] = row[31 - lane()];
  }
}
kernel producer(uint32 *out) { hand_over<true>(out); }
kernel producer__wrong_barrier(uint32 *out) { hand_over<false>(out); }

// What lies beyond a row, and before it.
kernel shift_left(uint32 *out, const uint32 *in, int n) {
  int i = block() * threads() + thread();
  if (i < n) out[i] = i + 1 < n ? in[i + 1] : 0;
}
kernel shift_left__past_end(uint32 *out, const uint32 *in, int n) {
  int i = block() * threads() + thread();
  if (i < n) out[i] = in[i + 1];
}
kernel shift_right__before_start(uint32 *out, const uint32 *in, int n) {
  int i = block() * threads() + thread();
  if (i < n) out[i] = in[i - 1];
}
kernel words__misaligned(uint32 *out, const uint8 *in) { out[thread()] = *(const uint32 *)(in + 2 + 4 * thread()); }
kernel shared__past_end(uint32 *out, int at) {
  __shared__ uint32 row[64];
  row[thread()] = 1;
  __syncthreads();
  out[thread()] = row[at + thread()];
}

// Shared memory of which only the even words are written.
kernel evens(uint32 *out) {
  __shared__ uint32 row[64];
  if (thread() % 2 == 0) row[thread()] = thread();
  __syncthreads();
  out[thread()] = row[thread() & ~1];
}
kernel evens__uninitialized(uint32 *out) {
  __shared__ uint32 row[64];
  if (thread() % 2 == 0) row[thread()] = thread();
  __syncthreads();
  out[thread()] = row[thread()];
}

// A thread's own array, of which the first n are written.
kernel own_array(uint32 *out, int n, int at) {
  volatile uint32 a[8];
  for (int i = 0; i < n; i++) a[i] = i;
  out[thread()] = a[at];
}

// Barriers in branches that threads take apart, and together.
kernel branch(uint32 *out, int n) {
  if (n > 16) __syncthreads();
  out[thread()] = 1;
}
kernel branch__diverged(uint32 *out, int n) {
  uint32 v = 2;
  if (thread() < n) {
    out[thread()] = 1;
    __syncthreads();
    v = out[n - 1 - thread()];
  }
  __syncthreads();
  out[thread()] = v;
}

// Shuffles among half of a warp.
template <uint32 mask, int source>
static __device__ void share(uint32 *out) {
  int v = lane();
  if (lane() < 16) v = __nvvm_shfl_sync_idx_i32(mask, v, source, 0x1f);
  out[thread()] = v;
}
kernel half(uint32 *out) { share<0xffff, 15>(out); }
kernel half__mask(uint32 *out) { share<0xffffffff, 15>(out); }
kernel half__inactive(uint32 *out) { share<0xffff, 20>(out); }
// The other lanes have exited: the mask may name them.
kernel half_exits(uint32 *out) {
  if (lane() >= 16) return;
  out[thread()] = __nvvm_shfl_sync_idx_i32(0xffffffff, lane(), 15, 0x1f);
}

kernel copy(uint32 *out, const uint32 *in) { out[thread()] = in[thread()]; }

// The first warp passes numbers to the second through shared memory and an mbarrier.
template <int arrivals>
static __device__ void pass(uint32 *out) {
  __shared__ uint32 row[32];
  __shared__ __attribute__((aligned(8))) long full;
  auto *bar = (__attribute__((address_space(3))) long *)&full;
  if (thread() == 0) __nvvm_mbarrier_init_shared(bar, arrivals);
  __syncthreads();
  if (thread() < 32) {
    row[lane()] = block();
    __nvvm_mbarrier_arrive_shared(bar);
    return;
  }
  uint32 done = 0;
  while (!done)
    asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], 0; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done) : "r"((uint32)(unsigned long)bar) : "memory");
  out[lane()] = row[lane() ^ 1];
}
kernel pass_row(uint32 *out) { pass<32>(out); }
kernel pass_row__one_arrival_too_few(uint32 *out) { pass<33>(out); }
