package validate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
)

// TestEdgesOfWidth: pipelines with a large number are valid, and have what their kind promises.
func TestEdgesOfWidth(t *testing.T) {
	methods := allMethods(t)
	for _, test := range []struct {
		name             string
		draw             func(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error)
		methods          []*draw.Method
		pipelines, least int // number of pipelines drawn; smallest number of them that must have the edge case
		has              func(*Pipeline) bool
	}{
		{"batches of more than 256 heads", edgeOfBatch, methods, len(wideRules), len(wideRules) - 1,
			func(p *Pipeline) bool { return len(p.Inputs.Tokens)*p.Shape.KVHeads > 256 }},
		{"groups of 16 or more", edgeOfGroup, methods, len(wideRules), len(wideRules) - 1,
			func(p *Pipeline) bool { return p.Shape.Group >= 16 }},
		{"segments of more than 256 tokens", edgeOfOption, only(t, "lagkv"), 2, 1,
			func(p *Pipeline) bool {
				lag := p.observation().Scorer.(ref.LagKV)
				return lag.Lag > 256 && p.Inputs.Tokens[0] > lag.Sinks+2*lag.Lag
			}},
		{"quantization groups of more than 64", edgeOfOption, only(t, "flexgen"), 4, 1,
			func(p *Pipeline) bool { _, values := p.newMethod().(ref.Quantizer).Formats(); return values.Group > 64 }},
		{"stand-ins that more KVs enter", edgeOfFolding, methods, 5, 4,
			func(p *Pipeline) bool { return p.newMethod().(ref.Folder).StandIns().Keys != ref.None }},
		{"pages of small blocks", edgeOfLists, methods, 4, 3,
			func(p *Pipeline) bool { return p.Config.BlockSize <= 2 }},
	} {
		have := 0
		for i := range test.pipelines {
			p, err := test.draw(rand.New(rand.NewPCG(uint64(i), 0)), i, test.methods)
			if err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			if p == nil {
				continue
			}
			if err := p.check(); err != nil {
				t.Errorf("%s: %s: %v", test.name, p, err)
			}
			if test.has(p) {
				have++
			}
		}
		if have < test.least {
			t.Errorf("%s: %d of %d pipelines", test.name, have, test.pipelines)
		}
	}
}

// TestTiesOfSubnormals: some of the values halfway between two numbers of a format are subnormal in it.
func TestTiesOfSubnormals(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for format, numbers := range ties {
		halfway := 0
		for range 1000 {
			steps := math.Ldexp(math.Abs(float64(tie(r.Uint64(), format))), -numbers.step)
			if steps < float64(int(1)<<(23-numbers.dropped)) && steps-math.Floor(steps) == 0.5 {
				halfway++
			}
		}
		if halfway < 50 {
			t.Errorf("%v: %d", format, halfway)
		}
	}
}

// TestZeros: about a quarter of the keys are 0, and no query is.
func TestZeros(t *testing.T) {
	p := RandomPipeline(1)
	p.Inputs = Inputs{Seed: 1, Tokens: []int{400}, Zeros: true, Scale: 1}
	in, err := p.open(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, tensor := range []trace.Tensor{trace.K, trace.Q} {
		row, zeros := tensor.Heads(p.Shape)*p.Shape.HeadSize, 0
		x := make([]float32, 400*row)
		if err := in.Read(x, tensor, 0, 0, 400); err != nil {
			t.Fatal(err)
		}
		for i := range 400 {
			if slices.Max(x[i*row:][:row]) == 0 && slices.Min(x[i*row:][:row]) == 0 {
				zeros++
			}
		}
		if tensor == trace.K && (zeros < 50 || zeros > 150) || tensor == trace.Q && zeros > 0 {
			t.Errorf("%v: %d vectors of 400 are 0", tensor, zeros)
		}
	}
}
