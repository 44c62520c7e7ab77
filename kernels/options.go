package kernels

import "context"

// Options say how an engine differs from the usual one. The zero value is the
// usual one.
type Options struct {
	// Kernels are run in the place of the engine's own, by the name of the kernel
	// that they replace: that of docs/kernels.md, with or without the format.
	Kernels map[string]Replacement

	// Launched, if it is not nil, is told the name of each of those, as it stands in
	// Kernels, when it is launched.
	Launched func(name string)

	// PrefillBytes bounds the attention weights that a prefill holds at a time, unless those
	// of a single position are more; 0 is 64 MiB. With less, queries take more launches, and
	// nothing else changes.
	PrefillBytes int

	// FreshBuffers gives every use of working memory memory of its own, of exactly the bytes
	// that it needs, so that a checker finds who reads or writes beyond them, or reads what
	// was left from before. Without, memory is used again.
	FreshBuffers bool

	// Context, when it is done, ends the launch that is under way (on the CPU) and every
	// later one. The operation fails, and the engine is then of no more use. nil is never done.
	Context context.Context
}

// Replacement is a kernel that takes the place of one of the engine's: it has the
// same parameters, and is launched with the same grid and block.
type Replacement struct {
	File  string // where the PTX comes from, for errors
	PTX   []byte
	Entry string
}
