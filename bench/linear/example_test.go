package linear_test

import (
	"fmt"

	"kvcompress/bench/models"
)

// A session reads a text token by token. A fork of it continues independently.
func ExampleSession() {
	m, err := models.LoadLinear("hybrid-0")
	if err != nil {
		fmt.Println(err)
		return
	}
	s := m.NewSession()
	for _, token := range []int{0, 200, 201, 202} {
		if _, err := s.Feed(token); err != nil {
			fmt.Println(err)
			return
		}
	}
	fork := s.Fork()
	if _, err := fork.Feed(203); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Len(), fork.Len(), len(s.Logits()))
	// Output: 4 5 256
}
