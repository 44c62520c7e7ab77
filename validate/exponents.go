package validate

import (
	"math"
	"math/rand/v2"
	"slices"

	"kvcompress/internal/splitmix"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
)

// exponents are numbers x at which a fault in the computation of e^x ([vec.Exp]) changes the result: a product or a sum
// that is rounded towards 0, an addition fused with its product, a constant that is one unit in the last place off. Many of
// these faults change the result at fewer than one of 10⁴ numbers, some at one of 10⁷. TestExponents has the faults.
var exponents = []float32{
	-0x1.01d9ccp+5, -0x1.be6306p+5, // x·log₂e
	-0x1.7205dep+6, -0x1.71e878p+6, -0x1.6fb1e6p+6, -0x1.720888p+6, // n·ln2Lo
	-0x1.15340cp+6, -0x1.cc49fep+5, -0x1.155142p+5, // ln2Lo
	-0x1.840058p-2, -0x1.12722ep+0, -0x1.94eea4p+4, -0x1.40f6e2p+3, -0x1.1a7fp+2, -0x1.c60c74p+3, -0x1.217e9ap+2, -0x1.38d21p+1, // the polynomial's terms
	-0x1.d8215ap+3, -0x1.ecd406p+4, -0x1.489ae6p+6, -0x1.34da4ep+1, -0x1.e150bp+1,
	-0x1.995e74p+1, -0x1.d5c2fep+4, -0x1.78b27cp+2, -0x1.efc23ap+4,
	-0x1.1bc3ap+2, -0x1.2d0016p+6, -0x1.861528p+1, -0x1.8ccfe4p+1, -0x1.af5b44p-2, -0x1.0ec11ap+6,
	-0x1.5eaf2cp+6, -0x1.5c3654p+6, -0x1.3164cap+1,
}

// readExponents sets a row of Q, K or V of all heads, such that scores less their maximum are among exponents. Keys have one
// element that is 1, by which a query's element is its score: in the first 128 tokens each has another one, later all of
// a partition of 128 have the same, so that the maxima of partitions differ by exponents too. The first token's key is 0,
// and the maximum. Values have the same element, so that each score has an element of the output.
func (m *madeUp) readExponents(dst []float32, key uint64, t trace.Tensor, token int) {
	d := m.shape.HeadSize
	one := token % d
	if token >= ref.Partition {
		one = token / ref.Partition % d
	}
	scale := 1 / float32(math.Sqrt(float64(d)))
	for j := range dst {
		dst[j] = 0
		switch {
		case t == trace.Q:
			bits := splitmix.Next(key ^ uint64(j))
			dst[j] = scoring(exponents[bits%uint64(len(exponents))], scale)
		case token > 0 && j%d == one:
			dst[j] = 1
		}
	}
}

// scoring returns a number whose product with scale is x, or if there is none next to x.
func scoring(x, scale float32) float32 {
	near := x / scale
	for _, to := range []float32{0, float32(math.Inf(-1))} {
		for q, n := near, 0; n < 3; q, n = math.Nextafter32(q, to), n+1 {
			if float32(q*scale) == x {
				return q
			}
		}
	}
	return near
}

// edgeOfExponents returns the i-th pipeline whose attention weights are e^x of exponents: of methods that observe attention,
// and every third of methods with pages of their own, whose KVs stay plain. Every eighth i is one of edgeOfDeviations. It is
// nil for other odd i, and if none was found.
func edgeOfExponents(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	switch {
	case i%8 == 1:
		return edgeOfDeviations(r, i/8, methods)
	case i%2 == 1:
		return nil, nil
	}
	i /= 2
	set, layers, formats := withPlain, 1, edgeFormats
	reading := func(_ *ref.Config, m ref.Method) bool {
		o := m.Observe()
		return o != nil && o.Scorer == nil
	}
	if i%3 == 2 {
		set, layers, formats, reading = withOwnPages, 2, edgeFormats[:pageFormats], anyReading
	}
	for range maxEdgeDraws {
		p := &Pipeline{
			Shape:  kv.Shape{Layers: layers, KVHeads: 1 + r.IntN(2), HeadSize: pick(r, 8, 16, 32, 64), Group: pick(r, edgeGroups...)},
			Inputs: Inputs{Seed: r.Uint64(), Exponents: true, Scale: 1},
		}
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), formats[(i+i/len(formats))%len(formats)], 1
		found, err := p.drawMethod(r, set.of(methods), reading)
		if err != nil {
			return nil, err
		}
		p.fillEdges(r, 3, pick(r, 130, 300, 1100, 1100))
		p.Operations = slices.DeleteFunc(p.Operations, func(op Operation) bool { return op.Kind == OpCompress })
		if cfg := p.config(); found && cfg.Validate() == nil && p.work() <= maxRuleWork {
			return p, nil
		}
	}
	return nil, nil
}
