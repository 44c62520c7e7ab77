package validate

import (
	"math"
	"math/rand/v2"
	"slices"

	"kvcompress/internal/splitmix"
	"kvcompress/kv"
	"kvcompress/ref"
)

// OpScores is an operation that only random pipelines have. It overwrites the scores of a sequence's KVs so
// that many have the same cost, or costs one ulp apart. Then a cost that is computed in another way changes
// the decision. Scores that come from attention are too far apart for that.
const OpScores = "scores"

// hardScores inserts an OpScores before some of the compressions: in a third of all cases, and always if
// there are more heads than a thread block has threads, so that all of them have ties.
func (p *Pipeline) hardScores(r *rand.Rand) {
	if r.IntN(3) > 0 && p.Shape.Heads() <= 256 {
		return
	}
	var all []Operation
	for _, op := range p.Operations {
		if op.Kind == OpCompress && r.IntN(2) == 0 {
			all = append(all, Operation{OpScores, op.Sequences, 0})
		}
		all = append(all, op)
	}
	p.Operations = all
}

// score carries out an OpScores, operation n of the pipeline, on the reference, and copies the state to the
// engine under test. It does nothing if the method does not rank by scores.
func (p *Pipeline) score(pair *Pair, id kv.SeqID, n int) error {
	cache, number := pair.reference.Cache(), p.number(id)
	s := cache.Sequence(number)
	method, err := p.methodOf(pair, number)
	if err != nil {
		return err
	}
	column, average := -1, false
	if o := method.Observe(); o != nil {
		column = o.Column
	}
	_, positive := method.(ref.Masker) // in a Masker's ranking a score's sign has another meaning
	if dropper, ok := method.(ref.Dropper); ok {
		ranking := dropper.Rank(ref.View{Cache: cache, Sequence: s}.Counts())
		if column, average = ranking.Column, ranking.Average; ranking.Key != ref.ByScore {
			column = -1
		}
		positive = ranking.Share != nil
	}
	if column < 0 || column >= len(cache.Data) {
		return nil
	}
	key := splitmix.Next(splitmix.Next(p.Inputs.Seed^uint64(id)) ^ uint64(n))
	width := cache.Columns()[column].Width
	for h := range s.Heads {
		head := &s.Heads[h]
		for i := range head.Len {
			slot := cache.Slot(head, i)
			after := 1
			if average {
				after = max(1, s.Len-1-int(cache.Positions[slot]))
			}
			for j := range width {
				bits := splitmix.Next(splitmix.Next(splitmix.Next(key^uint64(h))^uint64(i)) ^ uint64(j))
				v := hardScore(key, bits, float32(after))
				if head.Len > longHead && key>>46&1 == 0 {
					v = sparseScore(bits, head.Len, key>>47&1 == 0, float32(after))
				}
				if p.Inputs.Digits && !positive {
					v = digitScore(bits, j == 0)
				}
				switch {
				case positive && key>>44%4 == 0:
					v = 0
				case positive:
					v = float32(math.Abs(float64(v)))
				}
				cache.Data[column][slot*width+j] = v
			}
		}
	}
	return pair.test.Restore(cache)
}

// longHead is the largest number of KVs that a kernel that counts a head's costs gives to one thread block.
const longHead = 4096

// sparseScore makes a KV's score such that most costs of a head of n KVs are equal, and the others, about 32, are of all
// magnitudes above them, or below. So few KVs have their first digit. If these are larger, and the bound is among them, all others
// lie before it; if they are smaller, and the bound is not among them, a kernel that overlooks one evicts one of the others too many.
func sparseScore(bits uint64, n int, larger bool, after float32) float32 {
	const others = 32
	if bits%uint64(n/others) > 0 {
		return 0x1p-40 * after
	}
	exponent := 100 + uint32(bits>>24)%64
	if !larger {
		exponent = 22 + uint32(bits>>24)%64
	}
	return math.Float32frombits(uint32(bits>>32)&0x7fffff|exponent<<23) * after
}

// digitScore makes a finite score whose key, an integer of the same order that kernels search digit by digit, has digits
// at their ends: 0, 1, 254 and 255 of 8 bits. Of several numbers whose sum is the cost, only the first is not 0.
func digitScore(bits uint64, first bool) float32 {
	if !first {
		return 0
	}
	key := uint32(0)
	for range 4 {
		digit := uint32(bits>>8) & 0xff
		if ends := [...]uint32{0, 1, 254, 255}; bits&3 > 0 {
			digit = ends[bits>>2&3]
		}
		key, bits = key<<8|digit, bits>>16
	}
	if key>>31 == 0 {
		key = ^key
	} else {
		key ^= 1 << 31
	}
	if key<<1>>24 == 0xff { // not finite
		key &^= 1 << 30
	}
	return math.Float32frombits(key)
}

// hardScore makes a KV's score from random bits. The cost is the score divided by after. key is the same for
// all KVs.
func hardScore(key, bits uint64, after float32) float32 {
	exponent := 120 + uint32(key>>24)%8 // 2⁻⁷ to 2
	if key>>42%4 == 0 {
		exponent = 2 // 2⁻¹²⁵: half an ulp is 2⁻¹⁴⁹, the smallest number that could be added to a cost by mistake
	}
	common := math.Float32frombits(uint32(key)&0x7fffff | exponent<<23)
	switch kind := bits % 16; {
	case key>>40%4 == 0: // all costs equal
		return common * after
	case kind < 10: // equal up to one ulp
		return math.Float32frombits(math.Float32bits(common*after) + uint32(bits>>8)%3 - 1)
	case kind < 13: // one of four values, computed exactly
		return float32(bits>>8%4) / 4 * after
	case kind < 14: // zeros and subnormal numbers of both signs
		return slices.Max([]float32{0, math.Float32frombits(uint32(bits >> 8 % 4))}) * float32(1-2*int(bits>>16%2))
	default:
		return math.Float32frombits(uint32(bits>>32)&0x7fffff|(64+uint32(bits>>8)%128)<<23) * after
	}
}
