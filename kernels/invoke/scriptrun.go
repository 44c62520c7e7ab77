package invoke

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
	"kvcompress/trace/regular"
)

// maxPTX bounds the size of a PTX file that a script loads.
const maxPTX = 64 << 20

// Launched is a launch of a script.
type Launched struct {
	Line    int     `json:"line"`
	Entry   string  `json:"entry"`
	Seconds float64 `json:"seconds"`
}

// ScriptResult is the result of a script.
type ScriptResult struct {
	Launches []Launched
	Expected []Comparison
	Saved    []Buffer
	// Findings are those of all launches, if the device continues after a finding.
	Findings []ptx.Finding
	// Differ reports whether an expectation was not met.
	Differ bool
}

// Run runs the script on a device; dir is the script's folder. Kernels with approximate instructions run if
// the device allows them. Findings (ptx.Options.MaxFindings) and unmet expectations do not end the script;
// any other error does, with its line. Files are written only if there was no error and no finding.
func (s *Script) Run(ctx context.Context, dev device.Device, dir string) (ScriptResult, error) {
	r := &scriptRun{ctx: ctx, dir: dir, running: running{dev: dev}, buffers: map[string]allocated{}}
	r.result = ScriptResult{Launches: []Launched{}, Expected: []Comparison{}, Saved: []Buffer{}}
	defer r.discard()
	if err := r.checkFiles(s); err != nil {
		return r.result, fmt.Errorf("%s: %w", s.name, err)
	}
	for _, st := range s.steps {
		r.line = st.line
		err := ctx.Err()
		if err == nil {
			err = st.do.run(r)
		}
		var found *ptx.Findings
		if f, ok := err.(*ptx.Findings); ok && !f.Stopped {
			r.result.Findings = append(r.result.Findings, f.List...)
			continue
		} else if errors.As(err, &found) {
			r.result.Findings = append(r.result.Findings, found.List...)
		}
		if ctx.Err() != nil {
			return r.result, ctx.Err()
		}
		if err != nil {
			return r.result, errors.Join(fmt.Errorf("%s:%d: %s: %w", s.name, st.line, st.text, err), r.free())
		}
	}
	if err := r.free(); err != nil {
		return r.result, err
	}
	if len(r.result.Findings) > 0 {
		return r.result, nil
	}
	return r.result, r.publish()
}

// checkFiles checks that the files the script saves can be written and are not files that it reads.
func (r *scriptRun) checkFiles(s *Script) error {
	var written, read []namedFile
	for _, st := range s.steps {
		var files []string
		switch do := st.do.(type) {
		case saveStep:
			written = append(written, namedFile{st.text, r.path(do.file)})
			continue
		case moduleStep:
			files = []string{do.file}
		case bufferStep:
			files = []string{do.from.from, do.mask}
		case writeStep:
			files = []string{do.file}
		case setStep:
			if do.arg.buffer != nil {
				files = []string{do.arg.buffer.from}
			}
		case expectStep:
			files = []string{do.file, do.mask}
		}
		for _, file := range files {
			if file != "" {
				read = append(read, namedFile{st.text, r.path(file)})
			}
		}
	}
	return checkWritten(written, read)
}

// scriptRun is a running script.
type scriptRun struct {
	running
	ctx     context.Context
	dir     string
	line    int
	modules []loadedText
	buffers map[string]allocated
	result  ScriptResult
}

// loadedText is a module of a script.
type loadedText struct {
	module  device.Module
	kernels []ptx.Kernel
}

// path returns the path of a file named in the script, with its # and tensor name.
func (r *scriptRun) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(r.dir, name)
}

func (s moduleStep) run(r *scriptRun) error {
	text, err := regular.ReadFile(r.path(s.file), maxPTX)
	if err != nil {
		return fmt.Errorf("%s: %w", s.file, err)
	}
	m, kernels, err := LoadModule(r.dev, filepath.Base(s.file), text)
	if err != nil {
		return err
	}
	r.modules = append(r.modules, loadedText{m, kernels})
	return nil
}

