//go:build unix

package ptx

import (
	"fmt"
	"math"
	"syscall"
)

// mapMemory returns size bytes of zeros, and what gives them back.
func mapMemory(size uint64) ([]byte, func(), error) {
	if size > math.MaxInt {
		return nil, nil, fmt.Errorf("more than the address space")
	}
	mem, err := syscall.Mmap(-1, 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE)
	if err != nil {
		return nil, nil, fmt.Errorf("mmap: %w", err)
	}
	return mem, func() {
		// An error would say that this is no mapping, and it is.
		_ = syscall.Munmap(mem)
	}, nil
}
