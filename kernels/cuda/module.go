//go:build cuda

package cuda

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"unsafe"

	"gorgonia.org/cu"

	"kvcompress/kernels/device"
)

// defaultShared is the dynamic shared memory that a kernel may use without allowShared.
const defaultShared = 48 << 10

// Load lets the driver compile PTX. The error has the compiler's messages.
func (g *gpu) Load(name string, ptx []byte) (device.Module, error) {
	if bytes.IndexByte(ptx, 0) >= 0 {
		return nil, fmt.Errorf("cuda: %s: it is not PTX text: it has a byte 0", name)
	}
	if err := g.enter(); err != nil {
		return nil, err
	}
	defer g.leave()
	log := cu.JITErrorLogBuffer{Buffer: make([]byte, 16<<10)}
	m, err := cu.LoadDataEx(string(ptx), &log, &cu.JITGenerateLineInfo{Enabled: true})
	if err != nil {
		text, _, _ := strings.Cut(string(log.Buffer), "\x00")
		if text = strings.TrimSpace(text); text != "" {
			err = fmt.Errorf("%w: %s", err, text)
		}
		return nil, fmt.Errorf("cuda: %s: cuModuleLoadDataEx: %w", name, g.why(err))
	}
	return &module{g, name, ptx, m}, nil
}

type module struct {
	gpu  *gpu
	name string
	ptx  []byte
	mod  cu.Module
}

// Kernel is cuModuleGetFunction.
func (m *module) Kernel(entry string) (device.Kernel, error) {
	params, err := parameters(m.ptx, entry)
	if err != nil {
		return nil, fmt.Errorf("cuda: %s: %w", m.name, err)
	}
	if err := m.gpu.enter(); err != nil {
		return nil, err
	}
	defer m.gpu.leave()
	f, err := m.mod.Function(entry)
	if err != nil {
		return nil, fmt.Errorf("cuda: %s: cuModuleGetFunction %s: %w", m.name, entry, m.gpu.why(err))
	}
	return &kernel{m.gpu, entry, f, params, defaultShared}, nil
}

type kernel struct {
	gpu    *gpu
	name   string
	f      cu.Function
	params int
	shared int // limit of its dynamic shared memory
}

// Launch is cuLaunchKernel.
func (k *kernel) Launch(ctx context.Context, grid, block device.Dim, shared int, args ...device.Arg) error {
	// The driver reads as many arguments as the kernel has parameters, even if fewer are passed.
	if len(args) != k.params {
		return fmt.Errorf("cuda: %s: %d arguments for %d parameters", k.name, len(args), k.params)
	}
	for _, d := range []device.Dim{grid, block} {
		if min(d.X, d.Y, d.Z) < 1 || max(d.X, d.Y, d.Z) > 1<<31-1 {
			return fmt.Errorf("cuda: %s: a grid of %v blocks of %v threads", k.name, grid, block)
		}
	}
	if shared < 0 || shared > 1<<20 {
		return fmt.Errorf("cuda: %s: %d bytes of shared memory", k.name, shared)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("cuda: %s: not started: %w", k.name, err)
	}
	g := k.gpu
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	if shared > k.shared {
		if err := allowShared(k.f, shared); err != nil {
			return fmt.Errorf("cuda: %s: cuFuncSetAttribute: %d bytes of shared memory: %w", k.name, shared, err)
		}
		k.shared = shared
	}
	// Function.Launch copies 8 bytes of each argument, the size of an Arg.
	g.params = g.params[:0]
	for i := range args {
		g.params = append(g.params, unsafe.Pointer(&args[i]))
	}
	err := k.f.Launch(grid.X, grid.Y, grid.Z, block.X, block.Y, block.Z, shared, g.stream, g.params)
	if err != nil {
		return fmt.Errorf("cuda: cuLaunchKernel %s, %v blocks of %v threads: %w", k.name, grid, block, g.why(err))
	}
	g.launched = k.name
	return nil
}
