package catalog

import "slices"

// Product is the kind of a matrix product, by the bits of its inputs: activations and weights.
type Product int

// The kinds of products. A card computes each at a peak of its own: [Card.Flops].
const (
	In16  Product = iota // both inputs have 16 bits; weights that have fewer are unpacked
	In8                  // both have 8
	In8x4                // activations have 8 bits and weights, in mxfp4, 4
	In4                  // both have 4
)

// Products returns the kinds of products.
func Products() []Product { return []Product{In16, In8, In8x4, In4} }

// Product returns the kind of product that servers compute with weights of a format on the card. Kernels for formats that
// the card's tensor cores do not take unpack the weights to 16 bits: in vLLM, those named Marlin.
func (c *Card) Product(f Format) Product {
	switch {
	case f.Weights == MXFP4 && f.Activations > 4:
		if c.FlopsMX > 0 {
			return In8x4
		}
	case f.Activations <= 4:
		if c.Flops4 > 0 {
			return In4
		}
	case f.Activations <= 8:
		if c.Flops8 > 0 && (f.Weights == INT8 || !c.Int8Only) {
			return In8
		}
	}
	return In16
}

// Flops returns the peak of a kind of product, in FLOP/s; that of 16 bits if the card does not compute it.
func (c *Card) Flops(p Product) float64 {
	if peak := [...]float64{In16: c.Flops16, In8: c.Flops8, In8x4: c.FlopsMX, In4: c.Flops4}[p]; peak > 0 {
		return peak
	}
	return c.Flops16
}

// Unpacked returns the formats of the model's weights whose inputs would have fewer than 16 bits on other cards, and which
// are unpacked to 16 bits on this one.
func (m *Model) Unpacked(w Weights, on *Card) []Weights {
	var formats []Weights
	for i := range m.Modules {
		f := m.format(&m.Modules[i], w)
		if (f.Activations < 16 || f.Weights == MXFP4) && on.Product(f) == In16 && !slices.Contains(formats, f.Weights) {
			formats = append(formats, f.Weights)
		}
	}
	return formats
}
