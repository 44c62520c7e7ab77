package catalog

import "testing"

// TestChips checks that every card of the catalogue has a chip.
func TestChips(t *testing.T) {
	for _, c := range Cards() {
		if c.Chip() == "" {
			t.Errorf("%s has no chip", c.Name)
		}
	}
	if c := (Card{Name: "mine"}); c.Chip() != "" {
		t.Errorf("a card of a file has chip %s", c.Chip())
	}
}
