package ptx

import (
	"fmt"

	"kvcompress/kernels/device"
)

// A module's variables, which the host can read and write.

var _ device.Variables = (*loadedModule)(nil)

// VariableSize returns the bytes of a .global or .const variable.
func (m *loadedModule) VariableSize(name string) (int64, error) {
	v, err := m.variable(name)
	if err != nil {
		return 0, err
	}
	return v.size, nil
}

// variable returns a variable in global or constant memory.
func (m *loadedModule) variable(name string) (*variable, error) {
	pm := m.program.module
	switch v := pm.globals[name]; {
	case m.device.closed:
		return nil, errClosed
	case v == nil:
		return nil, fmt.Errorf("ptx: %s: no variable %q%s", pm.name, short(name), m.variableNames())
	case v.refused != nil:
		return nil, v.refused
	case v.space != spaceGlobal && v.space != spaceConst:
		return nil, fmt.Errorf("ptx: %s: %q is in %v memory, which the host cannot reach", pm.name, short(name), v.space)
	default:
		return v, nil
	}
}

// variableNames lists the variables, for an error.
func (m *loadedModule) variableNames() string {
	return listed(m.program.Variables(), "it has no variable in global or constant memory")
}

// Variables returns the names of the variables in global and constant memory, in the
// order of the text.
func (p *Program) Variables() []string {
	var names []string
	for _, v := range p.module.order {
		if p.module.globals[v.name] == v && v.refused == nil && (v.space == spaceGlobal || v.space == spaceConst) {
			names = append(names, v.name)
		}
	}
	return names
}

// span checks that bytes off to off+n-1 are inside a variable.
func (v *variable) span(off, n int64) error {
	if off < 0 || off > v.size || n > v.size-off {
		return fmt.Errorf("ptx: bytes %d to %d of variable %q, which has %d", off, off+n-1, short(v.name), v.size)
	}
	return nil
}

// WriteVariable copies from the host to a variable, starting at byte off.
func (m *loadedModule) WriteVariable(name string, off int64, from []byte) error {
	v, err := m.variable(name)
	if err == nil {
		err = v.span(off, int64(len(from)))
	}
	if err != nil {
		return err
	}
	if v.space == spaceConst {
		copy(m.constants[int64(m.constAt[v])+off:], from)
		return nil
	}
	return m.device.Write(device.Ptr(m.globals[v].base+uint64(off)), from)
}

// ReadVariable copies from a variable to the host, starting at byte off.
func (m *loadedModule) ReadVariable(name string, off int64, to []byte) error {
	v, err := m.variable(name)
	if err == nil {
		err = v.span(off, int64(len(to)))
	}
	if err != nil {
		return err
	}
	if v.space == spaceConst {
		copy(to, m.constants[int64(m.constAt[v])+off:])
		return nil
	}
	return m.device.Read(to, device.Ptr(m.globals[v].base+uint64(off)))
}