// LoadModule loads PTX and describes its kernels. If only a GPU's driver can parse the PTX, there are no
// descriptions.
func LoadModule(dev device.Device, name string, text []byte) (device.Module, []ptx.Kernel, error) {
	m, err := dev.Load(name, text)
	if err != nil {
		return nil, nil, err
	}
	if d, ok := m.(interface{ Kernels() []ptx.Kernel }); ok {
		return m, d.Kernels(), nil
	}
	p, err := ptx.Parse(name, text, true)
	if err != nil {
		return m, nil, nil
	}
	return m, p.Kernels(), nil
}

// FindKernel returns the kernel of a list that a word refers to (see FindEntry). An empty list matches any
// word.
func FindKernel(kernels []ptx.Kernel, word string) (ptx.Kernel, error) {
	if len(kernels) == 0 {
		return ptx.Kernel{Name: word}, nil
	}
	var names []string
	for _, k := range kernels {
		names = append(names, k.Name)
	}
	name, err := FindEntry(names, word)
	if err != nil {
		return ptx.Kernel{}, err
	}
	return kernels[slices.Index(names, name)], nil
}

func (s bufferStep) run(r *scriptRun) error {
	b := *s.from
	if b.from != "" {
		b.from = r.path(b.from)
	}
	a := Arg{text: s.name, kind: "in", buffer: &b}
	if s.mask == "" {
		_, err := r.prepare(r.ctx, len(r.ready), a)
		if err == nil {
			r.buffers[s.name] = r.ready[len(r.ready)-1]
		}
		return err
	}
	from, err := openSource(b.from)
	if err != nil {
		return err
	}
	defer from.file.Close()
	mask, err := readMask(r.path(s.mask), from.size/int64(from.typ.Bits()/8))
	if err != nil {
		return err
	}
	a.buffer = &buffer{typ: from.typ, shape: from.shape}
	p, err := r.prepare(r.ctx, len(r.ready), a)
	if err != nil {
		return err
	}
	made := r.ready[len(r.ready)-1]
	r.buffers[s.name] = made
	size := from.typ.Bits() / 8
	return r.read(r.ctx, made.size, from, func(part []byte, off int64) error {
		return eachRun(mask, off/int64(size), len(part)/size, func(i, j int) error {
			return r.dev.Write(p+device.Ptr(off)+device.Ptr(i*size), part[i*size:j*size])
		})
	})
}

func (s writeStep) run(r *scriptRun) error {
	b := r.buffers[s.name]
	if s.file == "" {
		return r.dev.Fill(b.ptr, 0, b.size)
	}
	from, err := openSource(r.path(s.file))
	if err != nil {
		return err
	}
	defer from.file.Close()
	if from.typ != b.typ || !slices.Equal(from.shape, b.shape) {
		return fmt.Errorf("%s is %s, and the buffer %s", s.file, typeText(from.typ, from.shape), typeText(b.typ, b.shape))
	}
	return r.load(r.ctx, b, from)
}

// variable returns the module that has a variable.
func (r *scriptRun) variable(name string) (device.Variables, int64, error) {
	var of device.Variables
	var size int64
	errs := []error{}
	for _, m := range r.modules {
		v, ok := m.module.(device.Variables)
		if !ok {
			return nil, 0, errors.New("the device cannot reach variables")
		}
		n, err := v.VariableSize(name)
		switch {
		case err != nil:
			errs = append(errs, err)
		case of != nil:
			return nil, 0, fmt.Errorf("two modules have a variable %q", name)
		default:
			of, size = v, n
		}
	}
	if of == nil {
		return nil, 0, errors.Join(errs...)
	}
	return of, size, nil
}

func (s setStep) run(r *scriptRun) error {
	of, size, err := r.variable(s.to.name)
	if err != nil {
		return err
	}
	var raw []byte
	if s.arg.kind == "in" {
		from, err := openSource(r.path(s.arg.buffer.from))
		if err != nil {
			return err
		}
		defer from.file.Close()
		if from.size > size {
			return fmt.Errorf("%s has %d bytes, and the variable %d", s.arg.buffer.from, from.size, size)
		}
		var all bytes.Buffer
		if _, err := all.ReadFrom(from.at); err != nil {
			return err
		}
		raw = all.Bytes()
	} else {
		v, err := r.value(s.arg)
		if err != nil {
			return err
		}
		if raw = v.image; raw == nil {
			raw = make([]byte, v.size)
			put(raw, v.word)
		}
	}
	return of.WriteVariable(s.to.name, s.to.add, raw)
}

