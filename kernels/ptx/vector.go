package ptx

import "unsafe"

// opType identifies an operation on rows of a type.
type opType struct {
	op  string
	typ typ
}

// quick returns the assembly for an operation, or plain if there is none.
func quick(op string, t typ, plain aluFunc) aluFunc {
	if f := vectorALU[opType{op, t}]; f != nil && vectors && plain != nil {
		return f
	}
	return plain
}

// coalescing is what a load or store needs to know about the addresses of a warp: whether all are inside one
// block of memory, and whether the access is coalesced.
//
//	for each lane i: out[i] = from[i] + imm
//	for each lane i of mask, with off = out[i] - base:
//		low |= off                      low bits: a lane is misaligned; sign: a lane is out of range
//		min = min(min, off)             separately for each half of 32 bits
//		max = max(max, off)             likewise
//		uneven |= out[i] ^ first        0: the lanes have the same address
//	for each lane i: apart |= out[i] ^ lane0+i·step
//
// apart is 0 if the addresses of all 32 lanes are contiguous. step is below 2^32. min and max are exact if
// the upper halves of all offsets are equal, and otherwise bounds.
type coalescing struct {
	imm, base, step, lane0, first uint64
	low, min, max, apart, uneven  uint64
}

// plain is coalesceRow in Go.
func (s *coalescing) plain(out, from *[warpSize]uint64, mask uint32) {
	s.low, s.min, s.max, s.apart, s.uneven = 0, ^uint64(0), 0, 0, 0
	halves := func(a, b uint64, f func(a, b uint32) uint32) uint64 {
		return uint64(f(uint32(a>>32), uint32(b>>32)))<<32 | uint64(f(uint32(a), uint32(b)))
	}
	for i := range out {
		a := from[i] + s.imm
		out[i] = a
		s.apart |= a ^ (s.lane0 + uint64(i)*s.step)
		if mask>>i&1 == 0 {
			continue
		}
		off := a - s.base
		s.low |= off
		s.min = halves(s.min, off, func(a, b uint32) uint32 { return min(a, b) })
		s.max = halves(s.max, off, func(a, b uint32) uint32 { return max(a, b) })
		s.uneven |= a ^ s.first
	}
}

// outside reports whether a lane may be more than span past base.
func (s *coalescing) outside(span uint64) bool { return int64(s.low) < 0 || s.max > span }

// blendWords and blendDoubles copy the lanes of mask from s to d.
func blendWords(d, s *[warpSize]uint32, mask uint32) {
	if vectors {
		blendRow32(unsafe.Pointer(d), unsafe.Pointer(s), mask)
	} else {
		blend(d, s, mask)
	}
}

func blendDoubles(d, s *[warpSize]uint64, mask uint32) {
	if vectors {
		blendRow64(unsafe.Pointer(d), unsafe.Pointer(s), mask)
	} else {
		blend(d, s, mask)
	}
}

// look computes the coalescing.
func (s *coalescing) look(out, from *[warpSize]uint64, mask uint32) {
	if vectors {
		coalesceRow(out, from, s, mask)
	} else {
		s.plain(out, from, mask)
	}
}
