// Kernels to try `kvc ptx run` with. No CUDA SDK is needed to build them:
//
//	clang++-19 -x cuda --cuda-device-only --cuda-gpu-arch=sm_80 -nocudainc -nocudalib \
//	    -O3 -ffp-contract=off -gline-directives-only -fdebug-compilation-dir=. -S example.cu -o example.ptx
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
static __attribute__((device)) unsigned lane() { return __nvvm_read_ptx_sreg_tid_x(); }
static __attribute__((device)) unsigned thread() { return __nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() + lane(); }

// y[i] += a·x[i], i < n.
extern "C" __global__ void saxpy(unsigned n, float a, const float *x, float *y) {
	unsigned i = thread();
	if (i < n)
		y[i] += a * x[i];
}

// The same, but for the test of i.
extern "C" __global__ void saxpy_past(unsigned n, float a, const float *x, float *y) {
	unsigned i = thread();
	y[i] += a * x[i];
}

// sums[b] is the sum of block b's 256 elements of x.
extern "C" __global__ void block_sums(const float *x, float *sums) {
	__shared__ float part[256];
	part[lane()] = x[thread()];
	for (unsigned half = 128; half > 0; half /= 2) {
		__syncthreads();
		if (lane() < half)
			part[lane()] += part[lane() + half];
	}
	if (lane() == 0)
		sums[__nvvm_read_ptx_sreg_ctaid_x()] = part[0];
}

// The same, but for the barrier.
extern "C" __global__ void block_sums_race(const float *x, float *sums) {
	__shared__ float part[256];
	part[lane()] = x[thread()];
	for (unsigned half = 128; half > 0; half /= 2)
		if (lane() < half)
			part[lane()] += part[lane() + half];
	if (lane() == 0)
		sums[__nvvm_read_ptx_sreg_ctaid_x()] = part[0];
}

// Never ends.
extern "C" __global__ void spin(volatile unsigned *flag) {
	while (*flag == 0)
		;
}

// Waits for all threads of the grid, as cooperative groups' sync of a grid does: the driver
// has put the address of a workspace in two registers, and the barrier is its second word.
static __attribute__((device)) void grid_sync() {
	unsigned high, low, before, now;
	asm("mov.u32 %0, %%envreg1;" : "=r"(high));
	asm("mov.u32 %0, %%envreg2;" : "=r"(low));
	unsigned *barrier = (unsigned *)((unsigned long long)high << 32 | low) + 1;
	unsigned blocks = __nvvm_read_ptx_sreg_nctaid_x();
	unsigned add = __nvvm_read_ptx_sreg_ctaid_x() == 0 ? 0x80000000 - (blocks - 1) : 1;
	__syncthreads();
	if (lane() == 0) {
		asm volatile("atom.add.release.gpu.u32 %0, [%1], %2;" : "=r"(before) : "l"(barrier), "r"(add) : "memory");
		do
			asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(now) : "l"(barrier) : "memory");
		while (((before ^ now) & 0x80000000) == 0); // which all of them together change
	}
	__syncthreads();
}

// Reverses x, which has as many elements as the grid has threads.
extern "C" __global__ void reverse(float *x) {
	unsigned n = __nvvm_read_ptx_sreg_nctaid_x() * __nvvm_read_ptx_sreg_ntid_x();
	float v = x[n - 1 - thread()];
	grid_sync();
	x[thread()] = v;
}
