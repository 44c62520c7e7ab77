package trace

import (
	"slices"
	"testing"
)

// counting has the numbers 0, 1, 2 … as elements.
type counting struct{ Tensors }

func (counting) Read(dst []float32, t Tensor, layer, from, n int) error {
	for i := range dst {
		dst[i] = float32(i)
	}
	return nil
}

func TestRepeat(t *testing.T) {
	for _, c := range []struct {
		tensor           Tensor
		copies, headSize int
		want             []float32
	}{
		{Q, 2, 2, []float32{0, 1, 2, 3, 4, 5, 6, 7}},
		{K, 2, 2, []float32{0, 1, 0, 1, 2, 3, 2, 3}},
		{V, 3, 2, []float32{0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3}},
		{K, 4, 1, []float32{0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2}},
		{K, 1, 3, []float32{0, 1, 2, 3, 4, 5}},
	} {
		got := make([]float32, len(c.want))
		if err := Repeat(counting{}, c.copies, c.headSize).Read(got, c.tensor, 0, 0, 1); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v, %d copies of heads of %d: %v, %v, want %v", c.tensor, c.copies, c.headSize, got, err, c.want)
		}
	}
}
