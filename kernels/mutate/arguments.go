package mutate

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"path"
	"regexp"

	"kvcompress/kernels/coverage"
)

// argument says why faults of some lines of the engine's kernels, if nothing notices them, make no
// difference to what the kernels compute.
type argument struct {
	coverage.Expectation
	// Old and New are regular expressions of the instruction, and of what takes its place.
	Old string `json:"old"`
	New string `json:"new"`
}

//go:embed arguments.json
var argumentsJSON []byte

// arguments returns those that there are.
func arguments() ([]argument, error) {
	var list []argument
	if err := json.Unmarshal(argumentsJSON, &list); err != nil {
		return nil, fmt.Errorf("mutate: arguments.json: %w", err)
	}
	return list, nil
}

// argued returns why a mutant that nothing notices is equivalent by an argument; "" if there is none.
func (m *Mutant) argued() (string, error) {
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
		if old && by {
			return a.Why, nil
		}
	}
	return "", nil
}
