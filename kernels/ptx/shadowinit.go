package ptx

import "math/bits"

// initPageBytes is the amount of memory covered by one page of an initMap.
const (
	initPageShift = 12
	initPageBytes = 1 << initPageShift
)

// initPage has a bit for each byte, set once the byte has been written.
type initPage struct {
	bits [initPageBytes / 64]uint64
	full int // number of words that are all ones
}

// initMap records which bytes of an allocation have been written. A page is nil if none has, and whole if all
// have, so that filling gigabytes costs only one pointer per page.
type initMap struct {
	pages []*initPage
	whole *initPage   // shared by all pages that are completely written
	spare []*initPage // unused pages, for reuse
}

func newInitMap(size int64) *initMap {
	return &initMap{
		pages: make([]*initPage, (size+initPageBytes-1)>>initPageShift),
		whole: new(initPage),
	}
}

// reset clears all marks.
func (m *initMap) reset() {
	for i, p := range m.pages {
		m.drop(p)
		m.pages[i] = nil
	}
}

// drop keeps a page for reuse.
func (m *initMap) drop(p *initPage) {
	if p != nil && p != m.whole {
		m.spare = append(m.spare, p)
	}
}

// take returns a cleared page.
func (m *initMap) take() *initPage {
	n := len(m.spare) - 1
	if n < 0 {
		return new(initPage)
	}
	p := m.spare[n]
	m.spare = m.spare[:n]
	*p = initPage{}
	return p
}

// written marks n bytes, starting at off.
func (m *initMap) written(off, n int64) {
	for n > 0 {
		page, at := off>>initPageShift, off&(initPageBytes-1)
		count := min(n, initPageBytes-at)
		if count == initPageBytes {
			m.drop(m.pages[page])
			m.pages[page] = m.whole
		} else {
			m.mark(page, at, count)
		}
		off += count
		n -= count
	}
}

// mark marks count bytes in a page.
func (m *initMap) mark(page, at, count int64) {
	p := m.pages[page]
	if p == m.whole {
		return
	}
	if p == nil {
		p = m.take()
		m.pages[page] = p
	}
	for count > 0 {
		bit := at & 63
		k := min(count, 64-bit)
		p.or(at>>6, ones(k)<<bit)
		at += k
		count -= k
	}
	if p.full == len(p.bits) {
		m.drop(p)
		m.pages[page] = m.whole
	}
}

func (p *initPage) or(word int64, mask uint64) {
	old := p.bits[word]
	p.bits[word] = old | mask
	if old != ^uint64(0) && old|mask == ^uint64(0) {
		p.full++
	}
}

// ones returns n one bits, 1 ≤ n ≤ 64.
func ones(n int64) uint64 { return ^uint64(0) >> (64 - n) }

// forgotten clears the marks of n bytes, starting at off.
func (m *initMap) forgotten(off, n int64) {
	for n > 0 {
		page, at := off>>initPageShift, off&(initPageBytes-1)
		count := min(n, initPageBytes-at)
		switch p := m.pages[page]; {
		case p == nil:
		case count == initPageBytes:
			m.drop(p)
			m.pages[page] = nil
		default:
			if p == m.whole {
				p = m.take()
				for i := range p.bits {
					p.bits[i] = ^uint64(0)
				}
				p.full = len(p.bits)
				m.pages[page] = p
			}
			for i := at; i < at+count; i++ {
				word, mask := i>>6, uint64(1)<<(i&63)
				if p.bits[word] == ^uint64(0) {
					p.full--
				}
				p.bits[word] &^= mask
			}
		}
		off += count
		n -= count
	}
}

// unwritten returns the first of n bytes, starting at off, that has not been written, or -1.
func (m *initMap) unwritten(off, n int64) int64 {
	for n > 0 {
		page, at := off>>initPageShift, off&(initPageBytes-1)
		count := min(n, initPageBytes-at)
		switch p := m.pages[page]; p {
		case m.whole:
		case nil:
			return off
		default:
			for left := count; left > 0; {
				bit := at & 63
				k := min(left, 64-bit)
				if gap := ones(k) << bit &^ p.bits[at>>6]; gap != 0 {
					return page<<initPageShift + at&^63 + int64(bits.TrailingZeros64(gap))
				}
				at += k
				left -= k
			}
		}
		off += count
		n -= count
	}
	return -1
}

// copied copies the marks of n bytes of src, starting at from, to offset to. The ranges must not overlap.
func (m *initMap) copied(to int64, src *initMap, from, n int64) {
	for n > 0 {
		page, at := from>>initPageShift, from&(initPageBytes-1)
		count := min(n, initPageBytes-at)
		switch p := src.pages[page]; p {
		case src.whole:
			m.written(to, count)
		case nil:
			m.forgotten(to, count)
		default:
			m.forgotten(to, count)
			for i := range count {
				if p.bits[(at+i)>>6]>>((at+i)&63)&1 != 0 {
					m.written(to+i, 1)
				}
			}
		}
		from += count
		to += count
		n -= count
	}
}

// loaded checks the lanes of an access, each aligned to its size, and returns the first that reads an
// unwritten byte, or -1. Lane l is at addr[l] - base; row and same are as in access.
func (m *initMap) loaded(addr *[warpSize]uint64, base uint64, mask, size uint32, row, same bool) int {
	switch {
	case row:
		first := int64(addr[0] - base)
		at := m.unwritten(first, warpSize*int64(size))
		if at < 0 {
			return -1
		}
		return int((at - first) / int64(size))
	case same:
		mask &= -mask
	}
	need := ones(int64(size))
	for rest := mask; rest != 0; rest &= rest - 1 {
		l := bits.TrailingZeros32(rest)
		off := addr[l] - base
		p := m.pages[off>>initPageShift]
		if p == m.whole {
			continue
		}
		if p == nil || p.bits[off>>6&63]>>(off&63)&need != need {
			return l
		}
	}
	return -1
}

// stored marks the bytes that the lanes of an access write.
func (m *initMap) stored(addr *[warpSize]uint64, base uint64, mask, size uint32, row bool) {
	if row {
		m.written(int64(addr[0]-base), warpSize*int64(size))
		return
	}
	word := ones(int64(size))
	for rest := mask; rest != 0; rest &= rest - 1 {
		off := addr[bits.TrailingZeros32(rest)] - base
		page := off >> initPageShift
		p := m.pages[page]
		if p == m.whole {
			continue
		}
		if p == nil {
			p = m.take()
			m.pages[page] = p
		}
		p.or(int64(off>>6&63), word<<(off&63))
		if p.full == len(p.bits) {
			m.drop(p)
			m.pages[page] = m.whole
		}
	}
}
