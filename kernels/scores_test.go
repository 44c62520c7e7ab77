package kernels

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// coarse is noise that is rounded to multiples of a step and then scaled: of a large step
// many numbers are equal, and 0.
type coarse struct {
	noise
	step, scale float32
}

func (c coarse) Read(dst []float32, t trace.Tensor, layer, from, count int) error {
	if err := c.noise.Read(dst, t, layer, from, count); err != nil {
		return err
	}
	for i, v := range dst {
		dst[i] = float32(math.Round(float64(v/c.step))) * c.step * c.scale
	}
	return nil
}

// randomRope draws a rotary embedding, of all of a head or of a part of it.
func randomRope(rng *rand.Rand, headSize int) *trace.Rope {
	return &trace.Rope{
		Base:       oneOf[float64](rng, 1, 100, 10000, 1e6),
		RotarySize: oneOf(rng, headSize, headSize, headSize/2, 2),
		Pairing:    oneOf(rng, trace.Half, trace.Interleaved),
	}
}

// randomScorer draws one that the kernels know.
func randomScorer(t *testing.T, rng *rand.Rand, shape kv.Shape) ref.Scorer {
	switch rng.IntN(5) {
	case 0:
		return ref.KeyNorm{}
	case 1:
		return ref.KeyDiff{}
	case 2:
		return ref.LagKV{
			Sinks: oneOf(rng, 0, 1, 4, 60, 600),
			Lag:   oneOf(rng, 1, 2, 7, 16, 31, 32, 33, 64, 126, 127, 128, 129, 140),
			Cross: rng.IntN(3) == 0,
		}
	}
	var cfg ref.Config
	cfg.UseMethod("expected-attention")
	cfg.Shape = shape
	rope := oneOf(rng, "trace", "trace", "none")
	if rope == "trace" {
		cfg.Rope = randomRope(rng, shape.HeadSize)
	}
	set := fmt.Sprintf(`{"sinks": %d, "future": %d, "covariance": %t, "value_norm": %t, "epsilon": %g, "rope": %q}`,
		oneOf(rng, 0, 1, 4, 60, 600), oneOf(rng, 1, 2, 20, 512), rng.IntN(4) > 0, rng.IntN(4) > 0, oneOf(rng, 0, 0.5), rope)
	if err := json.Unmarshal([]byte(set), &cfg.Set); err != nil {
		t.Fatal(err)
	}
	m, err := cfg.NewMethod()
	if err != nil {
		t.Fatal(err)
	}
	return m.Observe().Scorer
}

// scoreLengths are prompts at the edges of warps and partitions.
var scoreLengths = []int{1, 2, 3, 31, 32, 33, 64, 65, 127, 128, 129, 200, 255, 256, 257, 300, 390}

// TestScores runs random rankings by the kernels' scores on both engines.
func TestScores(t *testing.T) {
	cases := testsize.Of(8, 40, 200)
	dropped := 0
	for seed := range uint64(cases) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 47))
			cfg := ref.Config{Config: randomCache(rng)}
			shape := &cfg.Shape
			shape.HeadSize = oneOf(rng, 8, 8, 16, 24, 32, 40, 64, 72, 256)
			watches := &ref.Observation{
				Window:    oneOf(rng, 1, 40, ref.AllQueries, ref.AllQueries, ref.AllQueries),
				Scorer:    randomScorer(t, rng, *shape),
				Norm:      oneOf(rng, ref.L1, ref.L2), // of decode steps
				LayerMean: rng.IntN(4) == 0,
				Decode:    rng.IntN(3) == 0,
			}
			m := &dropping{
				columns: []kv.Column{{Name: "scores", Value: "score", Width: 1}},
				watches: watches,
				rank:    randomRanking(rng, cfg.Config, 0, 1),
			}
			switch watches.Scorer.(type) {
			case ref.KeyNorm, ref.KeyDiff: // scores are negative, which those of heads that have shares never are
				rank := m.rank
				m.rank = func(c ref.Counts) ref.Ranking {
					r := rank(c)
					r.Share = nil
					return r
				}
			}
			c := &methodCase{cfg: cfg, method: m}
			work := 4_000_000 // multiplications, where there are most: D² for each token and query head
			for range 1 + rng.IntN(2) {
				n := oneOf(rng, scoreLengths...)
				if _, ok := watches.Scorer.(*ref.ExpectedAttention); ok {
					n = min(n, max(3, work/(shape.Layers*shape.QueryHeads()*shape.HeadSize*shape.HeadSize)))
				}
				c.lengths = append(c.lengths, n)
				c.cfg.Blocks += shape.Heads() * ceil.Div(n+rng.IntN(20), cfg.BlockSize)
			}
			step, scale := oneOf[float32](rng, 0x1p-20, 1, 2), oneOf[float32](rng, 1, 1, 0x1p-60)
			if cfg.DType != dtype.F16 && rng.IntN(3) == 0 {
				scale = 0x1p50
			}
			open := func(id kv.SeqID) (trace.Tensors, error) {
				return coarse{noise{id, c.lengths[id] + 12, shape.KVHeads * shape.HeadSize, 1}, step, scale}, nil
			}
			if err := c.start(checked(t, seed), open); err != nil {
				t.Fatal(err)
			}
			evicted, err := c.run(rng)
			if err != nil {
				t.Fatalf("%v\nprompts %v, scorer %T %+v of %+v\n%v", c.cfg, c.lengths, watches.Scorer, watches.Scorer, watches, err)
			}
			if evicted > 0 {
				dropped++
			}
			if err := errors.Join(c.engine.Close(), c.reference.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	if !t.Failed() && dropped < cases/4 {
		t.Errorf("in %d of %d cases alone a KV was evicted", dropped, cases)
	}
}

// unknownScorer is a scorer that the kernels do not have.
type unknownScorer struct{}

func (unknownScorer) Score(*ref.PromptHead, []float32) {}
