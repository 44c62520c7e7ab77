//go:build !cuda

package cuda

import (
	"errors"

	"kvcompress/kernels/device"
)

// Built reports whether the binary supports GPUs.
const Built = false

// Open returns the GPU with an ordinal, from 0.
func Open(int) (device.Device, error) {
	return nil, errors.New("cuda: this binary was built without -tags cuda: docs/gpu.md says how to build one for a GPU")
}
