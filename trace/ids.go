package trace

import (
	"hash/maphash"
	"math"
)

// idLines has the line of each id. Most traces number their requests; numbers take four bytes each, only
// other ids take a map entry.
type idLines struct {
	numbered []uint32 // line by number; 0 for none
	named    map[string]int
}

// line returns the line of an id that was added.
func (l *idLines) line(id string) (int, bool) {
	if n, ok := idNumber(id); ok && n < len(l.numbered) && l.numbered[n] > 0 {
		return int(l.numbered[n]), true
	}
	line, ok := l.named[id]
	return line, ok
}

// add adds an id, which must be new.
func (l *idLines) add(id string, line int) {
	// The slice grows in proportion to the lines, however large the numbers are.
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

// idSet is a set of ids. Numbers are bits in blocks, and complete blocks take no memory: the ids of a long
// log are row numbers, almost in order. Other ids are represented by hashes of 128 bits, which take a third
// of the memory and do not collide by chance.
type idSet struct {
	blocks map[int]*idBlock
	count  int
	seeds  [2]maphash.Seed
	named  map[[2]uint64]struct{} // hashes of the other ids
}

// idBlock has a bit for each of idBlockSize numbers.
type idBlock struct {
	left int      // ids that have not occurred
	bits []uint64 // nil if all have occurred
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

// add adds an id that is not in the set.
func (s *idSet) add(id string) {
	s.count++
	if n, ok := idNumber(id); ok {
		b := s.blocks[n/idBlockSize]
		// The number of blocks stays in proportion to the number of ids, however large the numbers are.
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

// idNumber returns the id as a number if it is a decimal number without leading zeros.
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
