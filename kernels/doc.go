// Package kernels is the CUDA engine: the pipeline of package ref as kernels that
// run on a device, with the whole cache in the device's memory from step to step.
// It does what ref.NUMERICS.md says to the bit, so its every stage can be compared
// with the reference.
//
// It runs every method that drops KVs by a ranking, [ref.Dropper], folds them into
// stand-ins, [ref.Folder], or hides them, [ref.Masker]: what the method watches and how it
// ranks are arguments of the same kernels. It runs methods that quantize the oldest keys and values,
// [ref.Quantizer], or merge pairs of layers, [ref.Merger], too: those have pages of their own. What else a method needs, such as further
// columns, other ways to make numbers of attention than KV-Compress's, scores that are no
// attention weights ([ref.Scorer]), or queries that do not read KVs as they are stored,
// are kernels beside them.
//
// The kernels are the .cu files in cu/, a file for each stage; the PTX that
// clang-19 makes of them is embedded. docs/kernels.md says what each kernel takes,
// reads and writes, so that another can stand in its place.
package kernels

//go:generate ./cu/build
//go:generate ./ptx/testdata/foreign/build
//go:generate ./ptx/testdata/grid/build
