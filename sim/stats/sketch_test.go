package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// nearestRank computes a quantile from its definition.
func nearestRank(sorted []int64, percent float64) int64 {
	rank := int(math.Ceil(percent / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func TestSketchQuantiles(t *testing.T) {
	for _, test := range []struct {
		name  string
		n     int
		value func(*rand.Rand) int64
		exact bool
	}{
		{"one", 1, func(*rand.Rand) int64 { return 7 }, true},
		{"few", 999, func(r *rand.Rand) int64 { return r.Int64N(1e12) }, true},
		{"equal", 500_000, func(r *rand.Rand) int64 { return 30e6 + r.Int64N(1000) }, true},
		{"as many as are exact", ExactValues, func(r *rand.Rand) int64 { return r.Int64() }, true},
		{"many", 3 * ExactValues, func(r *rand.Rand) int64 { return int64(math.Exp(r.NormFloat64()*3 + 18)) }, false},
		{"small and many", 3 * ExactValues, func(r *rand.Rand) int64 { return r.Int64N(1 << 40) }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			var s Sketch
			all := make([]int64, test.n)
			sum := 0.0
			for i := range all {
				all[i] = test.value(r)
				s.Add(all[i], 1)
				sum += float64(all[i])
			}
			slices.Sort(all)
			if s.Exact() != test.exact {
				t.Fatalf("exact: %v", s.Exact())
			}
			bound := 0.0
			if !test.exact {
				bound = RelativeError
			}
			for _, p := range []float64{0, 1, 50, 90, 95, 99, 99.9, 100} {
				got, want := s.Quantile(p), nearestRank(all, p)
				if math.Abs(float64(got-want)) > bound*float64(want) {
					t.Errorf("p%v: got %d, want %d", p, got, want)
				}
			}
			if mean := sum / float64(test.n); math.Abs(s.Mean()-mean) > 1e-9*mean {
				t.Errorf("mean: got %v, want %v", s.Mean(), mean)
			}
		})
	}
}

// Parts merged in any order equal the whole.
func TestSketchMerge(t *testing.T) {
	for _, n := range []int{10, 1000, ExactValues + 1, 2*ExactValues + 5} {
		r := rand.New(rand.NewPCG(3, uint64(n)))
		var whole Sketch
		parts := make([]Sketch, 4)
		for range n {
			v, k := r.Int64N(1<<50), 1+r.Int64N(3)
			whole.Add(v, k)
			parts[r.IntN(len(parts))].Add(v, k)
		}
		var merged Sketch
		for _, i := range r.Perm(len(parts)) {
			merged.Merge(&parts[i])
		}
		if diff := cmp.Diff(whole.Latency(), merged.Latency()); diff != "" {
			t.Errorf("%d values: %s", n, diff)
		}
	}
}

func TestBuckets(t *testing.T) {
	last := -1
	for v := int64(0); v > -1 && v < math.MaxInt64/2; v += 1 + v/1200 {
		i := bucketOf(v)
		if i < last || i > last+1 && v > 1<<12 {
			t.Fatalf("%d is in bucket %d, after %d", v, i, last)
		}
		last = i
		if got := bucketMiddle(i); math.Abs(float64(got-v)) > RelativeError*float64(v) || bucketOf(got) != i {
			t.Fatalf("%d: the middle of bucket %d is %d, which is in %d", v, i, got, bucketOf(got))
		}
	}
	if i := bucketOf(math.MaxInt64); i > 1<<15 || bucketMiddle(i) < 0 {
		t.Errorf("the largest is in bucket %d of middle %d", i, bucketMiddle(i))
	}
}

func BenchmarkSketchAdd(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	values := make([]int64, 1<<16)
	for i := range values {
		values[i] = r.Int64N(1e10)
	}
	var s Sketch
	for i := 0; b.Loop(); i++ {
		s.Add(values[i&(1<<16-1)]+int64(i), 1)
	}
}
