package invoke

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"kvcompress/kernels/device"
	"kvcompress/safetensors"
	"kvcompress/trace/regular"
)

// chunk is how many bytes of a buffer are on their way at a time.
const chunk = 4 << 20

// Launch is a kernel's launch.
type Launch struct {
	Module      device.Module
	Entry       string
	Grid, Block device.Dim
	Shared      int // bytes of dynamic shared memory
	Args        []Arg
}

// Buffer is what became of a buffer.
type Buffer struct {
	Arg   int     `json:"arg"` // index of the argument
	Type  string  `json:"type"`
	Shape []int64 `json:"shape"`
	File  string  `json:"file"` // that it was written to

	// What its numbers are: the smallest and the largest that are not NaN, which are
	// absent if there are none, and how many are.
	Min  *Number `json:"min,omitempty"`
	Max  *Number `json:"max,omitempty"`
	NaNs int64   `json:"nans"`
}

// Result is what a launch has done.
type Result struct {
	Time    time.Duration
	Buffers []Buffer // those that were written to files, in the order of the arguments
}

// Run makes the launch's buffers on a device, runs the kernel, and writes the
// buffers that go to files, which take their names when all of them are complete. The device's memory is freed again.
//
// A canceled context ends the wait for a kernel, and not the kernel itself: the
// device can then not be used any more.
func Run(ctx context.Context, dev device.Device, l Launch) (Result, error) {
	kernel, err := l.Module.Kernel(l.Entry)
	if err != nil {
		return Result{}, err
	}
	r := &running{dev: dev}
	result, err := r.run(ctx, kernel, l)
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	return result, errors.Join(err, r.free())
}

// running is a launch whose buffers are on the device.
type running struct {
	dev   device.Device
	ready []allocated
	files []staged
}

// staged is a complete file that waits to take its name.
type staged struct{ temporary, path, arg string }

// allocated is a buffer on the device.
type allocated struct {
	arg   int
	ptr   device.Ptr
	typ   safetensors.DType
	shape []int64
	size  int64
	to    string
}

func (r *running) run(ctx context.Context, kernel device.Kernel, l Launch) (Result, error) {
	if err := distinct(l.Args); err != nil {
		return Result{}, err
	}
	args := make([]device.Arg, len(l.Args))
	for i, a := range l.Args {
		args[i] = a.scalar
		if a.buffer == nil {
			continue
		}
		p, err := r.prepare(ctx, i, a)
		if err != nil {
			return Result{}, fmt.Errorf("argument %q: %w", a.text, err)
		}
		args[i] = device.Pointer(p)
	}

	type outcome struct {
		time time.Duration
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		o.time, o.err = r.dev.Time(func() error { return kernel.Launch(l.Grid, l.Block, l.Shared, args...) })
		done <- o
	}()
	var o outcome
	select {
	case <-ctx.Done():
		return Result{}, ctx.Err()
	case o = <-done:
	}
	if o.err != nil {
		return Result{}, o.err
	}

	result := Result{Time: o.time, Buffers: []Buffer{}}
	defer r.discard()
	for _, b := range r.ready {
		if b.to == "" {
			continue
		}
		numbers, err := r.save(ctx, b, l.Args[b.arg].text)
		if err != nil {
			return Result{}, fmt.Errorf("argument %q: %w", l.Args[b.arg].text, err)
		}
		result.Buffers = append(result.Buffers, Buffer{
			Arg: b.arg, Type: nameOf(b.typ), Shape: b.shape, File: b.to,
			Min: numbers.min, Max: numbers.max, NaNs: numbers.nans,
		})
	}
	if err := r.publish(); err != nil {
		return Result{}, err
	}
	return result, nil
}

// distinct refuses two arguments that are written to one file, of which only the
// last would be left.
func distinct(args []Arg) error {
	first := map[string]string{} // by path: the argument
	for _, a := range args {
		if a.buffer == nil || a.buffer.to == "" {
			continue
		}
		path, _, err := splitFile(a.buffer.to)
		if err != nil {
			return err
		}
		path = filepath.Clean(path)
		if other, twice := first[path]; twice {
			return fmt.Errorf("arguments %q and %q are written to the same file, %s", other, a.text, path)
		}
		first[path] = a.text
	}
	return nil
}

