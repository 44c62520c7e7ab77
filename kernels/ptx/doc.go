// Package ptx executes PTX on the CPU: a device without a GPU, for kernels that
// are to be checked. It reads what clang and nvcc emit, follows the PTX ISA manual
// to the bit, and refuses what it does not know, with the line: the kernel that has it,
// and not the others of its file. With checkers on
// it finds what compute-sanitizer finds, and more ([Checks], docs/checkers.md).
//
//	dev := ptx.New(ptx.Options{Checks: ptx.AllChecks()})
//	module, err := dev.Load("kernel.ptx", text)
//	kernel, err := module.Kernel("scale")
//	p, err := dev.Alloc("x", 4*n)
//	err = kernel.Launch(ctx, grid, block, 0, device.Pointer(p), device.U32(n))
//
// # How it executes
//
// A module is parsed and decoded once into flat code ([Parse]; a [Program] is
// immutable, and the text is found again by its content). A warp of 32 lanes
// executes an instruction at once: a register is a row of 32 values side by side,
// constants and special registers are rows as well, and a predicate is a mask.
//
// Divergent lanes execute one path after the other and reconverge at the branch's
// immediate post-dominator. Lanes that branch to the kernel's end exit at once. The
// warps of a block take turns of some thousand instructions, and yield at a
// barrier; the blocks of a grid run one after another or, in a cooperative launch
// ([device.CooperativeKernel]), take turns as well. All of it is
// in one goroutine and in a fixed order, or with [Options].Shuffle in one that a
// seed decides, and so every run is like the last.
//
// # How exact it is
//
// Integers, conversions, comparisons, and f32, f64, f16 and bf16 arithmetic in every
// rounding mode are those of the manual, tested against an independent oracle by
// package conform. A NaN that arithmetic makes is the canonical one: 0x7fffffff in
// f32, 0x7fff in f16 and bf16. Where the manual leaves a result open:
//
//   - an integer divided by zero is all ones, and its remainder the dividend;
//   - a NaN in f64 is 0x7ff8000000000000;
//   - of lanes that store to one place the highest stays;
//   - atomics of a warp take effect in ascending order of lanes, or with
//     [Options].Shuffle in one that the seed decides;
//   - clocks count instructions, and the only multiprocessor has number 0;
//   - memory that nothing has written is zeros at first.
//
// Sums of matrix products (matrix.go says in which order they are here), flushing
// subnormals (.ftz), .approx and .full, and f32, f64, f16 and bf16 add, sub and mul
// without a rounding modifier, which a GPU's compiler may fuse, are refused, for their results may differ from hardware. [Options].AllowApprox
// lets them run, rounded correctly, and [Device.Name] then says so.
// atom.add.f32 flushes subnormals in global memory, as the manual says hardware
// does.
//
// # Whose PTX it has run
//
// clang 19's, of this project's kernels and of package conform, and NVRTC's, which is
// nvcc's compiler: 11.8.89 (PTX 7.8) and 12.4.127 (PTX 8.4), for compute_80, compute_90
// and compute_90a, with -lineinfo, -G, -rdc=true, -fmad=false and -use_fast_math. 65
// kernels of the usual kinds agreed with plain Go under all checks: sums, scans, sorts,
// histograms, locks and queues, matrices in f32 and half, softmax, norms, paged
// attention, mathematical functions in f32 and f64. TestNVCC keeps some of them. What
// to know of nvcc:
//
//   - Without -fmad=false it writes add.f32, mul.f32 and sub.f32, which are refused;
//     with it .rn. Some functions are made of approximate instructions all the same:
//     expf, tanhf, powf, erff, rsqrtf, and log, tanh, pow and rsqrt of f64; not logf,
//     sinf, sqrtf, exp and sin. __hadd2 is add.f16x2.
//   - A counter that is set back by a plain store after its last atomicAdd, and an
//     atomicCAS loop whose first read is plain, are races in the memory model of PTX,
//     and reported: write atomicExch, and read through volatile.
//
// # What it does not do
//
//   - Textures, surfaces, matrix instructions other than ldmatrix and those of matrix.go and
//     wmma.go (wgmma, stmatrix, sparse ones, mma.sync m8n8k4 of f16, and elements of 1 bit, or in
//     wmma of 4 and 64), clusters, tensor copies, bulk copies (cp.async.bulk) other than from
//     global to shared memory with an mbarrier, an address size of 32, function pointers, recursion, and, of PTX 6.4 and
//     above for sm_70 and above, shuffles and votes without .sync are refused when the kernel
//     that has them is asked for.
//   - Lanes of one warp do not run independently. Where one waits in a loop for
//     what another lane of its warp does after the loop, it waits until the budget
//     ends the launch. A barrier, and a warp-wide instruction (.sync), waits for
//     lanes that have gone another way until they exit or come to it as well; not
//     for those that wait where the two ways come together again, past it.
//   - In a launch that is not cooperative, a block that waits for another one waits until
//     the budget ends the launch, unless that one ran before; and a kernel that reads where
//     the workspace of its grid is (%envreg1 and %envreg2, for cooperative groups' grid
//     sync) is refused.
//   - One wrong access ends its launch, unless [Options].MaxFindings lets it go on without
//     that access.
//
// # Limits
//
// Of a text: 16 MiB, half a million instructions, labels, registers and variables. Of a
// kernel: 48 KiB static and 227 KiB of all shared memory, 512 KiB of local memory a
// thread, 4 MiB of registers a warp. Of a launch: those of compute capability 9.0,
// and [Options].Budget. A cooperative one has as many blocks as 132 multiprocessors hold
// (cooperative.go), and all their registers and local and shared memory within
// [Options].MemoryLimit. Anything beyond is an error, as is anything else that is
// wrong in a text: there is no panic.
//
// # Where things are
//
//	lex, parse*, ast, types      text to declarations and statements
//	refuse                       what refuses a kernel, and what a file
//	decode*, operands, opcodes   statements to instructions
//	cfg, flow                    reconvergence
//	launch, cooperative, warp,   the order of blocks, warps and instructions
//	barrier
//	int, logic, carry, float,    instructions on rows; vector_*: in AVX2
//	compare, cvt, round, vector,
//	halves, approx
//	matrix, decodematrix, wmma,  mma.sync, ldmatrix and wmma
//	decodewmma
//	barrier, mbarrier            bar and barrier, mbarrier
//	memory, memop, memknown,     memory
//	gather, memvec, atom, async,
//	bulk
//	device, module, params,      what package device asks for
//	variables, snapshot
//	runtime                      printf and assert
//	hook                         what the checkers see
//	coverage                     which instructions have run
//	check*, race*, published,    the checkers
//	shadow*, undefined, used,
//	sure, origin, report,
//	findings
package ptx
