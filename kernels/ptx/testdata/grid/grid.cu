// Kernels whose blocks wait for each other, and beside them the same with a fault: the name
// ends in it, after two underscores. Built by ./build.
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define kernel extern "C" __global__ void
#define inlined static __device__ __attribute__((always_inline))

using uint32 = unsigned;
using uint64 = unsigned long long;

inlined uint32 thread() { return __nvvm_read_ptx_sreg_tid_x(); }
inlined uint32 threads() { return __nvvm_read_ptx_sreg_ntid_x(); }
inlined uint32 block() { return __nvvm_read_ptx_sreg_ctaid_x() + __nvvm_read_ptx_sreg_nctaid_x() * __nvvm_read_ptx_sreg_ctaid_y(); }
inlined uint32 blocks() { return __nvvm_read_ptx_sreg_nctaid_x() * __nvvm_read_ptx_sreg_nctaid_y(); }
inlined void fence() { __nvvm_membar_gl(); }

enum Fault {
  none,
  no_sync,          // nobody waits
  no_barrier,       // of the block, before its first thread arrives
  no_barrier_after, // … before the other threads go on
  relaxed_arrival,  // an atomic without .release
  relaxed_wait,     // a load without .acquire
  no_first_fence,
  no_second_fence,
  wrong_count, // one block fewer is waited for
};

// Where the driver has put the workspace of the grid: its size, then the barrier.
inlined uint32 *workspace() {
  uint32 high, low;
  asm("mov.u32 %0, %%envreg1;" : "=r"(high));
  asm("mov.u32 %0, %%envreg2;" : "=r"(low));
  return (uint32 *)((uint64)high << 32 | low);
}

// A barrier of the grid. Its top bit changes when all blocks have arrived: the first one
// adds what makes the sum of all 0x80000000.
inlined uint32 arrival(Fault fault) {
  return block() == 0 ? 0x80000000 - (blocks() - (fault == wrong_count ? 2 : 1)) : 1;
}

// By release and acquire, as cooperative groups do from sm_70 on.
template <Fault fault>
inlined void sync(uint32 *barrier) {
  if (fault != no_barrier) __syncthreads();
  if (thread() == 0) {
    uint32 before, now;
    if (fault == relaxed_arrival)
      asm volatile("atom.add.relaxed.gpu.u32 %0, [%1], %2;" : "=r"(before) : "l"(barrier), "r"(arrival(fault)) : "memory");
    else
      asm volatile("atom.add.release.gpu.u32 %0, [%1], %2;" : "=r"(before) : "l"(barrier), "r"(arrival(fault)) : "memory");
    do {
      if (fault == relaxed_wait)
        asm volatile("ld.relaxed.gpu.u32 %0, [%1];" : "=r"(now) : "l"(barrier) : "memory");
      else
        asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(now) : "l"(barrier) : "memory");
    } while (((before ^ now) & 0x80000000) == 0 && fault != no_sync);
  }
  if (fault != no_barrier_after) __syncthreads();
}

// By fences, as before.
template <Fault fault>
inlined void sync_fences(uint32 *barrier) {
  __syncthreads();
  if (thread() == 0) {
    if (fault != no_first_fence) fence();
    uint32 before = __nvvm_atom_add_gen_i((int *)barrier, arrival(fault));
    while (((before ^ *(volatile uint32 *)barrier) & 0x80000000) == 0) {
    }
    if (fault != no_second_fence) fence();
  }
  __syncthreads();
}

// All blocks add up what each of them has written, over some rounds.
template <void wait(uint32 *)>
inlined void add_up(uint32 *sums, uint32 *part, uint32 n) {
  uint32 *barrier = workspace() + 1;
  uint32 sum = block();
  for (uint32 round = 0; round < n; round++) {
    if (thread() < 2) part[2 * block() + thread()] = sum + thread();
    wait(barrier);
    for (uint32 i = 0; i < 2 * blocks(); i++) sum += part[i];
    wait(barrier);
  }
  sums[block() * threads() + thread()] = sum;
}
kernel rounds(uint32 *sums, uint32 *part, uint32 n) { add_up<sync<none>>(sums, part, n); }
kernel rounds__no_sync(uint32 *sums, uint32 *part, uint32 n) { add_up<sync<no_sync>>(sums, part, n); }
kernel rounds__no_barrier(uint32 *sums, uint32 *part, uint32 n) { add_up<sync<no_barrier>>(sums, part, n); }
kernel rounds__no_barrier_after(uint32 *sums, uint32 *part, uint32 n) { add_up<sync<no_barrier_after>>(sums, part, n); }
kernel rounds__relaxed_arrival(uint32 *sums, uint32 *part, uint32 n) { add_up<sync<relaxed_arrival>>(sums, part, n); }
kernel rounds__relaxed_wait(uint32 *sums, uint32 *part, uint32 n) { add_up<sync<relaxed_wait>>(sums, part, n); }
kernel rounds__wrong_count(uint32 *sums, uint32 *part, uint32 n) { add_up<sync<wrong_count>>(sums, part, n); }
kernel rounds_fences(uint32 *sums, uint32 *part, uint32 n) { add_up<sync_fences<none>>(sums, part, n); }
kernel rounds_fences__no_first_fence(uint32 *sums, uint32 *part, uint32 n) { add_up<sync_fences<no_first_fence>>(sums, part, n); }
kernel rounds_fences__no_second_fence(uint32 *sums, uint32 *part, uint32 n) { add_up<sync_fences<no_second_fence>>(sums, part, n); }
kernel rounds_fences__wrong_count(uint32 *sums, uint32 *part, uint32 n) { add_up<sync_fences<wrong_count>>(sums, part, n); }

