package trace

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"

	"kvcompress/internal/output"
)

// sampleRun is how many numbers of a sample are in memory.
const sampleRun = 1 << 18

// sample is a list of numbers that is read in ascending order. It may be longer than fits
// memory: all but the last numbers are on disk, in sorted runs. The caller closes it.
type sample struct {
	most int     // of run; sampleRun
	run  []int64 // the last numbers
	runs int     // on disk, of most numbers each
	file *output.Scratch
}

func newSample() *sample { return &sample{most: sampleRun} }

func (s *sample) len() int { return s.runs*s.most + len(s.run) }

func (s *sample) add(v int64) error {
	if len(s.run) == s.most {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.run = append(s.run, v)
	return nil
}

// spill writes the run to disk.
func (s *sample) spill() (err error) {
	if s.file == nil {
		if s.file, err = output.NewScratch(); err != nil {
			return err
		}
	}
	slices.Sort(s.run)
	raw := make([]byte, 0, 8*len(s.run))
	for _, v := range s.run {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
	}
	if _, err := s.file.Write(raw); err != nil {
		return err
	}
	s.runs++
	s.run = s.run[:0]
	return nil
}

func (s *sample) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// sampleHead is what is left of a run.
type sampleHead struct {
	first int64
	rest  []int64       // of the run in memory
	in    *bufio.Reader // of one on disk
}

// advance reads the next number, or reports that there is none.
func (h *sampleHead) advance() (bool, error) {
	if h.in == nil {
		if len(h.rest) == 0 {
			return false, nil
		}
		h.first, h.rest = h.rest[0], h.rest[1:]
		return true, nil
	}
	var raw [8]byte
	switch _, err := io.ReadFull(h.in, raw[:]); err {
	case nil:
		h.first = int64(binary.LittleEndian.Uint64(raw[:]))
		return true, nil
	case io.EOF:
		return false, nil
	default:
		return false, fmt.Errorf("what was written to disk cannot be read: %w", err)
	}
}

// sorted yields the numbers in ascending order, until ctx is done. It may be ranged over again.
func (s *sample) sorted(ctx context.Context) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		slices.Sort(s.run)
		heads := []sampleHead{{rest: s.run}}
		for i := range s.runs {
			part := io.NewSectionReader(s.file, int64(8*i*s.most), int64(8*s.most))
			heads = append(heads, sampleHead{in: bufio.NewReaderSize(part, 16<<10)})
		}
		kept := heads[:0] // a heap by their first numbers
		for _, h := range heads {
			more, err := h.advance()
			if err != nil {
				yield(0, err)
				return
			}
			if more {
				kept = append(kept, h)
			}
		}
		heads = kept
		for i := len(heads)/2 - 1; i >= 0; i-- {
			siftDown(heads, i)
		}
		for n := 0; len(heads) > 0; n++ {
			if n%(1<<16) == 0 {
				if err := ctx.Err(); err != nil {
					yield(0, err)
					return
				}
			}
			if !yield(heads[0].first, nil) {
				return
			}
			more, err := heads[0].advance()
			if err != nil {
				yield(0, err)
				return
			}
			if !more {
				heads[0] = heads[len(heads)-1]
				heads = heads[:len(heads)-1]
			}
			siftDown(heads, 0)
		}
	}
}

// siftDown moves the head at i down until those below it begin with no smaller number.
func siftDown(heads []sampleHead, i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(heads); child++ {
			if heads[child].first < heads[least].first {
				least = child
			}
		}
		if least == i {
			return
		}
		heads[i], heads[least] = heads[least], heads[i]
		i = least
	}
}

// distribution summarizes the sample.
func (s *sample) distribution(ctx context.Context) (Distribution, error) {
	var d Distribution
	n, i, sum := s.len(), 0, 0.0
	rank := func(percent int) int { return (n*percent+99)/100 - 1 }
	p50, p90, p99 := rank(50), rank(90), rank(99)
	for v, err := range s.sorted(ctx) {
		if err != nil {
			return Distribution{}, err
		}
		if i == 0 {
			d.Min = v
		}
		if i == p50 {
			d.P50 = v
		}
		if i == p90 {
			d.P90 = v
		}
		if i == p99 {
			d.P99 = v
		}
		d.Max = v
		sum += float64(v)
		i++
	}
	if n > 0 {
		d.Mean = sum / float64(n)
	}
	return d, nil
}

// cv returns the standard deviation over the mean, which is greater than 0.
func (s *sample) cv(ctx context.Context, mean float64) (float64, error) {
	sum := 0.0
	for v, err := range s.sorted(ctx) {
		if err != nil {
			return 0, err
		}
		sum += float64((float64(v) - mean) * (float64(v) - mean))
	}
	return math.Sqrt(sum/float64(s.len())) / mean, nil
}

// different returns how many different numbers there are.
func (s *sample) different(ctx context.Context) (int, error) {
	n, last := 0, int64(0)
	for v, err := range s.sorted(ctx) {
		if err != nil {
			return 0, err
		}
		if n == 0 || v != last {
			n++
		}
		last = v
	}
	return n, nil
}
