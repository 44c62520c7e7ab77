// Package device is the interface between the CUDA engine and what it runs on: global
// memory, modules of PTX, kernel launches. Two packages implement it: kernels/cuda on a GPU,
// and kernels/ptx, which executes the same PTX on the CPU.
package device

import (
	"context"
	"math"
	"time"
)

// Ptr is an address in a device's global memory. 0 is no memory.
type Ptr uint64

// Dim is the extent of a grid in blocks, or of a block in threads; each of the
// three is at least 1.
type Dim struct{ X, Y, Z int }

// Arg is the value of a kernel's parameter, in the low bytes of 8. A parameter
// takes as many of them as its type has.
type Arg uint64

// U32 is the argument of a .u32 or .b32 parameter.
func U32(v uint32) Arg { return Arg(v) }

// I32 is the argument of a .s32 parameter.
func I32(v int32) Arg { return Arg(uint32(v)) }

// U64 is the argument of a .u64 or .b64 parameter.
func U64(v uint64) Arg { return Arg(v) }

// I64 is the argument of a .s64 parameter.
func I64(v int64) Arg { return Arg(v) }

// F32 is the argument of a .f32 parameter.
func F32(v float32) Arg { return Arg(math.Float32bits(v)) }

// F64 is the argument of a .f64 parameter.
func F64(v float64) Arg { return Arg(math.Float64bits(v)) }

// Pointer is the argument of a parameter that is an address in global memory.
func Pointer(p Ptr) Arg { return Arg(p) }

// Device runs kernels. Its operations take effect in the order in which they are
// called. A launch may return before the kernel has run; an error of the kernel
// is then returned by the next operation that waits for it: Read, Sync, Time or
// Close. A Device is used by one goroutine at a time.
type Device interface {
	// Name says what the device is, for people: "NVIDIA H100 80GB HBM3, driver
	// 580.95", "PTX on the CPU".
	Name() string

	// Load makes a module of PTX text ready to launch. The name is that of its
	// file, for errors.
	Load(name string, ptx []byte) (Module, error)

	// Alloc returns size bytes of global memory, aligned to 256 and with undefined
	// contents. The name says what they hold, for reports of wrong accesses.
	Alloc(name string, size int64) (Ptr, error)
	// Free gives back what Alloc has returned.
	Free(p Ptr) error

	// Write copies from the host to the device, Read from the device to the host,
	// Copy within the device; Fill sets n bytes to a value.
	Write(to Ptr, from []byte) error
	Read(to []byte, from Ptr) error
	Copy(to, from Ptr, n int64) error
	Fill(p Ptr, value byte, n int64) error

	// Sync waits until all that was asked for is done.
	Sync() error
	// Time returns how long the device takes for the operations that f asks for: by
	// its own clock on a GPU, by the host's on the CPU.
	Time(f func() error) (time.Duration, error)

	// Close frees the device. On the PTX machine it reports memory that was never
	// freed, if that check is on.
	Close() error
}

// Module is PTX that is ready to run.
type Module interface {
	// Kernel returns the entry point of that name.
	Kernel(entry string) (Kernel, error)
}

// Kernel is an entry point of a module.
type Kernel interface {
	// Launch runs the kernel on grid blocks of block threads each, with shared bytes
	// of dynamic shared memory. The context ends a launch on the CPU, and memory is then
	// as far as the kernel came; nothing ends a kernel on a GPU, where the context can
	// only keep it from starting.
	Launch(ctx context.Context, grid, block Dim, shared int, args ...Arg) error
}

// BytesKernel is a Kernel that takes parameters of any size, such as structs by value.
// The PTX machine's kernels are.
type BytesKernel interface {
	Kernel
	// LaunchBytes is Launch with the bytes of each parameter, little-endian and as many as
	// the parameter has.
	LaunchBytes(ctx context.Context, grid, block Dim, shared int, args ...[]byte) error
}

// CooperativeKernel is a Kernel whose launches may be cooperative: all blocks of the grid
// are resident together, so that one may wait for another, and cooperative groups'
// this_grid().sync() works. The PTX machine's kernels are.
type CooperativeKernel interface {
	Kernel
	// Cooperative returns the kernel with launches that are cooperative, as by
	// cudaLaunchCooperativeKernel. One of more blocks than can be resident together is an
	// error.
	Cooperative() BytesKernel
}

// Variables is a Module whose .global and .const variables the host reads and writes, as
// by cudaMemcpyFromSymbol and cudaMemcpyToSymbol. The PTX machine's modules are.
type Variables interface {
	Module
	// VariableSize returns the bytes of a variable.
	VariableSize(name string) (int64, error)
	// WriteVariable copies from the host to a variable, from its byte off on.
	WriteVariable(name string, off int64, from []byte) error
	// ReadVariable copies from a variable to the host, from its byte off on.
	ReadVariable(name string, off int64, to []byte) error
}
