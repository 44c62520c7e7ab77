package trace

import (
	"context"
	"encoding/binary"
	"io"
	"iter"
	"math"
	"slices"

	"kvcompress/internal/extsort"
)

// sampleRun is how many numbers of a sample are kept in memory.
const sampleRun = 1 << 18

// ascending is the order of a sample's numbers.
var ascending = extsort.Format[int64]{
	Sort: slices.Sort[[]int64],
	Less: func(a, b int64) bool { return a < b },
	Size: 8,
	Put:  func(raw []byte, v int64) { binary.LittleEndian.PutUint64(raw, uint64(v)) },
	Get:  func(raw []byte) int64 { return int64(binary.LittleEndian.Uint64(raw)) },
}

// sample is a list of numbers, read in ascending order, which may be too long for memory. The caller closes
// it.
type sample struct{ *extsort.Sorter[int64] }

func newSample() sample { return sample{extsort.New(ascending, sampleRun)} }

// sorted yields the numbers in ascending order, until ctx is done. It can be ranged over again.
func (s sample) sorted(ctx context.Context) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		numbers, err := s.Sorted()
		if err != nil {
			yield(0, err)
			return
		}
		for n := 0; ; n++ {
			v, err := numbers.Next()
			if err == io.EOF {
				return
			}
			if err == nil && n%(1<<16) == 0 {
				err = ctx.Err()
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// distribution summarizes the sample.
func (s sample) distribution(ctx context.Context) (Distribution, error) {
	var d Distribution
	n, i, sum := s.Len(), 0, 0.0
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

// cv returns the standard deviation divided by the mean, which must be greater than 0.
func (s sample) cv(ctx context.Context, mean float64) (float64, error) {
	sum := 0.0
	for v, err := range s.sorted(ctx) {
		if err != nil {
			return 0, err
		}
		sum += float64((float64(v) - mean) * (float64(v) - mean))
	}
	return math.Sqrt(sum/float64(s.Len())) / mean, nil
}

// different returns how many distinct numbers there are.
func (s sample) different(ctx context.Context) (int, error) {
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
