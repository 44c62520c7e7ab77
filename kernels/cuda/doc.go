// Package cuda implements device.Device on a GPU, through NVIDIA's driver and gorgonia.org/cu. It is compiled
// only with the build tag cuda, which needs cgo and the files from scripts/cuda-sdk; otherwise Open returns
// an error.
//
// A binary with the tag starts on every machine. It looks for the driver, libcuda.so.1, at startup, and Open
// returns an error if there is no driver or no GPU. The driver compiles the PTX for its GPU. Every Device has
// its own context: after a kernel fails, its context can do nothing more, but others are not affected.
//
// docs/results.md says what has been checked on a GPU.
package cuda
