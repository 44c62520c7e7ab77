package invoke

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"kvcompress/internal/output"
	"kvcompress/internal/work"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
	"kvcompress/safetensors"
	"kvcompress/trace/regular"
)

// chunk is the number of bytes of a buffer that are copied at a time.
const chunk = 4 << 20

// Launch is a kernel's launch.
type Launch struct {
	Module      device.Module
	Entry       string
	Params      []ptx.Param // the kernel's parameters, which the arguments must match; nil if unknown
	Grid, Block device.Dim
	Shared      int  // bytes of dynamic shared memory
	Cooperative bool // all blocks are resident together (device.CooperativeKernel)
	Args        []Arg
	Expect      []Expect
	Tolerance   Tolerance // for all of Expect
}

// Expect is a file that a buffer should equal after the launch.
type Expect struct {
	Buffer string // an argument's index, its parameter's name, its kind if that is unambiguous, or the file it is written to
	File   string
}

// ParseExpect parses BUFFER=FILE.
func ParseExpect(text string) (Expect, error) {
	// Split at the last =, since the name of an output file may contain one.
	at := strings.LastIndexByte(text, '=')
	if at < 1 {
		return Expect{}, fmt.Errorf("expectation %q: want BUFFER=FILE, such as out=ref.npy", text)
	}
	e := Expect{text[:at], text[at+1:]}
	if _, _, err := splitFile(e.File); err != nil {
		return Expect{}, fmt.Errorf("expectation %q: %w", text, err)
	}
	return e, nil
}

// find returns the index of the argument that an expectation is about.
func (e Expect) find(args []Arg, params []ptx.Param) (int, error) {
	is := []func(i int) bool{
		func(i int) bool { return strconv.Itoa(i) == e.Buffer },
		func(i int) bool { return i < len(params) && params[i].Name == e.Buffer },
		func(i int) bool { return args[i].buffer.to == e.Buffer },
		func(i int) bool { return args[i].kind == e.Buffer },
	}
	for _, matches := range is {
		var found []int
		for i := range args {
			if args[i].buffer != nil && matches(i) {
				found = append(found, i)
			}
		}
		switch {
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			return 0, fmt.Errorf("expectation %s=%s: arguments %v are all %s=: give an index, or the file that the buffer is written to", e.Buffer, e.File, found, e.Buffer)
		}
	}
	return 0, fmt.Errorf("expectation %s=%s: no buffer argument has that index, parameter name, file or kind", e.Buffer, e.File)
}

// Buffer is a buffer after a launch.
type Buffer struct {
	Arg   int     `json:"arg"` // index of the argument
	Type  string  `json:"type"`
	Shape []int64 `json:"shape"`
	File  string  `json:"file"` // file that it was written to

	// Min and Max are the smallest and largest number, absent if all are NaN; NaN is the number of NaNs.
	Min  *Number `json:"min,omitempty"`
	Max  *Number `json:"max,omitempty"`
	NaNs int64   `json:"nans"`
}

// Result is the result of a launch.
type Result struct {
	Time    time.Duration
	Buffers []Buffer // buffers written to files, in the order of the arguments
	// Expected has the comparisons, in the order of Launch.Expect.
	Expected []Comparison `json:",omitempty"`
}

// Run creates the launch's buffers on a device, runs the kernel, and writes the output files, which get their
// names only when all of them are complete. It then frees the device's memory.
//
// A canceled context ends the wait for a kernel, but not the kernel itself: the device can then no longer be
// used.
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

// running is a launch with its buffers on the device.
type running struct {
	dev   device.Device
	ready []allocated
	files []staged
}

