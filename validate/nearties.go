package validate

import (
	"encoding/binary"
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
	number := m.inputs.Vectors[(token+int(t))%len(m.inputs.Vectors)]
	for d := m.shape.HeadSize; len(dst) > 0; dst = dst[d:] {
		numberedVector(dst[:d], m.inputs.Seed, number, layer, m.format)
	}
	return true
}

// numberedVector sets v to a layer's vector of a number. Its elements are numbers of the format, of magnitudes from 2 down to
// 2⁻⁸.
func numberedVector(v []float32, seed uint64, number uint16, layer int, format dtype.DType) {
	key := splitmix.Next(splitmix.Next(seed^uint64(number)) ^ uint64(layer))
	for j := range v {
		x := splitmix.Next(key ^ uint64(j))
		smaller := uint32(bits.TrailingZeros64(x | 1<<8))
		v[j] = math.Float32frombits((uint32(x>>32)&0x807fffff | (127-smaller)<<23) &^ (1<<ties[format].dropped - 1))
	}
}

// nearTies returns n numbers, or fewer, of vectors of d elements. Where those of two layers are merged, an element of their
// direction is so close to halfway between two numbers of the format that an error of one unit in the last place of binary32
// changes what is stored. In other vectors rounding hides such an error.
func nearTies(n int, seed uint64, format dtype.DType, d, shallow int, by merge.Slerp) ([]uint16, error) {
	var to [4]byte
	code := func(v float32) uint32 {
		format.Encode(to[:format.Size()], []float32{v})
		return binary.LittleEndian.Uint32(to[:])
	}
	near := func(v float32) bool {
		return code(math.Nextafter32(v, 2)) != code(v) || code(math.Nextafter32(v, -2)) != code(v)
	}
	var numbers []uint16
	x, y := make([]float32, d), make([]float32, d)
	for number := uint16(0); len(numbers) < n && number < math.MaxUint16; number++ {
		numberedVector(y, seed, number, shallow, format)
		numberedVector(x, seed, number, shallow+1, format)
		merged, err := by.Merge(x, y, d)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(merged.Directions, near) {
			numbers = append(numbers, number)
		}
	}
	return numbers, nil
}

// edgeOfTies returns the i-th pipeline of a method that merges, of vectors of nearTies with the most elements: four
// consecutive i that are not nil cover every method and f16 and bf16. It is nil for seven of eight i, if the method is not among
// methods, and if none was found.
func edgeOfTies(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	if i%8 != 7 {
		return nil, nil
	}
	i /= 8
	name, format := edgeMerging[i%2].name, edgeFormats[1+i/2%2]
	k := slices.IndexFunc(methods, func(m *draw.Method) bool { return m.Name == name })
	if k < 0 {
		return nil, nil
	}
	const tokens = 24
	for range maxEdgeDraws {
		p := &Pipeline{
			Shape:  kv.Shape{Layers: 2, KVHeads: 1, HeadSize: kv.MaxHeadSize, Group: 1},
			Inputs: Inputs{Seed: r.Uint64(), Scale: 1},
		}
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), format, 1
		found, err := p.drawMethod(r, methods[k:k+1], merges)
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
		by := p.newMethod().(ref.Merger).Merging()
		if p.Inputs.Vectors, err = nearTies(tokens, p.Inputs.Seed, format, kv.MaxHeadSize, by.First, by.Slerp); err != nil {
			return nil, err
		}
		return p, nil
	}
	return nil, nil
}
