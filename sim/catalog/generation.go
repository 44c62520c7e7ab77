package catalog

import "slices"

// Generation is a generation of NVIDIA's GPUs.
type Generation string

// The generations of the cards that are known by name.
const (
	Ampere    Generation = "ampere"
	Ada       Generation = "ada"
	Hopper    Generation = "hopper"
	Blackwell Generation = "blackwell"
)

// Generation returns the generation of a card of the catalogue; "" of any other.
func (c *Card) Generation() Generation {
	for generation, cards := range map[Generation][]string{
		Ampere:    {"a10", "a100-40gb", "a100-80gb", "rtx-3090", "rtx-a6000"},
		Ada:       {"l4", "l40s", "rtx-4090", "rtx-6000-ada"},
		Hopper:    {"h100", "h100-nvl", "h200"},
		Blackwell: {"b200", "rtx-5090", "rtx-pro-6000"},
	} {
		if slices.Contains(cards, c.Name) {
			return generation
		}
	}
	return ""
}
