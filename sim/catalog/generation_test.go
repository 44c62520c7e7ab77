package catalog

import "testing"

// TestGenerations holds that every card of the catalogue has a generation, so that a new one
// is not forgotten.
func TestGenerations(t *testing.T) {
	for _, c := range Cards() {
		if c.Generation() == "" {
			t.Errorf("%s has no generation", c.Name)
		}
	}
	if c := (Card{Name: "mine"}); c.Generation() != "" {
		t.Errorf("a card of a file is of generation %s", c.Generation())
	}
}
