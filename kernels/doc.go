// Package kernels is the CUDA engine: the pipeline of package ref as kernels that
// run on a device, with the whole cache in the device's memory from step to step.
// It does what ref.NUMERICS.md says to the bit, so its every stage can be compared
// with the reference.
//
// It runs every method that drops KVs by a ranking, [ref.Dropper]: what the method
// watches and how it ranks are arguments of the same kernels. What a column of a number
// for each query head needs, and other ways to make numbers of attention than
// KV-Compress's, are kernels beside them. So are scores that are no attention weights,
// [ref.Scorer].
//
// The kernels are the .cu files in cu/, a file for each stage; the PTX that
// clang-19 makes of them is embedded. docs/kernels.md says what each kernel takes,
// reads and writes, so that another can stand in its place.
package kernels

//go:generate ./cu/build
