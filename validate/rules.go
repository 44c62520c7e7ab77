package validate

import (
	"math/rand/v2"
	"slices"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
)

// edgeRules are predicates on methods, one for each way of scoring a prompt or of ranking KVs for which there are
// kernels, or loops of a kernel, that no other way uses. Random pipelines draw methods and options uniformly, and so
// execute these rarely.
var edgeRules = []func(cfg *ref.Config, m ref.Method) bool{
	scoredBy[ref.KeyNorm],
	scoredBy[ref.KeyDiff],
	scoredBy[ref.LagKV],
	scoredBy[*ref.ExpectedAttention],
	func(cfg *ref.Config, m ref.Method) bool { return rankingOf(cfg, m).Width > 1 },
	func(cfg *ref.Config, m ref.Method) bool { return rankingOf(cfg, m).Share != nil },
	func(cfg *ref.Config, m ref.Method) bool { return rankingOf(cfg, m).Key == ref.ByHash },
	func(cfg *ref.Config, m ref.Method) bool { return rankingOf(cfg, m).Key == ref.ByPosition },
	func(cfg *ref.Config, m ref.Method) bool { return rankingOf(cfg, m).Average },
	func(cfg *ref.Config, m ref.Method) bool { return rankingOf(cfg, m).Bias != nil },
	func(_ *ref.Config, m ref.Method) bool { // KVs are hidden
		_, ok := m.(ref.Masker)
		return ok
	},
	pools,
	meansOverHeads,
	func(_ *ref.Config, m ref.Method) bool { // decode steps add to scores
		o := m.Observe()
		return o != nil && o.Decode
	},
}

// pools reports whether a method has a number for each KV of a prompt, which is pooled.
func pools(_ *ref.Config, m ref.Method) bool {
	o := m.Observe()
	return o != nil && o.Scorer == nil && o.Pool.Kind > ref.MaxPool
}

// meansOverHeads reports whether a method's scores are means over the KV heads of a layer.
func meansOverHeads(_ *ref.Config, m ref.Method) bool {
	o := m.Observe()
	return o != nil && o.LayerMean
}

// scoredBy reports whether a method's scores are those of a type of scorer.
func scoredBy[T ref.Scorer](_ *ref.Config, m ref.Method) bool {
	o := m.Observe()
	if o == nil {
		return false
	}
	_, ok := o.Scorer.(T)
	return ok
}

// rankingOf returns a method's ranking of the KVs of a prompt of 300 tokens.
func rankingOf(cfg *ref.Config, m ref.Method) ref.Ranking {
	dropper, ok := m.(ref.Dropper)
	if !ok {
		return ref.Ranking{}
	}
	const tokens = 300
	return dropper.Rank(ref.Counts{Prompt: tokens, Tokens: tokens, Heads: slices.Repeat([]int{tokens}, cfg.Shape.Heads())})
}

// edgeOfRule returns the i-th pipeline that enumerates edgeRules: small, with many decisions. In a third of them costs are
// next to the limits of the 8-bit digits by which kernels search. It is nil if none was found.
func edgeOfRule(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	rule := edgeRules[i%len(edgeRules)]
	for range maxEdgeDraws {
		d := pick(r, edgeHeadSizes...)
		p := &Pipeline{
			Shape: kv.Shape{Layers: 1 + r.IntN(2), KVHeads: 1 + r.IntN(3), HeadSize: d, Group: pick(r, edgeGroups[1:]...)},
			Inputs: Inputs{
				Seed: r.Uint64(), Spread: r.IntN(2) == 0, Ties: r.IntN(4) == 0, Integers: r.IntN(8) == 0,
				Digits: r.IntN(3) == 0, Scale: 1,
			},
			Rope: &trace.Rope{Base: 10000, RotarySize: d / pick(r, 1, 1, 2), Pairing: pick(r, trace.Half, trace.Interleaved)},
		}
		p.Inputs.Zeros = p.Inputs.Seed&7 == 0
		far, rounds := r.IntN(10), 2
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), pick(r, edgeFormats...), 1
		grow := far > 0 && r.IntN(6) == 0
		if far == 0 { // each allocation searches a long free list, and 2²⁹ slots must not exceed maxBeforeBytes
			p.Config.BlockSize, p.Config.DType, rounds = 32, pick(r, edgeFormats[1:]...), 1
			p.Shape.HeadSize, p.Rope.RotarySize = 8, 8
		}
		if grow { // a launch has a budget
			p.Shape = kv.Shape{Layers: 1, KVHeads: 1, HeadSize: 8, Group: 2}
			p.Rope.RotarySize = 8
		}
		found, err := p.drawMethod(r, methods, rule)
		if err != nil || !found {
			return nil, err
		}
		if cfg := p.config(); rankingOf(&cfg, p.newMethod()).Width > 1 && p.Inputs.Seed>>6&1 == 0 && !grow {
			p.Shape.Group = wideGroups[p.Inputs.Seed>>7%4] // a KV has more numbers than in other pipelines
		}
		prompts := []int{pick(r, 31, 33, 65, 127, 129, 131, 160, 257), pick(r, edgePrompts...)}
		if o := p.observation(); o != nil && o.Scorer != nil && !grow {
			p.hardScorer(r, i/len(edgeRules), o.Scorer, prompts)
		}
		p.fillDecisions(r, rounds, prompts[:rounds]...)
		if cfg := p.config(); cfg.Validate() != nil || p.work() > maxRuleWork {
			continue
		}
		if grow {
			p.growFirst(pick(r, 1<<16+40, pick(r, grownTokens...)))
		}
		switch far {
		case 0:
			p.placeSlotsFar()
			p.placeRowsFar()
		case 1:
			p.placeFar()
		case 2:
			p.placeRowsFar()
		}
		return p, nil
	}
	return nil, nil
}

