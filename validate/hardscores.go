package validate

import (
	"math"
	"math/rand/v2"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
)

// OpScores is an operation that pipelines alone have: the scores of a sequence's KVs become
// such that many of them cost the same, or nearly: an ulp more or less. A cost that is
// computed in another way than it has to be then changes the decision. Scores as they come
// from attention lie too far apart for that.
const OpScores = "scores"

// hardScores puts an OpScores before some of the compressions, in a third of all cases, and
// always where heads are more than a block of threads: there are ties between all of them then.
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

// score carries out an OpScores, the n-th operation, on the reference, and gives the engine under
// test its state. It does nothing where the method does not choose by scores.
func (p *Pipeline) score(pair *Pair, id kv.SeqID, n int) error {
	cache := pair.reference.Cache()
	s := cache.Sequence(id)
	method, err := p.methodOf(pair, id)
	if err != nil {
		return err
	}
	column, average := -1, false
	if o := method.Observe(); o != nil {
		column = o.Column
	}
	_, positive := method.(ref.Masker) // the sign says something else
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
	key := mix(mix(p.Inputs.Seed^uint64(id)) ^ uint64(n))
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
				bits := mix(mix(mix(key^uint64(h))^uint64(i)) ^ uint64(j))
				v := hardScore(key, bits, float32(after))
				if positive {
					v = float32(math.Abs(float64(v)))
				}
				cache.Data[column][slot*width+j] = v
			}
		}
	}
	return pair.test.Restore(cache)
}

// hardScore makes a score of a KV of random bits, whose cost is the score over after: key is
// the same for all KVs.
func hardScore(key, bits uint64, after float32) float32 {
	common := math.Float32frombits(uint32(key)&0x7fffff | (120+uint32(key>>24)%8)<<23) // 2⁻⁷ to 2
	switch kind := bits % 16; {
	case key>>40%4 == 0: // all the same
		return common * after
	case kind < 10: // the same up to an ulp
		return math.Float32frombits(math.Float32bits(common*after) + uint32(bits>>8)%3 - 1)
	case kind < 13: // of few, that are exact
		return float32(bits>>8%4) / 4 * after
	case kind < 14: // zeros and subnormal numbers of both signs
		return slices.Max([]float32{0, math.Float32frombits(uint32(bits >> 8 % 4))}) * float32(1-2*int(bits>>16%2))
	default:
		return math.Float32frombits(uint32(bits>>32)&0x7fffff|(64+uint32(bits>>8)%128)<<23) * after
	}
}