// A barrier of the kernel's own: a counter that goes up by one from each block.
template <Fault fault>
inlined void sync_counter(uint32 *counter, uint32 round) {
  __syncthreads();
  if (thread() == 0) {
    if (fault != no_first_fence) fence();
    __nvvm_atom_add_gen_i((int *)counter, 1);
    uint32 all = (round + 1) * blocks() - (fault == wrong_count);
    while (*(volatile uint32 *)counter < all) {
    }
    if (fault != no_second_fence) fence();
  }
  __syncthreads();
}

template <Fault fault>
inlined void counted(uint32 *sums, uint32 *part, uint32 *counter) {
  uint32 sum = 0;
  for (uint32 round = 0; round < 3; round++) {
    if (thread() == 0) part[round * blocks() + block()] = block() + round;
    sync_counter<fault>(counter, round);
    for (uint32 i = 0; i < blocks(); i++) sum += part[round * blocks() + i];
  }
  sums[block() * threads() + thread()] = sum;
}
kernel counter(uint32 *sums, uint32 *part, uint32 *n) { counted<none>(sums, part, n); }
kernel counter__no_first_fence(uint32 *sums, uint32 *part, uint32 *n) { counted<no_first_fence>(sums, part, n); }
kernel counter__no_second_fence(uint32 *sums, uint32 *part, uint32 *n) { counted<no_second_fence>(sums, part, n); }
kernel counter__wrong_count(uint32 *sums, uint32 *part, uint32 *n) { counted<wrong_count>(sums, part, n); }

// Sums from the end: each block waits for the next one's (decoupled look-back, in the
// direction in which one block after another would wait for ever).
template <Fault fault>
inlined void suffix(uint32 *out, const uint32 *in, uint32 *sum, uint32 *flag) {
  __shared__ uint32 row[64], after;
  row[thread()] = in[block() * 64 + thread()];
  __syncthreads();
  if (thread() == 0) {
    uint32 own = 0, rest = 0;
    for (int i = 63; i >= 0; i--) row[i] = own += row[i];
    if (block() + 1 < blocks()) {
      while (((volatile uint32 *)flag)[block() + 1] == 0) {
      }
      if (fault != no_second_fence) fence();
      rest = sum[block() + 1];
    }
    sum[block()] = own + rest;
    if (fault != no_first_fence) fence();
    ((volatile uint32 *)flag)[block()] = 1;
    after = rest;
  }
  __syncthreads();
  out[block() * 64 + thread()] = row[thread()] + after;
}
kernel suffix_sums(uint32 *out, const uint32 *in, uint32 *sum, uint32 *flag) { suffix<none>(out, in, sum, flag); }
kernel suffix_sums__no_first_fence(uint32 *out, const uint32 *in, uint32 *sum, uint32 *flag) { suffix<no_first_fence>(out, in, sum, flag); }
kernel suffix_sums__no_second_fence(uint32 *out, const uint32 *in, uint32 *sum, uint32 *flag) { suffix<no_second_fence>(out, in, sum, flag); }

// All blocks read one number before the last one to have its place changes it. Of the many
// who read it, each has to be waited for.
template <Fault fault>
inlined void changed(uint32 *out, uint32 *number, uint32 *arrived) {
  out[block() * threads() + thread()] = *number;
  __syncthreads();
  if (thread() == 0) {
    if (block() != 2 || fault != no_first_fence) fence();
    __nvvm_atom_add_gen_i((int *)arrived, 1);
    if (block() == 0) {
      while (*(volatile uint32 *)arrived < blocks()) {
      }
      fence();
      *number = 1;
    }
  }
}
kernel change_last(uint32 *out, uint32 *number, uint32 *arrived) { changed<none>(out, number, arrived); }
kernel change_last__no_first_fence(uint32 *out, uint32 *number, uint32 *arrived) { changed<no_first_fence>(out, number, arrived); }

// Shared memory, a thread's own array and a copy in flight, all of which belong to a block,
// while other blocks have their turns.
template <bool waited>
inlined void kept(uint32 *out, uint32 *in, uint32 at) {
  __shared__ __attribute__((aligned(16))) uint32 tile[128], row[128];
  uint32 own[8];
  for (uint32 i = 0; i < 8; i++) ((volatile uint32 *)own)[i] = block() * i + thread();
  row[thread()] = block() + thread();
  uint32 shared_tile = (uint32)(uint64)(__attribute__((address_space(3))) uint32 *)(tile + thread());
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_tile), "l"(in + block() * threads() + thread()) : "memory");
  if (waited) asm volatile("cp.async.wait_all;" ::: "memory");
  sync<none>(workspace() + 1);
  uint32 next = (block() + 1) % blocks();
  in[next * threads() + thread()] = 0;
  sync<none>(workspace() + 1);
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();
  out[block() * threads() + thread()] = tile[threads() - 1 - thread()] + row[threads() - 1 - thread()] + ((volatile uint32 *)own)[at];
}
kernel keep(uint32 *out, uint32 *in, uint32 at) { kept<true>(out, in, at); }
kernel keep__copy_in_flight(uint32 *out, uint32 *in, uint32 at) { kept<false>(out, in, at); }

// The first block waits for what no block does.
kernel stuck(uint32 *flag) {
  if (block() == 0)
    while (*(volatile uint32 *)flag == 0) {
    }
}

// The first block waits at a barrier that half of it never reaches.
kernel stuck_barrier(uint32 *flag) {
  if (block() == 0 && thread() < 32) asm volatile("bar.sync 1, 64;" ::: "memory");
  sync<none>(workspace() + 1);
}
