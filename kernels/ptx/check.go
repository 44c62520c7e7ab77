package ptx

import (
	"fmt"
	"strings"
)

// Checks says which checkers are on. Out-of-bounds and misaligned accesses and wrong frees are always errors.
type Checks struct {
	Uninit    bool // uses of values read from memory that nothing has written
	Registers bool // uses of registers that nothing has written
	Races     bool // unordered accesses to the same bytes, one of them a write; accesses to asynchronous copies in flight
	Sync      bool // barriers and warp-wide instructions that some threads do not reach
	Leaks     bool // memory that is never freed
}

// AllChecks returns Checks with every checker on.
func AllChecks() Checks {
	return Checks{Uninit: true, Registers: true, Races: true, Sync: true, Leaks: true}
}

// named returns the checks with their names, in the order of their fields.
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

// ParseChecks parses a comma-separated list of names: uninit, registers, races, sync, leaks. "all" means all
// of them and "none" none; a name after a minus is turned off, so "all,-races" means all except races.
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
			return Checks{}, fmt.Errorf("ptx: unknown check %q: want some of %s, all and none", word, AllChecks())
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
