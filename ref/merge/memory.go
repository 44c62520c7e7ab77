package merge

import "fmt"

// Payload computes the average bytes of a token by the paper's closed form, without pages: layers below From
// hold their own keys and values, the others hold them in pairs.
type Payload struct {
	Layers   int     // L
	From     int     // S: the pairs are (S, S+1), (S+2, S+3), …; an odd last layer is not merged
	KVHeads  int     // H
	HeadSize int     // D
	Ratio    float64 // ρ: fraction of the tokens retained in both layers, of K and of V

	Bits       float64 // per element: 16, or b + 32/g with quantized groups of g elements
	NormBytes  float64 // per norm
	PerHead    bool    // one norm for each head; the paper counts one for each layer
	IndexBytes float64 // per retained token's index, in K and in V; the paper counts none
}

// Check returns an error that names what is out of range.
func (p Payload) Check() error {
	switch {
	case p.Layers < 1 || p.KVHeads < 1 || p.HeadSize < 1:
		return fmt.Errorf("merge: %d layers of %d heads of %d: want at least 1 of each", p.Layers, p.KVHeads, p.HeadSize)
	case p.From < 0 || p.From > p.Layers:
		return fmt.Errorf("merge: layers are merged from %d on: choose 0 to %d", p.From, p.Layers)
	case !(p.Bits > 0 && p.NormBytes >= 0 && p.IndexBytes >= 0):
		return fmt.Errorf("merge: %v bits, norms of %v and indices of %v bytes", p.Bits, p.NormBytes, p.IndexBytes)
	}
	return CheckGamma(p.Ratio)
}

// Pairs returns how many pairs of layers are merged.
func (p Payload) Pairs() int { return (p.Layers - p.From) / 2 }

// Full returns the bytes of a token in a cache of 16-bit elements.
func (p Payload) Full() float64 { return float64(2 * 2 * p.Layers * p.KVHeads * p.HeadSize) }

// Norms returns the bytes of a token's norms: of K and V, in both layers of every pair.
func (p Payload) Norms() float64 {
	n := 4 * p.Pairs()
	if p.PerHead {
		n *= p.KVHeads
	}
	return float64(n) * p.NormBytes
}

// Bytes returns the average bytes of a token:
//
//	(L − 2P)·2hb + P·2hb·(1 + 2ρ) + norms + P·2ρ·index
//
// with P pairs, h = H·D elements per layer and b bytes per element. For L = 2S, b = 2, ρ = 0.05 and norms of
// 2 bytes, one for each layer, it is (3.1h + 2)·L.
func (p Payload) Bytes() float64 {
	pairs := float64(p.Pairs())
	layer := 2 * float64(p.KVHeads*p.HeadSize) * p.Bits / 8
	indices := 2 * p.Ratio * p.IndexBytes
	if p.PerHead {
		indices *= float64(p.KVHeads)
	}
	return (float64(p.Layers)-2*pairs)*layer + pairs*layer*(1+2*p.Ratio) + p.Norms() + pairs*indices
}

// Compression returns the compression factor against a cache of 16-bit elements: [Payload.Full] /
// [Payload.Bytes].
func (p Payload) Compression() float64 { return p.Full() / p.Bytes() }

// RatioFor returns the ρ that gives a compression factor; false if there is none from 0 to 1.
func (p Payload) RatioFor(compression float64) (float64, bool) {
	p.Ratio = 0
	none := p.Bytes()
	p.Ratio = 1
	all := p.Bytes()
	rho := (p.Full()/compression - none) / (all - none)
	return rho, rho >= 0 && rho <= 1 // false for NaN, which it is without pairs
}
