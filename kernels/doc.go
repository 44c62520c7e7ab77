// Package kernels is the CUDA engine: the pipeline of package ref as kernels that
// run on a device, with the whole cache in the device's memory from step to step.
// It does what ref.NUMERICS.md says to the bit, so its every stage can be compared
// with the reference.
//
// The kernels are the .cu files in cu/, a file for each stage; the PTX that
// clang-19 makes of them is embedded. docs/kernels.md says what each kernel takes,
// reads and writes, so that another can stand in its place.
package kernels

//go:generate ./cu/build
