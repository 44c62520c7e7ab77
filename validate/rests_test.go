package validate

import (
	"math"
	"testing"

	"kvcompress/kv"
	"kvcompress/trace"
)

// TestRests: of every two tokens, values cancel or are subnormal, and each kind is frequent.
func TestRests(t *testing.T) {
	const tokens, d = 64, 32
	m := &madeUp{
		shape:  kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: d},
		inputs: Inputs{Seed: 1, Mirror: true, Rests: true, Scale: 1, Tokens: []int{tokens}},
	}
	keys, small := make([]float32, tokens*d), 0
	if err := m.Read(keys, trace.K, 0, 0, tokens); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(keys); i += 2 * d {
		for j := i; j < i+d; j++ {
			switch sum := math.Abs(float64(keys[j]) + float64(keys[j+d])); {
			case sum >= 0x1p-125:
				t.Fatalf("%v and %v", keys[j], keys[j+d])
			case sum > 0:
				small++
			}
		}
	}
	if all := tokens / 2 * d; small < all/3 || small > all*2/3 {
		t.Errorf("%d of %d pairs are subnormal", small, all)
	}
}
