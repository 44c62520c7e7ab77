package llama

import "kvcompress/trace"

// rotation is the turn of every pair at one position.
type rotation struct {
	cos, sin []float32 // [HeadSize/2]
}

func newRotation(freqs []float32, position int) rotation {
	r := rotation{cos: make([]float32, len(freqs)), sin: make([]float32, len(freqs))}
	trace.Angles(r.cos, r.sin, freqs, position)
	return r
}

// apply turns each head of x, which is [heads, rope.RotarySize].
func (r rotation) apply(x []float32, rope trace.Rope) {
	step, partner := rope.Strides()
	for ; len(x) > 0; x = x[rope.RotarySize:] {
		for i := range r.cos {
			a, b := &x[i*step], &x[i*step+partner]
			*a, *b = float32(*a*r.cos[i])-float32(*b*r.sin[i]), float32(*a*r.sin[i])+float32(*b*r.cos[i])
		}
	}
}
