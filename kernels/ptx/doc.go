// Package ptx executes PTX on the CPU, to check kernels without a GPU. It accepts what clang and nvcc emit
// and follows the PTX ISA manual to the bit. A kernel with anything it does not support is refused, with the
// line; other kernels of the same file still run. With checkers on, it finds what compute-sanitizer finds,
// and more ([Checks], docs/checkers.md).
//
//	dev := ptx.New(ptx.Options{Checks: ptx.AllChecks()})
//	module, err := dev.Load("kernel.ptx", text)
//	kernel, err := module.Kernel("scale")
//	p, err := dev.Alloc("x", 4*n)
//	err = kernel.Launch(ctx, grid, block, 0, device.Pointer(p), device.U32(n))
//
// # How it executes
//
// A module is parsed and decoded once into flat code ([Parse]; a [Program] is immutable, and a [Cache] finds
// it again by the text). A warp of 32 lanes executes an instruction at once. A register is a row of 32
// consecutive values; constants and special registers are rows too; a predicate is a mask.
//
// Divergent lanes execute one path after the other and reconverge at the branch's immediate post-dominator.
// Lanes that branch to the kernel's end exit at once. The warps of a block take turns of some thousand
// instructions, and yield at a barrier. The blocks of a grid run one after another or, in a cooperative launch
// ([device.CooperativeKernel]), take turns as well. Everything runs in one goroutine and in a fixed order, or
// with [Options].Shuffle in an order determined by a seed, so every run is reproducible.
//
// # How exact it is
//
// Integers, conversions, comparisons, and f32, f64, f16 and bf16 arithmetic in every rounding mode are those
// of the manual. Package conform tests them against an independent oracle. A NaN that arithmetic produces is
// the canonical one: 0x7fffffff in f32, 0x7fff in f16 and bf16. Where the manual leaves a result open:
//
//   - an integer divided by zero is all ones, and its remainder the dividend;
//   - a NaN in f64 is 0x7ff8000000000000;
//   - if several lanes store to one place, the highest lane's value stays;
//   - atomics of a warp take effect in ascending order of lanes, or with
//     [Options].Shuffle in an order determined by the seed;
//   - an atomic minimum or maximum of a vector ignores a NaN, as min and max do;
//   - clocks count instructions, and the only multiprocessor has number 0;
//   - memory that nothing has written is zero.
//
// Some instructions are refused because their results may differ on hardware: sums of matrix products
// (matrix.go states the order used here), flushing of subnormals (.ftz), .approx and .full, and f32, f64, f16
// and bf16 add, sub and mul without a rounding modifier, which a GPU's compiler may fuse.
// [Options].AllowApprox lets them run, correctly rounded, and [Device.Name] then says so. atom.add.f32
// flushes subnormals in global memory, as the manual says hardware does.
//
// # Which PTX it has run
//
// That of clang 19, for this project's kernels and package conform, and that of NVRTC, which is nvcc's
// compiler: 11.8.89 (PTX 7.8) and 12.4.127 (PTX 8.4), for compute_80, compute_90 and compute_90a, with
// -lineinfo, -G, -rdc=true, -fmad=false and -use_fast_math. 65 kernels of common kinds agreed with plain Go
// under all checks: sums, scans, sorts, histograms, locks and queues, matrices in f32 and half, softmax,
// norms, paged attention, mathematical functions in f32 and f64. TestNVCC keeps some of them. For nvcc:
//
//   - Without -fmad=false it writes add.f32, mul.f32 and sub.f32, which are refused;
//     with it .rn. Some functions use approximate instructions even then: expf, tanhf,
//     powf, erff, rsqrtf, and log, tanh, pow and rsqrt of f64; but not logf, sinf,
//     sqrtf, exp and sin. __hadd2 is add.f16x2.
//   - A counter that a plain store resets after its last atomicAdd, and an atomicCAS
//     loop with a plain first read, are races in the memory model of PTX, and are
//     reported: use atomicExch, and read through volatile.
//
// # What it does not do
//
//   - These are refused when a kernel that has them is requested: textures, surfaces,
//     matrix instructions other than those of matrix.go and wmma.go (so
//     wgmma, tcgen05, sparse ones, block scaling, mma.sync m8n8k4 of f16, and elements of 1 bit, or
//     in wmma of 4), scalar video instructions, clusters of several blocks, tensor copies, bulk copies
//     (cp.async.bulk) other than from global to shared memory with an mbarrier and from shared to global memory in
//     bulk groups, asynchronous stores and reductions, stochastic rounding (.rs), an address size of 32,
//     function pointers, recursion, and, for PTX 6.4 and above and sm_70 and above,
//     shuffles and votes without .sync.
//   - Lanes of one warp do not run independently. If a lane waits in a loop for
//     something that another lane of its warp does after the loop, that is a deadlock
//     here. A barrier, and a warp-wide instruction (.sync), waits for
//     divergent lanes until they exit or reach it too, but not for lanes that already
//     wait at the reconvergence point after it.
//   - In a launch that is not cooperative, a block that waits for another block, which has
//     not run before it, is a deadlock; and a kernel that reads
//     the address of its grid's workspace (%envreg1 and %envreg2, which cooperative groups
//     read to synchronize a whole grid) is refused.
//   - A launch has clusters of one block (cluster.go).
//   - One wrong access ends its launch, unless [Options].MaxFindings lets it continue
//     without that access.
//
// # Limits
//
// Of a text: 16 MiB, and half a million instructions, labels, registers and variables. Of a kernel: 48 KiB of
// static and 227 KiB of all shared memory, 512 KiB of local memory per thread, 8 MiB of registers per warp.
// Of a launch: those of compute capability 9.0, and [Options].Budget. A cooperative launch has at most as many
// blocks as 132 multiprocessors hold (cooperative.go), and their registers, local and shared memory together
// are within [Options].MemoryLimit. Anything beyond is an error, as is everything else that is wrong in a text;
// there is no panic.
//
// # Files
//
//	lex, parse*, ast, types      text to declarations and statements
//	refuse                       errors of a kernel, and of a file
//	decode*, operands, opcodes   statements to instructions
//	cfg, flow                    reconvergence
//	launch, cooperative, warp,   the order of blocks, warps and instructions
//	barrier
//	int, logic, carry, float,    instructions on rows; vector_*: in AVX2
//	compare, cvt, round, vector,
//	halves, packed, simd, tf32,
//	approx
//	matrix, decodematrix, wmma,  mma.sync, ldmatrix, stmatrix, movmatrix and wmma
//	decodewmma
//	barrier, mbarrier            bar and barrier, mbarrier
//	memory, memop, memknown,     memory
//	gather, memvec, atom, async,
//	asyncarrive, bulk, bulkgroup,
//	bound
//	cluster                      clusters of one block
//	device, module, params,      the interfaces of package device
//	variables, snapshot
//	runtime                      printf and assert
//	deadlock, deadlockreport     loops in which all threads wait
//	hook                         what the checkers see
//	coverage                     which instructions have run
//	check*, race*, published,    the checkers
//	shadow*, undef*, used,
//	sure, origin, frame, report,
//	findings
package ptx
