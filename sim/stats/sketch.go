package stats

import (
	"math"
	"math/bits"
	"slices"
)

// Sketch is a distribution of times in nanoseconds, with approximate quantiles.
//
// It is exact while there are at most ExactValues different times. With more it counts them in
// buckets, 512 for each doubling, so that the relative error of a quantile is at most RelativeError.
// Results do not depend on the order in which times are added, and merged sketches equal the sketch
// of all times. The zero value is empty.
type Sketch struct {
	count    int64
	sum      uint128
	min, max int64
	values   []weighted // while exact; the first `sorted` are in order, with each value once
	sorted   int        // number of values that are compacted
	buckets  []int64    // nil while exact
}

// The bounds of a sketch.
const (
	ExactValues   = 1 << 17
	RelativeError = 1.0 / (1 << (subBits + 1))
)

const subBits = 9 // a bucket is identified by the position of a value's first bit and this many bits after it

type weighted struct{ value, n int64 }

type uint128 struct{ hi, lo uint64 }

func (u *uint128) add(hi, lo uint64) {
	var carry uint64
	u.lo, carry = bits.Add64(u.lo, lo, 0)
	u.hi += hi + carry
}

// Add adds n times the value v. A value below 0 counts as 0.
func (s *Sketch) Add(v, n int64) {
	if n <= 0 {
		return
	}
	v = max(v, 0)
	if s.count == 0 {
		s.min, s.max = v, v
	}
	s.min, s.max = min(s.min, v), max(s.max, v)
	s.count += n
	s.sum.add(bits.Mul64(uint64(v), uint64(n)))
	if s.buckets != nil {
		s.bucket(v, n)
		return
	}
	if last := len(s.values) - 1; last >= s.sorted && s.values[last].value == v {
		s.values[last].n += n
		return
	}
	s.values = append(s.values, weighted{v, n})
	if len(s.values) >= 2*ExactValues {
		s.compact()
	}
}

// Merge adds the times of o. It may sort o's values.
func (s *Sketch) Merge(o *Sketch) {
	if o.count == 0 {
		return
	}
	if s.count == 0 {
		s.min, s.max = o.min, o.max
	}
	s.min, s.max = min(s.min, o.min), max(s.max, o.max)
	s.count += o.count
	s.sum.add(o.sum.hi, o.sum.lo)
	o.compact()
	s.compact()
	if o.buckets != nil {
		s.spill()
		s.grow(len(o.buckets) - 1)
		for i, n := range o.buckets {
			s.buckets[i] += n
		}
		return
	}
	if s.buckets != nil {
		for _, w := range o.values {
			s.bucket(w.value, w.n)
		}
		return
	}
	s.values = append(s.values, o.values...)
	s.compact()
}

// compact sorts the values, joins equal ones, and moves them to buckets if there are too many.
func (s *Sketch) compact() {
	if s.buckets != nil || s.sorted == len(s.values) {
		return
	}
	slices.SortFunc(s.values, func(a, b weighted) int {
		switch {
		case a.value < b.value:
			return -1
		case a.value > b.value:
			return 1
		}
		return 0
	})
	kept := s.values[:1]
	for _, w := range s.values[1:] {
		if last := &kept[len(kept)-1]; last.value == w.value {
			last.n += w.n
		} else {
			kept = append(kept, w)
		}
	}
	s.values, s.sorted = kept, len(kept)
	if len(kept) > ExactValues {
		s.spill()
	}
}

func (s *Sketch) spill() {
	if s.buckets != nil {
		return
	}
	s.buckets = []int64{}
	for _, w := range s.values {
		s.bucket(w.value, w.n)
	}
	s.values, s.sorted = nil, 0
}

func (s *Sketch) bucket(v, n int64) {
	i := bucketOf(v)
	s.grow(i)
	s.buckets[i] += n
}

func (s *Sketch) grow(i int) {
	if i >= len(s.buckets) {
		s.buckets = append(s.buckets, make([]int64, i+1-len(s.buckets))...)
	}
}

// bucketOf returns the bucket of v. Below 2^(subBits+1) it is v itself; above, it follows from the
// position of v's first bit and the subBits bits after it.
func bucketOf(v int64) int {
	shift := max(0, bits.Len64(uint64(v))-(subBits+1))
	return shift<<subBits + int(v>>shift)
}

// bucketMiddle returns the value in the middle of a bucket.
func bucketMiddle(i int) int64 {
	if i < 1<<(subBits+1) {
		return int64(i)
	}
	shift := i>>subBits - 1
	low := int64(i-shift<<subBits) << shift
	return low + 1<<shift/2
}

// Count returns the number of times that were added.
func (s *Sketch) Count() int64 { return s.count }

// Exact reports whether quantiles are exact.
func (s *Sketch) Exact() bool {
	s.compact()
	return s.buckets == nil
}

// Mean returns the mean, 0 if the sketch is empty.
func (s *Sketch) Mean() float64 {
	if s.count == 0 {
		return 0
	}
	return float64(float64(s.sum.hi)*0x1p64+float64(s.sum.lo)) / float64(s.count)
}

// Max returns the largest time, 0 if the sketch is empty.
func (s *Sketch) Max() int64 { return s.max }

// Quantile returns the smallest time such that at least percent % of all times are not above it
// (the nearest rank), exactly or within RelativeError; 0 if the sketch is empty.
func (s *Sketch) Quantile(percent float64) int64 {
	if s.count == 0 {
		return 0
	}
	return s.AtRank(int64(math.Ceil(float64(percent / 100 * float64(s.count)))))
}

// AtRank returns the n-th smallest time, n from 1, exactly or within RelativeError. n is
// clamped to the number of times; of an empty sketch it returns 0.
func (s *Sketch) AtRank(n int64) int64 {
	if s.count == 0 {
		return 0
	}
	s.compact()
	rank := min(max(n, 1), s.count)
	for _, w := range s.values {
		if rank -= w.n; rank <= 0 {
			return w.value
		}
	}
	for i, n := range s.buckets {
		if rank -= n; rank <= 0 {
			return min(max(bucketMiddle(i), s.min), s.max)
		}
	}
	return s.max
}

// Latency is a summary of a distribution, in seconds.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
	Error float64 `json:"relative_error"` // of the quantiles: 0 if they are exact
}

// Latency returns a summary of s.
func (s *Sketch) Latency() Latency {
	l := Latency{
		Count: s.count,
		Mean:  s.Mean() / 1e9,
		P50:   seconds(s.Quantile(50)),
		P90:   seconds(s.Quantile(90)),
		P95:   seconds(s.Quantile(95)),
		P99:   seconds(s.Quantile(99)),
		Max:   seconds(s.max),
	}
	if !s.Exact() {
		l.Error = RelativeError
	}
	return l
}

func seconds(ns int64) float64 { return float64(ns) / 1e9 }