// staged is a complete output file that does not have its name yet.
type staged struct {
	*output.File
	arg string
}

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
	for _, a := range l.Args {
		if a.value != nil {
			if err := a.value.read(func(path string) string { return path }); err != nil {
				return Result{}, fmt.Errorf("argument %q: %w", a.text, err)
			}
		}
	}
	if l.Params != nil {
		if err := matchAll(l.Args, l.Params); err != nil {
			return Result{}, err
		}
	}
	expected := make([]int, len(l.Expect))
	for i, e := range l.Expect {
		var err error
		if expected[i], err = e.find(l.Args, l.Params); err != nil {
			return Result{}, err
		}
	}
	if err := checkFiles(l.Args, l.Expect); err != nil {
		return Result{}, err
	}
	values := make([]value, len(l.Args))
	for i, a := range l.Args {
		var err error
		values[i], err = a.resolve(func(a Arg) (device.Ptr, error) {
			if a.named != nil {
				return 0, errors.New("named buffers exist only in scripts")
			}
			return r.prepare(ctx, i, a)
		})
		if err != nil {
			return Result{}, fmt.Errorf("argument %q: %w", a.text, err)
		}
	}
	took, err := launch(ctx, r.dev, kernel, l, values)
	if err != nil {
		return Result{}, err
	}

	result := Result{Time: took, Buffers: []Buffer{}}
	defer r.discard()
	var undefined []error // an error for each buffer with undefined bytes
	for _, b := range r.ready {
		if b.to == "" {
			continue
		}
		numbers, err := r.save(ctx, b, pointerTo(r.dev, b.ptr), l.Args[b.arg].text)
		if err != nil {
			err = fmt.Errorf("argument %q: %w", l.Args[b.arg].text, err)
			if errors.As(err, new(*ptx.Report)) {
				undefined = append(undefined, err)
				continue
			}
			return Result{}, err
		}
		result.Buffers = append(result.Buffers, Buffer{
			Arg: b.arg, Type: nameOf(b.typ), Shape: b.shape, File: b.to,
			Min: numbers.min, Max: numbers.max, NaNs: numbers.nans,
		})
	}
	if undefined != nil {
		return Result{}, errors.Join(undefined...)
	}
	for i, arg := range expected {
		b := r.ready[slices.IndexFunc(r.ready, func(b allocated) bool { return b.arg == arg })]
		c, err := compare(ctx, pointerTo(r.dev, b.ptr), b.typ, b.shape, l.Expect[i].File, nil, l.Tolerance)
		if err != nil {
			return Result{}, fmt.Errorf("expectation %s=%s: %w", l.Expect[i].Buffer, l.Expect[i].File, err)
		}
		c.Arg, c.Name = &arg, l.Expect[i].Buffer
		result.Expected = append(result.Expected, c)
	}
	if err := r.publish(); err != nil {
		return Result{}, err
	}
	return result, nil
}

// value is the value of an argument.
type value struct {
	word  device.Arg
	size  int    // bytes
	image []byte // of a struct; then the other fields are unset
}

// resolve returns an argument's value; address returns the address of a buffer.
func (a Arg) resolve(address func(Arg) (device.Ptr, error)) (value, error) {
	switch {
	case a.value != nil:
		image := append([]byte(nil), a.value.bytes...)
		image = append(image, make([]byte, a.value.size()-len(image))...)
		for _, f := range a.value.fields {
			v, err := f.resolve(address)
			if err != nil {
				return value{}, fmt.Errorf("field %q: %w", f.text, err)
			}
			put(image[f.at:f.at+v.size], v.word)
		}
		return value{image: image}, nil
	case a.buffer != nil || a.named != nil:
		p, err := address(a)
		return value{word: device.Pointer(p), size: 8}, err
	}
	return value{word: a.scalar, size: a.bits() / 8}, nil
}

// launch runs a kernel once, and returns how long it took.
func launch(ctx context.Context, dev device.Device, kernel device.Kernel, l Launch, values []value) (_ time.Duration, err error) {
	words, structs := make([]device.Arg, len(values)), false
	images := make([][]byte, len(values))
	for i, v := range values {
		words[i] = v.word
		if images[i] = v.image; v.image == nil {
			images[i] = make([]byte, v.size)
			put(images[i], v.word)
			continue
		}
		structs = true
		if l.Params != nil { // bytes without a field are padding
			p := l.Params[i]
			images[i] = append(images[i], make([]byte, ptxBits(p.Type)/8*p.Count-len(images[i]))...)
		}
	}
	if l.Cooperative {
		k, ok := kernel.(device.CooperativeKernel)
		if !ok {
			return 0, errNotCooperative
		}
		kernel = k.Cooperative()
	}
	run := func() error { return kernel.Launch(ctx, l.Grid, l.Block, l.Shared, words...) }
	if structs {
		k, ok := kernel.(device.BytesKernel)
		if !ok {
			return 0, errNoStructs
		}
		run = func() error { return k.LaunchBytes(ctx, l.Grid, l.Block, l.Shared, images...) }
	}
	defer work.Recover(&err)
	return dev.Time(run)
}

