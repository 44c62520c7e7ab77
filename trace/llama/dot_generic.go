//go:build !amd64 || purego

package llama

func dotsLanes(s *[4][lanes]float32, a []float32, b *[4][]float32) {
	dotsLanesPlain(s, a, b)
}
