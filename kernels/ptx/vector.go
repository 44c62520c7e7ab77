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
//		outside |= off | span-off       its sign alone counts: a lane is out of range
//		low |= off                      its low bits: a lane is misaligned
//		apart |= out[i] ^ lane0+i·step  0: the lanes access neighbouring places
//		uneven |= out[i] ^ first        0: the lanes access one place
//
// span is below 2^63. step is below 2^32.
type survey struct {
	imm, base, span, step, lane0, first uint64
	outside, low, apart, uneven         uint64
}

// plain is surveyRow in Go.
func (s *survey) plain(out, from *[warpSize]uint64, mask uint32) {
	s.outside, s.low, s.apart, s.uneven = 0, 0, 0, 0
	for i := range out {
		a := from[i] + s.imm
		out[i] = a
		if mask>>i&1 == 0 {
			continue
		}
		off := a - s.base
		s.outside |= off | (s.span - off)
		s.low |= off
		s.apart |= a ^ (s.lane0 + uint64(i)*s.step)
		s.uneven |= a ^ s.first
	}
}

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
