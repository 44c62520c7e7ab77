package ptx

import (
	"math/bits"
	"math/rand/v2"
)

// permutation is a bijection of 0..n-1 that needs no memory: a Feistel network on the next power of four,
// applied repeatedly until the result is below n.
type permutation struct {
	n    uint64
	half uint
	keys [4]uint64
}

func newPermutation(n uint64, rng *rand.Rand) *permutation {
	p := &permutation{n: n, half: uint(bits.Len64(n-1)+1) / 2}
	p.half = max(p.half, 1)
	for i := range p.keys {
		p.keys[i] = rng.Uint64()
	}
	return p
}

func (p *permutation) at(i uint64) uint64 {
	low := uint64(1)<<p.half - 1
	for {
		l, r := i>>p.half, i&low
		for _, k := range p.keys {
			x := (r ^ k) * 0x9e3779b97f4a7c15
			x ^= x >> 29
			x *= 0xbf58476d1ce4e5b9
			l, r = r, l^(x>>32)&low
		}
		if i = l<<p.half | r; i < p.n {
			return i
		}
	}
}
