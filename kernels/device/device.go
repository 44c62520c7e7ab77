// Package device is the interface between the CUDA engine and the device that it runs on: global memory, PTX
// modules, and kernel launches. Two packages implement it: kernels/cuda on a GPU, and kernels/ptx, which
// executes the same PTX on the CPU.
//
// Start with [Device]; package devices opens one by name.
package device

import (
	"context"
	"math"
	"time"
)

// Ptr is an address in a device's global memory. 0 is never allocated.
type Ptr uint64

// Dim is the size of a grid in blocks, or of a block in threads. Each dimension is at least 1.
type Dim struct{ X, Y, Z int }

// Arg is the value of a kernel's parameter, in the low bytes of 8. The parameter uses as many bytes as its
// type has.
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

// Device runs kernels. Operations take effect in the order of the calls. A launch may return before the
// kernel has run; an error of the kernel is then returned by the next operation that waits for it: Read,
// Sync, Time or Close. One goroutine at a time may use a Device.
type Device interface {
	// Name describes the device: "NVIDIA H100 80GB HBM3, driver 580.95", "PTX on the CPU".
	Name() string

	// Load makes a module of PTX text ready to launch. name is that of its file, for errors.
	Load(name string, ptx []byte) (Module, error)

	// Alloc allocates size bytes of global memory, aligned to 256 bytes, with undefined contents. name says
	// what they hold, for reports of wrong accesses.
	Alloc(name string, size int64) (Ptr, error)
	// Free frees memory that Alloc has returned.
	Free(p Ptr) error

	// Write copies from the host to the device, Read from the device to the host,
	// Copy within the device; Fill sets n bytes to a value.
	Write(to Ptr, from []byte) error
	Read(to []byte, from Ptr) error
	Copy(to, from Ptr, n int64) error
	Fill(p Ptr, value byte, n int64) error

	// Sync waits until all operations are complete.
	Sync() error
	// Time returns how long the device takes for the operations in f: by its own clock on a GPU, by the
	// host's on the CPU.
	Time(f func() error) (time.Duration, error)

	// Close frees the device. On the PTX machine it reports memory that was never
	// freed, if that check is on.
	Close() error
}

// Module is a loaded PTX module.
type Module interface {
	// Kernel returns the entry point with a name.
	Kernel(entry string) (Kernel, error)
}

// Kernel is an entry point of a module.
type Kernel interface {
	// Launch runs the kernel on grid blocks of block threads each, with shared bytes of dynamic shared
	// memory. On the CPU, the context can end a running launch; memory is then as the kernel left it. On a
	// GPU, it can only prevent a launch from starting.
	Launch(ctx context.Context, grid, block Dim, shared int, args ...Arg) error
}

// BytesKernel is a Kernel that accepts parameters of any size, such as structs by value. Kernels of the PTX
// machine implement it.
type BytesKernel interface {
	Kernel
	// LaunchBytes is Launch with the bytes of each parameter, little-endian, exactly as many as the parameter
	// has.
	LaunchBytes(ctx context.Context, grid, block Dim, shared int, args ...[]byte) error
}

// CooperativeKernel is a Kernel that can also be launched cooperatively: all blocks of the grid are resident
// together, so that one may wait for another, and this_grid().sync() of cooperative groups works. Kernels of
// the PTX machine implement it.
type CooperativeKernel interface {
	Kernel
	// Cooperative returns the kernel with cooperative launches, as by
	// cudaLaunchCooperativeKernel. A launch of more blocks than can be resident together is an
	// error.
	Cooperative() BytesKernel
}

// Variables is a Module with .global and .const variables that the host can read and write, as
// cudaMemcpyFromSymbol and cudaMemcpyToSymbol do. Modules of the PTX machine implement it.
type Variables interface {
	Module
	// VariableSize returns the bytes of a variable.
	VariableSize(name string) (int64, error)
	// WriteVariable copies from the host to a variable, starting at byte off.
	WriteVariable(name string, off int64, from []byte) error
	// ReadVariable copies from a variable to the host, starting at byte off.
	ReadVariable(name string, off int64, to []byte) error
}
