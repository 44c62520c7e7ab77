// Package ptx executes PTX on the CPU: a device without a GPU, for kernels that
// are to be checked rather than to be fast. It reads what clang and nvcc emit,
// follows the PTX ISA manual to the bit, and refuses what it cannot follow, with
// the line. With checkers on it finds what compute-sanitizer finds, and more.
package ptx
