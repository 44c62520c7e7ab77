// Package devices opens a device by its name: "cuda" is a GPU, "ptx" executes PTX on the CPU,
// and "auto" is a GPU if there is one.
package devices

import (
	"fmt"
	"strings"

	"kvcompress/kernels/cuda"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
)

// The names of the devices.
const (
	Auto = "auto" // the GPU, if the binary can use one and a driver answers; else PTX
	PTX  = "ptx"  // the machine that executes PTX on the CPU
	CUDA = "cuda" // the first GPU
)

// Names returns the names that Open takes.
func Names() []string { return []string{Auto, PTX, CUDA} }

// Open opens a device. The options are the PTX machine's. Which device it is, its
// Name says.
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
	return nil, fmt.Errorf("devices: %q is none of %s", name, strings.Join(Names(), ", "))
}
