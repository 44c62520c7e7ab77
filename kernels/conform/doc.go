// Package conform tests a device that runs PTX against the PTX ISA manual, instruction by instruction.
//
// For every form of an instruction (add.rn.f32, shfl.sync.up.b32, …) there is a table of operands: hard cases
// (signed zeros, infinities, NaNs, subnormals, halfway cases, shifts beyond the width) and some hundreds of
// random ones. A small kernel executes the instruction on each row, and an oracle computes the expected
// results. The oracle is written from the manual only, with math/big, and rounds once, so it shares no
// arithmetic with the devices under test. All results are compared bit by bit.
//
// The same tables run on a GPU and on the PTX interpreter of package ptx, so the interpreter can be compared
// with hardware.
//
// Where the manual does not define a result, the oracle accepts any NaN for an "unspecified" NaN, either zero
// if the sign is not specified, and any value if nothing is specified. There are two other sources. The CUDA
// C++ Programming Guide (Floating-Point Standard) gives 0x7fffffff as the result of a single-precision
// operation with a NaN operand. And where all GPUs agree although the manual says nothing (a remainder has
// the sign of the dividend; MININT / −1 is MININT), the tables expect that, with a comment.
//
// Flushing (.ftz) and approximations (.approx) are not covered.
//
// The manual: NVIDIA, Parallel Thread Execution ISA, https://docs.nvidia.com/cuda/parallel-thread-execution/.
package conform
