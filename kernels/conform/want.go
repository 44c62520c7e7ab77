package conform

// A want is the expected value of one output, and how a result is compared with it.
type want struct {
	bits uint64
	like likeness
}

// A likeness says which results match the expected one.
type likeness uint8

const (
	exactly    likeness = iota // the same bits
	anything                   // the manual leaves the result open
	eitherZero                 // the same bits, or for a zero, a zero of either sign; compares the whole register
	likeF16                    // the same bits, or for a NaN, any NaN; likewise the following ones,
	likeBF16                   // element by element if there are two
	likeF32
	likeF64
	likeF16x2
	likeBF16x2
	likeE4M3x2
	likeE5M2x2
	// The same bits, or for a zero, a zero of either sign, element by element. Only the
	// width of the elements matters.
	eitherZeroF16x2
	eitherZeroE4M3x2
)

// likeElements has the format of the elements that a likeness compares, and whether
// zeros, not NaNs, match each other.
var likeElements = map[likeness]struct {
	f     format
	n     int
	zeros bool
}{
	likeF16:          {f16, 1, false},
	likeBF16:         {bf16, 1, false},
	likeF32:          {f32, 1, false},
	likeF64:          {f64, 1, false},
	likeF16x2:        {f16, 2, false},
	likeBF16x2:       {bf16, 2, false},
	likeE4M3x2:       {e4m3, 2, false},
	likeE5M2x2:       {e5m2, 2, false},
	eitherZeroF16x2:  {f16, 2, true},
	eitherZeroE4M3x2: {e4m3, 2, true},
}

// met reports whether got, a register of the given width in bits, matches w.
func (w want) met(got uint64, bits int) bool {
	got, exp := got&mask(bits), w.bits&mask(bits)
	if got == exp || w.like == anything {
		return true
	}
	if w.like == eitherZero {
		sign := uint64(1) << (bits - 1)
		return got&^sign == 0 && exp&^sign == 0
	}
	el, ok := likeElements[w.like]
	if !ok {
		return false
	}
	width := el.f.width()
	for i := range el.n {
		g, e := got>>(i*width)&mask(width), exp>>(i*width)&mask(width)
		alike := el.f.isNaN(g) && el.f.isNaN(e)
		if el.zeros {
			alike = g&^el.f.sign() == 0 && e&^el.f.sign() == 0
		}
		if g != e && !alike {
			return false
		}
	}
	return true
}

// show returns the expectation as text, as a register of a type.
func (w want) show(t string) string {
	bits := regBits(t)
	switch {
	case w.like == anything:
		return "anything"
	case w.like == eitherZero && w.bits&mask(bits-1) == 0:
		return "a zero"
	}
	if el, ok := likeElements[w.like]; ok {
		if width := el.f.width(); el.n == 1 && !el.zeros && el.f.isNaN(w.bits&mask(width)) {
			return "a NaN"
		}
	}
	return showRegister(w.bits, t)
}

// mask returns a word with the lowest n bits set, 0 ≤ n ≤ 64.
func mask(n int) uint64 {
	if n >= 64 {
		return ^uint64(0)
	}
	return 1<<n - 1
}
