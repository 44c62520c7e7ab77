package catalog

import "slices"

// Chip returns the GPU chip of a card of the catalogue, by NVIDIA's name; "" for other cards. Cards
// with the same chip differ in clocks, memory and the part of the chip that is enabled, and reach about
// the same fraction of their own peaks.
func (c *Card) Chip() string {
	for chip, cards := range map[string][]string{
		"GA100": {"a100-40gb", "a100-80gb"},
		"GA102": {"a10", "a40", "rtx-3090", "rtx-a6000"},
		"AD104": {"l4"},
		"AD102": {"l40s", "rtx-4090", "rtx-6000-ada"},
		"GH100": {"h100", "h100-nvl", "h20", "h200"},
		"GB100": {"b200", "gb200"},
		"GB110": {"b300"},
		"GB202": {"rtx-5090", "rtx-pro-6000"},
	} {
		if slices.Contains(cards, c.Name) {
			return chip
		}
	}
	return ""
}
