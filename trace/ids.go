package trace

import (
	"hash/maphash"
	"math"
)

// idLines knows on which line each id stands. Most traces number their requests;
// those ids take four bytes each, and only others a place in a map.
type idLines struct {
	numbered []uint32 // lines by number, 0 where there is none
	named    map[string]int
}

// line returns the line of an id, if it was added.
func (l *idLines) line(id string) (int, bool) {
	if n, ok := idNumber(id); ok && n < len(l.numbered) && l.numbered[n] > 0 {
		return int(l.numbered[n]), true
	}
	line, ok := l.named[id]
	return line, ok
}

// add notes an id that was not added before.
func (l *idLines) add(id string, line int) {
	// The slice grows only as far as the lines do, whatever the numbers are.
	if n, ok := idNumber(id); ok && n <= 4*line+1024 && line <= math.MaxUint32 {
		for n >= len(l.numbered) {
			l.numbered = append(l.numbered, 0)
		}
		l.numbered[n] = uint32(line)
		return
	}
	if l.named == nil {
		l.named = make(map[string]int)
	}
	l.named[id] = line
}

// idSet knows which ids have occurred. Numbers are bits, in blocks of which complete ones
// take no memory: those of a long log are its rows, in order but for a few. Of other ids it
// has hashes of 128 bits, which take a third of the memory, and of which no two are equal by chance.
type idSet struct {
	blocks map[int]*idBlock
	count  int
	seeds  [2]maphash.Seed
	named  map[[2]uint64]struct{} // their hashes
}

// idBlock has a bit for each of idBlockSize numbers.
type idBlock struct {
	left int      // that have not occurred
	bits []uint64 // nil if all have
}

const idBlockSize = 1 << 16

// has reports whether an id was added.
func (s *idSet) has(id string) bool {
	if n, ok := idNumber(id); ok {
		if b := s.blocks[n/idBlockSize]; b != nil {
			i := n % idBlockSize
			if b.bits == nil || b.bits[i/64]>>(i%64)&1 != 0 {
				return true
			}
		}
	}
	if s.named == nil {
		return false
	}
	_, ok := s.named[s.hash(id)]
	return ok
}

// add notes an id that the set does not have.
func (s *idSet) add(id string) {
	s.count++
	if n, ok := idNumber(id); ok {
		b := s.blocks[n/idBlockSize]
		// There are no more blocks than the ids are worth, whatever their numbers are.
		if b == nil && len(s.blocks) < 8+s.count/1024 {
			if s.blocks == nil {
				s.blocks = make(map[int]*idBlock)
			}
			b = &idBlock{idBlockSize, make([]uint64, idBlockSize/64)}
			s.blocks[n/idBlockSize] = b
		}
		if b != nil {
			i := n % idBlockSize
			b.bits[i/64] |= 1 << (i % 64)
			if b.left--; b.left == 0 {
				b.bits = nil
			}
			return
		}
	}
	if s.named == nil {
		s.named, s.seeds = make(map[[2]uint64]struct{}), [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	}
	s.named[s.hash(id)] = struct{}{}
}

func (s *idSet) hash(id string) [2]uint64 {
	return [2]uint64{maphash.String(s.seeds[0], id), maphash.String(s.seeds[1], id)}
}

// idNumber returns the number that the id is the usual way to write, if it is one.
func idNumber(id string) (int, bool) {
	if id == "" || len(id) > 9 || id[0] == '0' && len(id) > 1 {
		return 0, false
	}
	n := 0
	for i := range len(id) {
		c := id[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}
