package vec_test

import (
	"fmt"

	"kvcompress/ref/vec"
)

// The attention weights of a query over three keys, before normalization, and their sum.
func Example() {
	q := []float32{1, 0, 0, 0, 0, 0, 0, 2}
	k := []float32{
		1, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 1,
		1, 0, 0, 0, 0, 0, 0, 1,
	}
	scores := make([]float32, 3)
	vec.Dots(scores, q, k, 8)
	fmt.Println(scores)
	vec.ExpSub(scores, scores, vec.Max(scores))
	fmt.Println(scores, vec.Sum(scores))
	// Output:
	// [1 2 3]
	// [0.13533528 0.36787945 1] 1.5032148
}
