package ptx

import (
	"context"
	"fmt"

	"kvcompress/kernels/device"
)

// arguments are a launch's, in one of the two forms that a caller may give.
type arguments interface {
	// validate returns an error if they are not of a kernel's parameters.
	validate(params []param) error
	// put writes the i-th to the place of its parameter.
	put(to []byte, i int)
}

// words are arguments of at most 8 bytes each.
type words []device.Arg

func (w words) validate(params []param) error {
	if len(w) != len(params) {
		return fmt.Errorf("%d arguments; the kernel has %d parameters", len(w), len(params))
	}
	for i, p := range params {
		if p.size > 8 {
			return fmt.Errorf("parameter %d (%s) has %d bytes: an argument has at most 8, and one of LaunchBytes any number", i, short(p.name), p.size)
		}
		if p.size < 8 && w[i]>>(8*p.size) != 0 {
			return fmt.Errorf("argument %d is %#x: parameter %s has %d bytes", i, uint64(w[i]), short(p.name), p.size)
		}
	}
	return nil
}

func (w words) put(to []byte, i int) {
	for b := range to {
		to[b] = byte(w[i] >> (8 * b))
	}
}

// images are arguments of any size, as they lie in memory.
type images [][]byte

func (m images) validate(params []param) error {
	if len(m) != len(params) {
		return fmt.Errorf("%d arguments; the kernel has %d parameters", len(m), len(params))
	}
	for i, p := range params {
		if len(m[i]) != p.size {
			return fmt.Errorf("argument %d has %d bytes: parameter %s has %d", i, len(m[i]), short(p.name), p.size)
		}
	}
	return nil
}

func (m images) put(to []byte, i int) { copy(to, m[i]) }

var _ device.BytesKernel = (*kernel)(nil)

// LaunchBytes is Launch with the bytes of each parameter: structs by value are of any
// size.
func (k *kernel) LaunchBytes(ctx context.Context, grid, block device.Dim, shared int, args ...[]byte) error {
	return k.launch(ctx, grid, block, shared, images(args))
}
