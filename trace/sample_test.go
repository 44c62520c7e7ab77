package trace

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/internal/extsort"
)

func sampleOf(t *testing.T, maxRows int, numbers ...int64) sample {
	t.Helper()
	s := sample{extsort.New(ascending, maxRows)}
	for _, v := range numbers {
		if err := s.Add(v); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestDistribution(t *testing.T) {
	var numbers []int64
	for i := range int64(1000) {
		numbers = append(numbers, (i*7)%1000+1) // 1 to 1000, not in order
	}
	for _, c := range []struct {
		want    Distribution
		numbers []int64
	}{
		{Distribution{1, 500, 500.5, 900, 990, 1000}, numbers},
		{Distribution{math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64}, []int64{math.MaxInt64, math.MaxInt64}},
		{Distribution{}, nil},
	} {
		for _, most := range []int{7, 100, 1000, sampleRun} {
			got, err := sampleOf(t, most, c.numbers...).distribution(t.Context())
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Error(most, err, diff)
			}
		}
	}
}

// TestSampleSorted holds runs on disk against a sort in memory, of every number of numbers.
func TestSampleSorted(t *testing.T) {
	for n := range 60 {
		var want []int64
		for i := range n {
			want = append(want, int64(below(derive(uint64(n), uint64(i)), 40))-20)
		}
		s := sampleOf(t, 8, want...)
		slices.Sort(want)
		for range 2 {
			var got []int64
			for v, err := range s.sorted(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, v)
			}
			if !slices.Equal(got, want) || s.Len() != n {
				t.Fatalf("%v of %d, want %v", got, s.Len(), want)
			}
		}
		if got, err := s.different(t.Context()); err != nil || got != len(slices.Compact(want)) {
			t.Errorf("%d different: %v", got, err)
		}
	}
}

func TestSampleErrors(t *testing.T) {
	s := sampleOf(t, 8, make([]int64, 20)...)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.distribution(done); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
