package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/pflag"

	"kvcompress/kernels"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
	"kvcompress/trace/regular"
	"kvcompress/validate"
)

// engineFlags are the flags of a command that runs the CUDA engine.
type engineFlags struct {
	device  deviceFlags
	kernels []string
}

// add defines the flags of the device, and --kernel and --allow-approx.
func (f *engineFlags) add(fs *pflag.FlagSet) {
	f.device.add(fs)
	fs.StringArrayVar(&f.kernels, "kernel", nil,
		"replace one of the engine's kernels: `NAME=FILE.ptx:ENTRY`; may be repeated")
	fs.BoolVar(&f.device.options.AllowApprox, "allow-approx", false, "run kernels whose results may differ between a GPU and the PTX machine")
}

// engines makes CUDA engines, each on a device of its own.
type engines struct {
	flags   *engineFlags
	options kernels.Options
	device  string // where they run

	mu       sync.Mutex
	launched map[string]bool // the kernels that were launched
}

// String names the two engines that are compared, for the beginning of a sentence.
func (e *engines) String() string {
	return fmt.Sprintf("The reference and the CUDA engine (%s)", e.device)
}

// open checks the flags, reads the kernels that replace others, and checks that the device can
// be opened and loads them. When the context is done, launches end.
func (f *engineFlags) open(ctx context.Context) (*engines, error) {
	e := &engines{flags: f, launched: map[string]bool{}}
	e.options = kernels.Options{
		Context: ctx,
		Kernels: map[string]kernels.Replacement{},
		Launched: func(name string) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.launched[name] = true
		},
	}
	for _, text := range f.kernels {
		name, r, err := readReplacement(text)
		if err != nil {
			return nil, usageError{fmt.Errorf("--kernel %s: %w", text, err)}
		}
		if _, twice := e.options.Kernels[name]; twice {
			return nil, usageError{fmt.Errorf("--kernel %s: %s is replaced twice", text, name)}
		}
		e.options.Kernels[name] = r
	}
	dev, err := f.device.open()
	if err != nil {
		return nil, err
	}
	for _, r := range e.options.Kernels { // report errors once, and not for every trace
		if err := loads(dev, r); err != nil {
			return nil, errors.Join(err, dev.Close())
		}
	}
	e.device = dev.Name()
	if _, isPTX := dev.(*ptx.Device); isPTX {
		e.device += ", checks: " + (&checksValue{&f.device.options.Checks}).String()
	}
	return e, dev.Close()
}

// unused returns an error if a replacement was never launched, and so was not checked.
func (e *engines) unused() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(e.options.Kernels)) {
		if !e.launched[name] {
			return fmt.Errorf("the kernel that replaces %s was never launched", name)
		}
	}
	return nil
}

// loads returns an error if a device cannot load a kernel.
func loads(dev device.Device, r kernels.Replacement) error {
	m, err := dev.Load(r.File, r.PTX)
	if err != nil {
		return err
	}
	_, err = m.Kernel(r.Entry)
	return err
}

// make is a validate.NewEngine.
func (e *engines) make(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (validate.Engine, error) {
	return e.on(cfg, open, observe)
}

// live makes an engine for a model that runs through its cache.
func (e *engines) live(cfg ref.Config) (*onDevice, error) { return e.on(cfg, nil, nil) }

func (e *engines) on(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (*onDevice, error) {
	dev, err := e.flags.device.open()
	if err != nil {
		return nil, err
	}
	engine, err := kernels.New(dev, cfg, open, observe, e.options)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return &onDevice{engine, dev}, nil
}

// onDevice is an engine on a device of its own.
type onDevice struct {
	*kernels.Engine
	device device.Device
}

// Close closes the engine and the device.
func (e *onDevice) Close() error { return errors.Join(e.Engine.Close(), e.device.Close()) }

// readReplacement reads NAME=FILE.ptx:ENTRY and the file.
func readReplacement(text string) (name string, r kernels.Replacement, err error) {
	name, rest, ok := strings.Cut(text, "=")
	colon := strings.LastIndexByte(rest, ':')
	if !ok || name == "" || colon <= 0 || colon == len(rest)-1 {
		return "", r, errors.New("want NAME=FILE.ptx:ENTRY")
	}
	if err := kernels.CheckName(name); err != nil {
		return "", r, err
	}
	r.File, r.Entry = rest[:colon], rest[colon+1:]
	r.PTX, err = regular.ReadFile(r.File, maxPTX)
	return name, r, err
}

// command returns the flags with these names that were set, as on a command line, each after a space.
func command(fs *pflag.FlagSet, names ...string) string {
	var b strings.Builder
	for _, name := range names {
		f := fs.Lookup(name)
		if !f.Changed {
			continue
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			fmt.Fprintf(&b, " --%s=%s", name, quoted(v))
		}
	}
	return b.String()
}

// quoted returns a word quoted for a shell where that is needed.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-+=.,:/@%", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
