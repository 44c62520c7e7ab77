package kernels

import "context"

// Options modify an engine. The zero value is the default.
type Options struct {
	// Kernels are run in place of the engine's own, by the name of the replaced kernel in docs/kernels.md,
	// with or without the format.
	Kernels map[string]Replacement

	// Launched, if not nil, is called with the name of such a kernel, as in Kernels, when it is launched.
	Launched func(name string)

	// PrefillBytes bounds the attention weights that a prefill holds at a time, but allows at least those of
	// one position; 0 means 64 MiB. With less, the queries take more launches; the results are the same.
	PrefillBytes int

	// FreshBuffers allocates working memory anew for every use, with exactly the needed size, so that a
	// checker finds accesses beyond it and reads of old contents. By default memory is reused.
	FreshBuffers bool

	// Context, when it is done, ends the current launch (on the CPU) and every later one. The operation
	// fails, and the engine can no longer be used. nil is never done.
	Context context.Context
}

// Replacement is a kernel that replaces one of the engine's. It has the same parameters, and is launched with
// the same grid and block.
type Replacement struct {
	File  string // name of the PTX file, for errors
	PTX   []byte
	Entry string
}
