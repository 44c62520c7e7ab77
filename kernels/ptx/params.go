package ptx

import (
	"context"
	"fmt"

	"kvcompress/kernels/device"
)

// arguments are a launch's arguments, in one of two forms.
type arguments interface {
	// validate returns an error if they do not match a kernel's parameters.
	validate(params []param) error
	// put writes argument i to its parameter.
	put(to []byte, i int)
}

// wordArgs are arguments of at most 8 bytes each.
type wordArgs []device.Arg

func (w wordArgs) validate(params []param) error {
	if len(w) != len(params) {
		return fmt.Errorf("%d arguments; the kernel has %d parameters", len(w), len(params))
	}
	for i, p := range params {
		if p.size > 8 {
			return fmt.Errorf("parameter %d (%s) has %d bytes: an argument of Launch has at most 8 bytes; use LaunchBytes", i, short(p.name), p.size)
		}
		if p.size < 8 && w[i]>>(8*p.size) != 0 {
			return fmt.Errorf("argument %d is %#x: parameter %s has %d bytes", i, uint64(w[i]), short(p.name), p.size)
		}
	}
	return nil
}

func (w wordArgs) put(to []byte, i int) {
	for b := range to {
		to[b] = byte(w[i] >> (8 * b))
	}
}

// images are arguments of any size, given as bytes.
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

// LaunchBytes is Launch with the bytes of each parameter, which may be a struct of any size.
func (k *kernel) LaunchBytes(ctx context.Context, grid, block device.Dim, shared int, args ...[]byte) error {
	return k.launch(ctx, grid, block, shared, images(args))
}
