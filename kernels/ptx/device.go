package ptx

import (
	"errors"
	"fmt"
	"io"
	"time"

	"kvcompress/kernels/device"
)

// Options says how a Device executes.
type Options struct {
	// Checks says which checkers are on; none by default.
	Checks Checks
	// AllowApprox allows modules with approximate instructions. Their results may differ from a GPU's.
	AllowApprox bool
	// MaxFindings is the number of different findings (see Finding) after which a launch ends. With 0 or 1
	// the first one ends the launch and is its error. With more, the launch's error at its end is a
	// *Findings.
	MaxFindings int
	// Suppress lists findings that are not reported. The launch continues after them.
	Suppress []Suppression
	// SameValueStores allows unordered threads to store the same value to the same place, as Compute
	// Sanitizer does; otherwise only lanes of one store may.
	SameValueStores bool
	// Shuffle, if not 0, is the seed of a random order of blocks, of warps, and of the lanes of atomics.
	Shuffle uint64
	// Budget is the number of instructions that all warps of a launch may execute together; 0 means 2^34.
	Budget int64
	// Coverage, if not nil, counts which instructions launches execute.
	Coverage *Coverage
	// Cache, which devices may share, keeps modules parsed by Load; nil keeps nothing.
	Cache *Cache
	// Output receives what kernels print (by printf, which PTX calls vprintf), at most 1 MiB per launch; nil
	// discards it.
	Output io.Writer
	// MemoryLimit bounds the allocated memory in bytes; 0 means 64 GiB.
	MemoryLimit int64
}

// Device executes PTX on the CPU. It implements device.Device.
type Device struct {
	opt          Options
	mem          memory
	checks       *checks
	instructions int64
	launches     uint64
	suppressed   int64 // number of suppressed findings
	approx       bool
	closed       bool
}

// New returns a device without allocations.
func New(opt Options) *Device {
	if opt.Budget <= 0 {
		opt.Budget = 1 << 34
	}
	if opt.MemoryLimit <= 0 {
		opt.MemoryLimit = 64 << 30
	}
	d := &Device{opt: opt}
	d.mem.limit = uint64(opt.MemoryLimit)
	d.checks = newChecks(opt.Checks, d)
	return d
}

var _ device.Device = (*Device)(nil)

var errClosed = errors.New("ptx: the device is closed")

// Name describes the device, and says whether it has loaded a module whose results may differ on hardware.
func (d *Device) Name() string {
	if d.approx {
		return "PTX on the CPU (approximate instructions: results may differ from hardware)"
	}
	return "PTX on the CPU"
}

// Instructions returns the number of instructions executed by the threads of all launches. An instruction
// skipped by a thread's guard does not count.
func (d *Device) Instructions() int64 { return d.instructions }

// Alloc allocates size bytes of global memory. They are zeroed, which a GPU does not guarantee; the check of
// uninitialized memory reports code that relies on it.
func (d *Device) Alloc(name string, size int64) (device.Ptr, error) {
	if d.closed {
		return 0, errClosed
	}
	if size < 0 {
		return 0, fmt.Errorf("ptx: %d bytes for %q", size, name)
	}
	a, err := d.mem.alloc(name, uint64(size))
	if err != nil {
		return 0, err
	}
	if d.checks != nil {
		d.checks.alloc(a)
	}
	return device.Ptr(a.base), nil
}

// Free frees an allocation, given the pointer that Alloc returned.
func (d *Device) Free(p device.Ptr) error {
	if d.closed {
		return errClosed
	}
	a := nearest(d.mem.live, uint64(p))
	if a == nil || a.base != uint64(p) || a.variable {
		r := &Report{Kind: BadFree, Address: uint64(p)}
		d.mem.describe(r, nil)
		switch {
		case a != nil && uint64(p) > a.base && uint64(p)-a.base < a.size:
			r.Detail = fmt.Sprintf("%#x is not the start of an allocation: it is byte %d of %q", uint64(p), r.Offset, a.name)
		case a != nil && a.base == uint64(p):
			r.Detail = fmt.Sprintf("%#x is a variable of a module, %q", uint64(p), a.name)
		case r.Kind == Freed && r.Offset == 0:
			r.Detail = fmt.Sprintf("%q was freed before", r.Allocation)
		default:
			r.Detail = fmt.Sprintf("%#x is not the start of an allocation: %s", uint64(p), r.Detail)
		}
		r.Kind = BadFree
		return r
	}
	d.mem.free(a)
	return nil
}

// Write copies from the host to the device.
func (d *Device) Write(to device.Ptr, from []byte) error {
	if d.closed {
		return errClosed
	}
	a, off, err := d.mem.span("a write", uint64(to), int64(len(from)))
	if err != nil {
		return err
	}
	copy(a.mem[off:], from)
	if d.checks != nil {
		d.checks.hostWrite(a, int64(off), int64(len(from)))
	}
	return nil
}

// Read copies from the device to the host.
func (d *Device) Read(to []byte, from device.Ptr) error {
	if d.closed {
		return errClosed
	}
	a, off, err := d.mem.span("a read", uint64(from), int64(len(to)))
	if err != nil {
		return err
	}
	copy(to, a.mem[off:])
	if d.checks != nil {
		return d.checks.hostRead(a, int64(off), int64(len(to)))
	}
	return nil
}

// Copy copies within the device; source and destination may overlap.
func (d *Device) Copy(to, from device.Ptr, n int64) error {
	if d.closed {
		return errClosed
	}
	src, srcOff, err := d.mem.span("a copy", uint64(from), n)
	if err != nil {
		return err
	}
	dst, dstOff, err := d.mem.span("a copy", uint64(to), n)
	if err != nil {
		return err
	}
	copy(dst.mem[dstOff:dstOff+uint64(n)], src.mem[srcOff:srcOff+uint64(n)])
	if d.checks != nil {
		d.checks.hostCopy(dst, int64(dstOff), src, int64(srcOff), n)
	}
	return nil
}

// Fill sets n bytes to a value.
func (d *Device) Fill(p device.Ptr, value byte, n int64) error {
	if d.closed {
		return errClosed
	}
	a, off, err := d.mem.span("a fill", uint64(p), n)
	if err != nil {
		return err
	}
	b := a.mem[off : off+uint64(n)]
	if value == 0 {
		clear(b)
	} else {
		first := b[:min(len(b), 4096)]
		for i := range first {
			first[i] = value
		}
		for done := len(first); done < len(b); {
			done += copy(b[done:], b[:min(done, 1<<20)])
		}
	}
	if d.checks != nil {
		d.checks.hostWrite(a, int64(off), n)
	}
	return nil
}

// Sync does nothing: every operation is complete when it returns.
func (d *Device) Sync() error {
	if d.closed {
		return errClosed
	}
	return nil
}

// Time returns how long f takes.
func (d *Device) Time(f func() error) (time.Duration, error) {
	if d.closed {
		return 0, errClosed
	}
	start := time.Now()
	err := f()
	return time.Since(start), err
}

// Close frees the device. If the leak check is on, it reports memory that was never freed.
func (d *Device) Close() error {
	if d.closed {
		return nil
	}
	d.closed = true
	var err error
	if d.checks != nil {
		err = d.checks.close()
	}
	d.mem.keep(0)
	return err
}
