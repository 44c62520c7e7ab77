package kernels

import (
	"embed"
	"fmt"
	"strings"

	"kvcompress/kernels/device"
)

//go:embed cu/*.ptx
var modules embed.FS

// module is one file of PTX and the entry points that the engine launches from it.
type module struct {
	file    string
	entries []string
}

// PTX returns the text of one of the engine's modules: "attention.ptx".
func PTX(file string) ([]byte, error) { return modules.ReadFile("cu/" + file) }

// Modules returns the names of the engine's modules.
func Modules() []string {
	entries, err := modules.ReadDir("cu")
	if err != nil {
		return nil // an embedded folder can be read
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// typed is the name of the entry point of a kernel that there is one of for each
// format of keys and values: "append_tokens" becomes "append_tokens_f16".
func (s *state) typed(kernel string) string {
	return kernel + "_" + strings.TrimPrefix(s.cfg.DType.String(), "fp8_")
}

// kernel returns the entry point of a module, which it loads when it is first
// asked for one, or what the options put in its place.
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
	return k.Launch(grid, block, shared, args...)
}
