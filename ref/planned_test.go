package ref

import (
	"math/rand/v2"
	"testing"
)

// However a sequence is cut into chunks, it is divided as the published code divides it after each chunk: what exceeds
// the Local newest tokens fills the first tokens, and then whole blocks (thunlp/InfLLM, append_global).
func TestInfLLMDivide(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		p := InfLLMPlan{First: r.IntN(5), Local: 1 + r.IntN(9), Block: 1 + r.IntN(6)}
		p.LookedUp = r.IntN(4) * p.Block
		first, blocks, newest, tokens := 0, 0, 0, 0
		for tokens < 60 {
			n := 1 + r.IntN(p.Local)
			tokens, newest = tokens+n, newest+n
			for first < p.First && newest > p.Local {
				first, newest = first+1, newest-1
			}
			for newest-p.Block >= p.Local {
				blocks, newest = blocks+1, newest-p.Block
			}
			if f, b, n := p.Divide(tokens); f != first || b != blocks || n != newest {
				t.Fatalf("%+v, %d tokens: %d, %d and %d, want %d, %d and %d", p, tokens, f, b, n, first, blocks, newest)
			}
			looked := min(p.LookedUp/p.Block, blocks)
			if card, host := p.Held(tokens); card != first+looked*p.Block+newest || host != blocks*p.Block {
				t.Fatalf("%+v, %d tokens: %d on the card and %d in the host's memory, with %d of %d blocks looked up", p, tokens, card, host, looked, blocks)
			}
		}
	}
}
