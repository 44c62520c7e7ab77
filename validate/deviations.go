package validate

import (
	"math"
	"math/rand/v2"

	"kvcompress/internal/splitmix"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
)

// readDeviations sets a row of K or V of all heads, such that the scores of LagKV are e^x of exponents, and a row of Q to 0.
// Segments of Inputs.Deviations tokens alternate. The odd ones have the range 0 to 1 in every element: one of their rows is
// 1, the others are 0. The even ones are measured by these, and have one row that is not 0. Its standard deviation is −x, and
// theirs is 0, so that x is theirs less the maximum. Keys and values have the same x, or the larger weight would hide a
// difference in the other.
func (m *madeUp) readDeviations(dst []float32, layer int, t trace.Tensor, token int) {
	clear(dst)
	segment, at := token/m.inputs.Deviations, token%m.inputs.Deviations
	if t == trace.Q || at != segment/2%m.inputs.Deviations {
		return
	}
	d := m.shape.HeadSize
	key := splitmix.Next(splitmix.Next(m.inputs.Seed^uint64(layer)) ^ uint64(segment))
	for j := range dst {
		switch {
		case segment%2 == 1:
			dst[j] = 1
		case j%d == 0:
			x := exponents[splitmix.Next(key^uint64(j/d))%uint64(len(exponents))]
			dst[j] = deviating(-x, d)
		default:
			dst[j] = -dst[j-1]
		}
	}
}

// deviating returns an element of a vector, of d elements ±that, whose standard deviation is σ, or if there is none next to σ.
func deviating(sigma float32, d int) float32 {
	near := sigma * float32(math.Sqrt(float64(d-1)/float64(d)))
	for _, to := range []float32{0, math.MaxFloat32} {
		for a, n := near, 0; n < 4; a, n = math.Nextafter32(a, to), n+1 {
			if deviation(a, d) == sigma {
				return a
			}
		}
	}
	return near
}

// deviation returns the standard deviation of d elements ±a, as LagKV computes it, for a power of two d.
func deviation(a float32, d int) float32 {
	return float32(math.Sqrt(float64(a * a * float32(d) / float32(d-1))))
}

// edgeOfDeviations returns the i-th pipeline of LagKV whose scores are e^x of exponents. It is nil if LagKV is not among
// methods, or if none was found.
func edgeOfDeviations(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	if methods = named(methods, "lagkv"); methods == nil {
		return nil, nil
	}
	lag := pick(r, 8, 12, 33)
	for range maxEdgeDraws {
		p := &Pipeline{
			Shape:  kv.Shape{Layers: 2, KVHeads: 1 + r.IntN(4), HeadSize: pick(r, 8, 16, 32, 64), Group: 1},
			Inputs: Inputs{Seed: r.Uint64(), Deviations: lag, Scale: 1},
		}
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), edgeFormats[i%len(edgeFormats)], 1
		found, err := p.drawMethod(r, methods, anyReading)
		if err != nil || !found {
			return nil, err
		}
		p.set("sinks", 0)
		p.set("lag", lag)
		p.set("cross", true)
		p.fillEdges(r, 1, 2*lag*(4+r.IntN(10)))
		if cfg := p.config(); cfg.Validate() == nil && p.work() <= maxRuleWork {
			return p, nil
		}
	}
	return nil, nil
}
