package llama

// lanes is the number of interleaved partial sums of a dot product. Additions to
// different partial sums do not wait for each other, and one vector register of
// eight numbers holds all partial sums.
const lanes = 8

// dot returns a·b. Element i is added to partial sum i mod 8; the elements after the
// last multiple of eight are added to partial sum 0. The partial sums are then added
// pairwise, by halves.
func dot(a, b []float32) float32 {
	b = b[:len(a)]
	var s [lanes]float32
	whole := len(a) &^ (lanes - 1)
	dotLanes(&s, a[:whole], b[:whole])
	return sumLanes(&s, a[whole:], b[whole:])
}

// dotLanes adds the products of a and b to the partial sums. The length of a is a
// multiple of eight.
func dotLanes(s *[lanes]float32, a, b []float32) {
	s0, s1, s2, s3, s4, s5, s6, s7 := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
	for len(a) >= lanes && len(b) >= lanes {
		s0 += float32(a[0] * b[0]) // the conversions keep compilers from fusing
		s1 += float32(a[1] * b[1])
		s2 += float32(a[2] * b[2])
		s3 += float32(a[3] * b[3])
		s4 += float32(a[4] * b[4])
		s5 += float32(a[5] * b[5])
		s6 += float32(a[6] * b[6])
		s7 += float32(a[7] * b[7])
		a, b = a[lanes:], b[lanes:]
	}
	*s = [lanes]float32{s0, s1, s2, s3, s4, s5, s6, s7}
}

// sumLanes adds the remaining products of a dot product to partial sum 0, and returns
// the sum of the partial sums.
func sumLanes(s *[lanes]float32, a, b []float32) float32 {
	for i := range a {
		s[0] += float32(a[i] * b[i])
	}
	return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

// dots returns a·b for each of four vectors b. Each result has the same bits as dot's.
func dots(a []float32, b *[4][]float32) [4]float32 {
	var s [4][lanes]float32
	whole := len(a) &^ (lanes - 1)
	dotsLanes(&s, a[:whole], b)
	var sums [4]float32
	for i := range b {
		sums[i] = sumLanes(&s[i], a[whole:], b[i][whole:len(a)])
	}
	return sums
}

// dotsLanesPlain is dotLanes for each of four vectors b. Only their first len(a)
// elements are used.
func dotsLanesPlain(s *[4][lanes]float32, a []float32, b *[4][]float32) {
	for i := range b {
		dotLanes(&s[i], a, b[i][:len(a)])
	}
}
