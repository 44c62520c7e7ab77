package ptx

import (
	"fmt"
	"runtime"
	"sort"
	"unsafe"
)

// Layout of the generic address space. Allocations in global memory follow each other, and no address is
// reused. After each is a gap that a 32-bit index with a stride of up to 256 bytes cannot cross. A larger
// stride can. So that it does not hit the next allocation, as it would if all began at multiples of a power
// of two, gaps differ (gapAfter).
const (
	globalBase = 1 << 48
	globalEnd  = 1 << 62
	allocAlign = 256
	allocGap   = 1 << 40

	sharedBase = 0x7fff_0000_0000
	sharedSize = 1 << 24
	localBase  = 0x7ffe_0000_0000
	localSize  = 1 << 24
	constBase  = 0x7ffd_0000_0000
	constSize  = 1 << 32
	paramBase  = 0x7ffc_0000_0000
	paramSize  = 1 << 16
)

// gapAfter returns the gap after the n-th allocation: allocGap plus a pseudo-random multiple of 256 below
// 2^40. (The multiplier is 2^32 divided by the golden ratio.)
func gapAfter(n uint64) uint64 {
	return allocGap + uint64(uint32(n)*0x9e3779b9)*allocAlign
}

// allocation is a block of global memory, or of a module's constant memory.
type allocation struct {
	name  string
	base  uint64
	size  uint64
	mem   []byte // nil once freed
	unmap func() // releases mem
	// variable reports whether it is a module's variable, which only Close frees.
	variable bool

	shadow *allocShadow // nil without checkers
}

// memory is the global memory of a device.
type memory struct {
	live  []*allocation // by base, ascending
	freed []*allocation // likewise; for reports about uses of freed memory
	next  uint64
	count uint64 // of allocations so far
	used  uint64
	limit uint64
	last  *allocation // the last result of find
}

// alloc allocates size bytes of zeroed memory, which takes no host memory until it is touched.
func (m *memory) alloc(name string, size uint64) (*allocation, error) {
	if size > m.limit || m.used > m.limit-size {
		return nil, fmt.Errorf("ptx: out of memory: %d bytes for %q, %d of %d in use", size, name, m.used, m.limit)
	}
	if m.next == 0 {
		m.next = globalBase
	}
	a := &allocation{name: name, base: m.next, size: size}
	step := ((size+allocAlign-1)&^(allocAlign-1) + gapAfter(m.count)) | allocAlign
	if m.next+step > globalEnd {
		return nil, fmt.Errorf("ptx: out of addresses")
	}
	if err := a.reserve(); err != nil {
		return nil, err
	}
	m.next += step
	m.count++
	m.used += size
	m.live = append(m.live, a)
	return a, nil
}

func (m *memory) free(a *allocation) {
	i := sort.Search(len(m.live), func(i int) bool { return m.live[i].base >= a.base })
	m.live = append(m.live[:i], m.live[i+1:]...)
	m.used -= a.size
	a.release()
	a.shadow, m.last = nil, nil
	i = sort.Search(len(m.freed), func(i int) bool { return m.freed[i].base >= a.base })
	m.freed = append(m.freed, nil)
	copy(m.freed[i+1:], m.freed[i:])
	m.freed[i] = a
}

// keep removes all allocations after the first n, as if they had never been made.
func (m *memory) keep(n int) {
	for _, a := range m.live[n:] {
		m.used -= a.size
		a.release()
	}
	clear(m.live[n:])
	m.live, m.last = m.live[:n], nil
}

// find returns the allocation that contains addr, or nil.
func (m *memory) find(addr uint64) *allocation {
	if a := m.last; a != nil && addr-a.base < a.size {
		return a
	}
	if a := nearest(m.live, addr); a != nil && addr-a.base < a.size {
		m.last = a
		return a
	}
	return nil
}

// nearest returns the last allocation of a list that starts at or before addr.
func nearest(list []*allocation, addr uint64) *allocation {
	i := sort.Search(len(list), func(i int) bool { return list[i].base > addr })
	if i == 0 {
		return nil
	}
	return list[i-1]
}

// span returns n bytes at p for the host, or an error that describes what is at p.
func (m *memory) span(what string, p uint64, n int64) (*allocation, uint64, error) {
	if n < 0 {
		return nil, 0, fmt.Errorf("ptx: %s of %d bytes", what, n)
	}
	a := m.find(p)
	if a == nil && n == 0 {
		if near := nearest(m.live, p); near != nil && p-near.base == near.size {
			return near, near.size, nil
		}
	}
	if a == nil {
		r := &Report{Kind: OutOfBounds, Address: p, Size: int(n)}
		m.describe(r, nil)
		r.Detail = fmt.Sprintf("%s of %d bytes at %#x: %s", what, n, p, r.Detail)
		return nil, 0, r
	}
	off := p - a.base
	if uint64(n) > a.size-off {
		return nil, 0, &Report{Kind: OutOfBounds, Address: p, Size: int(n), Allocation: a.name, Extent: int64(a.size), Offset: int64(off),
			Detail: fmt.Sprintf("%s of %d bytes at %#x: %d bytes past the end of %q (%d bytes)", what, n, p, off+uint64(n)-a.size, a.name, a.size)}
	}
	return a, off, nil
}

