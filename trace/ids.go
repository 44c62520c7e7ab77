package trace

import (
	"context"
	"errors"
	"hash/maphash"
	"io/fs"
	"iter"
	"slices"

	"kvcompress/trace/regular"
)

// idSet is a set of ids. Numbers are bits in blocks, and complete blocks take no memory: the ids of a long
// log are row numbers, almost in order. Other ids are represented by hashes of 128 bits, which take a third
// of the memory and do not collide by chance.
//
// If most is above 0, at most that many hashes are in memory. Further hashes go to disk, and duplicates among
// them are found at the end: see [idSet.repeated].
type idSet struct {
	most   int // hashes in memory; 0 is no bound
	blocks map[int]*idBlock
	open   int // blocks that are not complete
	count  int
	seeds  [2]maphash.Seed
	named  map[[2]uint64]struct{} // hashes of the other ids
	late   *sample                // halves of the hashes on disk; nil for none
}

// mostNamed and mostOpen bound the hashes and the incomplete blocks of a set of bounded memory.
const (
	mostNamed = 1 << 17
	mostOpen  = 1 << 9
)

// idBlock has a bit for each of idBlockSize numbers.
type idBlock struct {
	left int      // ids that have not occurred
	bits []uint64 // nil if all have occurred
}

const idBlockSize = 1 << 16

// has reports whether an id was added and is in memory.
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

// add adds an id that is not in the set. It fails if the disk does.
func (s *idSet) add(id string) error {
	s.count++
	if n, ok := idNumber(id); ok {
		if b := s.block(n / idBlockSize); b != nil {
			i := n % idBlockSize
			b.bits[i/64] |= 1 << (i % 64)
			if b.left--; b.left == 0 {
				b.bits = nil
				s.open--
			}
			return nil
		}
	}
	if s.named == nil {
		s.named, s.seeds = make(map[[2]uint64]struct{}), [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	}
	if s.most > 0 && len(s.named) == s.most {
		if s.late == nil {
			late := newSample()
			s.late = &late
		}
		return s.late.Add(s.lateHash(id))
	}
	s.named[s.hash(id)] = struct{}{}
	return nil
}

// block returns a block of numbers, and makes it unless there are more than the ids are worth,
// whatever their numbers are. Where ids are on disk, no more are made: one may be of the block.
func (s *idSet) block(n int) *idBlock {
	b := s.blocks[n]
	if b != nil || len(s.blocks) >= 8+s.count/1024 || s.most > 0 && (s.open >= mostOpen || s.late != nil) {
		return b
	}
	if s.blocks == nil {
		s.blocks = make(map[int]*idBlock)
	}
	b = &idBlock{idBlockSize, make([]uint64, idBlockSize/64)}
	s.blocks[n] = b
	s.open++
	return b
}

func (s *idSet) hash(id string) [2]uint64 {
	return [2]uint64{maphash.String(s.seeds[0], id), maphash.String(s.seeds[1], id)}
}

func (s *idSet) lateHash(id string) int64 { return int64(maphash.String(s.seeds[0], id)) }

// close removes what is on disk.
func (s *idSet) close() {
	if s.late != nil {
		_ = s.late.Close() // it was read
	}
}

// mostRepeated bounds the ids that repeated yields.
const mostRepeated = 1 << 16

// errMoreRepeated is the error beyond mostRepeated.
var errMoreRepeated = errors.New("more ids occur again than are listed")

// repeated yields the lines of requests.jsonl whose ids are on disk and the same as on an earlier line,
// together with that line. If there are very many, it yields some of them and errMoreRepeated. Other errors
// are those of reading a file, or of the context.
func (s *idSet) repeated(ctx context.Context, fsys fs.FS) iter.Seq2[repeatedID, error] {
	return func(yield func(repeatedID, error) bool) {
		hashes, err := s.twice(ctx)
		if more := errors.Is(err, errMoreRepeated); len(hashes) == 0 || err != nil && !more {
			if err != nil {
				yield(repeatedID{}, err)
			}
			return
		}
		f, openErr := regular.Open(fsys, requestsFile)
		if openErr != nil {
			yield(repeatedID{}, openErr)
			return
		}
		defer f.Close()
		lines := map[string]int{} // of ids with one of the hashes
		for l := range scanLines(f) {
			if l.number%1024 == 0 && ctx.Err() != nil {
				yield(repeatedID{}, ctx.Err())
				return
			}
			id := l.req.ID
			if id == "" || s.has(id) {
				continue
			}
			if _, found := slices.BinarySearch(hashes, s.lateHash(id)); !found {
				continue
			}
			if before, again := lines[id]; !again {
				lines[id] = l.number
			} else if !yield(repeatedID{id, l.number, before}, nil) {
				return
			}
		}
		if err != nil {
			yield(repeatedID{}, err)
		}
	}
}

// repeatedID is an id on a line that is also on an earlier one.
type repeatedID struct {
	id           string
	line, before int
}

// twice returns, ascending, the hashes on disk that occur more than once: mostRepeated of them,
// with errMoreRepeated if there are more.
func (s *idSet) twice(ctx context.Context) (hashes []int64, err error) {
	if s.late == nil {
		return nil, nil
	}
	n, last := 0, int64(0)
	for v, err := range s.late.sorted(ctx) {
		if err != nil {
			return nil, err
		}
		if n > 0 && v == last && (len(hashes) == 0 || hashes[len(hashes)-1] != v) {
			if len(hashes) == mostRepeated {
				return hashes, errMoreRepeated
			}
			hashes = append(hashes, v)
		}
		n, last = n+1, v
	}
	return hashes, nil
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
