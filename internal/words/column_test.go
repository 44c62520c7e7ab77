package words

import (
	"math"
	"testing"
)

func TestDecimals(t *testing.T) {
	for _, c := range []struct {
		values       []float64
		digits, want int
	}{
		{nil, 2, 0},
		{[]float64{0, -3, math.NaN(), math.Inf(1)}, 2, 0},
		{[]float64{9.4}, 2, 1},
		{[]float64{9.5}, 2, 0}, // 10
		{[]float64{99.4, 250}, 3, 1},
		{[]float64{99.5, 250}, 3, 0},
		{[]float64{0.001, 56.2, 59.12, 101.6, 120}, 3, 1}, // a single small value asks for no decimals
		{[]float64{1e-9}, 3, 4},
	} {
		if got := Decimals(c.values, c.digits); got != c.want {
			t.Errorf("%v to %d digits: %d decimals, want %d", c.values, c.digits, got, c.want)
		}
	}
}