// reserve reserves the allocation's zeroed memory. Where the system can map memory, it takes none until it is
// touched.
func (a *allocation) reserve() error {
	if a.size < mappedFrom {
		a.mem, a.unmap = aligned(int(a.size)), func() {}
		return nil
	}
	mem, unmap, err := mapMemory(a.size)
	if err != nil {
		return fmt.Errorf("ptx: %d bytes for %q: %w", a.size, a.name, err)
	}
	// Also release the memory of a device that is never closed.
	once := runtime.AddCleanup(a, func(unmap func()) { unmap() }, unmap)
	a.mem = mem
	a.unmap = func() {
		once.Stop()
		unmap()
	}
	return nil
}

func (a *allocation) release() {
	a.mem = nil
	a.unmap()
}

// mappedFrom is the size from which an allocation gets its own mapping.
const mappedFrom = 1 << 20

// aligned returns n zeroed bytes, aligned to 16 as the widest access requires.
func aligned(n int) []byte {
	words := make([]uint64, (n+15)/8+1)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
	if uintptr(unsafe.Pointer(&b[0]))&15 != 0 {
		b = b[8:]
	}
	return b[:n:n]
}

// describe adds to r where an invalid address of global memory is. own is the allocation that it was meant
// for, or nil if unknown; then it describes the nearest one.
func (m *memory) describe(r *Report, own *allocation) {
	about := func(a *allocation) {
		r.Allocation, r.Extent, r.Offset = a.name, int64(a.size), int64(r.Address-a.base)
		if r.Offset < 0 {
			r.Detail = fmt.Sprintf("%d bytes before %q (%d bytes)", -r.Offset, a.name, a.size)
		} else {
			r.Detail = fmt.Sprintf("%d bytes past the end of %q (%d bytes)", r.Offset+int64(r.Size)-r.Extent, a.name, a.size)
		}
	}
	inside := nearest(m.live, r.Address)
	if inside != nil && r.Address-inside.base >= inside.size {
		inside = nil
	}
	freed := nearest(m.freed, r.Address)
	if freed != nil && r.Address-freed.base >= freed.size {
		freed = nil
	}
	switch {
	case own != nil:
		about(own)
		if inside != nil && inside != own {
			r.Detail += fmt.Sprintf(", in %q", inside.name)
		}
		return
	case inside != nil:
		about(inside)
		return
	case freed != nil:
		about(freed)
		r.Kind = Freed
		r.Detail = fmt.Sprintf("byte %d of %q (%d bytes), which was freed", r.Offset, freed.name, freed.size)
		return
	}
	// Whichever is nearer: the end of the allocation before it, or the start of the one after it.
	before := nearest(m.live, r.Address)
	i := sort.Search(len(m.live), func(i int) bool { return m.live[i].base > r.Address })
	switch {
	case i < len(m.live) && (before == nil || m.live[i].base-r.Address < r.Address-(before.base+before.size)):
		about(m.live[i])
	case before != nil:
		about(before)
	default:
		r.Detail = "no memory is allocated"
	}
}

// distance returns how far an address is from a range.
func distance(at, from, to uint64) uint64 {
	switch {
	case at < from:
		return from - at
	case at < to:
		return 0
	}
	return at - to + 1
}

// within reports whether a live or freed allocation is at most that far from an address.
func (m *memory) within(at, far uint64) bool {
	for _, list := range [][]*allocation{m.live, m.freed} {
		i := sort.Search(len(list), func(i int) bool { return list[i].base > at })
		for _, a := range list[max(i-1, 0):min(i+1, len(list))] {
			if distance(at, a.base, a.base+a.size) <= far {
				return true
			}
		}
	}
	return false
}

func pointer(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

// boundsDetail describes how far an access is outside a window.
func boundsDetail(at, end uint64, sp space, extent int) string {
	if before := -int32(at); before > 0 && at>>32 == 0 { // a 32-bit address
		return fmt.Sprintf("%d bytes before the start of %v memory", before, sp)
	}
	if int64(at) < 0 {
		return fmt.Sprintf("%d bytes before the start of %v memory", -int64(at), sp)
	}
	return fmt.Sprintf("%d bytes past the end of %v memory (%d bytes)", end-uint64(extent), sp, extent)
}
