package validate

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"

	"kvcompress/dtype"
	"kvcompress/internal/splitmix"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/ref/merge"
	"kvcompress/trace"
)

// readVectors sets a row of K or V of all heads to vectors of Inputs.Vectors, and says whether it did.
func (m *madeUp) readVectors(dst []float32, layer int, t trace.Tensor, token int) bool {
	if len(m.inputs.Vectors) == 0 || t == trace.Q {
		return false
	}
	number := m.inputs.Vectors[(2*token+int(t))%len(m.inputs.Vectors)]
	for d := m.shape.HeadSize; len(dst) > 0; dst = dst[d:] {
		switch v := dst[:d]; {
		case !m.inputs.Angles:
			numberedVector(v, m.inputs.Seed, number, layer, m.format)
		case layer == 0:
			angledVectors(make([]float32, d), v, m.inputs.Seed, number)
		default:
			angledVectors(v, make([]float32, d), m.inputs.Seed, number)
		}
	}
	return true
}

// numberedVector sets v to a layer's vector of a number. Its elements are numbers of the format, of magnitudes from 2 down to
// 2⁻⁸. If the number is odd, only four lanes of a warp have elements that are not 0, and smaller magnitudes are as frequent as
// larger ones. So lanes round sums of squares, and more of that remains in the sum over all lanes.
func numberedVector(v []float32, seed uint64, number uint16, layer int, format dtype.DType) {
	key := splitmix.Next(splitmix.Next(seed^uint64(number)) ^ uint64(layer))
	clear(v)
	for j := range v {
		if number%2 == 1 && j%8 != int(number)/2%8 {
			continue
		}
		x := splitmix.Next(key ^ uint64(j))
		smaller := uint32(bits.TrailingZeros64(x | 1<<8))
		if number%2 == 1 {
			smaller = uint32(x>>8) % 12
		}
		v[j] = math.Float32frombits((uint32(x>>32)&0x807fffff | (127-smaller)<<23) &^ (1<<ties[format].dropped - 1))
	}
}

// nearTies returns n numbers, or fewer, of vectors of d elements that are merged to a direction with an element near a tie:
// see nearTie. Half of them are even.
func nearTies(n int, seed uint64, format dtype.DType, d, shallow int, by merge.Slerp) ([]uint16, error) {
	var numbers []uint16
	x, y := make([]float32, d), make([]float32, d)
	for odd := range 2 {
		for number := odd; len(numbers) < (odd+1)*n/2 && number <= math.MaxUint16; number += 2 {
			numberedVector(y, seed, uint16(number), shallow, format)
			numberedVector(x, seed, uint16(number), shallow+1, format)
			near, err := nearTie(format, x, y, by)
			if err != nil {
				return nil, err
			}
			if near {
				numbers = append(numbers, uint16(number))
			}
		}
	}
	return numbers, nil
}

// nearTie reports whether an element of the direction of two vectors, x in the deeper layer, is so close to halfway between two
// numbers of the format that an error of one unit in the last place of binary32 changes what is stored. In other vectors
// rounding hides such an error.
func nearTie(format dtype.DType, x, y []float32, by merge.Slerp) (bool, error) {
	merged, err := by.Merge(x, y, len(x))
	if err != nil {
		return false, err
	}
	if format == dtype.F32 {
		return true, nil
	}
	dropped, low := ties[format].dropped, float32(math.Ldexp(1, ties[format].low))
	return slices.ContainsFunc(merged.Directions, func(v float32) bool {
		b := int(math.Float32bits(v) &^ (1 << 31))
		from, odd := b%(1<<dropped)-1<<(dropped-1), b>>dropped&1
		return (from == 0 || from == 1-2*odd) && math.Float32frombits(uint32(b)) >= low // next to a tie, which goes to even
	}), nil
}

// tieTokens is the length of a prompt of edgeOfTies.
const tieTokens = 24

// edgeOfTies returns the i-th pipeline of a method that merges, of vectors of nearTies with the most elements: four
// consecutive i that are not nil cover every method and f16 and bf16. It is nil for seven of eight i, if the method is not among
// methods, and if none was found.
func edgeOfTies(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	if i%8 != 7 {
		return nil, nil
	}
	i /= 8
	return edgeOfVectors(r, edgeMerging[i%2].name, edgeFormats[1+i/2%2], tieTokens, methods, func(p *Pipeline) (err error) {
		by := p.newMethod().(ref.Merger).Merging()
		p.Inputs.Vectors, err = nearTies(2*tieTokens, p.Inputs.Seed, p.Config.DType, kv.MaxHeadSize, by.First, by.Slerp)
		return err
	})
}

// edgeOfVectors returns a pipeline of the method of a name, which merges, with one prompt of the given length. Its keys and values
// are the vectors, of the most elements, that choose lists in Inputs.Vectors. It is nil if the method is not among methods, and
// if no configuration was found.
func edgeOfVectors(r *rand.Rand, name string, format dtype.DType, tokens int, methods []*draw.Method, choose func(p *Pipeline) error) (*Pipeline, error) {
	if methods = named(methods, name); methods == nil {
		return nil, nil
	}
	for range maxEdgeDraws {
		p := &Pipeline{
			Shape:  kv.Shape{Layers: 2, KVHeads: 1, HeadSize: kv.MaxHeadSize, Group: 1},
			Inputs: Inputs{Seed: r.Uint64(), Scale: 1},
		}
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), format, 1
		found, err := p.drawMethod(r, methods, merges)
		if err != nil {
			return nil, err
		}
		if !found { // small blocks hold no group
			continue
		}
		p.set("t", 0.1+0.8*r.Float64()) // so that both vectors have weight
		if p.quantizes() {              // in groups of two each element is the smallest or the largest
			p.set("group", 2)
			p.set("bits", maxBits)
		}
		p.fillEdges(r, 2, tokens)
		p.Config.Blocks *= 2 // new pages are allocated before plain ones are freed
		if cfg := p.config(); cfg.Validate() != nil {
			continue
		}
		return p, choose(p)
	}
	return nil, nil
}
