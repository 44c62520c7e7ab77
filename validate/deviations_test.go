package validate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/vec"
	"kvcompress/trace"
)

// TestDeviations: for all exponents x but one, −x is the standard deviation of a vector of some head size, and the scores that
// LagKV gives to a prompt of such vectors are e^x over their sum.
func TestDeviations(t *testing.T) {
	missed := 0
	for _, x := range exponents {
		if !slices.ContainsFunc([]int{8, 16, 32, 64}, func(d int) bool { return deviation(deviating(-x, d), d) == -x }) {
			missed++
		}
	}
	if missed > 1 {
		t.Errorf("of %d exponents %d are deviations in heads of no size", len(exponents), missed)
	}
	const lag, tokens, d = 8, 16 * 40, 8
	m := &madeUp{shape: kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: d}, inputs: Inputs{Seed: 1, Deviations: lag, Tokens: []int{tokens}}}
	head := ref.PromptHead{HeadSize: d, K: make([]float32, tokens*d), V: make([]float32, tokens*d)}
	for tensor, rows := range map[trace.Tensor][]float32{trace.K: head.K, trace.V: head.V} {
		if err := m.Read(rows, tensor, 0, 0, tokens); err != nil {
			t.Fatal(err)
		}
	}
	scores, seen := make([]float32, tokens), map[float32]bool{}
	ref.LagKV{Lag: lag, Cross: true}.Score(&head, scores)
	for segment := 0; segment+2 <= tokens/lag; segment += 2 {
		top := segment / 2 % lag
		x := -deviation(float32(math.Abs(float64(head.K[(segment*lag+top)*d]))), d)
		weights := slices.Repeat([]float32{vec.Exp(x)}, lag)
		weights[top] = 1
		got, want := scores[segment*lag+(top+1)%lag], vec.Exp(x)*(1/vec.Sum(weights))
		if got != want {
			t.Errorf("segment %d: a score of %v, want e^%v over the sum, %v", segment, got, x, want)
		}
		seen[x] = true
	}
	if len(seen) < len(exponents)/2 {
		t.Errorf("%d of %d exponents", len(seen), len(exponents))
	}
}

// TestEdgesOfDeviations: the pipelines are of LagKV and can be run; there are none of other methods.
func TestEdgesOfDeviations(t *testing.T) {
	for i := range 10 {
		p, err := edgeOfDeviations(rand.New(rand.NewPCG(1, uint64(i))), i, allMethods(t))
		if err != nil || p == nil {
			t.Fatalf("pipeline %d: %v, %v", i, p, err)
		}
		lag := p.observation().Scorer.(ref.LagKV)
		if err := p.check(); err != nil || lag.Lag != p.Inputs.Deviations || !lag.Cross || lag.Sinks != 0 {
			t.Errorf("%s: %v", p, err)
		}
	}
	if p, err := edgeOfDeviations(rand.New(rand.NewPCG(1, 0)), 0, only(t, "snapkv")); p != nil || err != nil {
		t.Errorf("a pipeline of another method: %v, %v", p, err)
	}
	p := RandomPipeline(1)
	if p.Inputs.Deviations = -1; p.check() == nil {
		t.Error("segments of −1 tokens are valid")
	}
}
