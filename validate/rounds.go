package validate

import (
	"math/rand/v2"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
)

// mergedHeadSizes are head sizes for which a warp needs 1 to 8 rounds, at 32 elements per round.
var mergedHeadSizes = []int{256, 8, 40, 96, 128, 160, 192, 224}

// edgeOfRounds returns the i-th pipeline of MiniCache with two merged layers, which are often nearly equal: 24
// consecutive i cover every format and number of rounds. It is nil if MiniCache is not among methods.
func edgeOfRounds(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	if methods = named(methods, "minicache"); methods == nil {
		return nil, nil
	}
	for range maxEdgeDraws {
		p := &Pipeline{
			Shape:  kv.Shape{Layers: 2, KVHeads: 1 + r.IntN(2), HeadSize: mergedHeadSizes[i/pageFormats%len(mergedHeadSizes)], Group: pick(r, 1, 2)},
			Inputs: Inputs{Seed: r.Uint64(), Scale: 1},
		}
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), edgeFormats[i%pageFormats], 1
		found, err := p.drawMethod(r, methods, anyReading)
		if err != nil || !found {
			return nil, err
		}
		if r.IntN(4) > 0 { // between 0 and 1, so that both vectors have weight
			p.set("t", 0.1+0.8*r.Float64())
		}
		p.Inputs.Alike, p.Inputs.Spread = r.IntN(2) == 0, r.IntN(2) == 0
		p.Inputs.Near = p.Inputs.Alike && p.Inputs.Seed&1 == 0
		p.Inputs.Zeros = p.Inputs.Seed&14 == 0
		p.fillEdges(r, 5, pick(r, edgePrompts...))
		if p.Inputs.Tokens[0] < 100 { // a plan allocates merged and retained pages before it frees plain pages
			p.Config.Blocks *= 2
		}
		if cfg := p.config(); cfg.Validate() == nil && p.work() <= maxWork {
			return p, nil
		}
	}
	return nil, nil
}
