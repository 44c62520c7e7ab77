package cuda_test

import (
	"fmt"

	"kvcompress/kernels/cuda"
)

// The first GPU is opened. Without one, or in a binary without the tag cuda, the error says
// why not.
func ExampleOpen() {
	dev, err := cuda.Open(0)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(dev.Name())
	if err := dev.Close(); err != nil {
		fmt.Println(err)
	}
}
