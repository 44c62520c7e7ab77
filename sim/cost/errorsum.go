package cost

import "math"

// errorSum adds up relative errors. Its results are nil if there were none.
type errorSum struct {
	n           int
	abs, signed float64
	most        float64 // the error that is largest by its absolute value, the first of equals
}

func (s *errorSum) add(e float64) {
	s.n++
	s.abs += math.Abs(e)
	s.signed += e
	if math.Abs(e) > math.Abs(s.most) {
		s.most = e
	}
}

// of returns v, or nil if there were no errors.
func (s *errorSum) of(v float64) *float64 {
	if s.n == 0 {
		return nil
	}
	return &v
}

func (s *errorSum) mape() *float64     { return s.of(s.abs / float64(max(1, s.n))) }
func (s *errorSum) mean() *float64     { return s.of(s.signed / float64(max(1, s.n))) } // with its sign
func (s *errorSum) largest() *float64  { return s.of(s.most) }                          // with its sign
func (s *errorSum) maxError() *float64 { return s.of(math.Abs(s.most)) }

// off returns the error of a projection as a part of what was measured; nil where nothing was.
func off(projected, measured float64) *float64 {
	if measured == 0 {
		return nil
	}
	return new(projected/measured - 1)
}

// known returns v, or nil where it is 0, which stands for what is not known.
func known(v float64) *float64 {
	if v == 0 {
		return nil
	}
	return &v
}

// measured returns v, or nil for NaN, which is the error of what was not measured: see errorsOf.
func measured(v float64) *float64 {
	if math.IsNaN(v) {
		return nil
	}
	return &v
}

// addKnown adds an error unless it is nil.
func (s *errorSum) addKnown(e *float64) {
	if e != nil {
		s.add(*e)
	}
}

// absolute returns the absolute value of an error; nil of nil.
func absolute(e *float64) *float64 {
	if e == nil {
		return nil
	}
	return new(math.Abs(*e))
}

// rounded is [round] of an error; nil of nil.
func rounded(e *float64) *float64 {
	if e == nil {
		return nil
	}
	return new(round(*e))
}
