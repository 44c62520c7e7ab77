package mutate

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"path"
	"regexp"

	"kvcompress/kernels/coverage"
)

// argument is a reason why mutants of some lines of the engine's kernels, if undetected, are
// equivalent to the original.
type argument struct {
	coverage.Expectation
	// Old and New are regular expressions that match the instruction and its replacement.
	Old string `json:"old"`
	New string `json:"new"`
	// Guess, if not "", is a regular expression that the guess about the mutant matches.
	Guess string `json:"guess,omitempty"`
}

//go:embed arguments.json
var argumentsJSON []byte

// arguments returns the arguments in arguments.json.
func arguments() ([]argument, error) {
	var list []argument
	if err := json.Unmarshal(argumentsJSON, &list); err != nil {
		return nil, fmt.Errorf("mutate: arguments.json: %w", err)
	}
	return list, nil
}

// argued returns why an undetected mutant is equivalent, given the reason of the guess; "" if no argument applies.
func (m *Mutant) argued(guess string) (string, error) {
	list, err := arguments()
	if err != nil {
		return "", err
	}
	for i := range list {
		a := &list[i]
		if !a.Holds(path.Clean(m.File), m.SourceLine, m.Kernel) {
			continue
		}
		old, err := regexp.MatchString(a.Old, m.Old)
		if err != nil {
			return "", err
		}
		by, err := regexp.MatchString(a.New, m.New)
		if err != nil {
			return "", err
		}
		known, err := regexp.MatchString(a.Guess, guess)
		if err != nil {
			return "", err
		}
		if old && by && known {
			return a.Why, nil
		}
	}
	return "", nil
}
