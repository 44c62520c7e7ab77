package ptx

import (
	"strings"

	"kvcompress/kernels/device"
)

// Snapshot is the contents of an allocation.
type Snapshot struct {
	Name string
	Base device.Ptr
	Data []byte
	// Defined has a 1 for each byte that has been written; nil if all have been, or if the device does not
	// track this (Checks.Uninit).
	Defined []byte
}

// Snapshot copies the allocation that contains an address; nil if there is none.
func (d *Device) Snapshot(p device.Ptr) *Snapshot {
	a := d.mem.find(uint64(p))
	if a == nil || d.closed {
		return nil
	}
	s := &Snapshot{Name: a.name, Base: device.Ptr(a.base), Data: append([]byte(nil), a.mem...)}
	if d.checks == nil || !d.checks.on.Uninit {
		return s
	}
	init, size := a.shadow.init, int64(a.size)
	if init.unwritten(0, size) < 0 {
		return s
	}
	s.Defined = make([]byte, size)
	for i := range size {
		if init.unwritten(i, 1) < 0 {
			s.Defined[i] = 1
		}
	}
	return s
}

// Pointees returns, for each parameter of a kernel, the element type with which its code accesses the memory
// that the parameter points to, such as "f32"; "" if the parameter is not a pointer, or if that is unknown.
// If there are several types of the same size, it prefers one that is not untyped bits.
func (p *Program) Pointees(entry string) []string {
	e := p.entries[entry]
	if e == nil || e.refused != nil {
		return nil
	}
	types := make([]map[typ]bool, len(e.params))
	for i := range e.code {
		in := &e.code[i]
		for _, m := range in.memory() {
			if m.origin == 0 {
				continue
			}
			set := e.originSets[m.origin-1]
			for k, o := range e.origins {
				if set>>k&1 == 0 || o.variable != nil {
					continue
				}
				for j, param := range e.params {
					if param.off != o.param || in.copy != nil {
						continue
					}
					if types[j] == nil {
						types[j] = map[typ]bool{}
					}
					types[j][typeNames[in.op[strings.LastIndexByte(in.op, '.')+1:]]] = true
				}
			}
		}
	}
	list := make([]string, len(e.params))
	for i, seen := range types {
		var best typ
		sizes := map[uint8]bool{}
		for t := range seen {
			sizes[t.bits] = true
			if t.class > best.class || best.bits == 0 {
				best = t
			}
		}
		if len(sizes) == 1 && best.bits >= 8 {
			list[i] = strings.TrimPrefix(best.String(), ".")
		}
	}
	return list
}