// checkFiles returns an error if an output file cannot be written, if two arguments are written to the same
// file, or if an output would overwrite what another argument or an expectation reads. An inout argument may
// overwrite its own file.
func checkFiles(args []Arg, expect []Expect) error {
	var written, read []namedFile
	for _, a := range withFields(args) {
		if a.buffer == nil {
			continue
		}
		if a.buffer.to != "" {
			written = append(written, namedFile{a.text, a.buffer.to})
		}
		if a.buffer.from != "" {
			read = append(read, namedFile{a.text, a.buffer.from})
		}
	}
	for _, e := range expect {
		read = append(read, namedFile{e.Buffer + "=" + e.File, e.File})
	}
	return checkWritten(written, read)
}

// namedFile is a file, with # and a tensor's name if any, and the argument or expectation that names it.
type namedFile struct{ by, file string }

func (f namedFile) path() string {
	path, _, _ := splitFile(f.file) // it was checked when it was parsed
	return path
}

func checkWritten(written, read []namedFile) error {
	own := func(w, r namedFile) bool { return w.by == r.by && output.Same(w.path(), r.path()) }
	for i, w := range written {
		for _, other := range written[:i] {
			if output.Same(w.path(), other.path()) {
				return fmt.Errorf("%q and %q are written to the same file, %s", other.by, w.by, w.path())
			}
		}
		if err := output.Check(w.path()); err != nil {
			return fmt.Errorf("%q: %w", w.by, err)
		}
		if slices.ContainsFunc(read, func(r namedFile) bool { return own(w, r) }) {
			continue // an inout argument that overwrites its own file
		}
		for _, r := range read {
			if output.Same(w.path(), r.path()) {
				return fmt.Errorf("%q would be written over %s, which %q reads", w.by, w.path(), r.by)
			}
		}
	}
	return nil
}

// withFields returns the arguments and the fields of struct arguments.
func withFields(args []Arg) []Arg {
	var all []Arg
	for _, a := range args {
		if all = append(all, a); a.value != nil {
			for _, f := range a.value.fields {
				all = append(all, f.Arg)
			}
		}
	}
	return all
}

// publish renames the output files to their names.
func (r *running) publish() error {
	for len(r.files) > 0 {
		f := r.files[0]
		if err := f.Commit(); err != nil {
			return fmt.Errorf("argument %q: %w", f.arg, err)
		}
		r.files = r.files[1:]
	}
	return nil
}

// discard removes output files that were not renamed.
func (r *running) discard() {
	for _, f := range r.files {
		f.Discard()
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

// prepare creates the buffer of an argument.
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
	name := fmt.Sprintf("argument %d: %s", arg, a.text)
	if !strings.Contains(a.text, "=") { // a script's buffer
		name = a.text
	}
	if b.ptr, err = r.dev.Alloc(name, b.size); err != nil {
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
	return r.read(ctx, b.size, from, func(part []byte, off int64) error {
		return r.dev.Write(b.ptr+device.Ptr(off), part)
	})
}

// read calls do for each chunk of a file's array.
func (r *running) read(ctx context.Context, size int64, from *source, do func(part []byte, off int64) error) error {
	return inChunks(ctx, size, func(part []byte, off int64) error {
		if _, err := io.ReadFull(from.at, part); err != nil {
			return fmt.Errorf("at byte %d of %d: %w", off, size, regular.Short(err))
		}
		return do(part, off)
	})
}

// save copies a buffer or a variable, of which read reads the bytes, to the file b.to, which publish renames to its
// name.
func (r *running) save(ctx context.Context, b allocated, read reader, arg string) (n numbers, err error) {
	path, header, err := fileHeader(b.to, b.typ, b.shape)
	if err != nil {
		return n, err
	}
	f, err := output.Create(path)
	if err != nil {
		return n, err
	}
	r.files = append(r.files, staged{f, arg})
	if _, err := f.Write(header); err != nil {
		return n, err
	}
	err = inChunks(ctx, b.size, func(part []byte, off int64) error {
		if err := read(part, off); err != nil {
			return err
		}
		n.add(b.typ, part)
		_, err := f.Write(part)
		return err
	})
	if err != nil {
		return n, err
	}
	return n, f.Close()
}

// inChunks calls do with a slice for each chunk of size bytes.
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
