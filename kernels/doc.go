// Package kernels is the CUDA engine: the pipeline of package ref as CUDA kernels, with the whole cache in
// the device's memory. It follows ref/NUMERICS.md to the bit, so each of its stages can be compared with the
// reference.
//
// It runs every method that evicts KVs by a ranking ([ref.Dropper]), folds them into stand-ins ([ref.Folder])
// or hides them ([ref.Masker]): what the method observes and how it ranks are arguments of the same kernels.
// It also runs methods that quantize the oldest keys and values ([ref.Quantizer]) or merge pairs of layers
// ([ref.Merger]), with page formats of their own. Other needs of methods have kernels of their own: further
// columns, scores computed from attention in another way than KV-Compress's metric, scores that are not
// attention weights ([ref.Scorer]), and keys and values that are adjusted when they are read.
//
// The kernels are the .cu files in cu/, one for each stage; the PTX that clang-19 compiles them to is
// embedded. docs/kernels.md lists each kernel's arguments, reads and writes, so that it can be replaced.
package kernels

//go:generate ./cu/build
//go:generate ./ptx/testdata/foreign/build
//go:generate ./ptx/testdata/grid/build
//go:generate ./ptx/testdata/bounds/build
