//go:build !purego

package llama

import "github.com/klauspost/cpuid/v2"

var hasAVX2 = cpuid.CPU.Supports(cpuid.AVX2)

// dotsLanesAVX2 is dotsLanesPlain for n elements, a positive multiple of eight.
//
//go:noescape
func dotsLanesAVX2(s *[4][lanes]float32, a, b0, b1, b2, b3 *float32, n int)

func dotsLanes(s *[4][lanes]float32, a []float32, b *[4][]float32) {
	n := len(a)
	if !hasAVX2 || n == 0 {
		dotsLanesPlain(s, a, b)
		return
	}
	dotsLanesAVX2(s, &a[0], &b[0][:n][0], &b[1][:n][0], &b[2][:n][0], &b[3][:n][0], n)
}
