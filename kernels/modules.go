package kernels

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"kvcompress/internal/near"
	"kvcompress/kernels/device"
)

//go:embed cu/*.ptx
var modules embed.FS

// PTX returns the text of one of the engine's modules: "attention.ptx".
func PTX(file string) ([]byte, error) { return modules.ReadFile("cu/" + file) }

// Modules returns the names of the engine's modules.
func Modules() []string {
	entries, err := modules.ReadDir("cu")
	if err != nil {
		return nil // impossible: the folder is embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// typed returns the name of the entry point for the cache's format: "append_tokens" becomes
// "append_tokens_f16".
func (s *state) typed(kernel string) string {
	return kernel + "_" + strings.TrimPrefix(s.cfg.DType.String(), "fp8_")
}

// Entries returns the names of the kernels in PTX as clang or nvcc writes it.
func Entries(ptx []byte) []string {
	var names []string
	for {
		_, after, found := bytes.Cut(ptx, []byte("\n.visible .entry "))
		if !found {
			return names
		}
		name, rest, found := bytes.Cut(after, []byte("("))
		if !found {
			return names
		}
		names, ptx = append(names, string(name)), rest
	}
}

// Names returns the names of the engine's kernels.
func Names() []string {
	var names []string
	for _, file := range Modules() {
		text, err := PTX(file)
		if err != nil {
			continue // impossible: it was just listed
		}
		names = append(names, Entries(text)...)
	}
	return names
}

// CheckName returns an error if the engine has no kernel of that name, with or without the format.
func CheckName(name string) error { return checkName(name, Names()) }

func checkName(name string, names []string) error {
	if slices.Contains(names, name) || slices.Contains(names, name+"_f32") {
		return nil
	}
	return fmt.Errorf("kernels: there is no kernel %q to replace%s: there are %s", name, near.Hint(name, names), strings.Join(names, ", "))
}

// replace replaces kernels of the engine by those of the options.
func (s *state) replace(opt Options) error {
	if len(opt.Kernels) == 0 {
		return nil
	}
	names := Names()
	type text struct { // a PTX file, which usually has several kernels
		file  string
		first *byte
		size  int
	}
	loaded := map[text]device.Module{}
	for name, r := range opt.Kernels {
		if err := checkName(name, names); err != nil {
			return err
		}
		entry := name
		if !slices.Contains(names, entry) {
			entry = s.typed(name)
		}
		of := text{r.File, unsafe.SliceData(r.PTX), len(r.PTX)}
		m := loaded[of]
		if m == nil {
			var err error
			if m, err = s.dev.Load(r.File, r.PTX); err != nil {
				return err
			}
			loaded[of] = m
		}
		k, err := m.Kernel(r.Entry)
		if err != nil {
			return err
		}
		if opt.Launched != nil {
			k = watched{k, name, opt.Launched}
		}
		s.kernels[entry] = k
	}
	return nil
}

// watched is a kernel that reports its launches.
type watched struct {
	device.Kernel
	name     string
	launched func(string)
}

func (w watched) Launch(ctx context.Context, grid, block device.Dim, shared int, args ...device.Arg) error {
	w.launched(w.name)
	return w.Kernel.Launch(ctx, grid, block, shared, args...)
}

// kernel returns a kernel: the options' replacement, or the entry point of a module, which is loaded when
// first needed.
func (s *state) kernel(file, entry string) (device.Kernel, error) {
	if k := s.kernels[entry]; k != nil {
		return k, nil
	}
	m := s.loaded[file]
	if m == nil {
		text, err := PTX(file)
		if err != nil {
			return nil, fmt.Errorf("kernels: %w", err)
		}
		if m, err = s.dev.Load(file, text); err != nil {
			return nil, err
		}
		s.loaded[file] = m
	}
	k, err := m.Kernel(entry)
	if err != nil {
		return nil, err
	}
	s.kernels[entry] = k
	return k, nil
}

// launch runs a kernel of a module.
func (s *state) launch(file, entry string, grid, block device.Dim, shared int, args ...device.Arg) error {
	k, err := s.kernel(file, entry)
	if err != nil {
		return err
	}
	return k.Launch(s.ctx, grid, block, shared, args...)
}

// IsKernel reports whether an entry point is the kernel with a name, with or without the format.
func IsKernel(entry, name string) bool {
	if entry == name {
		return true
	}
	format, ok := strings.CutPrefix(entry, name+"_")
	return ok && slices.Contains([]string{"f32", "f16", "bf16", "e4m3", "e5m2"}, format)
}
