package vec

func dots(dst []float32, stride int, q, k []float32, g, d int) { dotsPlain(dst, stride, q, k, g, d) }

func accumulate(acc, e []float32, stride int, v []float32, g, d int) {
	accumulatePlain(acc, e, stride, v, g, d)
}

func maximum(x []float32) float32 { return maximumPlain(x) }
