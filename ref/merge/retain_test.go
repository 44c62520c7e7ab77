package merge

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestLargest compares Largest with LargestSpec on distances with many ties.
func TestLargest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		d := make([]float32, r.IntN(40))
		for i := range d {
			d[i] = float32(r.IntN(8)) / 8
		}
		count := r.IntN(len(d)+3) - 1
		got, want := Largest(d, count), LargestSpec(d, count)
		if !slices.Equal(got, want) {
			t.Fatalf("the %d largest of %v: %v, want %v", count, d, got, want)
		}
	}
}

func TestRatioCount(t *testing.T) {
	for _, c := range []struct {
		n     int
		gamma float64
		want  int
	}{
		{0, 1, 0}, {16, 0, 0}, {16, 0.05, 1}, {20, 0.05, 1}, {21, 0.05, 2}, {33, 0.05, 2}, {16, 1, 16}, {12, 0.1, 2},
		{100, 0.07, 8}, // in binary64 0.07·100 is above 7, as in the published code
	} {
		if got := RatioCount(c.n, c.gamma); got != c.want {
			t.Errorf("%v of %d tokens: %d, want %d", c.gamma, c.n, got, c.want)
		}
	}
}

func TestThreshold(t *testing.T) {
	for _, c := range []struct {
		d     []float32
		gamma float64
		limit float32
		want  []int32
	}{
		{[]float32{0.5, 0.25, 0.75, 0.125}, 0, 0.75, nil}, // none is above the largest
		{[]float32{0.5, 0.25, 0.75, 0.125}, 0.5, 0.4375, []int32{0, 2}},
		{[]float32{0.5, 0.25, 0.75, 0.125}, 1, 0.125, []int32{0, 1, 2}}, // the smallest is not above itself
		{[]float32{0.5, 0.5, 0.5}, 1, 0.5, nil},
		{nil, 0.5, float32(math.Inf(1)), nil},
	} {
		limit := Limit(c.d, c.gamma)
		if got := Above(c.d, limit); limit != c.limit || !slices.Equal(got, c.want) {
			t.Errorf("%v by %v: limit %v, %v, want %v, %v", c.d, c.gamma, limit, got, c.limit, c.want)
		}
	}
	for _, gamma := range []float64{-0.1, 1.1, math.NaN()} {
		if CheckGamma(gamma) == nil {
			t.Errorf("gamma %v is no error", gamma)
		}
	}
}

// Both rules on the same distances.
func ExampleRatio() {
	d := []float32{0.1, 0.4, 0.2, 0.45}
	fmt.Println(Ratio(d, 0.25), Above(d, Limit(d, 0.25)))
	// Output: [3] [1 3]
}
