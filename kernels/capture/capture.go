// Package capture records one launch of a kernel in a pipeline as files: its buffers before and after, and a
// script (invoke.Script) that repeats the launch and compares.
//
// [NewRecorder] wraps a device; the recorded [Launch] can write its files.
package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
)

// Launch is a recorded launch.
type Launch struct {
	File    string // of the PTX
	Text    []byte
	Entry   string
	Grid    device.Dim
	Block   device.Dim
	Shared  int
	Args    []device.Arg
	Params  []ptx.Param
	Buffers []Buffer
}

// Buffer is an allocation that an argument points into.
type Buffer struct {
	Name    string // its name in the script: letters, digits and _
	Type    string // element type with which the kernel accesses it, such as "f32"; "u8" if unknown
	Before  *ptx.Snapshot
	After   *ptx.Snapshot
	Changed bool
}

// Recorder is a device that records one launch of its modules' kernels.
type Recorder struct {
	*ptx.Device
	wanted func(entry string) bool
	launch *Launch
}

// NewRecorder returns a device that records the first launch for which wanted returns true. wanted is called
// before every launch with the kernel's name.
func NewRecorder(dev *ptx.Device, wanted func(entry string) bool) *Recorder {
	return &Recorder{Device: dev, wanted: wanted}
}

// Launch returns what was recorded; nil if nothing was.
func (r *Recorder) Launch() *Launch { return r.launch }

// Load makes a module whose launches can be recorded.
func (r *Recorder) Load(name string, text []byte) (device.Module, error) {
	m, err := r.Device.Load(name, text)
	if err != nil {
		return nil, err
	}
	return &module{m, r, name, text}, nil
}

type module struct {
	device.Module
	recorder *Recorder
	name     string
	text     []byte
}

// Kernel returns a kernel whose launches can be recorded.
func (m *module) Kernel(entry string) (device.Kernel, error) {
	k, err := m.Module.Kernel(entry)
	if err != nil {
		return nil, err
	}
	return &kernel{k, m, entry}, nil
}

type kernel struct {
	device.Kernel
	module *module
	entry  string
}

// Launch runs the kernel, and records the launch if it is the wanted one.
func (k *kernel) Launch(ctx context.Context, grid, block device.Dim, shared int, args ...device.Arg) error {
	r := k.module.recorder
	if !r.wanted(k.entry) || r.launch != nil {
		return k.Kernel.Launch(ctx, grid, block, shared, args...)
	}
	p, err := ptx.Parse(k.module.name, k.module.text, true)
	if err != nil {
		return err
	}
	l := &Launch{
		File: k.module.name, Text: k.module.text, Entry: k.entry,
		Grid: grid, Block: block, Shared: shared, Args: slices.Clone(args),
	}
	for _, d := range p.Kernels() {
		if d.Name == k.entry {
			l.Params = d.Params
		}
	}
	types := p.Pointees(k.entry)
	for i, a := range args {
		s := r.Snapshot(device.Ptr(a))
		if s == nil || slices.ContainsFunc(l.Buffers, func(b Buffer) bool { return b.Before.Base == s.Base }) {
			continue
		}
		b := Buffer{Name: l.name(s.Name), Type: "u8", Before: s}
		if size := elementSize(types[i]); size > 0 && len(s.Data)%size == 0 {
			b.Type = types[i]
		}
		l.Buffers = append(l.Buffers, b)
	}
	if err := k.Kernel.Launch(ctx, grid, block, shared, args...); err != nil {
		return err
	}
	for i := range l.Buffers {
		b := &l.Buffers[i]
		if b.After = r.Snapshot(b.Before.Base); b.After == nil {
			return errors.New("capture: a buffer was freed during the launch")
		}
		b.Changed = !bytes.Equal(b.Before.Data, b.After.Data) || !bytes.Equal(b.Before.Defined, b.After.Defined)
	}
	r.launch = l
	return nil
}

// name makes a unique name for the script from an allocation's name.
func (l *Launch) name(text string) string {
	name := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, text), "_0123456789")
	if name == "" {
		name = "buffer"
	}
	unique := name
	for n := 2; slices.ContainsFunc(l.Buffers, func(b Buffer) bool { return strings.EqualFold(b.Name, unique) }); n++ {
		unique = fmt.Sprintf("%s_%d", name, n)
	}
	return unique
}
