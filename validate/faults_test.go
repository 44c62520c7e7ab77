package validate

import "math"

// fault is a fault in a computation, step by step: a product, a sum, a quotient or a root rounded towards 0, an addition fused
// with its product, or a constant one unit in the last place further from 0. Each is a number, from 0 on, in the order of the
// steps; −1 is none.
type fault struct{ rounding, fused, constant int }

var noFault = fault{-1, -1, -1}

// faults returns the faults of a computation, one for each step that rounds, each addition that may be fused and each constant.
func faults(roundings, additions, constants int) []fault {
	var all []fault
	for i := range roundings {
		all = append(all, fault{i, -1, -1})
	}
	for i := range additions {
		all = append(all, fault{-1, i, -1})
	}
	for i := range constants {
		all = append(all, fault{-1, -1, i})
	}
	return all
}

// faulty computes in binary32 with a fault. It counts the steps.
type faulty struct {
	fault
	roundings, additions, constants int
}

// rounded returns y, or if the step has the fault and y is further from 0 than the exact result, the next number towards 0.
// above is y less the exact result, or a multiple of that.
func (a *faulty) rounded(y float32, above float64) float32 {
	a.roundings++
	if a.roundings-1 == a.rounding && above != 0 && (above > 0) == (y > 0) {
		return math.Nextafter32(y, 0)
	}
	return y
}

func (a *faulty) mul(x, y float32) float32 {
	p := float32(x * y)
	return a.rounded(p, float64(p)-float64(x)*float64(y))
}

func (a *faulty) add(x, y float32) float32 {
	z := x + y
	s := float64(x) + float64(y)
	v := s - float64(x)
	return a.rounded(z, (float64(z)-s)-((float64(x)-(s-v))+(float64(y)-v)))
}

func (a *faulty) div(x, y float32) float32 {
	q := x / y
	return a.rounded(q, (float64(q)*float64(y)-float64(x))*float64(y))
}

func (a *faulty) sqrt(x float32) float32 {
	r := float32(math.Sqrt(float64(x)))
	return a.rounded(r, float64(r)*float64(r)-float64(x))
}

// addProduct returns x·y + z.
func (a *faulty) addProduct(x, y, z float32) float32 {
	a.additions++
	if a.additions-1 == a.fused {
		a.roundings += 2
		return float32(math.FMA(float64(x), float64(y), float64(z)))
	}
	return a.add(a.mul(x, y), z)
}

func (a *faulty) constantOf(x float32) float32 {
	a.constants++
	if a.constants-1 == a.constant {
		return math.Float32frombits(math.Float32bits(x) + 1)
	}
	return x
}