// smallScales are scales of inputs at which norms are below the bounds of [ref.KeyDiff], squares are subnormal, or products are.
var smallScales = []float32{0x1p-40, 0x1p-73, 0x1p-90}

// hardScorer gives the round-th pipeline of a scorer inputs that are small, beyond the range that kernels count, or almost
// cancel, or the largest heads, whose covariances have the most tiles, with shorter prompts.
func (p *Pipeline) hardScorer(r *rand.Rand, round int, scorer ref.Scorer, prompts []int) {
	in := &p.Inputs
	switch round % 4 {
	case 1:
		in.Scale = smallScales[round/4%len(smallScales)]
		in.Ties, in.Integers = false, false // they have no scale
	case 2:
		if p.Config.DType != dtype.F16 {
			in.Scale = 0x1p40
		}
	case 3:
		in.Mirror, in.Rests = true, true
		p.Shape.HeadSize, p.Shape.Group = max(p.Shape.HeadSize, 128), 2
		prompts[0] = ref.Partition + pick(r, 2, 2, 4) // pairs; in a partition of few all values of an element may be subnormal
		in.Ties, in.Integers, in.Spread = false, false, false
	}
	if _, expected := scorer.(*ref.ExpectedAttention); expected && round%3 == 0 {
		p.Shape.HeadSize = kv.MaxHeadSize
		for i, n := range prompts {
			prompts[i] = min(n, 33-20*i)
		}
	}
}

// maxRuleWork is maxWork for pipelines that mostly decide.
const maxRuleWork = 1e6

// fillDecisions sets the operations of a pipeline, and the number of blocks of its cache: each sequence enters, is
// compressed before and after a decode step, and leaves, for a number of rounds.
func (p *Pipeline) fillDecisions(r *rand.Rand, rounds int, prompts ...int) {
	const decodes = 2
	blocks := 0
	for _, n := range prompts {
		p.Inputs.Tokens = append(p.Inputs.Tokens, n+decodes)
		blocks += (n+decodes)/p.Config.BlockSize + 2
	}
	p.Config.Blocks = blocks * p.Shape.Heads()
	for round := range rounds {
		for i, n := range prompts {
			one := []kv.SeqID{kv.SeqID(i)}
			if round > 0 {
				n = 1 + r.IntN(n)
			}
			p.Operations = append(p.Operations, Operation{OpPrefill, one, n})
			for range decodes {
				if r.IntN(2) == 0 {
					p.Operations = append(p.Operations, Operation{OpScores, one, 0})
				}
				p.Operations = append(p.Operations, Operation{OpCompress, one, 0}, Operation{OpDecode, one, 0})
			}
			p.Operations = append(p.Operations, Operation{OpRelease, one, 0})
		}
	}
}

// growFirst lets the first sequence grow by n tokens after its first prefill.
func (p *Pipeline) growFirst(n int) {
	p.Config.Blocks += (n/p.Config.BlockSize + 1) * p.Shape.Heads()
	p.Inputs.Tokens[0] += n
	p.Operations = slices.Insert(p.Operations, 1, Operation{OpGrow, []kv.SeqID{0}, n})
}