// publish gives the files their names.
func (r *running) publish() error {
	for len(r.files) > 0 {
		f := r.files[0]
		if err := os.Rename(f.temporary, f.path); err != nil {
			var link *os.LinkError
			if errors.As(err, &link) {
				err = link.Err // without the temporary name
			}
			return fmt.Errorf("argument %q: %s: %w", f.arg, f.path, err)
		}
		r.files = r.files[1:]
	}
	return nil
}

// discard removes files that have not got their names.
func (r *running) discard() {
	for _, f := range r.files {
		_ = os.Remove(f.temporary) // the first error says more
	}
}

// free frees the buffers.
func (r *running) free() error {
	var errs []error
	for _, b := range r.ready {
		errs = append(errs, r.dev.Free(b.ptr))
	}
	return errors.Join(errs...)
}

// prepare makes the buffer of an argument.
func (r *running) prepare(ctx context.Context, arg int, a Arg) (device.Ptr, error) {
	b := allocated{arg: arg, typ: a.buffer.typ, shape: a.buffer.shape, to: a.buffer.to}
	var from *source
	var err error
	if a.buffer.from != "" {
		if from, err = openSource(a.buffer.from); err != nil {
			return 0, err
		}
		defer from.file.Close()
		b.typ, b.shape, b.size = from.typ, from.shape, from.size
	} else if b.size, err = byteSize(b.typ, b.shape); err != nil {
		return 0, err
	}
	if b.to != "" {
		if _, _, err := fileHeader(b.to, b.typ, b.shape); err != nil {
			return 0, err
		}
	}
	if b.ptr, err = r.dev.Alloc(fmt.Sprintf("argument %d: %s", arg, a.text), b.size); err != nil {
		return 0, err
	}
	r.ready = append(r.ready, b)
	switch {
	case from != nil:
		err = r.load(ctx, b, from)
	case a.buffer.zeroed:
		err = r.dev.Fill(b.ptr, 0, b.size)
	}
	return b.ptr, err
}

// load copies a file's array to the device.
func (r *running) load(ctx context.Context, b allocated, from *source) error {
	return inChunks(ctx, b.size, func(part []byte, off int64) error {
		if _, err := io.ReadFull(from.at, part); err != nil {
			return fmt.Errorf("at byte %d of %d: %w", off, b.size, regular.Short(err))
		}
		return r.dev.Write(b.ptr+device.Ptr(off), part)
	})
}

// save copies a buffer from the device to a file that publish gives its name.
func (r *running) save(ctx context.Context, b allocated, arg string) (n numbers, err error) {
	path, header, err := fileHeader(b.to, b.typ, b.shape)
	if err != nil {
		return n, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return n, fmt.Errorf("%s: %w", path, regular.Short(err))
	}
	r.files = append(r.files, staged{f.Name(), path, arg})
	defer func() {
		if closed := f.Close(); err == nil && closed != nil {
			err = fmt.Errorf("%s: %w", path, regular.Short(closed))
		}
	}()
	if err := f.Chmod(0o644); err != nil {
		return n, fmt.Errorf("%s: %w", path, regular.Short(err))
	}
	if _, err := f.Write(header); err != nil {
		return n, fmt.Errorf("%s: %w", path, regular.Short(err))
	}
	err = inChunks(ctx, b.size, func(part []byte, off int64) error {
		if err := r.dev.Read(part, b.ptr+device.Ptr(off)); err != nil {
			return err
		}
		n.add(b.typ, part)
		if _, err := f.Write(part); err != nil {
			return fmt.Errorf("%s: %w", path, regular.Short(err))
		}
		return nil
	})
	return n, err
}

// inChunks calls do with a slice for each part of size bytes.
func inChunks(ctx context.Context, size int64, do func(part []byte, off int64) error) error {
	buf := make([]byte, min(size, chunk))
	for off := int64(0); off < size; off += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := do(buf[:min(size-off, chunk)], off); err != nil {
			return err
		}
	}
	return nil
}
