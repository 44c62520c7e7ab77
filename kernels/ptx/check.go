package ptx

import (
	"fmt"
	"strings"
)

// Checks says what a device looks for beyond what it always refuses: an access
// outside memory or misaligned, and a wrong free, are errors without any check.
type Checks struct {
	Uninit    bool // uses of what was read from memory that nothing has written
	Registers bool // uses of registers that nothing has written
	Races     bool // accesses to the same bytes without an order, one of them a write; asynchronous copies
	Sync      bool // barriers and warp-wide instructions that not every thread reaches
	Leaks     bool // memory that is never freed
}

// AllChecks returns every check turned on.
func AllChecks() Checks {
	return Checks{Uninit: true, Registers: true, Races: true, Sync: true, Leaks: true}
}

// named returns the checks under their names, in the order of their fields.
func (c *Checks) named() []struct {
	name string
	on   *bool
} {
	return []struct {
		name string
		on   *bool
	}{
		{"uninit", &c.Uninit},
		{"registers", &c.Registers},
		{"races", &c.Races},
		{"sync", &c.Sync},
		{"leaks", &c.Leaks},
	}
}

// ParseChecks reads a list of names separated by commas: uninit, registers,
// races, sync, leaks. "all" stands for all of them and "none" for none; a name
// after a minus is turned off, so that "all,-races" is all but races.
func ParseChecks(list string) (Checks, error) {
	var c Checks
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		name, off := strings.CutPrefix(word, "-")
		switch {
		case word == "all":
			c = AllChecks()
			continue
		case word == "none":
			c = Checks{}
			continue
		}
		known := false
		for _, n := range c.named() {
			if n.name == name {
				*n.on, known = !off, true
			}
		}
		if !known {
			return Checks{}, fmt.Errorf("ptx: %q is no check: they are %s, all and none", word, AllChecks())
		}
	}
	return c, nil
}

// String returns the list that ParseChecks reads.
func (c Checks) String() string {
	var on []string
	for _, n := range c.named() {
		if *n.on {
			on = append(on, n.name)
		}
	}
	if len(on) == 0 {
		return "none"
	}
	return strings.Join(on, ",")
}
