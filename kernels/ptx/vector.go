package ptx

import "unsafe"

// opType names an operation on rows of a type.
type opType struct {
	op  string
	typ typ
}

// quick returns the assembly for an operation, or what does the same in Go.
func quick(op string, t typ, plain aluFunc) aluFunc {
	if f := vectorALU[opType{op, t}]; f != nil && vectors && plain != nil {
		return f
	}
	return plain
}

// survey is what a load or store has to know of the addresses of a warp: whether
// all are within one piece of memory, and whether they have a simple pattern.
//
//	for each lane i: out[i] = from[i] + imm
//	for each lane i of mask, with off = out[i] - base:
//		low |= off                      its low bits: a lane is misaligned; its sign: a lane is out of range
//		min = min(min, off)             of each half of 32 bits by itself
//		max = max(max, off)             the same
//		uneven |= out[i] ^ first        0: the lanes access one place
//	for each lane i: apart |= out[i] ^ lane0+i·step
//
// apart is 0 where all 32 lanes access neighbouring places. step is below 2^32. min and max
// are bounds: those of offsets whose upper halves are equal, and else beyond them.
type survey struct {
	imm, base, step, lane0, first uint64
	low, min, max, apart, uneven  uint64
}

// plain is surveyRow in Go.
func (s *survey) plain(out, from *[warpSize]uint64, mask uint32) {
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

// outside reports whether a lane may be beyond span.
func (s *survey) outside(span uint64) bool { return int64(s.low) < 0 || s.max > span }

// blendWords and blendDoubles put the lanes of mask of s into d.
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

// look fills in the survey.
func (s *survey) look(out, from *[warpSize]uint64, mask uint32) {
	if vectors {
		surveyRow(out, from, s, mask)
	} else {
		s.plain(out, from, mask)
	}
}
