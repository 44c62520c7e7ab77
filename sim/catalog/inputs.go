package catalog

import "slices"

// Inputs are the formats of a matrix product's two inputs, activations and weights, by their bits.
type Inputs int

// The inputs of products. A card has a peak for each: [Card.Flops].
const (
	In16     Inputs = iota // both have 16 bits
	Unpacked               // activations have 16 bits; weights have fewer, and are unpacked to 16
	In8                    // both have 8
	In8x4                  // activations have 8 bits, and weights, in mxfp4, 4
	In4                    // both have 4
)

// AllInputs returns the inputs of products.
func AllInputs() []Inputs { return []Inputs{In16, Unpacked, In8, In8x4, In4} }

// Inputs returns what servers multiply on the card if weights have a format. Where they have no kernel for it, they unpack
// the weights to 16 bits.
func (c *Card) Inputs(f Format) Inputs {
	switch {
	case f.Bits >= 16:
		return In16
	case f.Weights == MXFP4 && f.Activations > 4:
		if c.FlopsMX > 0 {
			return In8x4
		}
	case f.Activations <= 4:
		if c.Flops4 > 0 {
			return In4
		}
	case f.Activations <= 8:
		if c.Flops8 > 0 && (c.Only8 == "" || c.Only8 == f.Weights) {
			return In8
		}
	}
	return Unpacked
}

// Flops returns the peak of products of these inputs, in FLOP/s; that of 16 bits if the card has none for them.
func (c *Card) Flops(in Inputs) float64 {
	if peak := [...]float64{In16: c.Flops16, Unpacked: c.Flops16, In8: c.Flops8, In8x4: c.FlopsMX, In4: c.Flops4}[in]; peak > 0 {
		return peak
	}
	return c.Flops16
}

// inputs returns what servers multiply on a card with a module. Their kernels for mxfp4 are of routed experts.
func (m *Model) inputs(mod *Module, w Weights, on *Card) Inputs {
	in := on.Inputs(m.format(mod, w))
	if in == In8x4 && mod.Kind != Routed {
		return Unpacked
	}
	return in
}

// Unpacked returns the formats of the model's weights that servers unpack to 16 bits on a card, and not on all cards.
func (m *Model) Unpacked(w Weights, on *Card) []Weights {
	var formats []Weights
	for i := range m.Modules {
		f := m.format(&m.Modules[i], w)
		if (f.Activations < 16 || f.Weights == MXFP4) && m.inputs(&m.Modules[i], w, on) == Unpacked && !slices.Contains(formats, f.Weights) {
			formats = append(formats, f.Weights)
		}
	}
	return formats
}
