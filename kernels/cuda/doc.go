// Package cuda is a device.Device on a GPU, through NVIDIA's driver and
// gorgonia.org/cu. It is there in a binary that is built with the tag cuda, which
// needs cgo and what scripts/cuda-sdk brings; in any other, Open says so.
//
// A binary with the tag starts on every machine: the driver, libcuda.so.1, is
// looked for when it starts, and Open returns an error where there is none or
// where it finds no GPU. The driver compiles the PTX for the GPU that it has. Every
// Device is a context of its own, so that a kernel that fails on one (after which
// the driver lets a context do nothing any more) leaves the others as they are.
//
// What it does has not been seen on a GPU yet: docs/results.md says what has.
package cuda
