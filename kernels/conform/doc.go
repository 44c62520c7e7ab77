// Package conform tests a device that runs PTX against the PTX ISA manual, instruction by
// instruction.
//
// For every form of an instruction (add.rn.f32, shfl.sync.up.b32, …) there is a
// table of operands: the hard ones (signed zeros, infinities, NaNs, subnormals,
// halfway cases, shifts past the width) and some hundreds of random ones. A tiny
// kernel executes the instruction on each row, and an oracle says what must come
// out. The oracle is written from the manual alone, with math/big, and rounds
// once: it shares no arithmetic with anything that it judges. Every result is
// compared to the bit.
//
// The same tables run on a GPU and on the PTX interpreter of package ptx, so that the
// interpreter can be compared with hardware.
//
// Where the manual leaves a result open, the oracle does too, and says so: it
// takes any NaN where a NaN is "unspecified", either zero where the sign is not
// said, and anything where nothing is said. Two sources speak beside the manual.
// The CUDA C++ Programming Guide (Floating-Point Standard) gives 0x7fffffff as the
// result of a single-precision operation with a NaN among its operands. And
// where all GPUs agree although the manual is silent (a remainder takes the
// dividend's sign; MININT / −1 is MININT), the tables hold to that and say so.
//
// Flushing (.ftz) and approximations (.approx) are not covered.
//
// The manual: NVIDIA, Parallel Thread Execution ISA,
// https://docs.nvidia.com/cuda/parallel-thread-execution/.
package conform
