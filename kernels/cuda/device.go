//go:build cuda

package cuda

import (
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"gorgonia.org/cu"

	"kvcompress/kernels/device"
)

// Built reports whether the binary supports GPUs.
const Built = true

// gpu is a CUDA context. All operations of a Device use one stream, so they keep their order. Operations that
// need not wait return at once.
//
// The driver's current context belongs to an OS thread. enter locks the goroutine to its thread and makes the
// context current there; leave unlocks it.
type gpu struct {
	name   string
	ctx    cu.CUContext
	stream cu.Stream

	names    map[device.Ptr]string // of the allocations, for errors
	launched string                // the last kernel launched since the last wait
	params   []unsafe.Pointer      // of the current launch
}

var _ device.Device = (*gpu)(nil)

// Open returns the GPU with an ordinal, from 0. It creates a context.
func Open(ordinal int) (device.Device, error) {
	if err := driver(); err != nil {
		return nil, err
	}
	dev, err := cu.GetDevice(ordinal)
	if err != nil {
		return nil, fmt.Errorf("cuda: cuDeviceGet %d: %w", ordinal, err)
	}
	name, err := dev.Name()
	if err != nil {
		return nil, fmt.Errorf("cuda: cuDeviceGetName: %w", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	g := &gpu{name: name + ", " + driverVersion(), names: map[device.Ptr]string{}}
	if g.ctx, err = dev.MakeContext(cu.SchedAuto); err != nil {
		return nil, fmt.Errorf("cuda: cuCtxCreate: %w", err)
	}
	defer g.leave() // cuCtxCreate made it current
	if g.stream, err = cu.MakeStream(cu.NonBlocking); err != nil {
		_ = g.ctx.Destroy()
		return nil, fmt.Errorf("cuda: cuStreamCreate: %w", err)
	}
	return g, nil
}

func (g *gpu) enter() error {
	runtime.LockOSThread()
	if err := cu.SetCurrentContext(g.ctx); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("cuda: cuCtxSetCurrent: %w", err)
	}
	return nil
}

func (g *gpu) leave() {
	_ = cu.SetCurrentContext(cu.CUContext{}) // cannot fail for no context
	runtime.UnlockOSThread()
}

// Name returns the card's name and the driver's version.
func (g *gpu) Name() string { return g.name }

// Alloc is cuMemAlloc.
func (g *gpu) Alloc(name string, size int64) (device.Ptr, error) {
	if size < 0 {
		return 0, fmt.Errorf("cuda: %q of %d bytes", name, size)
	}
	if err := g.enter(); err != nil {
		return 0, err
	}
	defer g.leave()
	p, err := cu.MemAlloc(max(size, 1)) // the driver refuses 0
	if err != nil {
		return 0, fmt.Errorf("cuda: cuMemAlloc of %d bytes for %q: %w", size, name, g.why(err))
	}
	g.names[device.Ptr(p)] = name
	return device.Ptr(p), nil
}

// Free is cuMemFree, which waits for operations that use the memory.
func (g *gpu) Free(p device.Ptr) error {
	name, ok := g.names[p]
	if !ok {
		return fmt.Errorf("cuda: free of %#x, which is not allocated", uint64(p))
	}
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	delete(g.names, p)
	if err := cu.MemFree(cu.DevicePtr(p)); err != nil {
		return fmt.Errorf("cuda: cuMemFree of %q: %w", name, g.why(err))
	}
	return nil
}

// Write is cuMemcpyHtoDAsync. For pageable memory, such as Go's, it returns as soon as the driver has copied
// the data.
func (g *gpu) Write(to device.Ptr, from []byte) error {
	if len(from) == 0 {
		return nil
	}
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	if err := cu.MemcpyHtoDAsync(cu.DevicePtr(to), unsafe.Pointer(&from[0]), int64(len(from)), g.stream); err != nil {
		return fmt.Errorf("cuda: cuMemcpyHtoDAsync of %d bytes: %w", len(from), g.why(err))
	}
	return nil
}

// Read is cuMemcpyDtoHAsync, followed by a wait.
func (g *gpu) Read(to []byte, from device.Ptr) error {
	if len(to) == 0 {
		return nil
	}
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	if err := cu.MemcpyDtoHAsync(unsafe.Pointer(&to[0]), cu.DevicePtr(from), int64(len(to)), g.stream); err != nil {
		return fmt.Errorf("cuda: cuMemcpyDtoHAsync of %d bytes: %w", len(to), g.why(err))
	}
	return g.wait()
}

// Copy is cuMemcpyDtoDAsync.
func (g *gpu) Copy(to, from device.Ptr, n int64) error {
	if n == 0 {
		return nil
	}
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	if err := cu.MemcpyDtoDAsync(cu.DevicePtr(to), cu.DevicePtr(from), n, g.stream); err != nil {
		return fmt.Errorf("cuda: cuMemcpyDtoDAsync of %d bytes: %w", n, g.why(err))
	}
	return nil
}

// Fill is cuMemsetD8Async.
func (g *gpu) Fill(p device.Ptr, value byte, n int64) error {
	if n == 0 {
		return nil
	}
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	if err := cu.MemsetD8Async(cu.DevicePtr(p), value, n, g.stream); err != nil {
		return fmt.Errorf("cuda: cuMemsetD8Async of %d bytes: %w", n, g.why(err))
	}
	return nil
}

// Sync is cuStreamSynchronize.
func (g *gpu) Sync() error {
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	return g.wait()
}

// wait waits for the stream. The caller has called enter.
func (g *gpu) wait() error {
	if err := g.stream.Synchronize(); err != nil {
		return fmt.Errorf("cuda: cuStreamSynchronize: %w", g.why(err))
	}
	g.launched = ""
	return nil
}

// why adds to a driver's error the kernel that may have caused it: any call after a launch may return the
// launch's error.
func (g *gpu) why(err error) error {
	if g.launched == "" {
		return err
	}
	return fmt.Errorf("%w (%s was launched last; CUDA_LAUNCH_BLOCKING=1 makes each launch wait)", err, g.launched)
}

// Time returns the time between two events on the stream, before and after f's operations, with a resolution
// of about half a microsecond.
func (g *gpu) Time(f func() error) (time.Duration, error) {
	start, err := g.mark()
	if err != nil {
		return 0, err
	}
	defer g.unmark(start)
	if err := f(); err != nil {
		return 0, err
	}
	end, err := g.mark()
	if err != nil {
		return 0, err
	}
	defer g.unmark(end)
	if err := g.Sync(); err != nil {
		return 0, err
	}
	if err := g.enter(); err != nil {
		return 0, err
	}
	defer g.leave()
	ms, err := start.Elapsed(end)
	if err != nil {
		return 0, fmt.Errorf("cuda: cuEventElapsedTime: %w", err)
	}
	return time.Duration(ms * float64(time.Millisecond)), nil
}

// mark records an event on the stream.
func (g *gpu) mark() (cu.Event, error) {
	if err := g.enter(); err != nil {
		return cu.Event{}, err
	}
	defer g.leave()
	e, err := cu.MakeEvent(cu.DefaultEvent)
	if err != nil {
		return cu.Event{}, fmt.Errorf("cuda: cuEventCreate: %w", g.why(err))
	}
	if err := e.Record(g.stream); err != nil {
		_ = cu.DestroyEvent(&e)
		return cu.Event{}, fmt.Errorf("cuda: cuEventRecord: %w", g.why(err))
	}
	return e, nil
}

func (g *gpu) unmark(e cu.Event) {
	if g.enter() == nil {
		_ = cu.DestroyEvent(&e) // nothing hangs on it
		g.leave()
	}
}

// Close waits for pending operations and destroys the context with its memory and modules.
func (g *gpu) Close() error {
	if g.ctx == (cu.CUContext{}) {
		return nil
	}
	err := g.Sync()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if destroyed := g.ctx.Destroy(); err == nil && destroyed != nil {
		err = fmt.Errorf("cuda: cuCtxDestroy: %w", destroyed)
	}
	return err
}
