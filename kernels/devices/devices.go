// Package devices opens a device by its name: "cuda" is a GPU, "ptx" executes PTX on the CPU,
// and "auto" is a GPU if there is one.
package devices

import (
	"fmt"
	"strings"

	"kvcompress/internal/near"
	"kvcompress/kernels/cuda"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
)

// The names of the devices.
const (
	Auto = "auto" // the GPU, if the binary supports one and a driver is present; else PTX
	PTX  = "ptx"  // PTX executed on the CPU
	CUDA = "cuda" // the first GPU
)

// Names returns the names that Open accepts.
func Names() []string { return []string{Auto, PTX, CUDA} }

// Open opens a device. The options are for the PTX machine. The device's Name says which device was opened.
func Open(name string, opt ptx.Options) (device.Device, error) {
	switch name {
	case PTX:
		return ptx.New(opt), nil
	case CUDA:
		return cuda.Open(0)
	case Auto:
		if gpu, err := cuda.Open(0); err == nil {
			return gpu, nil
		}
		return ptx.New(opt), nil
	}
	return nil, fmt.Errorf("devices: unknown device %q%s: want one of %s", name, near.Hint(name, Names()), strings.Join(Names(), ", "))
}
