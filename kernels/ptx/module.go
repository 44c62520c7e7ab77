package ptx

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"kvcompress/kernels/device"
)

// loadedModule is a Program with memory for its variables.
type loadedModule struct {
	device    *Device
	program   *Program
	globals   map[*variable]*allocation
	constAt   map[*variable]uint64
	constants []byte
	warps     map[*entry][]warp // of each kernel's last launch, for reuse
}

// maxConst is the size of a module's constant memory (PTX ISA §5.1.3).
const maxConst = 64 << 10

// Load makes a module ready to launch. A text that is in Options.Cache is not parsed again.
func (d *Device) Load(name string, text []byte) (device.Module, error) {
	if d.closed {
		return nil, errClosed
	}
	p, err := d.opt.Cache.program(name, text, d.opt.AllowApprox)
	if err != nil {
		return nil, err
	}
	return d.LoadProgram(p)
}

// LoadProgram makes a parsed module ready to launch.
func (d *Device) LoadProgram(p *Program) (device.Module, error) {
	if d.closed {
		return nil, errClosed
	}
	m := &loadedModule{device: d, program: p, globals: map[*variable]*allocation{}, constAt: map[*variable]uint64{}, warps: map[*entry][]warp{}}
	if d.opt.Coverage != nil {
		d.opt.Coverage.Add(p)
	}
	before := len(d.mem.live)
	if err := m.layOut(); err != nil {
		d.mem.keep(before)
		return nil, err
	}
	return m, nil
}

// layOut allocates and initializes every variable.
func (m *loadedModule) layOut() error {
	d, module := m.device, m.program.module
	for _, v := range module.order {
		if v.extern && module.globals[v.name] != v {
			continue // defined later in the text
		}
		if v.extern && v.space != spaceShared {
			continue // no kernel that can be run uses it
		}
		switch v.space {
		case spaceGlobal:
			a, err := d.mem.alloc(v.name, uint64(v.size))
			if err != nil {
				return err
			}
			a.variable = true
			copy(a.mem, v.init)
			m.globals[v] = a
			if d.checks != nil { // uninitialized variables are zero, so defined
				d.checks.alloc(a)
				d.checks.hostWrite(a, 0, int64(a.size))
			}
		case spaceConst:
			at := (len(m.constants) + v.align - 1) &^ (v.align - 1)
			if int64(at)+v.size > maxConst {
				return module.errorf(v.line, "constant memory of more than %d bytes", maxConst)
			}
			m.constAt[v] = uint64(at)
			m.constants = append(m.constants, make([]byte, at+int(v.size)-len(m.constants))...)
			copy(m.constants[at:], v.init)
		}
	}
	m.fixups()
	constants := aligned(len(m.constants))
	copy(constants, m.constants)
	m.constants = constants
	return nil
}

// fixups writes addresses into initialisers.
func (m *loadedModule) fixups() {
	pm := m.program.module
	for _, v := range pm.order {
		if v.refused != nil {
			continue // no kernel that can be run uses it
		}
		for _, f := range v.fixups {
			sym := pm.globals[f.symbol]
			into := m.constants
			at := int64(m.constAt[v]) + f.at
			if v.space == spaceGlobal {
				into, at = m.globals[v].mem, f.at
			}
			binary.LittleEndian.PutUint64(into[at:], m.address(sym, f.gen)+uint64(f.add))
		}
	}
}

// address returns where a .global or .const variable lies.
func (m *loadedModule) address(v *variable, generic bool) uint64 {
	if v.space == spaceGlobal {
		return m.globals[v].base
	}
	a := m.constAt[v]
	if generic {
		a += constBase
	}
	return a
}

// Kernel returns the entry point of that name.
func (m *loadedModule) Kernel(name string) (device.Kernel, error) {
	if m.device.closed {
		return nil, errClosed
	}
	e := m.program.entries[name]
	if e == nil {
		return nil, fmt.Errorf("ptx: %s: no entry %q%s", m.program.module.name, short(name), m.program.thereAre())
	}
	if e.refused != nil {
		return nil, e.refused
	}
	if e.approx && !m.device.opt.AllowApprox {
		return nil, fmt.Errorf("ptx: %s: %s has approximate instructions, which are not allowed", m.program.module.name, short(name))
	}
	m.device.approx = m.device.approx || e.approx
	return &kernel{device: m.device, loaded: m, entry: e}, nil
}

// A Cache keeps modules that devices have parsed, found by their content; beyond 128 it drops the oldest.
// Devices that share a Cache load a module again without parsing it; each device has its own variables. The
// zero value is empty. Several goroutines may use it.
type Cache struct {
	mu    sync.Mutex
	known map[cacheKey]*parseOnce
	order []cacheKey
}

// cacheKey has the text and not its hash: every load looks a module up, and the map's own hash
// takes a tenth of the time of SHA-256.
type cacheKey struct {
	name, text string
	approx     bool
}

type programKey struct {
	name   string
	sum    [sha256.Size]byte
	approx bool
}

func keyOf(name string, text []byte, approx bool) programKey {
	return programKey{name, sha256.Sum256(text), approx}
}

type parseOnce struct {
	once sync.Once
	p    *Program
	err  error
}

// maxCached bounds the number of modules in a Cache.
const maxCached = 128

// program parses a module, or returns it from the cache. A nil Cache is always empty.
func (c *Cache) program(name string, text []byte, approx bool) (*Program, error) {
	if c == nil {
		return Parse(name, text, approx)
	}
	c.mu.Lock()
	entry := c.known[cacheKey{name, string(text), approx}] // copies no text
	if entry == nil {
		if c.known == nil {
			c.known = map[cacheKey]*parseOnce{}
		}
		key := cacheKey{name, string(text), approx}
		entry = new(parseOnce)
		c.known[key] = entry
		c.order = append(c.order, key)
		if len(c.order) > maxCached {
			delete(c.known, c.order[0])
			c.order = c.order[1:]
		}
	}
	c.mu.Unlock()
	entry.once.Do(func() { entry.p, entry.err = Parse(name, text, approx) })
	return entry.p, entry.err
}
