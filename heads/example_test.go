package heads_test

import (
	"fmt"
	"strings"

	"kvcompress/heads"
)

// A map of DuoAttention's gates, half of which are to be streaming.
func ExampleGates() {
	gates, err := heads.ReadTSV(strings.NewReader("0.98\t0.03\n0.41\t0.87\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := heads.Gates(gates, 2, 0.5, "an example")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.CountFull(), m.Classes)
	// Output: 2 [[full streaming] [streaming full]]
}

// The prompt of a search: a BOS of 1, and two distinct tokens three times.
func ExampleRepetition_Prompt() {
	rep := heads.Repetition{Period: 2, Repeats: 3}
	prompt, err := rep.Prompt(heads.Draw{BOS: 1, First: 2, Last: 3, Distinct: true, Seed: 1})
	fmt.Println(len(prompt), prompt[0], prompt[1] == prompt[3] && prompt[3] == prompt[5], err)
	// Output: 7 1 true <nil>
}