// value returns an argument's value.
func (r *scriptRun) value(a Arg) (value, error) {
	if a.value != nil {
		if err := a.value.read(r.path); err != nil {
			return value{}, err
		}
	}
	return a.resolve(func(a Arg) (device.Ptr, error) {
		b := r.buffers[a.named.name]
		if a.named.add > b.size {
			return 0, fmt.Errorf("%s: the buffer has %d bytes", a.text, b.size)
		}
		return b.ptr + device.Ptr(a.named.add), nil
	})
}

func (s launchStep) run(r *scriptRun) error {
	kernel, described, err := r.kernel(s.launch.Entry)
	if err != nil {
		return err
	}
	l := s.launch
	l.Params = described.Params
	values := make([]value, len(l.Args))
	for i, a := range l.Args {
		if values[i], err = r.value(a); err != nil {
			return fmt.Errorf("argument %q: %w", a.text, err)
		}
	}
	if l.Params != nil {
		if err := matchAll(l.Args, l.Params); err != nil {
			return err
		}
	}
	var took time.Duration
	took, err = launch(r.ctx, r.dev, kernel, l, values)
	r.result.Launches = append(r.result.Launches, Launched{r.line, described.Name, took.Seconds()})
	return err
}

// kernel returns the kernel in one of the modules that a word refers to.
func (r *scriptRun) kernel(word string) (device.Kernel, ptx.Kernel, error) {
	var errs []error
	var found device.Module
	var kernel ptx.Kernel
	for _, m := range r.modules {
		k, err := FindKernel(m.kernels, word)
		switch {
		case err != nil:
			errs = append(errs, err)
		case found != nil:
			return nil, kernel, fmt.Errorf("two modules have a kernel %q", word)
		default:
			found, kernel = m.module, k
		}
	}
	if found == nil {
		return nil, kernel, errors.Join(errs...)
	}
	k, err := found.Kernel(kernel.Name)
	return k, kernel, err
}

func (s expectStep) run(r *scriptRun) error {
	file := r.path(s.file)
	from, err := openSource(file)
	if err != nil {
		return err
	}
	from.file.Close()
	read, typ, shape := reader(nil), from.typ, from.shape
	if b, ok := r.buffers[s.name.name]; ok && s.name.add == 0 {
		read, typ, shape = pointerTo(r.dev, b.ptr), b.typ, b.shape
	} else {
		of, _, err := r.variable(s.name.name)
		if err != nil {
			return err
		}
		read = func(to []byte, off int64) error { return of.ReadVariable(s.name.name, s.name.add+off, to) }
	}
	var mask []byte
	if s.mask != "" {
		if mask, err = readMask(r.path(s.mask), from.size/int64(from.typ.Bits()/8)); err != nil {
			return err
		}
	}
	c, err := compare(r.ctx, read, typ, shape, file, mask, s.tolerance)
	if err != nil {
		return err
	}
	c.Line, c.Name, c.File = r.line, s.name.name, s.file
	r.result.Expected = append(r.result.Expected, c)
	r.result.Differ = r.result.Differ || !c.Agree
	return nil
}

func (s saveStep) run(r *scriptRun) error {
	b := r.buffers[s.name.name]
	read := pointerTo(r.dev, b.ptr)
	if s.as != nil {
		of, size, err := r.variable(s.name.name)
		if err != nil {
			return err
		}
		b = allocated{typ: s.as.typ, shape: s.as.shape}
		if b.size, err = byteSize(b.typ, b.shape); err != nil {
			return err
		}
		if b.size > size-s.name.add {
			return fmt.Errorf("%s from byte %d has %d bytes, and the variable %d", typeText(b.typ, b.shape), s.name.add, b.size, size)
		}
		read = func(to []byte, off int64) error { return of.ReadVariable(s.name.name, s.name.add+off, to) }
	}
	b.to = r.path(s.file)
	n, err := r.running.save(r.ctx, b, read, s.name.name)
	if err != nil {
		return err
	}
	r.result.Saved = append(r.result.Saved, Buffer{
		Type: nameOf(b.typ), Shape: b.shape, File: s.file, Min: n.min, Max: n.max, NaNs: n.nans,
	})
	return nil
}
