//go:build unix

package ptx

import (
	"fmt"
	"math"
	"syscall"
)

// mapMemory returns size bytes of zeroed memory, and a function that releases it.
func mapMemory(size uint64) ([]byte, func(), error) {
	if size > math.MaxInt {
		return nil, nil, fmt.Errorf("more than the address space")
	}
	mem, err := syscall.Mmap(-1, 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE)
	if err != nil {
		return nil, nil, fmt.Errorf("mmap: %w", err)
	}
	return mem, func() {
		// The only possible error is that mem is not a mapping, which it is.
		_ = syscall.Munmap(mem)
	}, nil
}
